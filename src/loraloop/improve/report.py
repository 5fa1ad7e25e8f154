"""The report of an improvement: Markdown for people, JSON for programs, and curves over the rounds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loraloop.adapters.training.recipe.report import draw, pairs_table, table, write_report
from loraloop.adapters.training.scoring.score import rate


@dataclass(frozen=True, slots=True)
class ImproveReport:
    """The report of an improvement, which `improve` returns.

    Attributes:
        skill: The skill's name.
        base: The base's name and form.
        folder: Where everything lies.
        began: Whether each case came right before the first round.
        rounds: The finished rounds, with changes, counts, training, and whether the round's skill was kept.
        kept: The folder of the last skill that was kept; empty where none was.
        registered: Whether it is the user's skill of that name now.
        facts: Command, order, minutes, machine and versions.
    """

    skill: str
    base: str
    folder: Path
    began: Mapping[str, Any]
    rounds: Sequence[Mapping[str, Any]]
    kept: str = ""
    registered: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def before(self) -> float:
        """Share of the held-out cases that came right before the first round."""
        return _share(self.began["held_out"])

    @property
    def after(self) -> float:
        """Share of held-out cases that the last skill that was kept got right."""
        kept = [done["measured"] for done in self.rounds if done["kept"]]
        return _share(kept[-1]["held_out"]) if kept else self.before

    def to_dict(self) -> dict[str, Any]:
        fields = {name: value for name, value in asdict(self).items() if name != "folder"}
        return {**fields, "before": round(self.before, 4), "after": round(self.after, 4)}

    def write(self) -> Path:
        """Writes `report.json`, `report.md` and, where matplotlib is installed, `rounds.svg`; returns the folder."""
        drawn = draw(self.folder / "rounds.svg", "percent right", "round", self.curves())
        write_report(self.folder, self.to_dict(), self.markdown(drawn))
        return self.folder

    def curves(self) -> dict[str, list[tuple[float, float]]]:
        """Percent of right cases before the first round (0) and after each, by what was measured."""
        found = {"held out": [self.before, *(_share(done["measured"]["held_out"]) for done in self.rounds)]}
        for name, cases in self.began["others"].items():
            found[name] = [_share(cases), *(_share(done["measured"]["others"][name]) for done in self.rounds)]
        return {name: [(number, 100 * share) for number, share in enumerate(shares)] for name, shares in found.items()}

    def markdown(self, drawn: bool = False) -> str:
        """The report as a page."""
        n = len(self.began["held_out"])
        summary = f"Held out: {self.before:.1%} → {self.after:.1%} right (n = {n})."
        end = (
            f"The skill that was kept lies in `{self.kept}`{' and is registered' if self.registered else ''}."
            if self.kept
            else "No round's skill was kept: the skill is as it was."
        )
        parts = [f"# {self.skill} of {self.base}", f"{summary} {end}", self.table()]
        parts.append(
            "Percent of the cases that came right, with 95 % intervals. *while learning*: the requests that a round "
            "ran, with sampling. A round's skill is kept if more held-out cases come right than before and nothing "
            "else falls by more than the interval of the paired difference. The held-out cases chose what was kept: "
            "fresh ones (`loraloop eval desk --draws N --seed 1`) measure without that."
        )
        if drawn:
            parts.append("![rounds](rounds.svg)")
        if kinds := self.kinds():
            parts += ["## By kind", kinds]
        parts += ["## Rounds", "\n".join(self._lines()), "## Facts", pairs_table(self.facts)]
        return "\n\n".join(part for part in parts if part) + "\n"

    def table(self) -> str:
        """A row for each round."""
        others = list(self.began["others"])
        head = ["round", "while learning", "records", "held out", *others, "kept", "minutes"]
        rows = [self._row("0", self.began)]
        for done in self.rounds:
            learnt = done["learnt"]
            while_learning = _interval(learnt["right"], learnt["requests"]) if learnt else ""
            counted = sum(done["records"].values())
            end = ("yes" if done["kept"] else "no", f"{done['minutes']:.1f}")
            rows.append(self._row(str(done["round"]), done["measured"], (while_learning, str(counted)), end))
        return table(head, rows, left=0)

    def kinds(self) -> str:
        """The held-out requests by kind, before and after; empty for records of traces."""
        kept = [done["measured"] for done in self.rounds if done["kept"]]
        sides = [self.began, kept[-1] if kept else self.began]
        kinds: Mapping[str, str] = self.began.get("kinds", {})
        if not kinds:
            return ""
        groups: dict[str, list[str]] = defaultdict(list)
        for case, kind in kinds.items():
            groups[kind].append(case)
        rows = []
        for kind, cases in groups.items():
            cells = [_interval(sum(side["held_out"][case] for case in cases), len(cases)) for side in sides]
            rows.append([kind, str(len(cases)), *cells])
        return table(["kind", "n", "before", "after"], rows)

    def _row(
        self,
        number: str,
        found: Mapping[str, Any],
        learning: tuple[str, str] = ("", ""),
        end: tuple[str, str] = ("", ""),
    ) -> list[str]:
        cases = [found["held_out"], *found["others"].values()]
        return [number, *learning, *(_interval(sum(each.values()), len(each)) for each in cases), *end]

    def _lines(self) -> list[str]:
        lines = []
        for done in self.rounds:
            counts = ", ".join(f"{count} {why}" for why, count in sorted(done["records"].items()))
            training = done["training"]
            lines.append(
                f"- round {done['round']}: {counts}; {training['steps']} steps on {training['examples']} examples in "
                f"{training['seconds'] / 60:.1f} minutes, validation loss {training['validation_loss']:.4f}; "
                f"{'kept' if done['kept'] else 'not kept'}: {done['why']}"
            )
        return lines or ["No round was finished in the time."]


def _share(cases: Mapping[str, bool]) -> float:
    return sum(cases.values()) / len(cases) if cases else 0.0


def _interval(right: int, n: int) -> str:
    share, low, high = rate([True] * right + [False] * (n - right))
    return f"{100 * share:.1f} ({100 * low:.0f}–{100 * high:.0f})"
