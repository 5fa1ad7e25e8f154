"""Labelled states: transcripts with what is right at their end, for fitting and for measuring the router.

Contexts are dealt independently of the label: tools, passages and instructions are put round a request by chance,
except where the request itself needs them (a call needs its tools, a question from passages its passages).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.prompting import CALLS_HEADER
from loraloop.adapters.skill.contracts import Passage, user_content
from loraloop.router import composed, records
from loraloop.router.decision import RouterState
from loraloop.router.functions import function_requests
from loraloop.router.practice_held_out import HELD_OUT
from loraloop.router.practice_requests import TRAIN
from loraloop.router.records import Request
from loraloop.router.runs import Point, python_points, run_points
from loraloop.router.typed_points import typed_lists, typed_points
from loraloop.tool_schemas import Tool, dumps, render_tools

INSTRUCTIONS = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "You work for a small travel agency. Be friendly.",
    "You are the assistant of a software team.",
    "Be precise and never make things up.",
    "You help the staff of a library. Keep answers under three sentences.",
    "Speak plainly, avoid jargon.",
    "You are a patient tutor for school children.",
    "You are an assistant in a bank's app. Stay formal.",
)
EVAL_INSTRUCTIONS = (
    "You assist the customers of a hardware shop.",
    "Reply in a calm and factual tone.",
    "You are part of a phone app.",
)


# How often a branch on the label (or on another skill, for none and code) is taken to have been dropped. Training sees
# more of them than evaluation: the transcript is the same, so they cost nothing.
DROPS = {"tools": 0.25, "retrieval": 0.25, "none": 0.06, "code": 0.12}
TRAIN_DROPS = {"tools": 0.5, "retrieval": 0.8, "none": 0.15, "code": 0.3}


@dataclass(frozen=True, slots=True)
class State:
    """One routing point.

    Attributes:
        messages: The transcript; the router reads the last message.
        state: What can apply.
        label: The right outcome, or None where the choice is not judged.
        unsafe: The screen's label, or None where it is not judged.
        source: Where the request comes from; validation leaves whole sources out.
        kind: `first`, `tool_result`, `dropped` or `follow_up`.
        text: The request in words.
        licence: Of the request.
    """

    messages: tuple[Message, ...]
    state: RouterState
    label: str | None
    unsafe: bool | None
    source: str
    kind: str
    text: str
    licence: str


def system(instructions: str, tools: Sequence[Tool]) -> tuple[Message, ...]:
    """The system message of a context, or nothing where neither is present."""
    parts = [part for part in (instructions, render_tools(tools, CALLS_HEADER) if tools else "") if part]
    return (Message("system", "\n\n".join(parts)),) if parts else ()


@dataclass(frozen=True, slots=True)
class Pool:
    """Contexts to deal round requests; `lists[0]` are tool lists without a calculator among them."""

    lists: tuple[tuple[Tool, ...], ...]
    passages: tuple[tuple[Passage, ...], ...]
    instructions: tuple[str, ...]


def _does_sums(tools: Sequence[Tool]) -> bool:
    return any(word in render_tools(tools).lower() for word in _SUMS)


_SUMS = ("calcul", "math", "convert", "arithm", "wolfram", "price", "cost", "sum", "interest")


def pool(data: Path, split: str, rng: random.Random) -> Pool:
    """Tool lists and passages of records that are not among the requests' own, and practice tools."""
    source = "train" if split == "train" else "eval"
    lists: list[tuple[Tool, ...]] = []
    size, wanted, typed = (120, 20, 40) if split == "train" else (90, 22, 0)
    for name in ("sgd", "snips", "sealtools"):
        for record in records.read(data, f"tools/{name}", source, 10**6)[-wanted:]:
            tools = records.fit_tools(records._tools(record), frozenset(), rng, rng.choice((350, 600, 900)))
            if tools and not _does_sums(tools):
                lists.append(tools)
    if typed:
        lists += [tools for tools in typed_lists(rng, typed) if not _does_sums(tools)]
    practices = [
        p
        for p in (TRAIN if split == "train" else HELD_OUT)
        if p.name not in ("calculate", "convert_units", "define_word", "prime_factors")
    ]
    for _ in range(size - len(lists)):
        lists.append(tuple(Tool.from_function(p.function) for p in rng.sample(practices, k=rng.randrange(1, 4))))
    found = [p for name in ("nq_open", "entailmentbank") for p in records.passages_of(data, name, source, 120)]
    passages = [trimmed for p in found if (trimmed := records.trim(p, rng, 420))]
    return Pool(tuple(lists), tuple(passages), INSTRUCTIONS if split == "train" else EVAL_INSTRUCTIONS)


