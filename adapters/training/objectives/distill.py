"""Distillation of a teacher's next-token distributions (arXiv 1503.02531): a larger base, or the same with a skill."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from loraloop.adapters.base import Base
from loraloop.adapters.base.decoder.decoder import Decoder
from loraloop.adapters.base.training_view import training_view
from loraloop.adapters.payload.payload import Payload
from loraloop.adapters.training.forward.scored import Reader, Scored
from loraloop.adapters.training.objectives.head import cross_entropy, divergence
from loraloop.adapters.training.objectives.objective import Objective
from loraloop.tool_schemas.errors import InputError


class Teacher(Protocol):
    """A model whose distributions over the next token are learnt."""

    @property
    def identity(self) -> str: ...

    def states(self, reader: Reader, scored: Scored) -> tuple[Decoder, Tensor]:
        """The teacher's decoder and states `[M, H]` before the batch's completion tokens."""
        ...


@dataclass(frozen=True, slots=True)
class SkillTeacher:
    """The student's own base with another skill: it reads the student's trunks, so only branches are computed."""

    payload: Payload = field(repr=False)
    identity: str = "skill"

    def states(self, reader: Reader, scored: Scored) -> tuple[Decoder, Tensor]:
        """The student's own decoder, and the skill's states `[M, H]` before the batch's completion tokens."""
        return reader.decoder, reader.read(scored.examples, self.payload, past=scored.past).states


class BaseTeacher:
    """Another base with the same tokenizer.

    Raises:
        InputError: if the tokenizers differ.
    """

    def __init__(self, teacher: Base, student: Base) -> None:
        words = [[base.tokenizer.token_bytes(token) for token in _probe(base)] for base in (teacher, student)]
        if words[0] != words[1] or not _same_words(teacher, student):
            raise InputError(
                f"{teacher.name} has another tokenizer than {student.name}: distil its texts instead "
                "(`loraloop data teacher`), or take a teacher of the same family"
            )
        self.identity = teacher.fingerprints.weights
        self._reader = Reader(training_view(teacher))

    def states(self, reader: Reader, scored: Scored) -> tuple[Decoder, Tensor]:
        """The teacher's decoder and its states `[M, H']` before the batch's completion tokens, H' its own size."""
        return self._reader.decoder, self._reader.read(scored.examples, None).states


@dataclass(frozen=True, slots=True)
class Distill(Objective):
    """Mean KL(teacher || student) a completion token, times the temperature's square, mixed with cross-entropy.

    Attributes:
        teacher: whose distributions are learnt.
        temperature: softens both distributions.
        share: of the divergence; the rest is the cross-entropy of the data's own tokens.
    """

    teacher: Teacher
    temperature: float = 1.0
    share: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0 or not 0 < self.share <= 1:
            raise InputError("distillation's temperature must be positive, its share lie in 0..1 and not be 0")

    @property
    def name(self) -> str:
        return f"distill(temperature={self.temperature:g}, share={self.share:g}, teacher={self.teacher.identity})"

    def loss(self, reader: Reader, scored: Scored) -> Tensor:
        """The summed divergence from the teacher, mixed with the summed cross-entropy: `[]`."""
        with torch.no_grad():
            decoder, taught = self.teacher.states(reader, scored)
        loss = self.share * divergence(reader.decoder, scored.states, decoder, taught, self.temperature)
        if self.share < 1:
            loss = loss + (1 - self.share) * cross_entropy(reader.decoder, scored.states, scored.targets)
        return loss


def _probe(base: Base) -> range:
    """Some of the tokens that every vocabulary of this size has."""
    return range(0, base.tokenizer.vocab_size, max(1, base.tokenizer.vocab_size // 997))


def _same_words(teacher: Base, student: Base) -> bool:
    text = 'def f(x): return x**2  # naïve 東京 {"a": [1, 2]}\n\tTo be, or not to be?'
    return teacher.tokenizer.encode(text) == student.tokenizer.encode(text)
