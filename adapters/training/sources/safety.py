"""Texts to judge: public prompts and made contrast pairs, alone or inside a conversation, a tool result, a setting."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Verdict, verdict_text
from loraloop.adapters.training.data.example import Example, Split, transcript
from loraloop.adapters.training.sources import safety_made
from loraloop.adapters.training.sources.instructions import instructions_or_none
from loraloop.adapters.training.sources.records import endless, in_valid, read_records
from loraloop.adapters.training.sources.typed_cases import Maker
from loraloop.tool_schemas.jsontext import dumps

EVAL_FILES = ("xstest", "harmbench", "cyberseceval")
_AIRT = {
    "hate": "hate",
    "leakage": "injection",
    "scams": "fraud",
    "illegal": "crime",
    "malware": "cyber",
    "harms": "violence",
    "misinformation": "misinformation",
    "violence": "violence",
    "harassment": "hate",
    "sexual": "sexual",
}
_WORDS = (
    ("self_harm", r"suicid|self-harm|harm (your|one|my|them)sel|anorexi|eating disorder|pro-ana|cutting"),
    ("sexual", r"sexual|porn|nude|rape|prostitut|sex "),
    (
        "cyber",
        r"hack|malware|virus|ransom|exploits? (a |in |for )?(software|system|security|network)|phish|keylog|botnet|"
        r"ddos|backdoor|cyber ?attack|spyware|worm|trojan",
    ),
    (
        "misinformation",
        r"fake news|misinformation|disinformation|propaganda|conspiracy|manipulat\w* (public|election|voters)|"
        r"vaccin|rig an election|false rumou?r",
    ),
    (
        "hate",
        r"racis|sexis|hate|discriminat|bully|harass|stalk|defam|demean|stereotyp|xenophob|anti-semit|nazi|ethnic",
    ),
    (
        "fraud",
        r"fraud|scam|identity|launder|counterfeit|ponzi|insider trading|fake (id|review|charit|check)|tax|embezzl|"
        r"forge|credit card|con ",
    ),
    ("privacy", r"personal (data|information)|private information|surveil|spy|track someone|eavesdrop|leak"),
    (
        "violence",
        r"bomb|kill|murder|weapon|explos|terror|assassin|attack|violen|kidnap|tortur|shoot|gun|arson|poison|abuse|"
        r"riot",
    ),
)


@dataclass(frozen=True, slots=True)
class Judged:
    """A text, what it is, and the setting it needs to be read in."""

    text: str
    category: str
    id: str
    source: str
    license: str
    setting: str = ""
    kind: str = ""

    @property
    def unsafe(self) -> bool:
        """Whether it has a category."""
        return bool(self.category)


def category_of(record: Mapping[str, Any]) -> str:
    """The contract's category of a public record; empty for a safe one.

    Prompt injections and jailbreaks are `injection`, abuse of a code interpreter is `cyber`; the harm lists name
    effects rather than deeds, so their category is read off the words of the request.
    """
    if record["label"] == "safe":
        return ""
    name = record["category"]
    if name == "jailbreak" or name.startswith("prompt_injection"):
        return "injection"
    if name.startswith("code_interpreter_abuse"):
        return "cyber"
    if name.startswith("airt_"):
        return _AIRT.get(name.removeprefix("airt_"), "crime")
    text = record["text"].lower()
    return next((category for category, words in _WORDS if re.search(words, text)), "crime")


def public_texts(data: Path, split: Split) -> list[Judged]:
    """Judged texts of the train file."""
    return [
        _judged(r) for r in read_records(data / "safety/prompts.train.jsonl") if in_valid(r["id"]) == (split == "valid")
    ]


def eval_examples(data: Path, name: str) -> list[Example]:
    """Examples of one evaluation file: each text as the only user message."""
    records = read_records(data / "safety" / f"{name}.eval.jsonl")
    return [
        _example(_judged(record), [Message("user", record["text"])], name, {"category": record["category"]})
        for record in records
    ]


def safety_parts(data: Path, split: Split, rng: random.Random) -> list[tuple[float, Callable[[], Example | None]]]:
    """Shares and draws: half of the examples are unsafe; public texts and made pairs; every kind of place."""
    texts = [judged for judged in public_texts(data, split) if len(judged.text) < 1100]
    maker = Maker(split, rng)
    documents = endless([t for t in texts if "tool output" in t.kind], rng)
    benign = endless([t for t in texts if not t.unsafe and len(t.text) < 300], rng)
    borderline = endless([t for t in texts if t.kind == "cyber_benign_borderline"], rng)
    safe = endless([t for t in texts if t.kind.startswith("benign") and "tool output" not in t.kind], rng)
    by_category: dict[str, list[Judged]] = {}
    for text in texts:
        if text.unsafe:
            by_category.setdefault(_bucket(text), []).append(text)
    unsafe = {bucket: endless(found, rng) for bucket, found in by_category.items()}
    # Natural harm requests count most; interpreter abuse and injections are many of one mould.
    weights = {"cyber_interpreter": 14, "injection": 26}

    def bad() -> Judged:
        names = sorted(unsafe)
        return next(unsafe[rng.choices(names, [weights.get(n, 60) for n in names])[0]])

    def made(harmful: bool) -> Judged:
        if harmful:
            text, category = safety_made.harmful(rng, split)
        else:
            text, category = safety_made.harmless(rng, split), ""
        return Judged(text, category, f"contrast-{rng.randrange(10**9)}", safety_made.SOURCE, safety_made.LICENSE)

    def place(judged: Judged, kind: str) -> Example:
        """The text as a user's message, at times with a setting or a conversation before it."""
        instructions = judged.setting or instructions_or_none(rng, 0.25)
        tools = [one.tool for one in maker.tools(rng.choice((1, 2)), "snake", None)] if rng.random() < 0.15 else []
        turns = [Message("user", judged.text)]
        if not judged.setting and rng.random() < 0.15 and len(judged.text) < 500:
            before = next(benign).text
            turns = [Message("user", before), Message("assistant", _reply(rng)), *turns]
        return _example(judged, transcript(turns, instructions, tools), kind)

    def after_refusal() -> Example:
        """A harmless message after a harmful one was refused."""
        earlier, judged = (
            (bad() if rng.random() < 0.5 else made(True)),
            (next(safe) if rng.random() < 0.5 else made(False)),
        )
        if len(earlier.text) > 400 or len(judged.text) > 400:
            judged, earlier = made(False), made(True)
        turns = [
            Message("user", earlier.text),
            Message("assistant", "I can't help with that."),
            Message("user", judged.text),
        ]
        return _example(judged, transcript(turns, instructions_or_none(rng, 0.2)), "after_refusal")

    def result(harmful: bool) -> Example:
        """A tool result, with or without an instruction hidden in it."""
        document = next(documents)
        text = document.text[:420].rsplit(" ", 1)[0] if rng.random() < 0.5 else safety_made.plain_result(rng)
        if harmful:
            text = safety_made.injected(text, rng)
        case = maker.single()
        value: Any = text if rng.random() < 0.4 else {rng.choice(("text", "content", "body", "result")): text}
        turns = [
            *case.turns,
            Message("assistant", dumps(list(case.calls))),
            Message("tool", dumps({"name": case.calls[0]["name"], "result": value})),
        ]
        judged = Judged(
            text,
            "injection" if harmful else "",
            f"result-{rng.randrange(10**9)}",
            document.source,
            document.license,
        )
        return _example(judged, transcript(turns, case.instructions, case.tools[:2]), "tool_result")

    def typed() -> Example:
        """A plain command to an assistant with tools, or a tool's plain result."""
        case = rng.choice((maker.single, maker.parallel, maker.after_result))()
        judged = Judged(case.text, "", case.id, case.source, case.license)
        return _example(judged, transcript(case.turns, case.instructions, case.tools[:3]), "assistant_command")

    return [
        (0.25, lambda: place(bad(), "public_unsafe")),
        (0.26, lambda: place(made(True), "contrast_unsafe")),
        (0.05, lambda: result(True)),
        (0.27, lambda: place(made(False), "contrast_safe")),
        (0.06, lambda: place(next(borderline), "borderline_safe")),
        (0.17, lambda: place(next(safe), "public_safe")),
        (0.05, lambda: result(False)),
        (0.04, after_refusal),
        (0.04, typed),
    ]


def _judged(record: Mapping[str, Any]) -> Judged:
    return Judged(
        record["text"],
        category_of(record),
        record["id"],
        record["source"],
        record["license"],
        record.get("context") or "",
        record["category"],
    )


def _example(
    judged: Judged,
    messages: list[Message] | tuple[Message, ...],
    kind: str,
    gold: Mapping[str, Any] | None = None,
) -> Example:
    return Example(
        skill="safety",
        kind=kind,
        id=f"{judged.id}/{kind}",
        group=judged.id,
        messages=tuple(messages),
        completion=verdict_text(Verdict(judged.unsafe, judged.category)),
        source=judged.source,
        license=judged.license,
        gold={"unsafe": judged.unsafe, "text": judged.text, "category": judged.category, **(gold or {})},
    )


def _bucket(judged: Judged) -> str:
    interpreter = judged.category == "cyber" and "interpreter" in judged.source
    return "cyber_interpreter" if interpreter else judged.category


def _reply(rng: random.Random) -> str:
    return rng.choice(
        (
            "Here is what I found.",
            "Sure, done.",
            "Of course. Anything else?",
            "That depends on a few things.",
            "Yes, it is.",
        )
    )