def place(request: Request, around: Pool, rng: random.Random, drops: Mapping[str, float]) -> Iterator[State]:
    """Put a context round a request; a second state follows where a branch on it would have been dropped."""
    tools = request.tools
    if not tools and not request.strict and rng.random() < 0.5:
        tools = rng.choice(around.lists)
    passages = request.passages
    alone = request.alone and request.label is not None
    if not passages and not alone and request.role == "user" and rng.random() < 0.4 and around.passages:
        passages = rng.choice(around.passages)
    instructions = request.instructions or (rng.choice(around.instructions) if rng.random() < 0.35 else "")
    python = rng.random() < 0.3
    head = system(instructions, tools)
    if request.role == "tool":
        asked: tuple[Message, ...] = (
            Message("user", "Look this up for me."),
            Message("assistant", '[{"name":"lookup","arguments":{}}]'),
            Message("tool", dumps({"name": "lookup", "result": request.text})),
        )
        after, kind = "tool", "tool_result"
    else:
        asked = (Message("user", user_content(request.text, passages)),)
        after, kind = "user", "follow_up" if request.history else "first"
    messages = (*head, *request.history, *asked)
    flags = RouterState(bool(tools), bool(passages), python, frozenset(), after)
    state = State(messages, flags, request.label, request.unsafe, request.source, kind, request.text, request.licence)
    yield state
    if rng.random() < drops.get(request.label or "", 0.0) and (tools or passages):
        lost = request.label if request.label in ("tools", "retrieval") else "tools" if tools else "retrieval"
        label = "none" if request.label == lost else request.label
        dropped = replace(flags, masked=frozenset({lost}), after="dropped")
        yield replace(state, state=dropped, label=label, kind="dropped", unsafe=None)


ROUNDS = {
    "chat": 3,
    "about_tools": 3,
    "about_passages": 2,
    "follow": 3,
    "text": 3,
    "reason": 3,
    "advice": 2,
    "creative": 2,
}


def _composed(rng: random.Random, scale: float) -> Iterator[Request]:
    """Requests from templates; the short kinds come round several times, each time in another context."""

    def request(
        text: str, label: str | None, unsafe: bool, source: str, alone: bool = False, sums: bool = False
    ) -> Request:
        return Request(text, label, unsafe, f"composed_{source}", "Apache-2.0", alone=alone, sums=sums)

    book = composed.book()
    for name, templates in book.none.items():
        alone, sums = name in ("explain", "about_code"), name in ("reason", "text")
        for _ in range(max(1, int(ROUNDS.get(name, 1) * scale))):
            for text in composed.compose(templates, int(62 * scale), rng):
                yield request(text, "none", False, name, alone, sums)
    for text in composed.compose(book["code"], int(170 * scale), rng):
        yield request(text, "code", False, "code")
    for text in composed.compose(book["other_code"], int(70 * scale), rng):
        yield request(text, "none", False, "other_code", alone=True)
    for text in book["benign"]:
        yield request(text, "none", False, "benign", alone=True)
    for text in composed.compose(book["unsafe"], int(240 * scale), rng):
        yield request(text, None, True, "unsafe")


