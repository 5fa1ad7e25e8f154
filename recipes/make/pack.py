"""Packs steps of made conversations into a frozen file of training records.

python pack.py --train desks.jsonl … --valid desks_valid.jsonl … --out ../data/desks.jsonl.zst
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard
from desk_said import dumps


def records(path: Path, part: str) -> Iterator[dict[str, Any]]:
    """The steps of a file as records of the tools skill."""
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        kept = {name: row[name] for name in ("kind", "messages", "tools", "extra_prompt") if row.get(name)}
        yield {**kept, "calls": json.loads(row["completion"]), **({"part": part} if part != "train" else {})}


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--valid", type=Path, nargs="+", default=[])
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    parts = {"train": given.train, "valid": given.valid}
    rows = [row for part, files in parts.items() for file in files for row in records(file, part)]
    text = "".join(dumps(row) + "\n" for row in rows)
    given.out.write_bytes(zstandard.ZstdCompressor(level=19).compress(text.encode()))


if __name__ == "__main__":
    main()
