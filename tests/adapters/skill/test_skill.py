from __future__ import annotations

import contextlib
import json
import struct
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.skill import store
from loraloop.adapters.skill.card import Card
from loraloop.adapters.skill.registry import library
from loraloop.adapters.skill.skill import Skill, SkillFolder
from loraloop.adapters.skill.tensors import SkillWarning, check_base
from loraloop.tool_schemas.errors import SkillError

CONFIG = SimpleNamespace(hidden_size=12, intermediate_size=20, layers=2, heads=2, kv_heads=1, head_dim=6)


def base(name: str = "small", architecture: str = "a1", weights: str = "b2", **config: int) -> SimpleNamespace:
    """What a check reads of a base."""
    prints = SimpleNamespace(architecture=architecture, weights=weights)
    return SimpleNamespace(name=name, config=SimpleNamespace(**{**vars(CONFIG), **config}), fingerprints=prints)


def make(name: str = "tools", **card: object) -> Skill:
    method = Lora(2, 4, ("q_proj", "down_proj"))
    torch.manual_seed(0)
    tensors = {key: torch.randn(value.shape) for key, value in method.init(MethodContext(CONFIG)).items()}
    fields = {
        "name": name, "description": "Calls tools.", "rank": 2, "alpha": 4, "targets": method.targets,
        "invocation": (1, 2), "contract": "calls", "base": "small", "data": ({"name": "d", "license": "MIT", "n": 3},),
        "fingerprints": {"architecture": "a1", "weights": "b2"}, "scores": {"f1": {"base": 0.1, "skill": 0.5}}, **card,
    }  # fmt: skip
    return Skill(Card.checked(fields), tensors)


def test_round_trip(tmp_path: Path) -> None:
    skill = make()
    folder = skill.save(tmp_path / "tools")
    again = Skill.load(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["card.json", "skill.safetensors"]
    assert again.card.model_copy(update={"sha256": ""}) == skill.card and len(again.card.sha256) == 64
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in skill.tensors.items())
    assert skill.to(torch.bfloat16).bytes * 2 == skill.bytes == sum(t.nbytes for t in again.tensors.values())
    make(description="Better.").save(folder)
    assert Skill.load(folder).card.description == "Better."
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tools"]


def test_a_byte_a_value_keeps_the_matrices_to_a_hundredth(tmp_path: Path) -> None:
    skill = make()
    skill.tensors["layers.0.q_proj.lora_B"][:, 1] = 0  # of a direction that training has not used
    skill.tensors["layers.0.q_proj.lora_A"][0] *= 1e-6  # its scale is its own
    small = skill.save(tmp_path / "small", int8=True)
    again = Skill.load(small)
    assert again.shapes == SkillFolder.open(small).shapes == skill.shapes
    for name, tensor in skill.tensors.items():
        rows = tensor if name.endswith("lora_A") else tensor.T
        found = again.tensors[name].float() if name.endswith("lora_A") else again.tensors[name].float().T
        assert torch.all((found - rows).norm(dim=1) <= 0.02 * rows.norm(dim=1)), name
    codes = load_file(small / store.TENSORS)
    assert sum(tensor.numel() for tensor in skill.tensors.values()) == sum(
        tensor.nbytes for tensor in codes.values() if tensor.dtype == torch.int8
    )
    twice = load_file(again.save(tmp_path / "twice", int8=True) / store.TENSORS)
    assert all(torch.equal(twice[name], tensor) for name, tensor in codes.items() if tensor.dtype == torch.int8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda codes: codes.pop("layers.0.q_proj.lora_A.scale"), "scales of layers.0.q_proj.lora_A are missing"),
        (lambda codes: codes.update({"layers.0.q_proj.lora_A.scale": torch.ones(1, 2)}), "do not fit"),
        (lambda codes: codes.update({"layers.0.q_proj.lora_A.scale": torch.ones(2, 1).half()}), "do not fit"),
        (lambda codes: codes.update({"layers.0.q_proj.lora_A": torch.ones(2, 12)}), "unexpected tensor"),
        (lambda codes: codes.update({"layers.0.q_proj.gain": torch.ones(12, dtype=torch.int8)}), "matrices alone"),
        (lambda codes: codes["layers.0.q_proj.lora_B.scale"].fill_(float("inf")), "not finite"),
    ],
)
def test_codes_and_scales_belong_together(
    change: Callable[[dict[str, torch.Tensor]], object], message: str, tmp_path: Path
) -> None:
    folder = make().save(tmp_path / "small", int8=True)
    codes = load_file(folder / store.TENSORS)
    change(codes)
    save_file(codes, folder / store.TENSORS)
    drop_digest(folder)
    with pytest.raises(SkillError, match=message):
        Skill.load(folder)


