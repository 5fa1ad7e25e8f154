"""From logits to a token: drawing it, and thresholds where a text has two openings."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loraloop.agent.values.limits import check_number
from loraloop.tool_schemas.errors import InputError

_NUCLEUS = 256  # candidates looked at first; more only where they do not add up to top_p
_COLDEST, _HOTTEST = 1e-6, 1e30  # beyond them, logits that are divided by the temperature are no numbers


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. Temperature 0 is greedy, and then `top_p`, `min_p` and `seed` are not looked at.

    Attributes:
        temperature: Divides the logits.
        top_p: Keeps the most probable tokens that together reach this probability.
        min_p: Keeps tokens at least this probable, relative to the most probable one.
        seed: Makes a run repeatable; None draws a fresh one.
        stop: Strings, none of them empty, that end free text, of which they are no part; at any temperature.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    stop: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "min_p"):
            check_number(name, getattr(self, name))
        if self.seed is not None:
            check_number("seed", self.seed, least=0)
            if self.seed >= 2**64:
                raise InputError(f"seed is {self.seed}: use a number below 2**64")
        if not self.temperature >= 0:
            raise InputError(f"temperature is {self.temperature}: use 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}: use a value above 0 and up to 1")
        if not 0 <= self.min_p < 1:
            raise InputError(f"min_p is {self.min_p}: use a value from 0 to below 1")
        listed = isinstance(self.stop, Sequence) and not isinstance(self.stop, str)
        if not listed or not all(isinstance(each, str) and each for each in self.stop):
            raise InputError(f"stop is {self.stop!r}: give a list of texts, none of them empty")
        object.__setattr__(self, "stop", tuple(self.stop))


class Sampler:
    """Draws tokens for one run; its generator goes on from step to step.

    Attributes:
        sampling: The sampling settings.
        seed: What the generator began with, given or drawn; None where it is greedy.
    """

    __slots__ = ("_generator", "sampling", "seed")

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self.seed: int | None = None
        self._generator: torch.Generator | None = None
        if sampling.temperature > 0:
            self._generator = torch.Generator()
            if sampling.seed is not None:
                self._generator.manual_seed(sampling.seed)
            self.seed = self._generator.seed() if sampling.seed is None else sampling.seed

    @property
    def state(self) -> str:
        """Where the generator is, as text; empty where tokens are not drawn. Set it to go on from there."""
        if self._generator is None:
            return ""
        return b64encode(self._generator.get_state().numpy().tobytes()).decode("ascii")

    @state.setter
    def state(self, state: str) -> None:
        if self._generator is None or not state:
            return
        try:
            self._generator.set_state(torch.frombuffer(bytearray(b64decode(state, validate=True)), dtype=torch.uint8))
        except (ValueError, RuntimeError, TypeError) as error:
            raise InputError(f"the state of the sampling is damaged: {error}") from None

    def pick(self, logits: Tensor) -> int:
        """One token id from `logits[V]`; entries of -inf are never drawn."""
        if self._generator is None:
            return int(logits.argmax())
        how = self.sampling
        probabilities = torch.softmax(logits.float() / min(max(how.temperature, _COLDEST), _HOTTEST), -1).cpu()
        ids: Tensor | None = None
        if how.top_p < 1:
            probabilities, ids = _nucleus(probabilities, how.top_p)
        if how.min_p > 0:
            floor = probabilities.max() * how.min_p
            probabilities = probabilities.masked_fill(probabilities < floor, 0.0)
        index = int(torch.multinomial(probabilities, 1, generator=self._generator))
        return index if ids is None else int(ids[index])


def _nucleus(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The smallest set of most probable tokens that reaches `top_p`: (probabilities, ids)."""
    size, count = probabilities.numel(), _NUCLEUS
    while True:
        values, ids = probabilities.topk(min(count, size))
        before = values.cumsum(0) - values
        if count >= size or float(before[-1]) >= top_p:
            keep = before < top_p
            keep[0] = True
            return values[keep], ids[keep]
        count *= 8


class TwoWayChoice:
    """Weighs two ways in which a constrained text may go on, where they part; with a threshold it also takes one.

    The probability is the model's over the tokens that the grammar allows there: several tokens may begin the same
    way, and each counts for the way that its text is on. A token whose text is on both (a vocabulary may hold `[]`
    beside `[`) counts for the one that is written with it. A token that is on neither way stays open, and where it is
    the likeliest nothing is weighed. The probability does not depend on the threshold, nor on how tokens are sampled;
    so a lower threshold never takes the first way less often.

    Args:
        first: Beginning of the first text.
        second: Beginning of the second text; neither text begins with the other.
        piece: The bytes of a token.
        threshold: Probability of the first way from which it is taken, otherwise the second is; None: the sampler
            chooses among the tokens of both.
        written: The tokens in which the tokenizer writes each of the two texts.

    Attributes:
        probability: Probability of the first text; None until the two texts have parted.
    """

    def __init__(
        self,
        first: str,
        second: str,
        piece: Callable[[int], bytes],
        threshold: float | None = None,
        written: tuple[Sequence[int], Sequence[int]] = ((), ()),
    ) -> None:
        self._ways = first.encode(), second.encode()
        self._piece = piece
        self._written = written
        self.threshold = threshold
        self.probability: float | None = None

    def weigh_(self, ids: Sequence[int], logits: Tensor) -> None:
        """Looks at the logits `[V]` after `ids`, minus infinity where the grammar forbids a token; changed in place.

        Args:
            ids: The text so far.
            logits: Logits `[V]` of the next token.
        """
        if self.probability is not None:
            return
        head = b"".join(map(self._piece, ids))
        if not all(_along(head, way) for way in self._ways):
            return
        sides: tuple[list[int], list[int]] = [], []
        others: set[int] = set()
        undecided: list[int] = []
        for token in logits.isfinite().nonzero().flatten().tolist():
            on = [_along(head + self._piece(token), way) for way in self._ways]
            if not any(on):
                others.add(token)
                continue
            if on[0] == on[1]:
                on = [list(own[: len(ids) + 1]) == [*ids, token] for own in self._written]
            if on[0] != on[1]:
                sides[on[1]].append(token)
            else:
                undecided.append(token)
        if not all(sides) or int(logits.argmax()) in others:
            return
        weights = logits[[*sides[0], *sides[1]]].double().softmax(0)
        self.probability = float(weights[: len(sides[0])].sum())
        if self.threshold is not None:
            lost = sides[self.probability >= self.threshold]
            logits[[*lost, *undecided]] = float("-inf")


class EndChoice(TwoWayChoice):
    """Weighs whether a text ends before it begins against all that it may begin with.

    Args:
        end: The token that ends a text.
        threshold: Probability of the end from which it is taken; None: where it is the likelier.
    """

    def __init__(self, end: int, threshold: float | None = None) -> None:
        super().__init__("", "", lambda token: b"", 0.5 if threshold is None else threshold)
        self._end = end

    def weigh_(self, ids: Sequence[int], logits: Tensor) -> None:
        """Looks at the first logits `[V]`; see `TwoWayChoice.weigh_`."""
        others = logits.isfinite()
        others[self._end] = False
        if ids or self.probability is not None or not logits[self._end].isfinite() or not others.any():
            return
        self.probability = float(logits.double().softmax(0)[self._end])
        assert self.threshold is not None
        logits[others if self.probability >= self.threshold else self._end] = float("-inf")


def _along(text: bytes, way: bytes) -> bool:
    """Whether a text is on a way as far as both go."""
    size = min(len(text), len(way))
    return text[:size] == way[:size]
