"""Makes closing texts out of the verdicts: of each pair the transcript and its true text, for a skill that closes runs.

    python truths.py --out truths.jsonl.zst

`verdicts` has more denied and failed calls than `worlds_answers`, in which nearly everything is done.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loraloop.adapters.training.data.frozen import frozen_rows
from loraloop.recipes.make.worlds import write

ASKED = "Answer: "
"""Stands before the text that a verdict is about."""


def truths() -> Iterator[dict[str, Any]]:
    """The records: `messages`, `tools`, `completion`, and `kind`, `lang` and `part` as the verdicts have them."""
    for _, row in frozen_rows("verdicts"):
        if row["completion"] == "agrees":
            kept = {key: value for key, value in row.items() if key != "extra_prompt"}
            yield {**kept, "completion": row["extra_prompt"].removeprefix(ASKED)}


def main() -> None:
    """Writes the records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    write(parser.parse_args().out, list(truths()))


if __name__ == "__main__":
    main()
