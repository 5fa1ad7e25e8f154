"""What drafts save: answers that repeat results, documents and code, and ordinary ones, with drafts over without.

    python benchmarks/drafts.py --base qwen2.5-coder-1.5b --json benchmarks/results/drafts_qwen.json

Every answer is written greedily on the same transcript, without drafts and with them, in turns; which comes first
changes from round to round. Both have the same tokens, or the benchmark fails. A ratio is that of the seconds that all
answers of a group take, from the first forward after the transcript to the end: the median of the rounds. Answers after
results are written by the skill `answer` where the base has one, all others by the bare base.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent))

import environment  # noqa: F401
from report import BenchmarkReport, finish, options

from loraloop.adapters.base.messages import Message
from loraloop.agent import Runtime
from loraloop.agent.engine.step import StepOutput, StepRequest, run_step, transcript
from loraloop.router.decision import NONE

ORDERS = [
    {"order": "PX-20418", "item": "walnut desk lamp", "status": "shipped", "tracking": "DHL-7719-0042-AB"},
    {"order": "PX-20431", "item": "felt laptop sleeve 14 inch", "status": "packed", "tracking": ""},
    {"order": "PX-20507", "item": "ceramic pour-over set", "status": "delayed", "tracking": "UPS-1Z-99-3308-17"},
]
ROUTE = {"from": "Hauptbahnhof Nord", "to": "Marienplatz", "legs": ["tram 17 to Oberwall", "bus 402 to Marienplatz"]}
HOST = {"host": "build-runner-07.internal.example", "error": "no space left on device: /var/lib/containers/overlay"}
TERMS = """Returns. Goods may be sent back within 30 days of delivery in their original packaging. Opened software,
sealed hygiene articles and goods made to measure are excluded from return unless they are defective.

Refunds. A refund is paid to the account that was charged, within ten working days of the arrival of the goods in our
warehouse in Lindau. Shipping costs are refunded where the whole order is sent back.

Warranty. Lamps and electrical devices carry a warranty of three years, furniture one of five years. The warranty does
not cover wear, and ends where a device was opened by anybody but an authorised workshop."""
CODE = """def overdue(loans, today):
    late = []
    for loan in loans:
        days = (today - loan.due).days
        if days > 0 and not loan.returned:
            late.append((loan.member, loan.title, days))
    late.sort(key=lambda entry: entry[2], reverse=True)
    return late"""


def _after(asked: str, tool: str, result: object) -> list[Message]:
    call = json.dumps([{"name": tool, "arguments": {}}], separators=(",", ":"))
    told = json.dumps({"name": tool, "result": result}, separators=(",", ":"))
    return [Message("user", asked), Message("assistant", call), Message("tool", told)]


def _about(text: str, asked: str) -> list[Message]:
    return [Message("user", f"{text}\n\n{asked}")]


GROUPS: dict[str, list[list[Message]]] = {
    "after results": [
        _after("List all my orders with item, status and tracking number.", "list_orders", ORDERS),
        _after("How do I get from Hauptbahnhof Nord to Marienplatz?", "find_route", ROUTE),
        _after("Why did the last build fail, and on which machine?", "last_build", HOST),
    ],
    "from documents": [
        _about(TERMS, "What do these terms say on refunds? Quote the paragraph."),
        _about(
            TERMS, "Can I return opened software, and how long is the warranty of a lamp? Quote what the terms say."
        ),
        _about(TERMS, "Write down the first paragraph, with 30 days changed to 45 days."),
    ],
    "code edited": [
        _about(CODE, "Rename `late` to `result` in this function. Reply with the whole function."),
        _about(CODE, "Add a docstring to this function. Reply with the whole function."),
    ],
    "ordinary": [
        [Message("user", "Why is the sky blue? Explain it to a child.")],
        [Message("user", "Write a Python class for a bank account with deposit and withdraw.")],
        [Message("user", "Name three things to think of before buying a used bicycle.")],
        [Message("user", "Write a short letter to a landlord about a broken heater.")],
    ],
}


def answer(
    runtime: Runtime, messages: list[Message], skill: str, tokens: int, drafts: bool
) -> tuple[StepOutput, float]:
    """One answer, and the seconds that it took once the transcript was read."""
    engine = runtime.engine
    engine.scheduler.drafts = drafts  # type: ignore[attr-defined]
    trunk = transcript(engine, messages, known=0)
    trunk.flush()  # type: ignore[attr-defined]
    start = time.perf_counter()
    return run_step(engine, trunk, StepRequest(choice=skill, max_tokens=tokens)), time.perf_counter() - start


def main() -> None:
    parser = options(__doc__.splitlines()[0], limit=5)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--tokens", type=int, default=96, help="tokens of an answer at most")
    given = parser.parse_args()
    runtime = Runtime.load(given.base)
    seconds: dict[tuple[str, bool], list[float]] = defaultdict(lambda: [0.0] * given.limit)
    metrics: dict[str, float] = defaultdict(float)
    skills = dict.fromkeys(GROUPS, NONE)
    if "answer" in runtime.bank.names:
        skills["after results"] = "answer"
    for name, asked in GROUPS.items():  # a skill that is used for the first time is read from disk
        answer(runtime, asked[0], skills[name], 1, drafts=False)
    for number in range(given.limit):
        for name, asked in GROUPS.items():
            for messages in asked:
                written = {}
                for drafts in (number % 2 == 0, number % 2 == 1):
                    written[drafts], took = answer(runtime, messages, skills[name], given.tokens, drafts)
                    seconds[name, drafts][number] += took
                out = written[True]
                if out.ids != written[False].ids:
                    raise SystemExit(f"drafts changed an answer: {written[False].text!r}, {out.text!r}")
                if not number:
                    print(f"{name}: {out.text!r}", file=sys.stderr, flush=True)
                    metrics[f"{name}, tokens"] += len(out.ids)
                    metrics[f"{name}, drafted"] += out.tokens.drafted
                    metrics[f"{name}, accepted"] += out.tokens.accepted
    ratios = {
        name: median(a / b for a, b in zip(seconds[name, False], seconds[name, True], strict=True)) for name in GROUPS
    }
    finish(BenchmarkReport("drafts", given.limit, metrics, {}, ratios, {"base": given.base}), given.json)


if __name__ == "__main__":
    main()
