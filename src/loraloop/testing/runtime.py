"""A runtime whose steps write what a script says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base.tokenizer import common_prefix
from loraloop.adapters.skill.blank import blank_skill
from loraloop.agent.engine.generate import Delta, Generated, GenerateRequest
from loraloop.agent.engine.local import LocalEngine
from loraloop.agent.engine.sampler import Sampler, Sampling
from loraloop.agent.runtime import Runtime
from loraloop.router.decision import NONE
from loraloop.testing.base import scripted_base
from loraloop.testing.router import FollowingRouter
from loraloop.testing.script import Entry, Script, ScriptError, Written

if TYPE_CHECKING:
    from torch import Tensor

    from loraloop.adapters.base import Base, Message
    from loraloop.agent.engine.branch import Branch
    from loraloop.agent.runtime import Chooser

SKILLS = {"tools": "calls", "code": "code", "retrieval": "answer", "safety": "verdict"}
"""A scripted runtime's skills and the contract of each, as the shipped ones have them."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The input of the model for a step, and what it wrote.

    Attributes:
        skill: Which one the step ran on.
        messages: The transcript.
        extra_prompt: Text that only the step's branch had, up to and with the opening of the model's own message.
        text: What it wrote.
    """

    skill: str
    messages: tuple[Message, ...]
    extra_prompt: str
    text: str


class ScriptedRuntime(Runtime):
    """A runtime without a model: its steps write the texts of a script.

    All else is real: the loop, contracts and grammars, which have to allow each text, parsing, tools, limits, events.
    Tokens are bytes. A script is written in the order of the steps, over as many runs as it lasts.

    Args:
        steps: What is written, step by step: a plain text is the base's; see `calls`, `answer`, `code` and `verdict`.
        router: Chooses the skills; by default each step's own.
        skills: Names of skills and the contract of each.
        context: Positions (bytes) that a transcript may use.
        **options: Further ones of `Runtime`.

    Attributes:
        turns: What the model read and wrote, in order.

    Raises:
        InputError: If a step of the script is none.
    """

    def __init__(
        self,
        *steps: Entry,
        router: Chooser | None = None,
        skills: Mapping[str, str] = SKILLS,
        context: int | None = None,
        **options: Any,
    ) -> None:
        self.script = Script(steps)
        self.turns: list[Turn] = []
        base = scripted_base()
        bank = Bank(base, slots=max(1, len(skills)), rank=1)
        for name, contract in skills.items():
            bank.add(blank_skill(base, name, contract))
        super().__init__(base, bank, router or FollowingRouter(self.script), context=context, **options)

    def _local_engine(self, **options: Any) -> LocalEngine:
        return ScriptedEngine(self.script, self.turns, self.base, self.bank, self.router.layers, **options)

    def say(self, *steps: Entry) -> None:
        """Adds steps at the end of the script."""
        self.script.extend(steps)

    def assert_finished(self) -> None:
        """Raises ScriptError if steps of the script were never written."""
        left = self.script.left
        if left:
            listed = "\n".join(f"  {step.skill or 'any skill'}: {step.text}" for step in left)
            raise ScriptError(f"the script has {len(left)} steps more than the runs:\n{listed}")


class ScriptedEngine(LocalEngine):
    """An engine without a model; see `ScriptedRuntime`.

    Args:
        script: What is written, step by step.
        turns: Receives what the model read and wrote.
        base: Lays out the transcripts.
        bank: The skills.
        layers: Layers that the router reads.
        **options: Further ones of `LocalEngine`.
    """

    def __init__(
        self, script: Script, turns: list[Turn], base: Base, bank: Bank, layers: Sequence[int], **options: Any
    ) -> None:
        super().__init__(base, bank, layers, **options)
        self._script, self._turns = script, turns

    def generate(self, branch: Branch, request: GenerateRequest) -> Iterator[Delta | Generated]:
        """Writes the script's next text through the real generation; the sampler is not asked."""
        place, step = self._script.place, self._script.take()
        skill = branch.author.skill or NONE
        invocation = branch.tokenizer.decode(list(request.invocation), skip_special=False)
        self._turns.append(Turn(skill, tuple(branch.messages), invocation, step.text))
        if step.skill not in (None, skill):
            raise ScriptError(
                f"{place} is for the skill {step.skill!r}, but this step of the run is on {skill!r}, which was to "
                f"write {step.text!r}"
            )
        request = replace(request, other_invocation=())  # another beginning would ask the model
        if not step.enforced:
            request = replace(request, constraint=None, not_first=None)
        stops = () if request.constraint is not None else request.stops
        end = self.base.chat.closing[0]
        pen = Pen(place=place, step=step, branch=branch, start=len(request.invocation), end=end, stops=stops)
        for piece in super().generate(branch, replace(request, sampler=pen)):
            if isinstance(piece, Generated):
                pen.check(piece)
            yield piece


