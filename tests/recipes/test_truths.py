"""The closing texts that are made out of the verdicts."""

from __future__ import annotations

from collections import Counter

from loraloop.adapters.training.data.frozen import frozen_rows
from loraloop.recipes.make.truths import truths


def test_the_true_texts_of_the_verdicts_are_closing_texts() -> None:
    frozen, made = [row for _, row in frozen_rows("truths")], list(truths())
    assert frozen == made
    verdicts = [row for _, row in frozen_rows("verdicts")]
    assert len(made) == sum(row["completion"] == "agrees" for row in verdicts)
    told = {(str(row["messages"]), row["extra_prompt"]) for row in verdicts if row["completion"] == "agrees"}
    assert all((str(row["messages"]), "Answer: " + row["completion"]) in told for row in made)
    kinds = Counter(row["kind"] for row in made)
    assert kinds["denied"] + kinds["later_denied"] > 300 and kinds["failed"] + kinds["later_failed"] > 300
    assert all("extra_prompt" not in row and row["messages"][-1]["role"] in ("tool", "user") for row in made)
