"""How pictures look: four kinds of plot in one style, for a light and a dark page alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Numbers = dict[str, Any]

GREY, FAINT = "#7a828c", "#7a828c40"
"""Of words and of the grid: over 3.9:1 on white and on a near-black page."""

STYLES: dict[str, tuple[str, str]] = {
    "loraloop": ("#1f8fd6", "o"),
    "llama.cpp": ("#e69f00", "s"),
    "transformers": ("#d55e00", "^"),
    "peft": ("#d55e00", "^"),
    "PEFT": ("#d55e00", "^"),
    "alora": ("#009e73", "D"),
    "vllm": ("#cc79a7", "v"),
    "limit": (GREY, "|"),
    "anonymous": ("#1f8fd6", "o"),
    "mapped files": ("#8cc5ea", "s"),
    "base alone": (GREY, "s"),
    "one skill": ("#009e73", "D"),
    "a skill each": ("#1f8fd6", "o"),
    "PEFT, a skill each": ("#d55e00", "^"),
}
"""Colour and mark of each system; the mark tells them apart without colour."""

LABELS = {"limit": "physical limit", "alora": "PEFT by hand (aLoRA)", "peft": "PEFT", "vllm": "vLLM"}
SETTINGS = {
    "svg.hashsalt": "loraloop",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titleweight": "bold",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def canvas(shown: Numbers, height: float) -> tuple[Figure, Axes]:
    """An empty plot with its title and the names of its axes."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    matplotlib.rcParams.update(SETTINGS)
    figure, axes = pyplot.subplots(figsize=(7.2, height))
    axes.set_title(shown["title"], color=GREY, pad=8 if "at" in shown else 26)  # a legend stands below it
    axes.set_xlabel(shown["x"])
    axes.set_ylabel(shown["y"])
    for axis in shown.get("log", ""):
        getattr(axes, f"set_{axis}scale")("log")
        scale = axes.xaxis if axis == "x" else axes.yaxis
        scale.set_major_formatter(FuncFormatter(lambda value, _: figure_text(value)))
        values = [value for series in shown["series"].values() for value in series if value]
        scale.set_major_locator(LogLocator(subs=(1, 2, 5) if max(values) < 300 * min(values) else (1,)))
        scale.set_minor_formatter(NullFormatter())
    axes.set_axisbelow(True)
    return figure, axes


def lines(shown: Numbers) -> Figure:
    """One line a system over positions; each is named at its end."""
    figure, axes = canvas(shown, 3.4)
    ends = []
    for name, values in shown["series"].items():
        colour, mark = STYLES[name]
        bound = name == "limit"
        axes.plot(
            shown["at"], values, color=colour, marker=None if bound else mark, markersize=6,
            linewidth=1 if bound else 2, linestyle="--" if bound else "-",
        )  # fmt: skip
        ends.append((values[-1], name, colour))
    axes.set_xticks(shown["at"], [figure_text(at) for at in shown["at"]])
    axes.grid(axis="y", color=FAINT)
    if "y" not in shown.get("log", ""):
        axes.set_ylim(bottom=0)
    _name_ends(axes, shown["at"][-1], ends)
    return figure


def dots(shown: Numbers) -> Figure:
    """A row a group, a mark a system with its value, ours below the line; the limit is a stroke."""
    groups = shown["groups"]
    figure, axes = canvas(shown, 1.3 + 0.5 * len(groups))
    places = [len(groups) - 1 - index for index in range(len(groups))]
    for place in places:
        axes.axhline(place, color=FAINT, linewidth=1)
    for name, values in shown["series"].items():
        colour, mark = STYLES[name]
        points = [(value, place) for value, place in zip(values, places, strict=True) if value]
        axes.plot(
            *zip(*points, strict=True), color=colour, marker=mark, linestyle="none", label=LABELS.get(name, name),
            markersize=16 if mark == "|" else 8, markeredgewidth=2.5 if mark == "|" else 0,
        )  # fmt: skip
        for value, place in points:
            axes.annotate(
                figure_text(value), (value, place), xytext=(0, -15 if name == "loraloop" else 11 if mark == "|" else 9),
                textcoords="offset points", ha="center", color=GREY if mark == "|" else colour, fontsize=8.5,
            )  # fmt: skip
    axes.set_yticks(places, groups)
    axes.set_ylim(-0.5, len(groups) - 0.35)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.06)
    _legend(axes)
    return figure