def test_a_save_that_fails_leaves_the_old_skill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make().save(tmp_path / "tools")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        make(description="Better.").save(folder)
    with pytest.raises(OSError, match="No space"):
        make().save(tmp_path / "new")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["tools"]


def test_values_must_be_finite(tmp_path: Path) -> None:
    skill = make()
    skill.tensors["layers.1.q_proj.lora_B"][0, 0] = float("nan")
    with pytest.raises(SkillError, match=r"layers\.1\.q_proj\.lora_B holds values that are not finite"):
        skill.save(tmp_path / "tools")
    assert not (tmp_path / "tools").exists()
    save_file(skill.tensors, make().save(tmp_path / "tools") / store.TENSORS)
    drop_digest(tmp_path / "tools")
    with pytest.raises(SkillError, match="not finite"):
        Skill.load(tmp_path / "tools")


def drop_digest(folder: Path) -> None:
    card = json.loads((folder / store.CARD).read_text())
    (folder / store.CARD).write_text(json.dumps({**card, "sha256": ""}))


def test_damaged_files(tmp_path: Path) -> None:
    folder = make().save(tmp_path / "tools")
    path = folder / store.TENSORS
    whole = path.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + length])

    def with_header(change) -> bytes:  # type: ignore[no-untyped-def]
        altered = json.loads(json.dumps(header))
        change(altered)
        text = json.dumps(altered).encode()
        return struct.pack("<Q", len(text)) + text + whole[8 + length :]

    def rename(entries: dict) -> None:  # type: ignore[type-arg]
        entries["layers.0.q_proj.lora_C"] = entries.pop("layers.0.q_proj.lora_A")

    def entry(**fields: object):  # type: ignore[no-untyped-def]
        return lambda entries: entries["layers.0.q_proj.lora_A"].update(fields)

    cases = {
        b"": "not a whole safetensors file",
        whole[:7]: "not a whole safetensors file",
        whole[: len(whole) // 2]: "bytes where its header promises",
        whole + b"\0" * 100: "bytes where its header promises",
        struct.pack("<Q", 2**63) + whole[8:]: "not a whole safetensors file",
        whole[:8] + b"{" * length + whole[8 + length :]: "damaged header",
        whole[:8] + b"[" + b" " * (length - 2) + b"]" + whole[8 + length :]: "damaged header",
        with_header(entry(shape=[2, 10**12])): "bytes do not match its shape",
        with_header(entry(shape=[-2, -12])): "not a count",
        with_header(entry(dtype="I64")): "type I64",
        with_header(rename): "unexpected tensor",
        with_header(lambda entries: entries.clear()): "bytes where its header promises",
        whole[:-4] + b"\xff\xff\x00\x00": "sha256 is not the one on the card",
    }
    for content, message in cases.items():
        path.write_bytes(content)
        with pytest.raises(SkillError, match=message):
            Skill.load(folder)
    path.unlink()
    with pytest.raises(SkillError, match=r"lacks skill\.safetensors"):
        Skill.load(folder)
    with pytest.raises(SkillError, match="is not a folder"):
        Skill.load(tmp_path / "nothing")
    with pytest.raises(SkillError, match="is not a folder"):
        SkillFolder.open("no\0file")
    (tmp_path / "peft").mkdir()
    (tmp_path / "peft" / "adapter_config.json").write_text("{}")
    with pytest.raises(SkillError, match=r"read it with Skill\.from_peft"):
        Skill.load(tmp_path / "peft")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_damage_goes_unnoticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any cut or changed byte of either file gives a SkillError or, in the card's free text, another valid card."""
    folder = tmp_path_factory.getbasetemp() / "damaged"
    make().save(folder, int8=data.draw(st.booleans()))
    name = data.draw(st.sampled_from([store.TENSORS, store.CARD]))
    path = folder / name
    content = bytearray(path.read_bytes())
    whole = len(content)
    where = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[where] ^= data.draw(st.integers(1, 255))
    else:
        del content[where:]
    path.write_bytes(bytes(content))
    if name == store.TENSORS and data.draw(st.booleans()):
        drop_digest(folder)  # as of a card that was made for the damaged file: then the other checks have to see it
        with contextlib.suppress(SkillError):
            tensors = Skill.load(folder).tensors.values()
            assert len(content) == whole and all(bool(tensor.isfinite().all()) for tensor in tensors)
    elif name == store.TENSORS:
        with pytest.raises(SkillError):
            Skill.load(folder)
    else:
        try:
            Skill.load(folder)
        except SkillError as error:
            assert len(str(error)) > 20


def test_halves_and_ranks(tmp_path: Path) -> None:
    skill = make()
    fewer = {name: tensor for name, tensor in skill.tensors.items() if name != "layers.0.q_proj.lora_B"}
    with pytest.raises(SkillError, match="only one of lora_A and lora_B"):
        Skill(skill.card, fewer)
    with pytest.raises(SkillError, match="has rank 2, but the card says 3"):
        Skill(skill.card.model_copy(update={"rank": 3}), skill.tensors)
    with pytest.raises(SkillError, match="the card's targets are q_proj"):
        Skill(skill.card.model_copy(update={"targets": ("q_proj",)}), skill.tensors)
    with pytest.raises(SkillError, match=r"A\[2, 12\] and B\[12, 3\]"):
        Skill(skill.card, {**skill.tensors, "layers.0.q_proj.lora_B": torch.zeros(12, 3)})
    with pytest.raises(SkillError, match="holds no tensors"):
        Skill(skill.card, {})


@pytest.mark.parametrize(
    "change, message",
    [
        ({"descripton": "x"}, "unknown field 'descripton'; did you mean 'description'"),
        ({"fingerprints": {"architecture": "a", "weights": "b", "arch": "c"}}, "unknown field 'fingerprints.arch'"),
        ({"base": None}, "base"),
        ({"rank": 0}, "rank"),
        ({"alpha": float("inf")}, "alpha"),
        ({"name": "Tools!"}, "name"),
        ({"name": "none"}, "'none' is reserved for the bare base"),
        ({"targets": ["q_porj"]}, "'q_porj' is not one of q_proj"),
        ({"targets": ["q_proj", "q_proj"]}, "named twice"),
        ({"invocation": []}, "needs the token ids of the invocation"),
        ({"method": "lorra"}, "lora"),
        ({"contract": "poem"}, "contract"),
        ({"contract": "code", "asks": True}, "asks: only calls"),
    ],
)
def test_cards_are_checked(change: dict[str, object], message: str) -> None:
    fields = json.loads(make().card.to_json()) | change
    with pytest.raises(SkillError, match=message):
        Card.from_json(json.dumps(fields))


def test_a_card_with_a_missing_field() -> None:
    fields = json.loads(make().card.to_json())
    del fields["rank"]
    with pytest.raises(SkillError, match="'rank' is missing"):
        Card.from_json(json.dumps(fields))
    with pytest.raises(SkillError, match="is not JSON"):
        Card.from_json("{")


def test_a_card_of_an_older_version_loads_without_what_is_gone() -> None:
    fields = json.loads(make().card.to_json())
    assert (
        Card.from_json(
            json.dumps({**fields, "beams": 4, "reranking": {"weights": {}}, "ask_threshold": {"value": 0.5}})
        )
        == make().card
    )


@pytest.mark.parametrize("text", ["[" * 100_000, '{"scores": ' + '{"a":' * 100_000])
def test_a_card_that_is_nested_too_deeply_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(SkillError, match="nested too deeply"):
        Card.from_json(text)
    folder = make().save(tmp_path / "tools")
    (folder / store.CARD).write_text(text)
    with pytest.raises(SkillError, match="nested too deeply"):
        SkillFolder.open(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank_pattern": {"a{99999999999999999999}": 2}}, "more than 1000000 repeats"),
        ({"alpha_pattern": {"a{388271544}": 2}}, "more than 1000000 repeats"),
        ({"alpha_pattern": {"(?:(.)|(\\w))*[?!]{2}": 2}}, "takes too long"),
        ({"alpha_pattern": {"(": 4}}, "not a regular expression"),
        ({"rank_pattern": 5}, "wrong type"),
        ({"alpha_pattern": {"q_proj": 10**400}}, "wrong type"),
    ],
)
def test_patterns_of_a_card_are_checked(options: dict[str, object], message: str, tmp_path: Path) -> None:
    folder = make().save(tmp_path / "tools")
    fields = json.loads((folder / store.CARD).read_text())
    (folder / store.CARD).write_text(json.dumps({**fields, "options": options}))
    with pytest.raises(SkillError, match=message):
        Skill.load(folder).payload(CONFIG)


