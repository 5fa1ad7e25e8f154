"""Whether a new skill is kept: better where it learned, and worse nowhere else by more than chance explains.

Both skills are asked the same, so what counts is where they differ: `gained` came right, `lost` went wrong. The
difference of the two shares has the 95 % interval of paired proportions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loraloop.adapters.training.scoring.score import rate
from loraloop.tool_schemas.errors import InputError

_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Change:
    """How two skills did on the same cases.

    Attributes:
        name: What was measured.
        n: Cases.
        before: How many the old skill had right.
        after: How many the new skill has right.
        gained: Cases that only the new skill has right.
        lost: Cases that only the old skill had right.
    """

    name: str
    n: int
    before: int
    after: int
    gained: int
    lost: int

    @classmethod
    def of(cls, name: str, before: Sequence[bool], after: Sequence[bool]) -> Change:
        """Compares case by case.

        Raises:
            InputError: Other numbers of cases, or none.
        """
        if len(before) != len(after) or not before:
            raise InputError(
                f"{name}: {len(before)} cases before and {len(after)} after: measure the same ones, at least one"
            )
        pairs = list(zip(before, after, strict=True))
        gained, lost = sum(new and not old for old, new in pairs), sum(old and not new for old, new in pairs)
        return cls(name, len(pairs), sum(before), sum(after), gained=gained, lost=lost)

    @property
    def difference(self) -> float:
        """Share of cases that are right after, minus the share before."""
        return (self.gained - self.lost) / self.n

    @property
    def half(self) -> float:
        """Half the width of the difference's 95 % interval."""
        return float(_Z * (self.gained + self.lost - (self.gained - self.lost) ** 2 / self.n) ** 0.5 / self.n)

    @property
    def better(self) -> bool:
        """Whether the new skill has more right."""
        return self.gained > self.lost

    @property
    def worse(self) -> bool:
        """Whether the new skill has fewer right, by more than the interval."""
        return self.difference < -self.half

    def to_dict(self) -> dict[str, float | int | str]:
        """JSON data, with Wilson's intervals of both shares."""
        row: dict[str, float | int | str] = {"name": self.name, "n": self.n, "gained": self.gained, "lost": self.lost}
        for side, right in (("before", self.before), ("after", self.after)):
            share, low, high = rate([True] * right + [False] * (self.n - right))
            row |= {side: round(share, 4), f"{side}_low": round(low, 4), f"{side}_high": round(high, 4)}
        return row | {"difference": round(self.difference, 4), "half": round(self.half, 4)}


def verdict(held_out: Change, others: Sequence[Change]) -> tuple[bool, str]:
    """Whether the new skill is kept, and why.

    Args:
        held_out: On requests like those that it learned from.
        others: On what else it has to keep being able to do.
    """
    fallen = [each for each in others if each.worse]
    if fallen:
        reason = ", ".join(f"{each.name} fell by {-each.difference:.1%} (more than {each.half:.1%})" for each in fallen)
        return False, reason
    if not held_out.better:
        return False, f"{held_out.name}: {held_out.gained} gained and {held_out.lost} lost, which is not better"
    return True, f"{held_out.name} rose by {held_out.difference:.1%} (± {held_out.half:.1%}), and nothing fell"
