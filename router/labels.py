"""The published rule that turns a source's record into a route, source by source (docs/router.md prints it)."""

from __future__ import annotations

import re
from dataclasses import dataclass

CHOICES = ("none", "tools", "code", "retrieval")
OTHER_LANGUAGES = (
    "javascript",
    "java",
    "c\\+\\+",
    "c#",
    "php",
    "ruby",
    "swift",
    "kotlin",
    "rust",
    "golang",
    "go",
    "haskell",
    "perl",
    "typescript",
    "bash",
    "shell",
    "powershell",
    "sql",
    "html",
    "css",
    "scala",
    "matlab",
    "julia",
    "c",
)
_OTHER = re.compile(rf"(?<![\w+#])(?:{'|'.join(OTHER_LANGUAGES)})(?![\w+#])(?!-)", re.IGNORECASE)
_MAKES = re.compile(
    r"\b(?:write|implement|create|develop|code|build|generate|complete|completion|fix|debug|refactor)\b[^.?!\n]{0,40}"
    r"\b(?:functions?|python|regex|regular expression|source code|code|algorithm)\b",
    re.IGNORECASE,
)
_SNIPPET = re.compile(r"```|^\s*(?:def|class|import|from)\s+\w+.*[:\w]\s*$", re.MULTILINE)


def asks_for_code(text: str) -> bool:
    """Whether a request of a source that is not about code asks for Python code, or for code in no named language.

    The rule was fixed in advance and reads only the request: in its first line, a verb of making followed closely by
    something that is code, and no other language; or a Python snippet to complete.
    """
    head = text.strip().split("\n", 1)[0][:300]
    if _OTHER.search(head):
        return False
    return bool(_MAKES.search(head)) or ("python" in head.lower() and bool(_SNIPPET.search(text)))


@dataclass(frozen=True, slots=True)
class Rule:
    """How the records of one source are labelled."""

    source: str
    rule: str
    licence: str


RULES: tuple[Rule, ...] = (
    Rule(
        "sgd",
        "one or more calls: tools; no_matching_tool and nothing_asked: none; missing_required: left out of the choice "
        "(either route is right: the skill answers [] and the base asks)",
        "CC-BY-SA-4.0",
    ),
    Rule("snips", "call: tools; no_matching_tool: none", "CC0-1.0"),
    Rule("toolformer", "call: tools; the same request with the called tools taken off the list: none", "MIT"),
    Rule("sealtools", "calls: tools; the same request with another record's tools: none", "Apache-2.0"),
    Rule(
        "codegen_instruct",
        "Python: code; any other language: none (the code skill's contract is a Python block; the base answers)",
        "MIT",
    ),
    Rule("thealgorithms", "code", "MIT"),
    Rule("mbpp", "code", "CC-BY-4.0"),
    Rule(
        "nq_open",
        "with its passages (answerable or not): retrieval; the bare question, tools listed or not: none",
        "MIT; text CC-BY-SA-3.0",
    ),
    Rule("entailmentbank", "with its passages: retrieval; the bare question: none", "Apache-2.0"),
    Rule("gsm8k", "none, with passages or tools (never a calculator) present or not", "MIT"),
    Rule("roleplay", "none, unless `asks_for_code`", "MIT"),
    Rule(
        "composed",
        "written for this project: none, code, and requests with passages; see loraloop.router.composed",
        "Apache-2.0",
    ),
    Rule(
        "practice",
        "executed practice tools: the request: tools; its result: tools while a need is left, code if asked for, "
        "else none; near misses, failures and thanks: none",
        "Apache-2.0",
    ),
    Rule(
        "functions",
        "TheAlgorithms' documented functions as tools, requests from their doctests: tools; others listed: none",
        "MIT",
    ),
    Rule(
        "typed",
        "made tools, several requests round one list: one or more calls: tools; its tool taken away, or none "
        "needed: none; after a result: tools while a call is left, else none; requests that lack something: left out",
        "Apache-2.0",
    ),
    Rule(
        "safety",
        "the screen's label as published; the choice is not trained on it, except composed benign requests: none",
        "MIT, CC0, CC-BY-SA-3.0",
    ),
    Rule("bfcl (evaluation)", "calls expected: tools; irrelevance: none", "Apache-2.0"),
    Rule("clapnq (evaluation)", "retrieval, answerable or not", "Apache-2.0; text CC-BY-SA-3.0"),
    Rule("xstest, harmbench (evaluation)", "the screen's label; XSTest's safe prompts: none", "CC-BY-4.0, MIT"),
    Rule("seed_tasks (evaluation)", "none, unless `asks_for_code`", "Apache-2.0"),
)
