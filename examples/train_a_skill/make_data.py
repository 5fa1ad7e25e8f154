"""Makes the e-mails of the example: `python make_data.py [FOLDER]` writes mails.jsonl and held_out.jsonl.

All sentences were written for this project (Apache-2.0) and stand in `mails.txt`; the files are the same each time. The
held-out mails are made of sentences of their own, so that the evaluation asks for more than remembering.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

HERE = Path(__file__).parent
QUEUES = ("billing", "shipping", "returns", "technical", "sales")
TEXTS = {
    block.partition("\n")[0]: block.rstrip("\n").split("\n")[1:]
    for block in ("\n" + (HERE / "mails.txt").read_text(encoding="utf-8")).split("\n@")[1:]
}
"""The lines of `mails.txt` by the name that stands before them; an empty line says nothing."""


def mail(rng: random.Random, held_out: bool) -> dict[str, object]:
    """One e-mail and what triage should write of it."""
    part, queue = " held out" if held_out else "", rng.choice(QUEUES)
    item, urgent = rng.choice(TEXTS["item"]), rng.random() < 0.4
    order = str(rng.randrange(10_000, 99_999)) if rng.random() < 0.6 else ""
    asked = rng.choice(TEXTS[queue + part]).format(item=item)
    body = [asked[:1].upper() + asked[1:]]
    if order:
        body.append(rng.choice(TEXTS["order"]).format(order))
    body.append(rng.choice(TEXTS[("urgent" if urgent else "calm") + part]).format(day=rng.choice(TEXTS["day"])))
    if rng.random() < 0.4:
        body.append(rng.choice(TEXTS["idle"]))
    first, *rest = body
    rng.shuffle(rest)
    name = rng.choice(TEXTS["name"])
    subject = rng.choice(TEXTS[f"{queue} subject"] if rng.random() < 0.7 else TEXTS["subject"])
    text = (
        f"From: {name.lower()}@mail.example\nSubject: {subject}\n\n{rng.choice(TEXTS['hello'])}\n"
        f"{' '.join(part for part in (first, *rest) if part)}\n{rng.choice(TEXTS['bye'])}\n{name}"
    )
    return {"text": text, "label": {"queue": queue, "urgent": urgent, "order": order}}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, count, held_out in (("mails.jsonl", 1200, False), ("held_out.jsonl", 120, True)):
        rng = random.Random(f"triage-{name}")
        lines = [json.dumps(mail(rng, held_out), ensure_ascii=False) for _ in range(count)]
        (folder / name).write_text("\n".join(dict.fromkeys(lines)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "data")
