"""Ordinary business texts that no guard may refuse, as records; every second one is sealed, for reports alone.

python business.py --out business.jsonl --sealed business.eval.jsonl
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def texts() -> list[tuple[str, str]]:
    """The texts of `business.txt`, each with its kind."""
    found, kind = [], ""
    for line in (Path(__file__).parent / "business.txt").read_text().splitlines():
        if line.startswith("@"):
            kind = line[1:]
        elif line.strip():
            found.append((kind, line.strip()))
    return found


def main() -> None:
    """Writes both halves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sealed", type=Path, required=True)
    given = parser.parse_args()
    for path, start in ((given.out, 0), (given.sealed, 1)):
        rows = [
            {"text": text, "label": "safe", "category": kind, "source": "loraloop", "license": "Apache-2.0"}
            for kind, text in texts()[start::2]
        ]
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


if __name__ == "__main__":
    main()
