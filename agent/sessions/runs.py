"""How a run gets its session: the history that it goes on from, or what it was asked before it was interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from loraloop.agent.job import NO_JOURNAL, Journal
from loraloop.agent.messages import check_prompt
from loraloop.agent.values.checkpoint import RunRequest
from loraloop.tool_schemas.errors import InputError, SessionError

if TYPE_CHECKING:
    from loraloop.agent.sessions.sessions import Session, Sessions
    from loraloop.agent.values.checkpoint import Checkpoint

_OBJECTS = ("policy", "deps", "output_type", "guard")  # what a run is given that is no data


def as_sessions(sessions: Sessions | str | PathLike[str] | None) -> Sessions | None:
    """A store, or the file of one."""
    if sessions is None:
        return None
    from loraloop.agent.sessions.sessions import Sessions

    return sessions if isinstance(sessions, Sessions) else Sessions(sessions)


def in_session(
    store: Sessions | None, architecture: str, prompt: str, options: dict[str, Any]
) -> tuple[Journal, str, dict[str, Any]]:
    """The journal, the prompt and the options of a run, which may be one in a session.

    Args:
        store: Where sessions are that are named by their ids.
        architecture: Fingerprint of the base that runs it.
        prompt: Empty to go on with what was interrupted.
        options: The caller's options of the run; `session` and `on_unfinished` are taken out of them.

    Raises:
        InputError: There is no session, a prompt that is no text, or options that a resumed run cannot have.
        SessionError: See `Session.journal`; or the run was begun on another base, or with options that are missing.
        SessionBusyError: Another runner has it.
    """
    session, on_unfinished = options.pop("session", None), options.pop("on_unfinished", None)
    if session is None and on_unfinished is None:
        return NO_JOURNAL, prompt, options
    if session is None:
        raise InputError("on_unfinished is about the calls of a session: give session=… too")
    check_prompt(prompt)
    session = _found(store, session)
    journal = session.journal(prompt, on_unfinished)
    objects = _objects(options)
    if journal.interrupted is not None:
        return (
            journal,
            journal.interrupted.asked.prompt,
            _filled(journal.interrupted.asked, architecture, objects, options),
        )
    added = tuple(options.get("messages", ()))
    if not prompt.strip() and not added:
        raise SessionError(f"session {session.id!r} has no interrupted run to go on with: give a prompt")
    skill, tool_choice = options.get("skill"), options.get("tool_choice")
    journal.asked = RunRequest(
        "", skill=_plain(skill), tool_choice=_plain(tool_choice), objects=objects, architecture=architecture
    )
    return journal, prompt, {**options, "messages": (*journal.history, *added)}


def _filled(asked: RunRequest, architecture: str, objects: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    """The options of a run that is resumed: what it was asked, and what was given again."""
    if asked.architecture != architecture:
        raise SessionError(
            "the run that was interrupted used another base, whose tokens this one cannot read: resume it with that "
            "base, or end it as it is (session.give_up(), or `loraloop sessions give-up`) and send a new message"
        )
    missing = [f"{name}=…" for name in asked.objects if name not in objects]
    if missing:
        raise SessionError(f"the interrupted run was started with {', '.join(missing)}: pass the same again")
    wrong = [name for name in ("messages", "passages", "skill", "tool_choice") if options.get(name)]
    if wrong:
        raise InputError(f"a resumed run keeps the options that it began with: leave out {', '.join(wrong)}")
    kept = {"passages": asked.passages, "skill": asked.skill, "tool_choice": asked.tool_choice}
    return {**options, **kept}


def _objects(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the options of a run that it needs again when it is resumed."""
    objects = tuple(name for name in _OBJECTS if options.get(name) is not None)
    return objects if options.get("execute_tools", True) else (*objects, "execute_tools")


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def after_approval(
    store: Sessions | None,
    architecture: str,
    session: Session | str | None,
    pending: Checkpoint,
    options: dict[str, Any],
) -> Journal:
    """The journal of a run that goes on, once its calls that waited are decided: in a session, a turn of its own.

    Args:
        store: The agent's sessions; None where it has none, so that a session has to be given as an object.
        architecture: Fingerprint of the base's architecture, which says who can read the tokens.
        session: The session in which the run waits, or its id; None for a run outside all sessions.
        pending: The run that waits.
        options: What the run is given again; which objects are among it is noted, since no file can hold them.

    Raises:
        SessionError: The session does not wait for approval, or waits with other calls than the run; or the run waits
            in a session, and none is given.
        SessionBusyError: Another runner has it.
        InputError: `session` is neither a session nor an id, or it is an id and there is no store.
    """
    if session is None and "session" in pending.asked.objects:
        raise SessionError("the run waits in a session, where its calls could be decided once more: give session=… too")
    if session is None:
        return NO_JOURNAL
    found = _found(store, session)
    journal, last = found.journal("", approval=True), found.result
    if last is None or last.pending is None or last.pending.mark != pending.mark:
        raise SessionError(
            f"session {found.id!r} waits with other calls than these, which were decided before or are of another "
            "session: decide about those of session.result.pending"
        )
    objects = _objects(options)
    journal.asked = RunRequest("", objects=objects, architecture=architecture)
    return journal


def _found(store: Sessions | None, session: Session | str) -> Session:
    from loraloop.agent.sessions.sessions import Session

    if isinstance(session, Session):
        return session
    if not isinstance(session, str):
        raise InputError(f"session is {session!r}: give a Session, or its id")
    if store is None:
        raise InputError(f"session={session!r}: give the agent its sessions, Agent(…, sessions='FILE'), or a Session")
    return store.session(session)
