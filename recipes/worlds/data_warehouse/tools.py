"""A data warehouse: schemas in pages with cursors, columns, lineage, scheduled jobs and their runs, grants."""

import random
from typing import Any, Literal

Privilege = Literal["read", "write", "own"]
SCHEMAS = {
    "fin": ("invoices", "payments", "ledger_lines", "fx_rates", "budgets", "cost_centers", "accruals"),
    "ops": ("shipments", "stock_moves", "returns", "carrier_scans", "pick_lists", "shift_plans"),
    "mkt": ("campaigns", "clicks", "leads", "coupons", "newsletter_opens", "surveys", "ad_spend"),
    "hr": ("headcount", "absences", "trainings", "applications"),
}
COLUMNS = (
    "id",
    "created_at",
    "amount",
    "currency",
    "country",
    "status",
    "owner_id",
    "updated_at",
    "quantity",
    "source",
)
PEOPLE = (
    "Ingrid Solheim", "Marek Dvorak", "Ayesha Rahman", "Tobias Kern", "Lucia Ferrante", "Owen Pritchard",
    "Naledi Khumalo", "Jan Wouters", "Beatriz Salgado", "Hiro Matsuda", "Sanne Visser", "Piers Hallam",
)  # fmt: skip
TEAMS = ("team-lark", "team-heron", "team-wren", "team-kite")
TYPES = {"amount": "decimal(18,2)", "created_at": "timestamp", "updated_at": "timestamp", "quantity": "int"}
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    tables: dict[str, Any] = {}
    for schema, names in SCHEMAS.items():
        for name in names:
            columns = rng.sample(COLUMNS, rng.randrange(4, 7))
            tables[f"{schema}.{name}"] = {
                "rows": rng.randrange(1200, 90_000_000),
                "owner": rng.choice(("team-lark", "team-heron", "team-wren", "team-kite")),
                "columns": {column: TYPES.get(column, "varchar") for column in columns},
                "fresh_as_of": f"2026-09-{rng.randrange(12, 22)}T0{rng.randrange(1, 7)}:{rng.randrange(10, 59)}Z",
                "contains_personal_data": schema == "hr" or rng.random() < 0.2,
            }
    names = sorted(tables)
    for name in names:
        tables[name]["built_from"] = rng.sample([other for other in names if other != name], rng.randrange(0, 3))
    jobs: dict[str, Any] = {}
    for name in rng.sample(names, 20):
        state = rng.choice(("succeeded", "succeeded", "failed"))
        job = f"load_{name.replace('.', '__')}"
        jobs[job] = {
            "table": name,
            "cron": f"{rng.randrange(0, 60)} {rng.randrange(1, 6)} * * *",
            "paused": False,
            "last": state,
            "runs": [
                {
                    "run": f"r-{rng.randrange(16**6):06x}",
                    "day": f"2026-09-{21 - back}",
                    "state": state if back == 0 else rng.choice(("succeeded", "failed")),
                    "minutes": rng.randrange(2, 140),
                    "message": rng.choice(("disk quota reached", "column currency not found", "source timed out")),
                }
                for back in range(3)
            ],
        }
        for run in jobs[job]["runs"]:
            if run["state"] == "succeeded":
                run["message"] = "ok"
    STATE.clear()
    people = {
        name: {
            "user": f"u{number}",
            "team": rng.choice(TEAMS),
            "role": f"p_{name.split()[1].casefold()}_{number % 100}",
        }
        for name, number in zip(PEOPLE, rng.sample(range(2000, 9999), len(PEOPLE)), strict=True)
    }
    teams = {
        team: {"lead": lead, "channel": f"#{team[5:]}-{rng.choice(('help', 'desk', 'talk'))}"}
        for team, lead in zip(TEAMS, rng.sample(PEOPLE, len(TEAMS)), strict=True)
    }
    STATE.update(tables=tables, jobs=jobs, grants=[], backfills=[], people=people, teams=teams, messages=[])
    return STATE


def _table(table: str) -> dict[str, Any]:
    if table not in STATE["tables"]:
        raise ValueError(f"table {table} does not exist; list_schema shows the tables of a schema")
    return STATE["tables"][table]  # type: ignore[no-any-return]


def list_schema(schema: Literal["fin", "ops", "mkt", "hr"], cursor: str | None = None) -> dict[str, Any]:
    """Names of the tables of a schema, five at a time.

    Args:
        schema: The schema.
        cursor: `next_cursor` of the page before; left out for the first page.
    """
    names = [name for name in STATE["tables"] if name.startswith(schema + ".")]
    start = int(cursor[1:]) if cursor else 0
    following = f"c{start + 5}" if start + 5 < len(names) else None
    return {"tables": names[start : start + 5], "next_cursor": following}


def describe_table(table: str) -> dict[str, Any]:
    """Rows, owner, columns with types, freshness (UTC) and the tables that a table is built from.

    Args:
        table: Schema, a point, name.
    """
    return {"table": table, **_table(table)}


def downstream_of(table: str) -> dict[str, Any]:
    """The tables that are built from a table, which break if it breaks.

    Args:
        table: Schema, a point, name.
    """
    _table(table)
    return {
        "table": table,
        "used_by": [name for name, found in STATE["tables"].items() if table in found["built_from"]],
    }


def job_for_table(table: str) -> dict[str, Any]:
    """The job that loads a table; `job` is null where nothing loads it.

    Args:
        table: Schema, a point, name.
    """
    _table(table)
    job = next((name for name, found in STATE["jobs"].items() if found["table"] == table), None)
    return {"table": table, "job": job}


