"""Writes docs/trace.schema.json, the JSON Schema of a trace, from the classes.

python docs/trace_schema.py            rewrite the file
python docs/trace_schema.py --check    exit with 1 if it differs from the code
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from loraloop.agent.tracing.schema import trace_schema

FILE = Path(__file__).resolve().parent / "trace.schema.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare")
    new = json.dumps(trace_schema(), indent=2, ensure_ascii=False) + "\n"
    if parser.parse_args().check:
        if not FILE.exists() or FILE.read_text(encoding="utf-8") != new:
            sys.exit("docs/trace.schema.json differs from the code: run `make docs`")
        return
    FILE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
