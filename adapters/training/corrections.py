"""Pairs for DPO from what a skill writes itself on training examples: the right text before a wrong one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from loraloop.adapters.base import Base
from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.training.data.example import Example
from loraloop.adapters.training.scoring.score import Runs, right
from loraloop.adapters.training.teacher.preferences import Judged
from loraloop.adapters.training.teacher.sampler import Sampler
from loraloop.tool_schemas.errors import InputError

TEMPERATURE = 0.7
SAMPLES = 2
_CHUNK = 64


def corrections(
    base: Base,
    skill: Skill,
    examples: Sequence[Example],
    kept: Path,
    *,
    seed: int = 0,
    runs: Runs | None = None,
    done: Callable[[int, int], None] = lambda at, wrong: None,
) -> list[Judged]:
    """What the skill writes on each example, judged by the rule of its contract; only those with a wrong text.

    The gold text is the right one of each pair: a skill's own right texts are likely to it already.

    Args:
        base: The base.
        skill: Writes.
        examples: With gold.
        kept: A JSON Lines file of what was written so far; a run that was cut goes on from it.
        seed: Of the sampling.
        runs: How programs are run, for examples of code.
        done: Called with the number of examples written, and of those with a wrong text, after each chunk.

    Raises:
        InputError: the file holds what another skill, or with another seed, has written.
    """
    head = json.dumps({"skill": skill.card.sha256, "seed": seed, "n": len(examples), "temperature": TEMPERATURE})
    text = kept.read_text(encoding="utf-8") if kept.exists() else ""
    lines = text[: text.rfind("\n") + 1].splitlines()
    if lines and lines[0] != head:
        raise InputError(f"{kept} holds another skill's texts: give another folder, or delete it")
    written = [json.loads(line) for line in lines[1:]]
    kept.parent.mkdir(parents=True, exist_ok=True)
    found: list[Judged] = []
    with kept.open("r+" if lines else "w", encoding="utf-8") as file:
        file.truncate(len("".join(line + "\n" for line in lines).encode()))  # half a line, where a run was killed
        file.seek(0, 2)
        if not lines:
            file.write(head + "\n")
        for start in range(0, len(examples), _CHUNK):
            part = examples[start : start + _CHUNK]
            texts = written[start : start + len(part)]
            if len(texts) < len(part):
                sampler = Sampler(base, skill, temperature=TEMPERATURE, seed=seed * 1009 + start)
                texts = sampler.write([example.messages for example in part], SAMPLES)
                # What a cut run wrote of this chunk is written again, the same.
                file.writelines(json.dumps(each) + "\n" for each in texts[max(0, len(written) - start) :])
                file.flush()
            for example, said in zip(part, texts, strict=True):
                judged = _judged(example, said, runs)
                found += [judged] if judged.wrong else []
            done(start + len(part), len(found))
    return found


def _judged(example: Example, texts: Sequence[str], runs: Runs | None) -> Judged:
    wrong = tuple(text for text in dict.fromkeys(texts) if not right(example.skill, example, text, runs))
    return Judged(example.messages, (example.completion,), wrong, example.completion)
