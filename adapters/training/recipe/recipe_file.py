"""Recipe files: one YAML document says base, data, method, objective, schedule, evaluation, router and output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from loraloop.adapters.skill.card import Name
from loraloop.adapters.training.recipe.recipe_lines import Lines, explain, read_yaml
from loraloop.tool_schemas.errors import InputError, SchemaError
from loraloop.tool_schemas.grammar.prepare import prepared

Contract = Literal["calls", "code", "answer", "verdict", "agreement", "text"]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Named(_Part):
    """A part that may be written as its name alone."""

    name: str

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class BaseChoice(_Named):
    """The base that the skill is trained for: a name of `loraloop bases`, a folder, a GGUF file or a hub id."""

    name: str = "smollm2-135m"
    quantize: str | None = None


class SkillPart(_Part):
    """The skill to train.

    Attributes:
        name: lower-case letters, digits, `-` and `_`; unique in a bank.
        description: one sentence for the card.
        contract: what it writes.
        schema: JSON Schema of what a `text` skill writes; every completion is checked against it, and the evaluation
            and the agent decode under it.
        closes: whether a `text` skill closes runs, in the place of the base; see `Card.closes`.
        talks: whether it also answers where nothing is to be called; see `Card.talks`.
        max_tokens: of one step, in the evaluation.
    """

    name: Name
    description: Annotated[str, Field(min_length=1)]
    contract: Contract = "text"
    form: dict[str, JsonValue] | None = Field(default=None, alias="schema")
    closes: bool = False
    talks: bool = False
    max_tokens: Count = 256

    @model_validator(mode="after")
    def _one_form(self) -> SkillPart:
        if self.form is not None and self.contract != "text":
            raise ValueError(f"a schema is for text skills; what {self.contract} looks like is fixed")
        if self.closes and (self.contract != "text" or self.form is not None):
            raise ValueError("closes: only a text skill without a schema closes runs; remove one of them")
        if self.talks and not self.closes:
            raise ValueError("talks: only a skill that closes runs talks; add closes: true, or remove it")
        if self.form is not None:
            try:
                prepared(dict(self.form), "check")
            except SchemaError as error:
                raise ValueError(f"schema: {error}") from None
        return self


class Source(_Part):
    """Where records come from: a file, or frozen data of this package.

    Attributes:
        file: JSON Lines, JSON, CSV or Parquet; relative to the recipe.
        frozen: a name of `recipes/data`, for records that were written for this project.
        public: a name of `recipes/data`, for records that are rebuilt from the folder of public sets (`data.folder`).
        license: of the records of a file: an SPDX identifier, or `proprietary`. It goes onto the skill's card.
        name: for the card; the file's name by default.
        form: how records are written; found out from the keys by default (see `readers.FORMS`).
        columns: the file's names for the form's keys, such as `{text: body, label: queue}`.
        instructions: system message put in front of records that have none.
        weight: how often a record is taken in an epoch: 2 takes each twice, 0.5 half of them.
        share: part of an epoch of `data.limit` records, in proportion to the shares of the other sources.
        limit: most records.
        where: only rows whose keys have one of these values, such as `{kind: [two_step, missing]}`;
            true, false and null in quotes, such as `{ok: ["true"]}`.
        turns: which turns of a dialogue become examples.
        generated_by: the model that wrote the records, if one did.
        terms: what its provider's terms, or the licence, say about the use of them.
    """

    file: str = ""
    frozen: str = ""
    public: str = ""
    license: str = ""
    name: str = ""
    form: str = "auto"
    columns: dict[str, str] = Field(default_factory=dict)
    instructions: str = ""
    weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    share: Annotated[float | None, Field(gt=0)] = None
    limit: Count | None = None
    where: dict[str, list[str]] = Field(default_factory=dict)
    turns: Literal["all", "last"] = "all"
    generated_by: str = ""
    terms: str = ""

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if sum(map(bool, (self.file, self.frozen, self.public))) != 1:
            raise ValueError("give one of file, frozen and public")
        if self.file and not self.license:
            raise ValueError("license is missing: add the SPDX identifier of the file's records, or `proprietary`")
        return self

    @property
    def title(self) -> str:
        """The source's name in messages and on the card."""
        return self.name or Path(self.file).name or self.frozen or f"{self.public}.public"


class Data(_Part):
    """The training data.

    Attributes:
        sources: at least one.
        folder: of the public sets, for sources that are `public`; relative to the recipe.
        validation: share of the records that is kept out of training and chooses the checkpoint. Frozen data has a
            part for it.
        longest: tokens beyond which a record is left out; a step's cost is linear in them.
        limit: most training records over all sources.
        on_error: whether a broken record stops the run or is left out.
    """

    sources: Annotated[list[Source], Field(min_length=1)]
    folder: str = ""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.05
    longest: Count = 1024
    limit: Count | None = None
    on_error: Literal["refuse", "skip"] = "refuse"

    @model_validator(mode="after")
    def _whole_mixture(self) -> Data:
        shares = [source.share is not None for source in self.sources]
        if any(shares) and not (all(shares) and self.limit):
            raise ValueError("a mixture needs a share of every source, and data.limit")
        return self


