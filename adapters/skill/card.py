"""The card of a skill: its description, method, contract, data and scores, as `card.json` beside its tensors."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from loraloop.adapters.methods import METHODS, SHARED, make_method
from loraloop.adapters.payload.sites import MODULES
from loraloop.adapters.skill.contracts import openings
from loraloop.adapters.skill.store import NAME, ROUTERS
from loraloop.tool_schemas.errors import SkillError, nearest_name

if TYPE_CHECKING:
    from loraloop.adapters.methods.method import Method

BARE = "none"
"""The name under which the bare base is addressed; no skill may take it."""

GONE = ("beams", "reranking", "ask_threshold")
"""Fields of cards of earlier versions that nothing reads any more; they are dropped when a card is read."""

WIDE = ("lora", "rslora", "dora", "adalora", "vera", "galore")
"""Methods with low-rank pairs, whose cards say a rank."""
TARGETED = (*WIDE, "ia3")
"""Methods that change linear modules, whose cards name them."""


def _not_reserved(name: str) -> str:
    if name in (BARE, ROUTERS):
        whose = "bare base" if name == BARE else "routers"
        raise ValueError(f"{name!r} is reserved for the {whose}; choose another name")
    return name


Name = Annotated[str, Field(pattern=f"^{NAME}$"), AfterValidator(_not_reserved)]
"""The name of a skill."""
Token = Annotated[int, Field(ge=0)]
Print = Annotated[str, Field(min_length=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


class Fingerprints(_Frozen):
    """Fingerprints of the base that the skill was trained on.

    Attributes:
        architecture: dimensions, tokenizer and chat template; another one makes the skill meaningless.
        weights: weights and quantization; another one may cost quality.
    """

    architecture: Print
    weights: Print


class DataSource(_Frozen):
    """One source of training records: its name, its licence, and how many records came from it.

    Attributes:
        name: Name of the data set.
        license: Licence as its publisher names it.
        n: Number of records.
    """

    name: str
    license: str
    n: Annotated[int, Field(ge=0)]


class Threshold(_Frozen):
    """The probability of the cautious outcome from which a step takes it: an unsafe verdict, no call, or no answer.

    Attributes:
        value: the probability. A skill without a threshold takes the likelier outcome.
        chosen: how the value was chosen: on which data, by which rule and command, and with which rates.
    """

    value: Annotated[float, Field(ge=0, le=1)]
    chosen: dict[str, JsonValue] = Field(default_factory=dict)


class Card(_Frozen):
    """A skill's card.

    Attributes:
        name: lower-case letters, digits, `-` and `_`; unique in a bank.
        description: one sentence for people and for the router's explanations.
        method: how the tensors become a payload; one of `methods.METHODS`.
        rank: r of the low-rank update; 0 for a method without one.
        alpha: numerator of its scaling.
        targets: modules that the skill changes; none for a method that changes no linear module.
        options: whatever else the method needs to know, by the names of its fields.
        invocation: token ids with which a branch begins; the base's generation prompt.
        activation: "branch" (active from the invocation on) or "full" (active on the whole context).
        contract: what the skill writes.
        threshold: of a verdict, a contradiction, calling nothing, or saying that nothing answers; only for these.
        asks: whether a skill that writes calls puts `null` in the place of a required argument that the user has not
            given, so that the user is asked for it.
        closes: whether a skill that writes text closes runs in the place of the base: it says what came of the tools'
            results, what failed, was denied or is not in the documents, and asks for missing arguments.
        talks: whether a skill that closes also answers, beside tools or documents, where nothing is to be called.
        fingerprints: of the base it was trained on.
        base: that base's name, for people.
        data: sources of the training records.
        scores: measured results by name.
        training: how it was made: objective, schedule, command.
        sha256: of `skill.safetensors`; filled in by `Skill.save`.
    """

    name: Name
    description: Annotated[str, Field(min_length=1)]
    method: str = "lora"
    rank: Annotated[int, Field(ge=0, le=4096)] = 0
    alpha: Annotated[float, Field(gt=0)] = 1.0
    targets: tuple[str, ...] = ()
    options: dict[str, JsonValue] = Field(default_factory=dict)
    invocation: tuple[Token, ...] = ()
    activation: Literal["branch", "full"] = "branch"
    contract: Literal["calls", "code", "answer", "verdict", "agreement", "text"] = "text"
    threshold: Threshold | None = None
    asks: bool = False
    closes: bool = False
    talks: bool = False
    fingerprints: Fingerprints
    base: str
    data: tuple[DataSource, ...] = ()
    scores: dict[str, JsonValue] = Field(default_factory=dict)
    training: dict[str, JsonValue] = Field(default_factory=dict)
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""

    @property
    def text_schema(self) -> dict[str, JsonValue] | None:
        """JSON Schema of what a text skill writes, as its recipe said; None for any text."""
        schema = self.training.get("schema") if self.contract == "text" else None
        return schema if isinstance(schema, dict) else None

    @field_validator("method")
    @classmethod
    def _known_method(cls, method: str) -> str:
        if method not in METHODS:
            near = nearest_name(method, METHODS)
            meant = f"did you mean {near!r}? Use" if near else "use"
            raise ValueError(f"unknown method {method!r}; {meant} one of {', '.join(METHODS)}")
        return method

    @model_validator(mode="after")
    def _whole_method(self) -> Card:
        needs = (("rank", WIDE), ("alpha", ("lora", "rslora", "dora")), ("targets", TARGETED))
        for name, methods in needs:
            if self.method in methods and name not in self.model_fields_set:
                raise ValueError(f"the field {name!r} is missing; add it")
        if self.method in WIDE and not self.rank:
            raise ValueError(f"rank: {self.method} needs at least 1")
        if self.method in TARGETED and not self.targets:
            raise ValueError(f"targets: {self.method} needs at least one module")
        if self.threshold is not None and openings(self.contract) is None:
            raise ValueError(
                "threshold: only verdicts, agreements, calls and answers have one, and this skill writes "
                f"{self.contract!r}; remove it"
            )
        if self.asks and self.contract != "calls":
            raise ValueError(f"asks: only calls can be asked for, and this skill writes {self.contract!r}; remove it")
        if self.closes and self.contract != "text":
            raise ValueError(f"closes: only text closes a run, and this skill writes {self.contract!r}; remove it")
        if self.talks and not self.closes:
            raise ValueError("talks: only a skill that closes runs talks; add closes, or remove it")
        return self

    @property
    def width(self) -> int:
        """The largest rank of a module: what a slot must hold."""
        patterns = self.options.get("rank_pattern")
        own = [rank for rank in patterns.values() if type(rank) is int] if isinstance(patterns, dict) else []
        return max([self.rank, *own])

    @field_validator("activation")
    @classmethod
    def _invoked(cls, activation: str, info: ValidationInfo) -> str:
        if activation == "branch" and not info.data.get("invocation", True):
            raise ValueError('"branch" needs the token ids of the invocation')
        return activation

    @field_validator("targets")
    @classmethod
    def _known_modules(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        for target in targets:
            if target not in MODULES:
                raise ValueError(f"{target!r} is not one of {', '.join(MODULES)}")
        if len(set(targets)) != len(targets):
            raise ValueError("a module is named twice")
        return targets

    @classmethod
    def from_json(cls, text: str, where: str = "card.json") -> Card:
        """Reads a card.

        Args:
            text: the file's content.
            where: what to call the file in errors.

        Raises:
            SkillError: not JSON, a missing, wrong or unknown field (with the nearest known one).
        """
        try:
            content = json.loads(text)
        except ValueError as error:
            raise SkillError(f"{where} is not JSON ({error}): export the skill again") from None
        except RecursionError:
            raise SkillError(f"{where} is nested too deeply to be a card: export the skill again") from None
        if isinstance(content, dict):
            content = {name: value for name, value in content.items() if name not in GONE}
        return cls.checked(content, where)

    @classmethod
    def read(cls, path: Path) -> Card:
        """Reads a card's file; raises SkillError as `from_json` does, and where the file cannot be read."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SkillError(f"{path} cannot be read ({error}): restore the file") from None
        return cls.from_json(text, str(path))

    @classmethod
    def checked(cls, content: Any, where: str = "card") -> Card:
        """Validates a dictionary; raises SkillError as `from_json` does."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise SkillError(f"{where}: {_explain(error)}") from None

    def to_json(self) -> str:
        """The card as indented JSON with a final newline; the threshold, `asks` and `closes` only where set."""
        unset = {name for name in ("threshold", "asks", "closes") if not getattr(self, name)}
        content = self.model_dump(mode="json", exclude=unset)
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def method_of(card: Card) -> Method:
    """The method with the hyper-parameters of a card."""
    own = {field.name for field in fields(METHODS[card.method])}
    shared = {name: value for name in SHARED if name in own and (value := getattr(card, name))}
    return make_method(card.method, {**shared, **card.options})


def _explain(error: ValidationError) -> str:
    """The first problem of a validation, in words."""
    problem = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in problem["loc"][:4])
    count = error.error_count()
    more = f" (and {count - 1} more)" if count > 1 else ""
    if problem["type"] == "extra_forbidden":
        field = str(problem["loc"][-1])
        known = [name for model in (Card, Threshold, Fingerprints, DataSource) for name in model.model_fields]
        near = nearest_name(field, known)
        return f"unknown field {path!r}; {f'did you mean {near!r}? ' if near else ''}Remove it or correct it{more}"
    if problem["type"] == "missing":
        return f"the field {path!r} is missing; add it{more}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{path + ': ' if path else ''}{message}{more}"
