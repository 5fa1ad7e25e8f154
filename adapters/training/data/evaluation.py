"""Records of the public evaluation sets, as examples to score a skill on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.prompting import CALLS_HEADER
from loraloop.adapters.skill.contracts import (
    ANSWER_LENGTH,
    Answer,
    Passage,
    Verdict,
    answer_text,
    code_text,
    user_content,
    verdict_text,
)
from loraloop.adapters.training.data.example import Example, transcript
from loraloop.adapters.training.data.record import in_order
from loraloop.tool_schemas.jsontext import dumps


def eval_example(skill: str, row: Mapping[str, Any], header: str = CALLS_HEADER) -> Example:
    """A record of a public set, in the form that the data folder keeps it in.

    Args:
        skill: One of `SKILLS`.
        row: The record.
        header: Stands above the tools of a transcript; see `Prompting.tools_header`.
    """
    turns = [Message(m["role"], m["content"]) for m in row.get("messages", ())]
    tools: tuple[dict[str, Any], ...] = tuple(row.get("tools", ()))
    passages: tuple[Passage, ...] = ()
    kind = str(row["id"]).split("-")[0]
    if skill == "tools":
        calls = tuple(row["calls"])
        completion = dumps([in_order(call, tools) for call in calls])
        gold = {"calls": calls, **{key: row[key] for key in ("accepts", "category") if row.get(key) is not None}}
        kind = row.get("category") or {"call": "single", "parallel": "parallel"}.get(row.get("kind", ""), "none")
    elif skill == "code":
        completion = code_text(row["completion"].replace("\r\n", "\n").strip("\n"))
        gold = {"tests": row.get("tests", ""), "challenge_tests": row.get("challenge_tests", [])}
    elif skill == "retrieval":
        passages = tuple(_passages(row))
        turns = [Message("user", user_content(row["question"], passages))]
        answer = Answer(row["answerable"], tuple(row["citations"]), _cut(row["answer"]))
        accepted = tuple(text for text in row.get("answers") or [row["answer"]] if text)
        completion = answer_text(answer)
        gold = {"answerable": answer.answerable, "citations": answer.citations, "answers": accepted}
        gold["question"] = row["question"]
    else:
        unsafe = row["label"] != "safe"
        turns = [Message("user", row["text"])]
        completion = verdict_text(Verdict(unsafe, "crime" if unsafe else ""))
        gold = {"unsafe": unsafe, "text": row["text"], "category": row["category"]}
    return Example(
        skill=skill,
        kind=kind,
        id=str(row["id"]),
        messages=transcript(turns, "", tools, header),
        completion=completion,
        source=str(row["source"]),
        license=str(row["license"]),
        tools=tools,
        passages=passages,
        gold=gold,
    )


def _passages(row: Mapping[str, Any]) -> Iterable[Passage]:
    """The passages of a record; the first one has the record's title where it has none of its own."""
    for index, passage in enumerate(row["passages"]):
        title = passage.get("title") or (row.get("title", "") if index == 0 else "")
        yield Passage(passage["id"], passage["text"], title)


def _cut(answer: str) -> str:
    if len(answer) <= ANSWER_LENGTH:
        return answer
    return answer[:ANSWER_LENGTH].rsplit(" ", 1)[0].rstrip(" ,;")