def _near(practices: Sequence[object], n: int, rng: random.Random) -> Iterator[Request]:
    """Near misses, with the tool they come near to on the list."""
    from loraloop.router.practice import Practice

    known = [p for p in practices if isinstance(p, Practice)]
    for k in range(n):
        main = known[k % len(known)]
        text = composed.fill(main.near[(k // len(known)) % len(main.near)], main.slots, rng)
        listed = [main, *rng.sample([p for p in known if p is not main], k=rng.randrange(0, 3))]
        rng.shuffle(listed)
        yield Request(
            text,
            "none",
            False,
            f"practice_{main.name}",
            "Apache-2.0",
            tools=tuple(Tool.from_function(p.function) for p in listed),
            alone=True,
        )


def _unserved(practices: Sequence[object], n: int, rng: random.Random) -> Iterator[Request]:
    """Practice requests whose tool is not on the list."""
    from loraloop.router.practice import Practice
    from loraloop.router.runs import need

    known = [p for p in practices if isinstance(p, Practice)]
    for k in range(n):
        main = known[k % len(known)]
        listed = rng.sample([p for p in known if p is not main], k=rng.randrange(1, 4))
        yield Request(
            need(main, rng).asked,
            "none",
            False,
            f"practice_{main.name}",
            "Apache-2.0",
            tools=tuple(Tool.from_function(p.function) for p in listed),
            alone=True,
        )


TRAIN_COUNTS: dict[str, dict[str, int]] = {
    "tools": {"sgd": 330, "snips": 260, "toolformer": 260, "sealtools": 260},
    "code": {"codegen_instruct": 4000, "thealgorithms": 110, "mbpp": 110},
    "retrieval": {"nq_open": 230, "entailmentbank": 200},
    "general": {"roleplay": 240, "gsm8k": 140},
    "safety": {"prompts": 3400},
}
EVAL_COUNTS: dict[str, dict[str, int]] = {
    "tools": {"sgd": 60, "snips": 60, "sealtools": 60},
    "code": {"mbpp": 60},
    "retrieval": {"nq_open": 50, "entailmentbank": 50},
    "general": {"gsm8k": 60},
    "safety": {"cyberseceval": 80},
}
CROSS_COUNTS: dict[str, dict[str, int]] = {
    "tools": {"bfcl": 400},
    "retrieval": {"clapnq": 120},
    "general": {"seed_tasks": 87},
    "safety": {"xstest": 225, "harmbench": 200},
}
MOST = {
    "codegen_instruct": 260,
    "codegen_instruct_other": 150,
    "safety_cyber_benign_borderline": 150,
    "safety_advbench": 320,
    "safety_code_interpreter_abuse": 130,
    "safety_jailbreak": 110,
    "safety_benign_document": 100,
}


def _from_files(
    data: Path, counts: dict[str, dict[str, int]], split: str, seed: int, scale: float
) -> Iterator[Request]:
    benign = ("benign_assistant", "benign_question", "benign_code", "benign_roleplay")
    for family, names in counts.items():
        for name, count in names.items():
            rng, limit = random.Random(f"{split}-{seed}-{name}"), max(1, int(count * scale))
            rows = records.read(data, f"{family}/{name}", split, limit)
            yield from family_requests(rows, family, name, split, rng, benign if name == "prompts" else ())


def family_requests(
    rows: records.Records, family: str, name: str, split: str, rng: random.Random, skip: tuple[str, ...] = ()
) -> Iterator[Request]:
    """The requests of one source's records; `skip` names safety categories to leave out."""
    if family == "tools":
        yield from records.tool_requests(rows, name, rng)
    elif family == "code":
        yield from records.code_requests(rows, name)
    elif family == "retrieval":
        yield from records.retrieval_requests(rows, name, split, rng)
    elif family == "general":
        yield from records.general_requests(rows, name)
    else:
        yield from records.safety_requests(rows, name, skip)


def requests(data: Path, split: str, seed: int = 0, scale: float = 1.0) -> Iterator[Request]:
    """All requests of a split, before contexts are dealt. Evaluation splits hold no composed ones."""

    def n(count: int) -> int:
        return max(1, int(count * scale))

    counts = {"train": TRAIN_COUNTS, "eval": EVAL_COUNTS, "cross": CROSS_COUNTS}[split]
    taken: dict[str, int] = {}
    for request in _from_files(data, counts, "train" if split == "train" else "eval", seed, scale):
        taken[request.source] = taken.get(request.source, 0) + 1
        if split != "train" or taken[request.source] <= n(MOST.get(request.source, 10**6)):
            yield request
    if split == "train":
        yield from _composed(random.Random(f"composed-{seed}"), scale)
        yield from function_requests(data, split, n(260), random.Random(f"functions-{seed}"))
        yield from _near(TRAIN, n(190), random.Random(f"near-{seed}"))
        yield from _unserved(TRAIN, n(110), random.Random(f"unserved-{seed}"))
    elif split == "eval":
        yield from _near(HELD_OUT, n(40), random.Random(f"near-{seed}"))
        yield from _unserved(HELD_OUT, n(30), random.Random(f"unserved-{seed}"))


TYPED = 1800


def _free_texts(data: Path, seed: int) -> Iterator[str]:
    """Requests that need no tool, endlessly: questions, and composed ones that no calculator serves."""
    rng = random.Random(f"free-{seed}")
    asked = [record["question"] for record in records.read(data, "retrieval/nq_open", "train", 10**6)]
    kinds = ("explain", "creative", "advice", "about_tools", "chat")
    book = composed.book()
    while True:
        if rng.random() < 0.55:
            yield rng.choice(asked)
        else:
            yield composed.fill(rng.choice(book.none[rng.choice(kinds)]), book.slots, rng)


def build(data: Path, split: str, *, seed: int = 0, scale: float = 1.0) -> list[State]:
    """Build the states of a split: `train`, `eval` (same sources) or `cross` (sources never fitted on).

    Raises:
        InputError: If a data file is missing.
        ValueError: For an unknown split.
    """
    if split not in ("train", "eval", "cross"):
        raise ValueError(f"unknown split {split!r}: use train, eval or cross")
    rng = random.Random(f"{split}-{seed}")
    around = pool(data, split, rng)
    states: list[State] = []
    seen: dict[str, int] = {}
    for request in requests(data, split, seed, scale):
        seen[request.text] = seen.get(request.text, 0) + 1
        own = random.Random(f"{seed}-{request.source}-{request.text}-{seen[request.text]}")
        states += place(request, around, own, TRAIN_DROPS if split == "train" else DROPS)
    if split != "cross":
        practices, runs = (TRAIN, 500) if split == "train" else (HELD_OUT, 63)
        points = [*run_points(practices, int(runs * scale), rng, around)]
        if split == "train":
            points += python_points(rng, around.instructions)
            points += typed_points(_free_texts(data, seed), int(TYPED * scale), random.Random(f"typed-{seed}"), around)
        states += [_state(point) for point in points]
    return states


def _state(point: Point) -> State:
    after = "tool" if point.messages[-1].role == "tool" else "user"
    flags = RouterState(bool(point.tools), point.passages, point.python, frozenset(), after)
    return State(point.messages, flags, point.label, point.unsafe, point.source, point.kind, point.text, "Apache-2.0")
