"""The mean of several skills' updates: `python -m loraloop.adapters.training.mean FOLDER FOLDER … --out FOLDER`.

Weights of rounds that began from each other, averaged, are often better on data unlike the training data than each of
them, and so is the mean of a model before and after training (arXiv 2109.01903, 2203.05482): `bare` is the weight of
the bare base among the skills. It is the updates that are averaged, not their factors, and the mean is cut to the rank
of the last skill by its largest singular values.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.training.lineage import rounds
from loraloop.tool_schemas.errors import InputError

_A, _B = "lora_A", "lora_B"
_COMMAND = "python -m loraloop.adapters.training.mean"


def mean(skills: Sequence[Skill], weights: Sequence[float] | None = None, bare: float = 0.0) -> Skill:
    """A skill whose update of every matrix is the mean of theirs.

    Args:
        skills: of the same base, with updates of the same matrices; the last one gives rank, alpha and card, but for
            threshold, which is to be chosen anew. Of each source of data the card says the
            largest number of examples.
        weights: of each; equal where None. They are divided by the sum of all.
        bare: weight of the bare base, which has no update.

    Raises:
        InputError: fewer than two, the base counted, weights that do not fit, or skills that do not fit each other.
    """
    given = [1.0] * len(skills) if weights is None else [*weights]
    fit = len(given) == len(skills) and all(0 <= weight < math.inf for weight in (*given, bare))
    if not fit or not sum(given):
        raise InputError("a mean needs skills, and weights, if any, one for each, none below 0 and not all 0")
    if len(skills) < 2 and not bare:
        raise InputError("a mean needs two or more skills, or one and a weight for the bare base")
    last = skills[-1]
    for skill in skills:
        if skill.card.method != "lora" or skill.card.fingerprints != last.card.fingerprints:
            raise InputError(f"{skill.card.name!r} is no LoRA skill of the base of {last.card.name!r}")
    for skill in skills:
        if set(skill.tensors) != set(last.tensors):
            raise InputError(f"{skill.card.name!r} changes other matrices than {last.card.name!r}")
    shares = [weight / (sum(given) + bare) for weight in given]
    scales = [share * skill.card.alpha / skill.card.rank for share, skill in zip(shares, skills, strict=True)]
    undo, rank = last.card.rank / last.card.alpha, last.card.rank
    tensors: dict[str, Tensor] = {}
    for name in (name for name in last.tensors if name.endswith(_A)):
        other = name.removesuffix(_A) + _B
        A = torch.cat([skill.tensors[name].double() for skill in skills])
        B = torch.cat([skill.tensors[other].double() * s * undo for skill, s in zip(skills, scales, strict=True)], 1)
        made = _cut(A, B, rank)
        tensors[name], tensors[other] = (
            new.to(last.tensors[old].dtype) for new, old in zip(made, (name, other), strict=True)
        )
    parts = [{"sha256": skill.card.sha256, "weight": share} for skill, share in zip(skills, shares, strict=True)]
    given_data = [source for skill in skills for source in skill.card.data]
    most = {source.name: source for source in sorted(given_data, key=lambda source: source.n)}
    data = tuple(sorted(most.values(), key=lambda source: -source.n))
    shown = "" if weights is None else f" --weights {' '.join(f'{weight:g}' for weight in given)}"
    shown += f" --bare {bare:g}" if bare else ""
    training = {
        "command": f"{_COMMAND} {' '.join(['FOLDER'] * len(skills))}{shown} --out FOLDER",
        "mean_of": parts,
        "rounds": rounds([skill.card for skill in skills]),
    }
    changed = {"training": training, "data": data, "scores": {}, "threshold": None}
    card = last.card.model_copy(update=changed)
    return replace(last, card=card, tensors=tensors)


def _cut(A: Tensor, B: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Factors `[rank, K]` and `[O, rank]` of the best approximation of B @ A, both of the same norm."""
    Qb, Rb = torch.linalg.qr(B)
    Qa, Ra = torch.linalg.qr(A.T)
    U, S, Vh = torch.linalg.svd(Rb @ Ra.T)
    root = S[:rank].sqrt()
    return (Qa @ (Vh[:rank].T * root)).T, Qb @ (U[:, :rank] * root)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="skills; the last one gives the card")
    parser.add_argument("--weights", type=float, nargs="+", help="one for each")
    parser.add_argument("--bare", type=float, default=0.0, help="weight of the bare base beside theirs")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    skill = mean([Skill.load(folder) for folder in given.folders], given.weights, given.bare)
    skill.save(given.out)


if __name__ == "__main__":
    main()
