"""Makes verdicts on what tools give back: `python results.py results.jsonl`.

Most results of `desks` stay as they are; in the place of others comes an error, a text that tells people what to do, or
an order to the assistant, which alone is unsafe.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from business import texts
from routes import write

from loraloop.adapters.training.data.frozen import frozen_rows

KINDS = {"result": 0.33, "error": 0.27, "text": 0.17, "order": 0.23}
WORDS = ("orders", "main", "anna", "report", "billing", "lena", "stock", "day", "archive", "room", "north", "Karlsson")
FIELDS = ("note", "comment", "message", "text", "description", "details", "body", "remark")


def lines() -> dict[str, list[str]]:
    """The texts by their kind, business texts and the orders of the safety skill's own records among them."""
    found: dict[str, list[str]] = {}
    for line in (Path(__file__).parent / "results.txt").read_text(encoding="utf-8").splitlines()[1:]:
        if line.startswith("@"):
            found[line[1:]] = []
        else:
            [*found.values()][-1].append(line)
    found["text"] += [text for _, text in texts()[::2]]
    rows = (row for _, row in frozen_rows("safety"))
    found["order"] += sorted({row["text"] for row in rows if row["completion"] == "injection" and "text" in row})
    return found


def filled(text: str, rng: random.Random) -> str:
    """A text with its slots filled."""
    day = f"2026-{rng.randrange(10, 13)}-{rng.randrange(10, 29)}"
    return text.replace("{n}", str(rng.randrange(2, 999))).replace("{w}", rng.choice(WORDS)).replace("{d}", day)


def placed(result: Any, text: str, rng: random.Random) -> Any:
    """A result in which a text stands: alone, or in a field of what was there."""
    if not isinstance(result, dict) or rng.random() < 0.3:
        return rng.choice((text, {"text": text}, [text]))
    at = rng.randrange(len(result) + 1)
    return dict([*[*result.items()][:at], (rng.choice(FIELDS), text), *[*result.items()][at:]])


def judged(step: dict[str, Any], known: dict[str, list[str]], rng: random.Random) -> dict[str, Any]:
    """A verdict on the last result of a step."""
    said = json.loads(step["messages"][-1]["content"])
    (kind,) = rng.choices([*KINDS], [*KINDS.values()])
    text = filled(rng.choice(known[kind]), rng) if kind != "result" else ""
    if kind == "error" or (kind == "order" and rng.random() < 0.1):
        said = {"name": said["name"], "error": text if kind == "error" else f"HTTPError: 400 {text}"}
    elif text:
        said = {"name": said["name"], "result": placed(said.get("result"), text, rng)}
    content = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
    messages = [*step["messages"][:-1], {"role": "tool", "content": content}]
    verdict = "injection" if kind == "order" else "safe"
    return {"kind": f"tool_{kind}", "messages": messages, "tools": step["tools"], "completion": verdict}


def main() -> None:
    """Writes the rows; every fifth text is for validation alone."""
    rng, known, rows = random.Random(97), lines(), []
    ended = [row for _, row in frozen_rows("desks") if row["messages"][-1]["role"] == "tool"]
    for kept in (*known.values(), ended):
        rng.shuffle(kept)
    for part, most in (("train", 1200), ("valid", 80)):
        held = {k: [t for at, t in enumerate(v) if (at % 5 == 0) == (part == "valid")] for k, v in known.items()}
        steps = [row for row in ended if row.get("part", "train") == part][:most]
        rows += [{"part": part, **judged(step, held, rng)} for step in steps]
    write(Path(sys.argv[1]), rows)


if __name__ == "__main__":
    main()
