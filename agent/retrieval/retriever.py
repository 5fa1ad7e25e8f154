"""Retrieval for runs: what a retriever is, and which of its passages a request is given."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from loraloop.adapters.skill.contracts import Passage, user_content
from loraloop.agent.messages import as_passages, user_message
from loraloop.agent.values.limits import check_list
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.agent.job import Job
    from loraloop.agent.runtime import Runtime

SHARE = 2
"""One part in so many of a runtime's context is what a request and its retrieved passages may take."""


@runtime_checkable
class Retriever(Protocol):
    """Finds passages for a question; `PassageIndex` is one. Asked by several threads at a time."""

    def retrieve(self, question: str, k: int) -> Sequence[Passage]:
        """At most `k` passages, the best first. Their ids differ, and mean the same in later runs."""
        ...


def find_passages(runtime: Runtime, retriever: Retriever, question: str, k: int) -> tuple[Passage, ...]:
    """The best passages for a request, as many as fit beside it; none for an empty one.

    Args:
        runtime: The runtime whose context the passages have to fit in.
        retriever: Where they come from.
        question: The request.
        k: Most passages.

    Raises:
        InputError: the retriever is async, or gives something else than passages, or two of one id.
    """
    if not question.strip():
        return ()
    found: Any = retriever.retrieve(question, k)
    if iscoroutine(found):
        found.close()
        raise InputError(f"retrieve of {retriever!r} is async: await it yourself, and give the run passages=…")
    check_list(f"what {retriever!r} retrieved", found)
    passages = as_passages(list(found)[:k])
    most = runtime.context // SHARE

    def size(count: int) -> int:
        return len(runtime.base.chat.message("user", user_content(question, passages[:count])))

    if size(len(passages)) <= most:
        return passages
    return passages[: bisect_right(range(1, len(passages)), most, key=size)]


def with_found(runtime: Runtime, retriever: Retriever, job: Job) -> Job:
    """The job of a run, with the passages that a retriever finds for its prompt; see `find_passages`."""
    passages = find_passages(runtime, retriever, job.prompt, job.limits.passages)
    if not passages:
        return job
    asked = user_message(job.prompt, passages, job.guard.trust_passages)
    return replace(job, passages=passages, messages=(*job.messages[:-1], asked))
