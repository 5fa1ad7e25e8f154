"""The desk benchmark with llama.cpp as the whole agent: the file's own chat template with tools and a plain loop.

    python benchmarks/desk_llama.py --gguf FILE --llama-python PYTHON --limit 8 --json FILE

There are no adapters, no grammar and no router, and the checks are those of `loraloop eval desk`. Whatever the model
writes, each JSON object with the name of a tool is a call. The documents stand in the system message.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Container, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from llama_peer import Llama, interpreter
from report import finish, options

from loraloop import Tool
from loraloop.evals.desk.runner import ask, chosen, report
from loraloop.evals.desk.world import SHIPPED, World, load_worlds

ROUNDS = 6
DOCUMENTS = "Documents; where an answer comes from one, name its id in square brackets:"


class LlamaAgent:
    """What `runner.ask` takes for an agent: a loop around the chat of a llama.cpp process."""

    def __init__(self, chat: Any, world: World) -> None:
        documents = [f"[{each['id']}] {each['title']}: {each['text']}" for each in world.documents]
        self.chat, self.ids = chat, {document["id"] for document in world.documents}
        self.system = {"role": "system", "content": "\n".join([world.instructions, "", DOCUMENTS, *documents])}
        self.functions = {function.__name__: function for function in world.tools}
        made = [Tool.from_function(function) for function in world.tools]
        shown = [{"name": each.name, "description": each.description, "parameters": each.parameters} for each in made]
        self.tools = [{"type": "function", "function": each} for each in shown]

    def run_sync(self, say: str, messages: Sequence[dict[str, Any]] = ()) -> Any:
        """Lets the model call tools until it calls none, `ROUNDS` times at most."""
        kept = [*(messages or [self.system]), {"role": "user", "content": say}]
        for _ in range(ROUNDS):
            reply = self.chat.ask("say", messages=kept, tools=self.tools)
            calls = calls_in(reply["text"], self.functions)
            if not calls:
                kept.append({"role": "assistant", "content": reply["text"]})
                return self._result(reply["text"], "answer" if reply["whole"] else "max_tokens", kept)
            written = [{"type": "function", "id": f"call{at}", "function": call} for at, call in enumerate(calls)]
            kept.append({"role": "assistant", "content": "", "tool_calls": written})
            kept += [{"role": "tool", "content": self._called(call)} for call in calls]
        return self._result("", "max_steps", kept)

    def _called(self, call: dict[str, Any]) -> str:
        try:
            return json.dumps(self.functions[call["name"]](**call["arguments"]), default=str)
        except Exception as error:
            return json.dumps({"error": str(error)})

    def _result(self, text: str, stop: str, messages: list[dict[str, Any]]) -> Any:
        cited = [SimpleNamespace(source=each) for each in re.findall(r"\[([\w-]+)\]", text) if each in self.ids]
        fields = {"output": text, "stop_reason": stop, "complete": stop == "answer", "cited": cited}
        return SimpleNamespace(**fields, messages=messages, steps=(), gates=())


def calls_in(text: str, names: Container[str]) -> list[dict[str, Any]]:
    """The calls of a text, in their order."""
    found, at = [], 0
    while (at := text.find("{", at)) >= 0:
        try:
            value, at = json.JSONDecoder().raw_decode(text, at)
        except ValueError:
            value, at = None, at + 1
        if isinstance(value, dict) and value.get("name") in names and isinstance(value.get("arguments", {}), dict):
            found.append({"name": value["name"], "arguments": value.get("arguments", {})})
    return found


def main() -> None:
    """Asks the requests of the open worlds, one at a time."""
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--gguf", type=Path, required=True, metavar="FILE", help="the model")
    parser.add_argument("--llama-python", metavar="PYTHON", help="interpreter with llama-cpp-python")
    given = parser.parse_args()
    if not (python := interpreter(given.llama_python)):
        return
    rows = []
    with closing(Llama(python, given.gguf, given.threads or 2)) as chat:
        for world in load_worlds(SHIPPED):
            agent: Any = LlamaAgent(chat, world)
            for request in chosen(world, limit=given.limit):
                rows.append(ask(agent, world, request))
                print(f"{rows[-1]['id']} ({request.kind}): {rows[-1]['why'] or 'right'}", file=sys.stderr, flush=True)
    finish(report(rows, "desk_llama", {"base": given.gguf.name, "llama.cpp": chat.facts["version"]}), given.json)


if __name__ == "__main__":
    main()