def run_history(job: str) -> list[dict[str, Any]]:
    """The three latest runs of a job, newest first: day, state, minutes, message.

    Args:
        job: Name of the job.
    """
    if job not in STATE["jobs"]:
        raise ValueError(f"no job {job}; job_for_table finds the job of a table")
    return list(STATE["jobs"][job]["runs"])


def backfill(
    job: str, first_day: str, last_day: str, priority: Literal["low", "normal", "urgent"] = "normal"
) -> dict[str, Any]:
    """Run a job again for each day of a range.

    Args:
        job: Name of the job.
        first_day: YYYY-MM-DD.
        last_day: YYYY-MM-DD, included.
        priority: Place in the queue: urgent goes before all other runs, low waits until nothing else is running.
    """
    run_history(job)
    if STATE["jobs"][job]["paused"]:
        return {"queued": 0, "error": "the job is paused: resume it first"}
    days = int(last_day[-2:]) - int(first_day[-2:]) + 1
    STATE["backfills"].append({"job": job, "days": days})
    return {"queued": days, "batch": f"bf-{len(job)}{days}{first_day[-2:]}"}


def switch_job(job: str, paused: bool, resume_on: str | None = None) -> dict[str, Any]:
    """Pause a job, or let it run again.

    Args:
        job: Name of the job.
        paused: True pauses it, false resumes it.
        resume_on: First day on which a paused job runs again by itself, YYYY-MM-DD. Left out, it stays paused.
    """
    run_history(job)
    if STATE["jobs"][job]["paused"] == paused:
        return {"job": job, "changed": False, "error": "already paused" if paused else "it was not paused"}
    STATE["jobs"][job]["paused"] = paused
    return {"job": job, "changed": True, "paused": paused, **({"resume_on": resume_on} if resume_on else {})}


def grant_access(table: str, role: str, privilege: Privilege = "read") -> dict[str, Any]:
    """Give a role access to a table.

    Args:
        table: Schema, a point, name.
        role: The role.
        privilege: What it may do: look, also change rows, or everything up to dropping the table.
    """
    if _table(table)["contains_personal_data"]:
        return {"granted": False, "error": "personal data: the data protection officer has to approve (form DP-7)"}
    STATE["grants"].append({"table": table, "role": role})
    return {"granted": True, "table": table, "role": role, "privilege": privilege}


def find_person(name: str) -> dict[str, Any]:
    """A colleague: user number, team and database role.

    Args:
        name: First and last name.
    """
    for each, found in STATE["people"].items():
        if each.casefold() == name.casefold().strip():
            return {"name": each, **found}
    raise ValueError(f"nobody called {name} works here")


def team_card(team: str) -> dict[str, Any]:
    """Who leads a team, and its chat channel.

    Args:
        team: Name of the team, as tables give their owner.
    """
    if team not in STATE["teams"]:
        raise ValueError(f"no team {team}")
    return {"team": team, **STATE["teams"][team]}


def message_user(user: str, text: str) -> str:
    """Send a colleague a chat message.

    Args:
        user: User number, u and four digits.
        text: What it says.
    """
    if user not in {found["user"] for found in STATE["people"].values()}:
        raise ValueError(f"no user {user}")
    STATE["messages"].append({"user": user, "text": text})
    return "delivered"


def paged(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A schema of two pages."""
    schema = rng.choice(("fin", "ops", "mkt"))
    return {"schema": schema, "count": len(SCHEMAS[schema]), "last": f"{schema}.{SCHEMAS[schema][-1]}"}


def used_table(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A table that another one is built from."""
    used = {source for found in STATE["tables"].values() for source in found["built_from"]}
    return {"table": rng.choice(sorted(used))}


def loaded(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A job with its table and its last run."""
    job = rng.choice(sorted(STATE["jobs"]))
    found = STATE["jobs"][job]
    return {"job": job, "table": found["table"], **{f"run_{name}": value for name, value in found["runs"][0].items()}}


def failed(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A job whose last run failed."""
    job = rng.choice([job for job, found in sorted(STATE["jobs"].items()) if found["last"] == "failed"])
    return {"job": job, "table": STATE["jobs"][job]["table"], "message": STATE["jobs"][job]["runs"][0]["message"]}


def fine(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A job whose last run went well."""
    job = rng.choice([job for job, found in sorted(STATE["jobs"].items()) if found["last"] == "succeeded"])
    return {"job": job, "table": STATE["jobs"][job]["table"]}


def unloaded(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A table that no job loads."""
    known = {found["table"] for found in STATE["jobs"].values()}
    return {"table": rng.choice([name for name in sorted(STATE["tables"]) if name not in known])}


def open_place(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A table on the first page of a schema that may be opened up, with its place there in words."""
    words = ("first", "second", "third", "fourth", "last")
    schema, place = rng.choice(
        [
            (schema, place)
            for schema in ("fin", "ops", "mkt")
            for place, name in enumerate(SCHEMAS[schema][:5])
            if not STATE["tables"][f"{schema}.{name}"]["contains_personal_data"]
        ]
    )
    return {"schema": schema, "say": words[place], "table": f"{schema}.{SCHEMAS[schema][place]}"}


TOOLS = [
    list_schema, describe_table, downstream_of, job_for_table, run_history, backfill, switch_job, grant_access,
    find_person, team_card, message_user,
]  # fmt: skip