class NamedOptions(_Named):
    """A method or an objective by its name, and its options."""

    model_config = ConfigDict(extra="allow")

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Evaluation(_Part):
    """What the skill is measured on: records that training never sees.

    Attributes:
        sources: files of their own; none takes `share` of the data.
        share: of the records, where there are no files.
        limit: most records that are measured.
        told: a sentence that describes the task, for the base that was told as a third system.
        enabled: whether anything is measured.
    """

    sources: list[Source] = Field(default_factory=list)
    share: Share = 0.1
    limit: Count = 100
    told: str = ""
    enabled: bool = True


class RouterPart(_Part):
    """The examples from which the router learns when to choose the skill.

    Attributes:
        examples: requests that the skill should serve, or a file with one a line; those of the training data if none.
        not_examples: requests on its topic that it should not serve, in the same forms.
        limit: most examples.
        enabled: whether the router is refitted.
        start: folder of the router that the skill is added to; the registered one, else the shipped one, if none.
    """

    examples: list[str] | str = Field(default_factory=list)
    not_examples: list[str] | str = Field(default_factory=list)
    limit: Annotated[int, Field(ge=10)] = 60
    enabled: bool = True
    start: str = ""


class Output(_Part):
    """The output of a training.

    Attributes:
        folder: relative to the recipe; holds `skill/`, `router/`, `checkpoints/` and the report.
        register: whether the skill is also copied to the user's skills, where its name finds it.
        merged: whether the base with the trained parameters in it is written too: `merged/`, a Hugging Face folder.
        dtype: of the saved tensors; int8 is for low-rank matrices (see `adapters.skill.codes`).
    """

    folder: str = ""
    registered: bool = Field(default=True, alias="register")
    merged: bool = False
    dtype: Literal["bfloat16", "float32", "int8"] = "bfloat16"


class RecipeFile(_Part):
    """A whole recipe. `method` and `schedule` are checked by the methods' and the trainer's own types.

    Attributes:
        start: a skill of the same method that training begins from: a name, or a folder.
    """

    base: BaseChoice = BaseChoice()
    skill: SkillPart
    data: Data
    method: NamedOptions = NamedOptions.model_validate({"name": "lora", "rank": 8, "alpha": 16})
    objective: NamedOptions = NamedOptions(name="sft")
    start: str = ""
    schedule: dict[str, JsonValue] = Field(default_factory=dict)
    evaluation: Evaluation = Evaluation()
    router: RouterPart = RouterPart()
    output: Output = Output()


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe and where it came from.

    Attributes:
        content: what it says.
        folder: what its relative paths are relative to.
        where: its name, for messages and for the card.
        lines: the line of each of its values.
    """

    content: RecipeFile
    folder: Path
    where: str
    lines: Lines

    def path(self, name: str) -> Path:
        """A path of the recipe."""
        return self.folder / Path(name).expanduser()

    @property
    def output(self) -> Path:
        """The folder that everything is written to."""
        return self.path(self.content.output.folder or f"build/{self.content.skill.name}")

    def at(self, *path: str | int) -> str:
        """A place in the file, for messages."""
        return self.lines.at(path)


def read_recipe(source: str | Path | Mapping[str, Any], *, data: str | Path = "", output: str | Path = "") -> Recipe:
    """Reads a recipe from a YAML file, or takes it as a mapping.

    Args:
        source: The file, or its content.
        data: The folder of the public sets, in place of the recipe's `data.folder`.
        output: The folder to write to, in place of the recipe's `output.folder`.

    Raises:
        InputError: it cannot be read, a key is unknown (with the nearest one), or a value is wrong; each with its line.
    """
    if isinstance(source, Mapping):
        document, lines, folder, where = dict(source), Lines("recipe", {}), Path.cwd(), "recipe"
    else:
        path = Path(source)
        document, lines = read_yaml(path)
        folder, where = path.resolve().parent, path.name
    try:
        content = RecipeFile.model_validate(document)
    except ValidationError as error:
        raise InputError(explain(error, RecipeFile, lines)) from None
    for name, part, given in (("data", content.data, data), ("output", content.output, output)):
        if given:
            moved = part.model_copy(update={"folder": str(Path(given).expanduser().resolve())})
            content = content.model_copy(update={name: moved})
    return Recipe(content, folder, where, lines)
