"""The tables that sessions are kept in, for every kind of database, and the versions of their schema."""

from __future__ import annotations

VERSION = 4
"""Version of the schema: ``PRAGMA user_version`` of an SQLite file, ``loraloop.schema_version`` in PostgreSQL."""

_CHANGES = {
    2: """
CREATE TABLE sessions (key {key}, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL, updated DOUBLE PRECISION NOT NULL, version INTEGER NOT NULL,
    owner TEXT NOT NULL DEFAULT '');
CREATE TABLE messages (session BIGINT NOT NULL REFERENCES sessions (key) ON DELETE CASCADE, place INTEGER NOT NULL,
    body TEXT NOT NULL, PRIMARY KEY (session, place));
CREATE TABLE runs (session BIGINT NOT NULL REFERENCES sessions (key) ON DELETE CASCADE, run INTEGER NOT NULL,
    run_id TEXT NOT NULL, started DOUBLE PRECISION NOT NULL, ended DOUBLE PRECISION, asked TEXT NOT NULL, state TEXT,
    written TEXT, stop_reason TEXT, result TEXT, PRIMARY KEY (session, run));
CREATE TABLE steps (session BIGINT NOT NULL REFERENCES sessions (key) ON DELETE CASCADE, run INTEGER NOT NULL,
    step INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (session, run, step));
CREATE TABLE calls (session BIGINT NOT NULL REFERENCES sessions (key) ON DELETE CASCADE, run INTEGER NOT NULL,
    step INTEGER NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, arguments TEXT NOT NULL,
    begun DOUBLE PRECISION NOT NULL, times INTEGER NOT NULL, ended DOUBLE PRECISION, record TEXT,
    PRIMARY KEY (session, run, step, number))
""",
    3: """
CREATE TABLE hosted_runs (id TEXT PRIMARY KEY, owner TEXT NOT NULL, state TEXT NOT NULL, server TEXT NOT NULL,
    started DOUBLE PRECISION NOT NULL, summary TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX hosted_runs_of_owners ON hosted_runs (owner, started)
""",
    4: """
CREATE TABLE responses (id TEXT PRIMARY KEY, owner TEXT NOT NULL, created DOUBLE PRECISION NOT NULL,
    messages TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX responses_of_owners ON responses (owner, created)
""",
}


def changes(version: int, key: str) -> list[str]:
    """The SQL statements that bring a schema of a version to the one of now.

    Args:
        version: What the database has; 0 for an empty one.
        key: The SQL type of a primary key that the database numbers.
    """
    return [
        statement.format(key=key)
        for number, text in _CHANGES.items()
        if number > version
        for statement in text.split(";")
    ]
