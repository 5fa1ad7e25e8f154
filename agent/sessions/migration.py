"""Bringing a file of sessions that loraloop 0.1 wrote (format 1) to the format of now."""

from __future__ import annotations

import sqlite3


def migrate(database: sqlite3.Connection) -> None:
    """Changes the tables and rows of format 1 in the transaction that is open."""
    database.execute("ALTER TABLE sessions ADD COLUMN owner TEXT NOT NULL DEFAULT ''")
