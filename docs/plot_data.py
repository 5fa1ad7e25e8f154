"""What each picture shows: numbers and words, chosen from results documents.

All return `title`, `x` and `y` (what the axes say), `series` by system, and what their kind of picture needs: `lines`
has `at` (positions), `dots`, `bars` and `stacked` have `groups` (labels); `log` says which axis is logarithmic.
"""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]
Numbers = dict[str, Any]


def systems(document: Document) -> dict[str, dict[str, float]]:
    """Metrics by system, ours first."""
    return {"loraloop": document["metrics"], **document["peers"]}


def base_of(document: Document) -> str:
    """Name of the base that was measured."""
    return str(document.get("details", {}).get("base", "smollm2-135m"))


def sizes(document: Document, kind: str) -> list[int]:
    """The sizes that were measured of a kind of case, in order."""
    names = (name.split("_") for name in document["metrics"])
    return sorted({int(parts[1]) for parts in names if parts[0] == kind and len(parts) == 3 and parts[2] == "ms"})


def switch(document: Document) -> Numbers:
    """Time to the first token after a change of skill, by length of context."""
    at = sizes(document, "switch")
    return {
        "title": "First token after a change of skill",
        "x": "tokens of context",
        "y": "time to first token, ms",
        "log": "y",
        "at": at,
        "series": {name: [found[f"switch_{n}_ms"] for n in at] for name, found in systems(document).items()},
    }


def decode(document: Document) -> Numbers:
    """Time of a decoded token, by length of context, against the limit."""
    at = sizes(document, "decode")
    return {
        "title": f"Decoding one token, {base_of(document)}",
        "x": "time per token, ms (left is better)",
        "y": "",
        "log": "x",
        "groups": [f"{n:,} tokens of context".replace(",", "\u202f") for n in at],
        "series": {name: [found[f"decode_{n}_ms"] for n in at] for name, found in systems(document).items()},
    }


def overhead(document: Document) -> Numbers:
    """What an active skill adds to a decoded token."""
    at = sizes(document, "decode")
    measured = {name: found for name, found in systems(document).items() if name != "limit"}
    shown = {name: [found[f"decode_{n}_skill_overhead_pct"] for n in at] for name, found in measured.items()}
    return {
        "title": "What an active rank-16 skill adds to a decoded token",
        "x": "tokens of context",
        "y": "added time, %",
        "groups": [f"{n:,}".replace(",", "\u202f") for n in at],
        "series": {name.replace("transformers", "PEFT"): values for name, values in shown.items()},
    }


def rows(document: Document) -> Numbers:
    """Time of a forward by its number of tokens."""
    counts = [1, *sizes(document, "rows")]
    keys = ["decode_1500_ms", *(f"rows_{n}_ms" for n in counts[1:])]
    return {
        "title": "A few tokens in one forward, after 1\u202f500 tokens",
        "x": "tokens in the forward",
        "y": "time, ms",
        "log": "y",
        "at": counts,
        "series": {name: [found[key] for key in keys] for name, found in systems(document).items()},
    }


def prefill(document: Document) -> Numbers:
    """Tokens read a second."""
    size = sizes(document, "prefill")[0]
    keys = [f"prefill_{size}_tok_per_s", f"prefill_{size}_skill_tok_per_s"]
    return {
        "title": f"Reading a prompt of {size} tokens",
        "x": "",
        "y": "tokens per second",
        "groups": ["base alone", "under a rank-16 skill"],
        "series": {name: [found[key] for key in keys] for name, found in systems(document).items()},
    }


def episode(document: Document) -> Numbers:
    """Time since the start of the episode, after each step."""
    steps: dict[str, list[float]] = {}
    for name, value in document["details"]["steps"].items():
        column = name.rsplit("/", 1)[1]
        if column.endswith(" ms"):
            times = steps.setdefault(column.removesuffix(" ms"), [0.0])
            times.append(round(times[-1] + value / 1e3, 4))
    return {
        "title": "A ten-step episode with alternating skills",
        "x": "steps done",
        "y": "time since the start, s",
        "at": list(range(len(next(iter(steps.values()))))),
        "series": steps,
    }


def bank(document: Document) -> Numbers:
    """Activating a skill, by where it is, and the same of PEFT."""
    ours, peft = document["metrics"], document["peers"].get("peft", {})
    rows = {
        "resident: median": (ours["hot_us_median"] / 1e3, peft.get("hot_us_median", 0) / 1e3),
        "resident: 99th percentile": (ours["hot_us_p99"] / 1e3, peft.get("hot_us_p99", 0) / 1e3),
        "in host memory: median": (ours["host_ms_median"], None),
        "in host memory: 99th percentile": (ours["host_ms_p99"], None),
        "on disk: median": (ours["disk_ms_median"], peft.get("disk_ms_median")),
        "on disk: 99th percentile": (ours["disk_ms_p99"], peft.get("disk_ms_p99")),
    }
    series = {"loraloop": [ours_ms for ours_ms, _ in rows.values()]}
    if peft:
        series["PEFT"] = [peft_ms for _, peft_ms in rows.values()]
    return {
        "title": f"Activating one of {document['n']:,} skills".replace(",", "\u202f"),
        "x": "time, ms (left is better)",
        "y": "",
        "log": "x",
        "groups": list(rows),
        "series": series,
    }


def memory(document: Document) -> Numbers:
    """Resident memory of a process that has answered, split into what files back and what they do not."""
    found = systems(document)
    return {
        "title": "Resident memory with four skills, after one answer",
        "x": "MB",
        "y": "",
        "groups": list(found),
        "series": {
            "anonymous": [each["skills_anonymous_mb"] for each in found.values()],
            "mapped files": [each["skills_rss_mb"] - each["skills_anonymous_mb"] for each in found.values()],
        },
    }


def vllm(document: Document) -> Numbers:
    """First tokens and decoding against vLLM's server."""
    rows = {
        "decode, base": "decode_1500_ms",
        "decode, LoRA": "decode_1500_skill_ms",
        "first token, same LoRA": "same_1500_ms",
        "first token, another LoRA": "switch_1500_ms",
    }
    return {
        "title": "One request at a time, after 1\u202f500 tokens",
        "x": "time, ms (left is better)",
        "y": "",
        "log": "x",
        "groups": list(rows),
        "series": {name: [found[key] for key in rows.values()] for name, found in systems(document).items()},
    }


def mixed_batch(document: Document) -> Numbers:
    """Throughput of a batch whose rows use different skills, against one skill and none, and the same of PEFT."""
    ours, peft = document["metrics"], document["peers"].get("peft")
    columns = [name.partition("/")[2] for name in ours if name.startswith("each/")]
    ways = {"base alone": "base", "one skill": "one", "a skill each": "each"}
    series = {label: [ours[f"{way}/{column}"] for column in columns] for label, way in ways.items()}
    if peft:
        series["PEFT, a skill each"] = [peft[f"each/{column}"] for column in columns]
    return {
        "title": "Decoding a batch whose rows use different skills",
        "x": "rows in the batch",
        "y": "tokens per second, all rows",
        "groups": [column.removeprefix("B=") for column in columns],
        "series": series,
    }
