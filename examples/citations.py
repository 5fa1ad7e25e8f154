"""Answer from passages, with citations that can only be ids of passages that were given."""

import json
from pathlib import Path

from loraloop import Agent, Runtime

PASSAGES = json.loads(Path(__file__).with_name("passages.json").read_text(encoding="utf-8"))


def main() -> None:
    result = Agent(Runtime.load()).run_sync("When was the Eiffel Tower finished?", passages=PASSAGES)
    print(result.output)
    print("cites", ", ".join(result.citations) or "nothing")


if __name__ == "__main__":
    main()