class Pen(Sampler):
    """Picks the tokens of one text, whatever the logits, where they are allowed.

    Args:
        place: Which step of the script this is, for messages.
        step: What to write.
        branch: Where it is written.
        start: Tokens of the invocation.
        end: The token that ends a message.
        stops: Strings before which the text ends, if it holds one.
    """

    def __init__(
        self, place: str, step: Written, branch: Branch, start: int, end: int, stops: Sequence[str] = ()
    ) -> None:
        super().__init__(Sampling())
        self._place, self._end = place, end
        self._branch, self._start = branch, start
        self._ids = branch.tokenizer.encode(step.text)
        self._text = branch.tokenizer.decode(self._ids, skip_special=False)
        self._bytes = self._text.encode()
        self._stops = tuple(stops)

    def pick(self, logits: Tensor) -> int:
        """The text's next token.

        Args:
            logits: Masked logits `[V]`; -inf where a token is not allowed.

        Raises:
            ScriptError: If the grammar of the step does not allow it, or has written something else.
        """
        tokenizer = self._branch.tokenizer
        done = b"".join(map(tokenizer.token_bytes, self._branch.ids[self._start :]))
        if not self._bytes.startswith(done):
            raise self._differs(self._parting(done))
        rest = self._bytes[len(done) :]
        token = self._ids[len(done)] if rest else self._end  # one a byte
        if logits[token] == float("-inf"):
            allowed = [tokenizer.token_bytes(i) for i in logits.isfinite().nonzero().flatten().tolist()[:12]]
            listed = ", ".join(_shown(each) for each in allowed) or "nothing"
            what = f"{_shown(rest[:20])} cannot follow {_shown(done[-40:])}" if rest else "it cannot end there"
            raise self._differs(f"{what}: the step's form allows {listed}")
        return token

    def check(self, out: Generated) -> None:
        """Raises ScriptError if a text that ended by itself is not the script's."""
        wanted = min((self._text.split(stop)[0] for stop in self._stops), key=len, default=self._text)
        if out.whole and out.text != wanted:
            raise self._differs(self._parting(out.text.encode()))

    def _parting(self, done: bytes) -> str:
        """Place from which on the written text differs."""
        same = common_prefix(list(self._bytes), list(done))
        after, wanted, scripted = done[max(0, same - 40) : same], done[same:][:40], self._bytes[same:][:40]
        return f"after {_shown(after)} the step's form has {_shown(wanted)} and not {_shown(scripted)}"

    def _differs(self, why: str) -> ScriptError:
        skill = self._branch.author.skill or NONE
        return ScriptError(
            f"{self._place} says {_clipped(self._text)!r}, which the skill {skill!r} cannot write here: {why}. Correct "
            "the script, or use text(…, enforced=False) for what a model could write without a grammar"
        )


def _clipped(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:100]} … {text[-60:]}"


def _shown(piece: bytes) -> str:
    return repr(piece.decode(errors="replace"))