def bars(shown: Numbers) -> Figure:
    """Upright bars, a cluster a group; the limit is a stroke over its cluster."""
    figure, axes = canvas(shown, 3.2)
    solid = [name for name in shown["series"] if name != "limit"]
    width = 0.8 / len(solid)
    for number, name in enumerate(solid):
        values = shown["series"][name]
        places = [group + (number - (len(solid) - 1) / 2) * width for group in range(len(values))]
        drawn = axes.bar(places, values, width * 0.9, color=STYLES[name][0], label=LABELS.get(name, name))
        axes.bar_label(drawn, [figure_text(value) for value in values], padding=2, fontsize=8.5, color=GREY)
    for group, value in enumerate(shown["series"].get("limit", ())):
        label = LABELS["limit"] if group == 0 else None
        axes.hlines(value, group - 0.42, group + 0.42, color=GREY, linestyle="--", linewidth=1.5, label=label)
        axes.annotate(
            figure_text(value), (group + 0.42, value), xytext=(3, -3), textcoords="offset points", fontsize=8.5
        )
    axes.set_xticks(range(len(shown["groups"])), shown["groups"])
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color=FAINT)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.margins(y=0.12)
    _legend(axes)
    return figure


def stacked(shown: Numbers) -> Figure:
    """A lying bar a group, made of the series one after another; its sum stands at the end."""
    groups = shown["groups"]
    figure, axes = canvas(shown, 1.2 + 0.5 * len(groups))
    places = [len(groups) - 1 - index for index in range(len(groups))]
    start = [0.0] * len(groups)
    for name, values in shown["series"].items():
        axes.barh(places, values, 0.55, left=start, color=STYLES[name][0], label=LABELS.get(name, name))
        start = [begin + value for begin, value in zip(start, values, strict=True)]
    for place, end in zip(places, start, strict=True):
        axes.annotate(figure_text(end), (end, place), xytext=(4, -3), textcoords="offset points", fontsize=9)
    axes.set_yticks(places, [LABELS.get(name, name) for name in groups])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=FAINT)
    axes.margins(x=0.08)
    _legend(axes)
    return figure


def figure_text(value: float) -> str:
    """A number as a picture shows it: three figures, thousands apart, no exponent."""
    if abs(value) >= 100 or float(value).is_integer():
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.2g}" if abs(value) < 10 else f"{value:.1f}"


def save(figure: Any, path: Path, title: str, description: str) -> None:
    """Writes a picture without a date, with its title and a description as metadata."""
    from matplotlib import pyplot

    metadata = {"Date": None, "Creator": "docs/plots.py", "Title": title, "Description": description}
    figure.savefig(path, format="svg", transparent=True, metadata=metadata)
    pyplot.close(figure)


def _legend(axes: Axes) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=5,
        borderaxespad=0.2,
        borderpad=0.2,
        handletextpad=0.4,
        columnspacing=1.2,
    )


def _name_ends(axes: Axes, x: float, ends: list[tuple[float, str, str]]) -> None:
    """Names beside the ends of lines, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)  # names must not move the axis
    last = None
    for value, name, colour in sorted(ends):
        points = axes.transData.transform((x, value))[1] / axes.figure.dpi * 72
        wanted = points if last is None else max(points, last + 13)
        last = wanted
        axes.annotate(
            LABELS.get(name, name), (x, value), xytext=(9, wanted - points), textcoords="offset points",
            color=colour, va="center", fontsize=9.5, annotation_clip=False,
        )  # fmt: skip
