"""The report of a training: Markdown for people, JSON for programs, plots of losses and learning rate."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loraloop.adapters.atomic_write import write_text
from loraloop.adapters.training.data.record import Record

SYSTEMS = {
    "base": "base, same grammar",
    "base_told": "base, told the task",
    "skill": "skill, same grammar",
    "skill_free": "skill, no grammar",
}
FEW = 60
"""Points of a curve up to which each is marked."""


@dataclass(frozen=True, slots=True)
class RecipeReport:
    """The report of a training, which `run_recipe` returns.

    Attributes:
        name: The skill's.
        folder: Where everything lies.
        skill: The skill's folder.
        data: Records, findings, sources and terms.
        training: Steps, seconds, losses, schedule, method, parameters.
        router: The router's folder; None where it was not refitted.
        registered: Where the skill was copied to; None where it was not.
        evaluation: `Measured.to_dict()`, or nothing.
        routing: The refit's scores, or nothing.
        notes: What is worth saying aloud, such as why the router was left as it is.
        facts: Command, fingerprints, versions.
        log: The trainer's log.
        valid: Records that chose the checkpoint.
    """

    name: str
    folder: Path
    skill: Path
    data: Mapping[str, Any]
    training: Mapping[str, Any]
    router: Path | None = None
    registered: Path | None = None
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    routing: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    log: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    valid: Sequence[Record] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON data; paths are relative to the folder where they lie in it."""
        return {
            "name": self.name,
            "skill": self._shown(self.skill),
            "router": self._shown(self.router),
            "registered": self.registered is not None,
            "data": dict(self.data),
            "training": dict(self.training),
            "evaluation": dict(self.evaluation),
            "routing": dict(self.routing),
            "notes": list(self.notes),
            "facts": dict(self.facts),
        }

    def _shown(self, path: Path | None) -> str | None:
        if path is None:
            return None
        return path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else path.name

    def write(self) -> Path:
        """Writes `report.json`, `report.md` and, where matplotlib is installed, the plots; returns the folder."""
        plots = plot(self.log, self.folder)
        write_report(self.folder, self.to_dict(), self.markdown(plots))
        return self.folder

    def markdown(self, plots: Sequence[str] = ()) -> str:
        """The report as a page."""
        parts = [f"# {self.name}", self._summary()]
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        if self.evaluation:
            parts += ["## Before and after", self.table()]
        if self.routing:
            parts += ["## Routing", routing_table(self.routing)]
        parts += ["## Training", *(f"![{Path(name).stem}]({name})" for name in plots)]
        parts.append(pairs_table(self.training))
        parts += ["## Data", _sources(self.data)]
        if self.evaluation.get("samples"):
            parts += ["## Samples", _samples(self.evaluation["samples"])]
        parts += ["## Facts", pairs_table(self.facts)]
        return "\n\n".join(part for part in parts if part) + "\n"

    def table(self) -> str:
        """The before/after table as Markdown: percent with 95 % intervals."""
        scores: Mapping[str, Mapping[str, float]] = self.evaluation["scores"]
        systems = [name for name in SYSTEMS if name in scores]
        rows = []
        for name in measures(scores):
            n = next(int(found[f"{name}_n"]) for found in scores.values() if f"{name}_n" in found)
            rows.append([name.replace("_", " "), str(n), *(interval(scores[system], name) for system in systems)])
        times = (f"{self.evaluation['step_ms'][name]:.0f}" for name in systems)
        rows.append(["ms a step", str(self.evaluation["n"]), *times])
        return table(["measure", "n", *(SYSTEMS[name] for name in systems)], rows)

    def _summary(self) -> str:
        parts = [f"{self.training['steps']} steps in {self.training['seconds'] / 60:.1f} minutes"]
        parts.append(f"validation loss {self.training['validation_loss']:.4f}")
        if self.evaluation:
            main, scores = self.evaluation["main"], self.evaluation["scores"]
            before, after = (scores[name].get(main, 0.0) for name in ("base", "skill"))
            parts.append(f"{main.replace('_', ' ')} {before:.1%} → {after:.1%} (n = {self.evaluation['n']})")
        if self.routing:
            parts.append(f"{self.routing.get('new_test', self.routing['new_held_out']):.0%} of its requests reach it")
        return "; ".join(parts) + "."


def write_report(folder: Path, document: Mapping[str, Any], page: str) -> None:
    """Writes `report.json` and `report.md` into a folder, each as a whole."""
    write_text(folder / "report.json", json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n")
    write_text(folder / "report.md", page)


def measures(scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Names of the measures, in the order of the systems."""
    return list(dict.fromkeys(name for found in scores.values() for name in found if f"{name}_n" in found))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table of Markdown.

    Args:
        head: Titles of the columns.
        rows: Cells of each row.
        left: How many columns hold words; the others hold numbers, and are aligned to the right.
    """
    marks = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, marks, *rows))


