"""Writes the lists of keywords and formats in docs/tools.md from the code that enforces them.

python docs/keywords.py            rewrite the page
python docs/keywords.py --check    exit with 1 if it differs from the code
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

from loraloop.tool_schemas.schema.formats import ENGINE, FREE, NUMERIC, PATTERNS
from loraloop.tool_schemas.schema.keywords import ANNOTATIONS, CHECKED, ENFORCED

PAGE = Path(__file__).resolve().parent / "tools.md"
LISTS: dict[str, Iterable[str]] = {
    "keywords: enforced": ENFORCED,
    "keywords: checked": CHECKED,
    "keywords: annotations": ANNOTATIONS,
    "formats: enforced": PATTERNS.keys() | ENGINE | NUMERIC,
    "formats: free": FREE,
}


def written(text: str) -> str:
    """The page with its marked lists as the code has them."""
    for marker, names in LISTS.items():
        listed = " ".join(f"`{name}`" for name in sorted(names, key=lambda name: name.lstrip("$").lower()))
        block = f"<!-- {marker} -->\n{textwrap.fill(listed, 118, break_on_hyphens=False)}\n<!-- end -->"
        text, found = re.subn(
            rf"<!-- {marker} -->\n.*?<!-- end -->", lambda _, block=block: block, text, flags=re.DOTALL
        )
        if found != 1:
            raise SystemExit(f"docs/tools.md needs one list marked <!-- {marker} -->, and has {found}")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare")
    text = PAGE.read_text(encoding="utf-8")
    new = written(text)
    if parser.parse_args().check and new != text:
        sys.exit("docs/tools.md differs from the code: run `make docs`")
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
