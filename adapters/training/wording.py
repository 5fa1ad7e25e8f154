"""Requests of made tools in a larger base's words: `python -m loraloop.adapters.training.wording --help`.

The base is a teacher of texts (sequence-level distillation, arXiv 1606.07947): it says a request with example values in
other words, and where all values are still there as they were, they become places for other values again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from loraloop.adapters.base import Base, Message
from loraloop.adapters.training.sources.typed import Spec, Value, drawn, fill, specs
from loraloop.adapters.training.sources.typed_shown import OWN, QUESTION
from loraloop.adapters.training.teacher.sampler import Sampler

_LOG = logging.getLogger(__name__)
ASKED = (
    "Say this in other words, as another person would ask it. Keep every name, number, date and value exactly as "
    "written.\n\nFor example: Tell me how far Rome is from Oslo -> What is the distance between Rome and Oslo?\n\n"
    "{request} ->",
    "A person writes to an assistant. Rewrite what they ask with another sentence structure and other verbs, and keep "
    "every name, number, date and value exactly as written. Write only the new sentence.\n\n{request}",
)
SAMPLES, TOGETHER, TEMPERATURE = 3, 3, 0.8
_PLEADING = re.compile(r"(could|can|would|will) you (please |kindly )?|please |kindly ", re.IGNORECASE)
_BESIDE = re.compile(r"\b(sure|certainly|request|sentence|rewritten|rewrite|assistant|user|however|example)\b", re.I)
_SMALL = frozenset(("the", "a", "an", "in", "at", "on", "by", "from", "for", "to", "between", "with", "after"))
_SAID = frozenset(("pool", "code", "int", "num", "date", "when", "enum", "rate", "pct", "array"))


def example(spec: Spec, request: str, rng: random.Random) -> tuple[str, dict[str, Value]] | None:
    """The request with values that can be found again in it; None if it has flags or objects, or none are found."""
    required = [argument for argument in spec.arguments if argument.required]
    if not required or "{" in re.sub(r"\{\w+\}", "", request) or any(a.kind.form not in _SAID for a in required):
        return None
    for _ in range(40):
        values = drawn(required, rng)
        text = fill(request, values)
        plain = all(str(values[a.name].value) == values[a.name].words for a in required if a.kind.form == "int")
        if plain and all(len(_places(text, value.words)) == 1 for value in values.values()):
            return text, values
    return None


def template(text: str, values: Mapping[str, Value], request: str, verbs: frozenset[str]) -> str | None:
    """A text with places for its values; None where it is no request in other words with every value once.

    Args:
        text: what the teacher said.
        values: by argument.
        request: the template that was said in other words.
        verbs: first words of requests that are orders, in lower case.
    """
    text = text.strip().partition("\n")[0].partition("->")[0].strip().strip('"').strip()
    if not 0.5 < len(text) / len(fill(request, values)) < 2 or _BESIDE.search(text):
        return None
    if len(re.findall(r"[.?!](?= |$)", text)) > 1:
        return None
    text = _PLEADING.sub("", text.rstrip(".?! "), count=1) if _PLEADING.match(text) else text.rstrip(".?! ")
    found = {}
    for name, value in values.items():
        places = _places(text, value.words)
        if len(places) != 1:
            return None
        found[name] = places[0]
    ordered = sorted(found.items(), key=lambda it: -it[1])
    if any(at + len(values[name].words) > after for (_, after), (name, at) in itertools.pairwise(ordered)):
        return None
    for name, at in ordered:
        text = text[:at] + "{" + name + "}" + text[at + len(values[name].words) :]
    if re.search(r"[\d\"]|\}\w|\w\{", text) or text.startswith("{"):
        return None
    text = text[0].upper() + text[1:]
    orders = text.split()[0].lower() in verbs
    return text if QUESTION.match(text) or OWN.match(text) or orders else None


def accepted(
    texts: Sequence[str], values: Mapping[str, Value], request: str, verbs: frozenset[str], known: Sequence[str]
) -> list[str]:
    """The templates among texts, none nearly the same as another one or a known one."""
    found: list[str] = []
    for text in texts:
        made = template(text, values, request, verbs)
        if made and all(_alike(made, other) < 0.75 for other in (*known, *found)):
            found.append(made)
    return found


def said(base: Base, kept: Path, seed: int = 0) -> Iterator[tuple[int, int]]:
    """Lets the base say every request of the made tools, a few times each, and appends what it says to a file.

    Args:
        base: the teacher.
        kept: JSON Lines; what is there is not asked again.
        seed: of values and samples.

    Yields:
        The number of requests said so far, and of all.
    """
    text = kept.read_text(encoding="utf-8") if kept.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:  # half a line, where a run was killed
        kept.write_text(whole, encoding="utf-8")
    there = {(line["words"], line["request"]) for line in map(json.loads, whole.splitlines())}
    asked = []
    for spec in specs():
        for request in spec.requests:
            rng = random.Random(f"{seed} {spec.words} {request}")
            if made := example(spec, request, rng):
                asked.append((spec, request, *made, rng.choice(ASKED)))
    todo = [each for each in asked if (each[0].words, each[1]) not in there]
    for start in range(0, len(todo), TOGETHER):
        part = todo[start : start + TOGETHER]
        place = len(asked) - len(todo) + start
        sampler = Sampler(base, temperature=TEMPERATURE, longest=64, batch=SAMPLES * TOGETHER, seed=seed * 7919 + place)
        texts = sampler.write([[Message("user", way.format(request=text))] for *_, text, _, way in part], SAMPLES)
        lines = []
        for (spec, request, _, values, _), found in zip(part, texts, strict=True):
            words = {name: value.words for name, value in values.items()}
            lines.append({"words": spec.words, "request": request, "values": words, "texts": found})
        with kept.open("a", encoding="utf-8") as file:  # a group at once: a cut run then asks the same ones together
            file.write("".join(json.dumps(line) + "\n" for line in lines))
        yield place + len(part), len(asked)


def collected(kept: Path) -> dict[str, list[str]]:
    """The templates that come of what was said, by the words of their tool."""
    by_request = {(spec.words, request): spec for spec in specs() for request in spec.requests}
    first = {request.split()[0].lower() for spec in specs() for request in spec.requests}
    verbs = frozenset(word for word in first - _SMALL if not QUESTION.match(word) and not OWN.match(word.capitalize()))
    found: dict[str, list[str]] = {}
    for line in map(json.loads, kept.read_text(encoding="utf-8").splitlines()):
        if spec := by_request.get((line["words"], line["request"])):
            values = {name: Value(words, words) for name, words in line["values"].items()}
            mine = found.setdefault(spec.words, [])
            mine += accepted(line["texts"], values, line["request"], verbs, (*spec.requests, *mine))
    return {words: texts for words, texts in sorted(found.items()) if texts}


def _places(text: str, words: str) -> list[int]:
    return [match.start() for match in re.finditer(rf"(?<![\w.,-]){re.escape(words)}(?!\w|[.,]\d)", text)]


def _alike(one: str, other: str) -> float:
    a, b = (set(re.findall(r"[a-z]+", text.lower())) for text in (one, other))
    return len(a & b) / max(1, len(a | b))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="qwen2.5-coder-1.5b", help="the teacher")
    parser.add_argument("--work", type=Path, required=True, help="JSON Lines of what it says; a cut run goes on")
    parser.add_argument("--out", type=Path, required=True, help="where the templates go, to be read before use")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    given.work.parent.mkdir(parents=True, exist_ok=True)
    for done, of in said(Base.load(given.base), given.work, given.seed):
        _LOG.info("%d of %d requests", done, of)
    lines = [f"{words} | {text}\n" for words, texts in collected(given.work).items() for text in texts]
    given.out.write_text("".join(lines), encoding="utf-8")
    _LOG.info("%d templates in %s", len(lines), given.out)


if __name__ == "__main__":
    main()