def routing_table(found: Mapping[str, float]) -> str:
    """Accuracies before and after as Markdown."""
    known = [f"{found[name]:.1%}" for name in ("known_before", "known_after")]
    rows = [["of the other skills and of none", f"{found['n_known']:.0f}", *known]]
    for text, count, name in (
        ("of this skill, left out of the fit ¹", "n_new", "new_held_out"),
        ("of this skill, for evaluation ¹", "n_new_test", "new_test"),
        ("on its topic, not for it ¹", "n_not_new", "not_new"),
    ):
        if name in found:
            rows.append([text, f"{found[count]:.0f}", "", f"{found[name]:.1%}"])
    rows.append(["calibration error", "", *(f"{found[name]:.3f}" for name in ("ece_before", "ece_after"))])
    notes = "¹ each once as it is and once among tools or instructions"
    return f"{table(['requests', 'n', 'before', 'after'], rows)}\n\n{notes}"


def plot(log: Sequence[Mapping[str, Any]], folder: Path) -> list[str]:
    """Draws loss, validation loss and learning rate over the steps.

    Returns:
        The files' names; none where matplotlib is not installed or nothing was logged.
    """
    curves = {
        label: [(row["step"], row[name]) for row in log if name in row]
        for label, name in (("training", "loss"), ("validation", "valid_loss"), ("learning rate", "lr"))
    }
    rates = {"learning rate": curves.pop("learning rate")}
    drawn = {
        "loss.svg": draw(folder / "loss.svg", "loss a completion token", "step", curves, far_apart=True),
        "learning_rate.svg": draw(folder / "learning_rate.svg", "learning rate", "step", rates),
    }
    return [name for name, done in drawn.items() if done]


def draw(
    path: Path, title: str, over: str, curves: Mapping[str, Sequence[tuple[float, float]]], *, far_apart: bool = False
) -> bool:
    """Draws curves as SVG.

    Args:
        path: The file that is written.
        title: What the values are.
        over: What they are drawn over.
        curves: Points by label.
        far_apart: Whether values of very different size are drawn on a logarithmic scale.

    Returns:
        Whether they were drawn: matplotlib is installed, and there is a point.
    """
    lines = {label: points for label, points in curves.items() if points}
    try:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        return False
    if not lines:
        return False
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    for label, points in lines.items():
        marker = "o" if len(points) <= FEW else None
        axes.plot(*zip(*points, strict=True), marker=marker, markersize=3.5, lw=1.2, label=label)
    values = [y for points in lines.values() for _, y in points]
    if far_apart and 0 < min(values) < max(values) / 20:
        axes.set_yscale("log")
    axes.set_xlabel(over)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    FigureCanvasSVG(figure).print_svg(str(path), metadata={"Date": None})  # type: ignore[no-untyped-call]
    return True


def interval(found: Mapping[str, float], name: str) -> str:
    """A share in percent with its interval; empty where a system has no such measure."""
    if name not in found:
        return ""
    low, high = 100 * found[f"{name}_low"], 100 * found[f"{name}_high"]
    return f"{100 * found[name]:.1f} ({low:.0f}–{high:.0f})"


def pairs_table(facts: Mapping[str, Any]) -> str:
    """Named values as a table of Markdown."""
    rows = []
    for name, value in facts.items():
        text = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else str(value)
        rows.append([name.replace("_", " "), _cell(text)])
    return table(["", ""], rows, left=2)


def _sources(data: Mapping[str, Any]) -> str:
    rows = [[_cell(s["name"]), _cell(s["license"]), str(s["n"])] for s in data["sources"]]
    found = ", ".join(f"{kind}: {count}" for kind, count in data["findings"].items()) or "nothing"
    split = f"{data['train']} to train on, {data['valid']} to validate, {data['held_out']} to evaluate"
    text = table(["source", "licence", "records"], rows, left=2)
    text += f"\n\n{data['read']} records read; {split}. Found: {found}."
    for name, value in data.get("terms", {}).items():
        listed = value.items() if isinstance(value, dict) else [("", item) for item in value]
        text += f"\n\n{name.replace('_', ' ').capitalize()}: " + "; ".join(f"{k}: {v}" if k else v for k, v in listed)
    return text


def _samples(samples: Sequence[Mapping[str, str]]) -> str:
    parts = []
    for sample in samples:
        lines = [f"- {sample['place']}: {_line(sample['request'])}", f"  - wanted: `{_line(sample['wanted'])}`"]
        lines += [f"  - {SYSTEMS[name]}: `{_line(sample[name])}`" for name in SYSTEMS if name in sample]
        parts.append("\n".join(lines))
    return "\n".join(parts)


def _line(text: str) -> str:
    flat = " ".join(text.split()).replace("`", "'")
    return flat if len(flat) <= 240 else flat[:240] + " …"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
