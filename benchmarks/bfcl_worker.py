"""BFCL's own data, environments and checkers as a process: one JSON document a line in, one a line out.

It runs under an interpreter that has `bfcl-eval` and needs nothing else. `bfcl` is the other end.
"""

from __future__ import annotations

import copy
import json
import random
import sys
from typing import Any

from bfcl_eval.constants.enums import Language, ModelStyle
from bfcl_eval.constants.model_config import MODEL_CONFIG_MAPPING
from bfcl_eval.constants.type_mappings import GORILLA_TO_OPENAPI
from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker
from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker import multi_turn_checker
from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_utils import execute_multi_turn_func_call
from bfcl_eval.model_handler.utils import convert_to_function_call, convert_to_tool
from bfcl_eval.utils import load_dataset_entry, load_ground_truth_entry

LANGUAGES = {"simple_java": Language.JAVA, "simple_javascript": Language.JAVASCRIPT}
SHOWN = ("name", "description", "parameters")
CALLS = next(name for name, model in MODEL_CONFIG_MAPPING.items() if model.underscore_to_dot and model.is_fc_model)
"""A model of the leaderboard whose tools, like ours, have no dots in their names: the checker asks for one."""


def _tools(functions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Functions in OpenAI's form, without the schemas of their results."""
    made = convert_to_tool(functions, GORILLA_TO_OPENAPI, ModelStyle.OPENAI_COMPLETIONS)
    return [
        {"type": "function", "function": {n: v for n, v in tool["function"].items() if n in SHOWN}} for tool in made
    ]


class Worker:
    """The entries that were asked for, by their ids, and what was called in each of them."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Any]] = {}
        self._truth: dict[str, Any] = {}

    def entries(self, category: str, limit: int | None, seed: int) -> list[dict[str, Any]]:
        """Entries of a category, drawn by the seed: id, the messages of each turn, and the tools in OpenAI's form."""
        found = load_dataset_entry(category)
        if limit is not None and limit < len(found):
            found = random.Random(seed).sample(found, limit)
        if category != "irrelevance":
            self._truth |= {entry["id"]: entry["ground_truth"] for entry in load_ground_truth_entry(category)}
        # The checker reads the types of the language, which models are shown as hints.
        self._entries |= {e["id"]: e for e in load_dataset_entry(category, include_language_specific_hint=False)}
        return [{"id": entry["id"], "turns": entry["question"], "tools": _tools(entry["function"])} for entry in found]

    def judge(self, id: str, category: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        """Whether the calls of one step are right."""
        if category == "irrelevance":
            return {"right": not calls}
        written = [{call["name"]: call["arguments"]} for call in calls]
        language = LANGUAGES.get(category, Language.PYTHON)
        found = ast_checker(self._entries[id]["function"], written, self._truth[id], language, category, CALLS)
        return {"right": bool(found["valid"]), "why": found.get("error")}

    def execute(self, id: str, call: dict[str, Any]) -> str:
        """What a call gives in the entry's environment, which it changes."""
        entry = self._entries[id]
        lines = convert_to_function_call([{call["name"]: call["arguments"]}])
        results, _ = execute_multi_turn_func_call(
            lines, entry["initial_config"], entry["involved_classes"], "loraloop", id
        )
        return str(results[0])

    def finish(self, id: str, turns: list[list[list[dict[str, Any]]]]) -> dict[str, Any]:
        """Whether the calls of all turns, step by step, leave the environments as they should."""
        steps = [
            [convert_to_function_call([{call["name"]: call["arguments"]} for call in step]) for step in turn]
            for turn in turns
        ]
        entry = copy.deepcopy(self._entries[id])
        found = multi_turn_checker(steps, self._truth[id], entry, "multi_turn_base", "loraloop")
        return {"right": bool(found["valid"]), "why": found.get("error_message") or found.get("error_type")}


def main() -> None:
    """Answers until its input ends."""
    worker, answers = Worker(), sys.stdout
    sys.stdout = sys.stderr  # what the environments print is none of the other end's business
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"is": getattr(worker, asked.pop("do"))(**asked)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer, default=str) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