def test_a_pattern_of_a_card_cannot_hold_up_who_loads_it() -> None:
    """Python's own `re` looks for the end of this one for hours; an engine with a limit gives up, or sees at once."""
    start = time.thread_time()
    with contextlib.suppress(SkillError):
        make(options={"alpha_pattern": {"([a-z_.0-9]+)+[A-Z]": 4}}).payload(CONFIG)
    assert time.thread_time() - start < 10


def test_a_pattern_may_say_how_its_letters_match() -> None:
    assert make(options={"alpha_pattern": {"(?i)Q_PROJ": 8}}).payload(CONFIG).pairs


def test_whether_a_skill_asks_back_is_on_its_card() -> None:
    assert not make().card.asks and "asks" not in json.loads(make().card.to_json())
    card = make(asks=True).card
    assert card.asks and Card.from_json(card.to_json()) == card


def test_only_the_right_base() -> None:
    skill = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_base(skill.card, skill.shapes, base())
    with pytest.raises(SkillError, match=r"made for the base 'small'.*those of 'big'"):
        check_base(skill.card, skill.shapes, base("big", architecture="x"))
    with pytest.raises(SkillError, match=r"the base 'big' needs \[1 … 1024, 16\]"):
        check_base(skill.card, skill.shapes, base("big", hidden_size=16))
    with pytest.raises(SkillError, match=r"no tensor 'layers.1.*\(1 layers\)"):
        check_base(skill.card, skill.shapes, base("big", layers=1))
    with pytest.warns(SkillWarning, match="its scores may differ"):
        check_base(skill.card, skill.shapes, base(weights="c3"))


def test_opening_reads_no_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make().save(tmp_path / "tools")
    monkeypatch.setattr(store, "read_tensors", lambda *_: pytest.fail("tensors were read"))
    opened = SkillFolder.open(folder)
    assert opened.card.name == "tools" and opened.shapes["layers.1.down_proj.lora_A"][1] == 20


def test_shipped_skills_are_whole() -> None:
    for name, folder in library().items():
        skill = Skill.load(folder)
        assert skill.card.name == name and skill.card.sha256
        assert (folder / store.TENSORS).stat().st_size <= 10_000_000
