"""A router for a base that has none of its own: the embedded base reads the same transcript."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from threading import Lock
from typing import TYPE_CHECKING

from loraloop.adapters.base.tokenizer import common_prefix
from loraloop.router.card import shipped_routers
from loraloop.router.router import Router
from loraloop.tool_schemas.errors import LoraloopError
from loraloop.tool_schemas.tools.render import DEFINITIONS, render_tools

if TYPE_CHECKING:
    from torch import Tensor

    from loraloop.adapters.base import AnyCache, Base
    from loraloop.adapters.base.messages import Message
    from loraloop.adapters.base.prompting import Prompting
    from loraloop.router.decision import Route, RouterState, ScreenResult
    from loraloop.router.explain import Explanation
    from loraloop.router.features import RouterFeatures

WINDOW = 2048
"""Tokens of a transcript that are read at most."""
KEPT = 4096
"""Tokens whose keys and values are kept between two calls, over all transcripts."""
_CHUNK = 512  # tokens in one forward


@dataclass(slots=True)
class _Transcript:
    """A transcript that has been read: its tokens, their keys and values, and the features of its last message."""

    ids: list[int]
    cache: AnyCache
    features: RouterFeatures


class ProxyRouter:
    """A router for any base: the embedded base reads the same messages, and the router fitted on it decides.

    It stands wherever a `Router` does. The serving base keeps no hidden states for it (`layers` is empty), so that base
    can be any model, also one behind a server. Instead, `features` is given the transcript's messages, up to and
    including the one that is to be routed: `router.features(trunk.features(at), messages)` serves both kinds.

    A transcript that grows is read on from where the last call ended. Of one that is longer than the window, the system
    message and the latest messages are read. All methods may be called from any thread.

    Args:
        base: The base that reads.
        router: A router that was fitted on that base.
        wording: Texts of the serving base's prompts and what the router has learned to read in their place, such as
            the line before a list of tools.
        window: Tokens of a transcript that are read at most.
        kept: Tokens whose keys and values are kept between two calls, over all transcripts.
    """

    layers: tuple[int, ...] = ()

    def __init__(
        self,
        base: Base,
        router: Router,
        wording: Mapping[str, str] | None = None,
        window: int = WINDOW,
        kept: int = KEPT,
    ) -> None:
        router.check(base)
        self.base, self.router = base, router
        self._wording = dict(wording or {})
        self._window, self._limit = min(window, base.config.max_positions), kept
        self._read: list[_Transcript] = []  # the most recently used last
        self._lock = Lock()

    @classmethod
    def beside(cls, prompting: Prompting, base: Base | None = None) -> ProxyRouter:
        """A base with the router that ships for it, beside a base that has none.

        Args:
            prompting: Prompts of the base that serves. Its own words before a list of tools are read in the words that
                the embedded base's router knows.
            base: The base that reads; the embedded one where None.
        """
        base = base or _embedded()
        theirs, ours = prompting.tools_header, base.prompting.tools_header
        return cls(base, Router.load(base.name), {theirs: ours} if theirs != ours else None)

    @property
    def skills(self) -> tuple[str, ...]:
        """The skills that it can choose."""
        return self.router.skills

    @property
    def kept(self) -> int:
        """Tokens whose keys and values are kept now."""
        with self._lock:
            return sum(len(each.ids) for each in self._read)

    def features(self, kept: Mapping[int, Tensor], messages: Sequence[Message]) -> RouterFeatures:
        """Reads the last message of a transcript.

        Args:
            kept: Hidden states `[T, H]` of the serving base by layer, which are not used.
            messages: The transcript, up to and including the message that is to be routed.

        Raises:
            ValueError: There is no message.
        """
        if not messages:
            raise ValueError("there is no message to route: pass the transcript up to the message to be routed")
        ids, last = self._ids(messages)
        with self._lock:
            known = self._take(ids)
        found = known if known is not None and known.ids == ids else self._extended(known, ids, last)
        with self._lock:
            self._read.append(found)
            while len(self._read) > 1 and sum(len(each.ids) for each in self._read) > self._limit:
                del self._read[0]
        return found.features

    def screen(self, features: RouterFeatures) -> ScreenResult:
        """Whether the last message is unsafe; see `Router.screen`."""
        return self.router.screen(features)

    def choose(self, features: RouterFeatures, state: RouterState) -> Route:
        """Which skill the next step runs on; see `Router.choose`."""
        return self.router.choose(features, state)

    def explain(self, features: RouterFeatures, state: RouterState, nearest: int = 5) -> Explanation:
        """Why a step was routed as it was; see `Router.explain`."""
        return self.router.explain(features, state, nearest)

    def _ids(self, messages: Sequence[Message]) -> tuple[list[int], int]:
        """The tokens that are read, and how many of them are the last message's."""
        chat = self.base.chat
        whole = chat.complete(messages)
        parts = [
            self._shortened(chat.message(each.role, reworded(each.content, self._wording), not place))
            for place, each in enumerate(whole)
        ]
        head = parts[0] if whole[0].role == "system" and len(parts) > 1 else []
        body, start, size = parts[1:] if head else parts, 0, 0
        for index, part in enumerate(body):
            size += len(part)
            if len(head) + size > self._window:
                # Half of the window is given up at once: the transcripts that follow begin at the same message.
                while start < index and len(head) + size > self._window // 2:
                    size -= len(body[start])
                    start += 1
        return [*head, *(token for part in body[start:] for token in part)], len(parts[-1])

    def _shortened(self, ids: list[int]) -> list[int]:
        """A message's beginning and end, where it is longer than half of the window."""
        most = self._window // 2
        return ids if len(ids) <= most else [*ids[: most // 2], *ids[-(most - most // 2) :]]

    def _take(self, ids: list[int]) -> _Transcript | None:
        """The kept transcript that begins most like this one. One that `ids` goes on from leaves the store."""
        best, shared = None, 0
        for each in self._read:
            same = common_prefix(each.ids, ids)
            if same >= shared and same:
                best, shared = each, same
        if best is None or shared == len(best.ids):
            self._read = [each for each in self._read if each is not best]
            return best
        cache = best.cache.fork()
        cache.truncate(shared)
        return _Transcript(best.ids[:shared], cache, best.features)

    def _extended(self, known: _Transcript | None, ids: list[int], last: int) -> _Transcript:
        """Computes what is not known of a transcript, and the features of its last message."""
        import torch

        from loraloop.adapters.base import Row

        cache = self.base.new_cache() if known is None else known.cache
        first = len(ids) - last  # of the last message, whose states the router reads
        cache.truncate(min(cache.length, first))
        states: dict[int, list[Tensor]] = {layer: [] for layer in self.router.layers}
        while cache.length < len(ids):
            start = cache.length
            end = min(start + _CHUNK, len(ids)) if start >= first else min(start + _CHUNK, first)
            row = Row(ids[start:end], cache)
            kept = self.base.forward([row], keep=self.router.layers if start >= first else ()).kept
            for layer, found in kept.items():
                states[layer].append(found)
        read = self.router.features({layer: torch.cat(parts) for layer, parts in states.items()})
        return _Transcript(ids, cache, read)


def reworded(content: str, wording: Mapping[str, str]) -> str:
    """A message with words of the serving base's prompts in the words that a router knows; see `ProxyRouter`."""
    for theirs, ours in wording.items():
        content = _signatures(content, ours) if theirs == DEFINITIONS else content.replace(theirs, ours)
    return content


@lru_cache(64)
def _signatures(content: str, header: str) -> str:
    """A system message with the signatures of its tools, in the place of their definitions as JSON."""
    from loraloop.tool_schemas.tools.tool import Tool

    before, found, lines = content.rpartition(DEFINITIONS)
    if not found:
        return content
    try:
        tools = [Tool.from_schema(json.loads(line), on_unsupported="check") for line in lines.split("\n") if line]
    except (ValueError, LoraloopError):  # somebody else's words
        return content
    return before + render_tools(tools, header)


@cache
def _embedded() -> Base:
    """Loaded once a process, on the CPU: it is small, and a GPU is for the base that serves."""
    from loraloop.adapters.base import Base

    return Base.load(device="cpu")


def router_for(base: Base) -> Router | ProxyRouter:
    """The router that ships for a base; where none does, a `ProxyRouter` over the embedded base.

    Args:
        base: The base that serves.

    Raises:
        BaseModelError: The embedded base cannot be loaded.
    """
    shipped = shipped_routers()
    for name in sorted(shipped, key=lambda each: each != base.name):  # that of its name first
        router = Router.load(shipped[name])
        if router.card["fingerprints"]["architecture"] == base.fingerprints.architecture:
            return router
    return ProxyRouter.beside(base.prompting)
