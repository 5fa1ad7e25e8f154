"""Bringing a file of sessions that loraloop 0.1 wrote (format 1) to the format of now."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from loraloop.agent.tracing.format_1 import decision_of, step_of
from loraloop.tool_schemas.jsontext import dumps

_ENDING = ("output", "calls", "citations", "category")


def migrate(database: sqlite3.Connection) -> None:
    """Changes the tables and rows of format 1 in the transaction that is open."""
    database.execute("ALTER TABLE sessions ADD COLUMN owner TEXT NOT NULL DEFAULT ''")
    _convert(database, "steps", "body", step_of)
    asked = dict(database.execute("SELECT rowid, asked FROM runs WHERE asked IS NOT NULL").fetchall())
    for rowid, text in database.execute("SELECT rowid, state FROM runs WHERE state IS NOT NULL").fetchall():
        state = state_of(json.loads(text), json.loads(asked[rowid]))
        database.execute("UPDATE runs SET state = ? WHERE rowid = ?", (dumps(state), rowid))
    _convert(database, "runs", "written", _written_of)
    _convert(database, "runs", "result", _result_of)


def _convert(database: sqlite3.Connection, table: str, column: str, made: Callable[[Any], Any]) -> None:
    rows = database.execute(f"SELECT rowid, {column} FROM {table} WHERE {column} IS NOT NULL").fetchall()
    for rowid, text in rows:
        database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (dumps(made(json.loads(text))), rowid))


def state_of(old: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of what a run knew. Of its forced choices only the one that it was asked with is data."""
    repair, retry, end = old["repair"], old["retry"], old["end"]
    return {
        "spent": {"seconds": old["seconds"], "ms": old["ms"], "tokens": old["generated"], "calls": old["made"]},
        "next": {
            "after": old["after"],
            "masked": old["masked"],
            "choices": [asked["skill"]] if old["choices"] and isinstance(asked.get("skill"), str) else [],
            "first": old["opening"],
            "repair": repair and {**repair, "decision": decision_of(repair["decision"])},
            "retry": retry and {"decision": decision_of(retry)},
        },
        "guard": {
            "seen": old["seen"],
            "records": old["gates"],
            "waiting": [{"at": at, "record": record} for at, record in old["suspects"]],
            "planned": old["planned"],
        },
        "retries": old["asked"],
        "compactions": old["compactions"],
        "ending": {**{name: end[name] for name in _ENDING}, "valued": old["valued"]},
        "stop": old["stop"],
        "sampler": old["sampler"],
    }


def pending_of(old: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a run that waited for approval."""
    *steps, last = map(step_of, old["steps"])
    return {
        "run_id": old["run_id"],
        "asked": {"prompt": old["prompt"], "passages": old["passages"], "architecture": old["base"]},
        "lines": [list(line) for line in zip(old["messages"], old["ids"], strict=True)],
        "steps": steps,
        "state": {
            "spent": {
                "seconds": old["seconds"],
                "ms": old["ms"],
                "tokens": sum(step["tokens"]["generated"] for step in (*steps, last)),
                "calls": old["made"],
            },
            "next": {"after": old["after"], "masked": old["masked"], "choices": old["forced"], "first": False},
            "guard": {"seen": len(old["messages"]) - 1, "records": old["gates"], "planned": old["planned"]},
            "retries": old["asked"],
            "compactions": old["compactions"],
            "ending": {"output": old["output"], "citations": old["citations"]},
            "sampler": old["sampler"],
        },
        "written": {"step": last, "contract": "code" if last["outcome"] == "code" else "calls", "calls": old["calls"]},
    }


def _written_of(old: Mapping[str, Any]) -> list[Any]:
    step = {"step": step_of(old["step"]), "contract": old["contract"], "calls": old["calls"]}
    return [step, old["line"]]


def _result_of(old: Mapping[str, Any]) -> dict[str, Any]:
    return {**old, "pending": old["pending"] and pending_of(old["pending"])}
