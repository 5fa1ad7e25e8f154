"""Turns of a dialogue become branches of one trunk, and are learnt as if each stood alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from loraloop.adapters.base import Base, Message
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.training.data.encode import Encoded, EncodedBranch, batches, encode, encode_grouped
from loraloop.adapters.training.data.readers import Reading, read_file
from loraloop.adapters.training.data.record import Record, RecordPlace
from loraloop.adapters.training.trainer.trainer import TrainConfig, Trainer


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    lines = ["Hi", "Hello.", "How are you?", "Fine.", "And now?", "Still fine."]
    talk = [{"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate(lines)]
    rows = [{"messages": talk}, {"messages": [{"role": "system", "content": "Be kind."}, *talk[:4]]}, {"prompt": "Bye"}]
    rows[2]["completion"] = "Bye."  # type: ignore[assignment]
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = list(read_file(file, Reading()))
    assert all(isinstance(entry, Record) for entry in found)
    return [entry for entry in found if isinstance(entry, Record)]


def test_a_dialogue_is_one_example_with_a_branch_a_turn(tiny_base: Base, records: list[Record]) -> None:
    shuffled = [records[k] for k in (4, 1, 5, 0, 3, 2)]
    grouped = encode_grouped(tiny_base, shuffled, 1000)
    assert sorted(len(example.branches) for example in grouped) == [1, 2, 3]
    alone = {(e.trunk, e.branches[0].tokens) for r in records for e in [encode(tiny_base, r.messages, r.completion)]}
    assert {(e.trunk[: b.at], b.tokens) for e in grouped for b in e.branches} == alone
    assert len(encode_grouped(tiny_base, shuffled, 100)) > 3, "no example is longer than it may be"
    twice = encode_grouped(tiny_base, [*records, *records], 1000)
    assert sorted(len(example.branches) for example in twice) == [1, 1, 2, 2, 3, 3]


def test_records_that_go_on_from_one_another_share_an_example(tiny_base: Base, tmp_path: Path) -> None:
    talk = [{"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate("abcde")]
    other = [*talk[:2], {"role": "user", "content": "else"}]
    rows = [{"messages": part, "completion": "x"} for part in (talk, talk[:1], talk[:3], other)]
    found = [
        Record(tuple(Message(**m) for m in row["messages"]), "x", "text", RecordPlace("f", k))
        for k, row in enumerate(rows)
    ]
    grouped = encode_grouped(tiny_base, found, 1000)
    assert sorted(len(example.branches) for example in grouped) == [1, 3]
    alone = {(e.trunk, e.branches[0].tokens) for r in found for e in [encode(tiny_base, r.messages, r.completion)]}
    assert {(e.trunk[: b.at], b.tokens) for e in grouped for b in e.branches} == alone


def test_an_extra_prompt_stands_in_the_branch_of_its_step_alone(tiny_base: Base) -> None:
    talk = (Message("user", "Order it."),)
    plain = Record(talk, "no", "text", RecordPlace("f", 1))
    again = Record(talk, "yes", "text", RecordPlace("f", 2), extra_prompt="That is not valid. Write it again.")
    (grouped,) = encode_grouped(tiny_base, [again, plain], 1000)
    assert [branch.at for branch in grouped.branches] == [len(grouped.trunk)] * 2, "both stand on one trunk"
    first, second = grouped.branches
    prompt = tuple(tiny_base.chat.message("user", again.extra_prompt))
    assert second.tokens[: second.start] == (*prompt, *first.tokens[: first.start])
    assert tiny_base.tokenizer.decode(list(second.tokens[second.start : -1])) == "yes"
    assert not set(prompt[3:-2]).issubset(grouped.trunk)


def test_the_loss_is_that_of_turns_alone(tiny_base: Base, records: list[Record], tmp_path: Path) -> None:
    grouped = encode_grouped(tiny_base, records, 1000)
    alone = [encode(tiny_base, record.messages, record.completion) for record in records]
    trainer = Trainer(tiny_base, Lora(2, 4), grouped, alone, TrainConfig(steps=1), tmp_path / "run")
    for name, tensor in trainer.parameters.items():
        if name.endswith("lora_B"):
            tensor.data.copy_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0)) * 0.1)
    torch.testing.assert_close(trainer.loss(grouped, grad=False), trainer.loss(alone, grad=False), atol=1e-5, rtol=1e-5)


def test_examples_of_one_system_message_lie_near_one_another_and_mixed() -> None:
    made = [Encoded((head, 9, each), (EncodedBranch((1, 2), 1),), 1) for head in range(60) for each in range(5)]
    order = batches(made, 4, 0)
    epoch = [next(order) for _ in range(75)]
    assert sorted(example.trunk for batch in epoch for example in batch) == sorted(example.trunk for example in made)
    for head in range(60):
        places = [place for place, batch in enumerate(epoch) for example in batch if example.trunk[0] == head]
        assert len(places) == 5 and max(places) - min(places) < 16
    assert sum(len({example.trunk[0] for example in batch}) for batch in epoch) / 75 > 2
    assert [next(order) for _ in range(75)] != epoch
