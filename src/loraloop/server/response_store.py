"""Responses that are kept, in the database of the sessions: any server that shares it answers for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from loraloop.server.errors import ApiError
from loraloop.server.runs import owner_of
from loraloop.server.state import key_of, state_of
from loraloop.tool_schemas.jsontext import dumps

if TYPE_CHECKING:
    from fastapi import Request

    from loraloop.agent.sessions.store import SessionStore
    from loraloop.server.wire import ChatMessage

KEPT = 1000
"""Responses of one owner that are kept; the oldest go."""


class ResponseStore:
    """The responses of one owner.

    Args:
        database: Where they are kept.
        owner: Hash of whose they are; see `owner_of`.
    """

    def __init__(self, database: SessionStore, owner: str) -> None:
        self._database, self._owner = database, owner

    def add(self, document: dict[str, Any], messages: Sequence[ChatMessage]) -> None:
        """Keeps a response, and the conversation up to its end."""
        conversation = dumps([message.model_dump(exclude_none=True) for message in messages])
        values = (document["id"], self._owner, document["created_at"], conversation, dumps(document))
        with self._database.writing() as database:
            database.execute(
                "INSERT INTO responses (id, owner, created, messages, body) VALUES (?, ?, ?, ?, ?)", values
            )
            database.execute(
                "DELETE FROM responses WHERE owner = ? AND id NOT IN "
                "(SELECT id FROM responses WHERE owner = ? ORDER BY created DESC LIMIT ?)",
                (self._owner, self._owner, KEPT),
            )

    def get(self, response_id: str) -> tuple[str, str]:
        """A response's conversation and its document, as JSON texts.

        Raises:
            ApiError: 404, there is none.
        """
        with self._database.reading() as database:
            statement = "SELECT messages, body FROM responses WHERE id = ? AND owner = ?"
            found: tuple[str, str] | None = database.execute(statement, (response_id, self._owner)).fetchone()
        if found is None:
            raise missing(response_id)
        return found

    def delete(self, response_id: str) -> None:
        """Removes a response; those that go on with it have their conversations of their own.

        Raises:
            ApiError: 404, there is none.
        """
        with self._database.writing() as database:
            statement = "DELETE FROM responses WHERE id = ? AND owner = ?"
            if not database.execute(statement, (response_id, self._owner)).rowcount:
                raise missing(response_id)


def missing(response_id: str) -> ApiError:
    """The error for a response that is not there, or another's."""
    return ApiError(404, f"there is no response {response_id!r}: it may be too old", "response_not_found")


def store_of(request: Request) -> ResponseStore:
    """The kept responses of whoever asks.

    Raises:
        ApiError: 400, the server keeps none.
    """
    sessions = state_of(request).sessions
    if sessions is None:
        message = "send the whole conversation with store: false, or start it with --state or --sessions"
        raise ApiError(400, f"this server keeps no responses: {message}", "unsupported", "store")
    return ResponseStore(sessions.database, owner_of(key_of(request)))
