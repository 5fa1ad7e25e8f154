"""Typed functions: every kind of type, by a real call."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import ipaddress
import json
import pathlib
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Required,
    TypeVar,
    Union,
)

import annotated_types
import pytest
from pydantic import (
    AnyUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NaiveDatetime,
    RootModel,
    SecretStr,
    TypeAdapter,
    conint,
    constr,
)
from typing_extensions import TypedDict

from loraloop.tool_schemas import Bounds, GrammarCompiler, JsonSchema, Tool, render_tools
from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.grammar.walks import random_walk

T = TypeVar("T")
UserId = NewType("UserId", int)


class Shade(enum.Enum):
    DARK = "dark"
    LIGHT = "light"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(enum.StrEnum):
    YES = enum.auto()
    NO = enum.auto()


class Mixed(enum.Enum):
    ONE = 1
    TWO = "two"


@dataclasses.dataclass
class Size:
    """How large.

    Attributes:
        width: In metres.
    """

    width: int
    height: int = 1
    tags: list[str] = dataclasses.field(default_factory=list)


class Row(TypedDict):
    id: int
    note: NotRequired[str]


class Loose(TypedDict, total=False):
    id: Required[int]
    note: str


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Item(BaseModel):
    name: str = Field(min_length=1)
    price: float = Field(ge=0, description="In euros")


class Cart(BaseModel):
    """What is bought."""

    model_config = ConfigDict(extra="forbid")

    items: list[Item]
    by_name: dict[str, Item] = {}
    when: datetime.datetime | None = None


class Box(BaseModel, Generic[T]):
    content: T


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Names(RootModel[list[str]]):
    pass


class Exact(BaseModel):
    model_config = ConfigDict(strict=True)

    day: datetime.date
    n: int


class Aliased(BaseModel):
    from_: str = Field(alias="from")


def call(annotation: Any, given: Any, **options: Any) -> Any:
    """What a function whose one parameter has this type gets for this JSON value."""

    def f(x):
        return x

    f.__annotations__ = {"x": annotation}
    made = Tool.from_function(f, **options)
    return made.call({"x": json.loads(json.dumps(given))})


TYPES: list[tuple[Any, Any, Any]] = [
    (str, "a", "a"),
    (int, 3, 3),
    (float, 3, 3.0),
    (bool, True, True),
    (None, None, None),
    (Any, {"a": [1]}, {"a": [1]}),
    (object, [1], [1]),
    (Literal["a", "b"], "b", "b"),
    (Literal[1, 2], 2, 2),
    (Literal["a", 1, True, None], None, None),
    (Literal[Shade.DARK], "dark", Shade.DARK),
    (Annotated[int, Field(ge=1, le=5)], 5, 5),
    (Annotated[int, Field(gt=1), Field(lt=5)], 4, 4),
    (Annotated[int, annotated_types.Ge(1), annotated_types.MultipleOf(2)], 4, 4),
    (Annotated[str, Field(pattern=r"^[a-z]+\d$")], "ab1", "ab1"),
    (Annotated[list[int], Field(min_length=1, max_length=3)], [1], [1]),
    (conint(ge=3), 3, 3),
    (constr(max_length=3), "abc", "abc"),
    (int | str, "a", "a"),
    (Union[int, str], 1, 1),  # noqa: UP007
    (Optional[int], None, None),  # noqa: UP045
    (int | None, 4, 4),
    (Union[Cat, Dog], {"kind": "dog", "name": "Rex"}, Dog(kind="dog", name="Rex")),  # noqa: UP007
    (Annotated[Cat | Dog, Field(discriminator="kind")], {"kind": "cat"}, Cat(kind="cat")),
    (Shade, "light", Shade.LIGHT),
    (Level, 2, Level.HIGH),
    (Word, "yes", Word.YES),
    (Mixed, "two", Mixed.TWO),
    (list[Shade], ["dark"], [Shade.DARK]),
    (Size, {"width": 2}, Size(2)),
    (list[Size], [{"width": 2, "tags": ["a"]}], [Size(2, 1, ["a"])]),
    (Row, {"id": 1}, {"id": 1}),
    (Row, {"id": 1, "note": "n"}, {"id": 1, "note": "n"}),
    (Loose, {"id": 1}, {"id": 1}),
    (Item, {"name": "a", "price": 2}, Item(name="a", price=2)),
    (Cart, {"items": [{"name": "a", "price": 1}]}, Cart(items=[Item(name="a", price=1)])),
    (Box[int], {"content": 1}, Box[int](content=1)),
    (Box[Item], {"content": {"name": "a", "price": 1}}, Box[Item](content=Item(name="a", price=1))),
    (Tree, {"value": 1, "children": [{"value": 2}]}, Tree(value=1, children=[Tree(value=2)])),
    (Names, ["a", "b"], Names(["a", "b"])),
    (Aliased, {"from": "x"}, Aliased(**{"from": "x"})),
    (UserId, 7, 7),
    (list, [1, "a"], [1, "a"]),
    (dict, {"a": 1}, {"a": 1}),
    (list[int], [1, 2], [1, 2]),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, str], [1, "a"], (1, "a")),
    (Sequence[int], [1, 2], [1, 2]),
    (Iterable[int], [1, 2], [1, 2]),
    (collections.deque[int], [1, 2], collections.deque([1, 2])),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (Mapping[str, list[int]], {"a": [1]}, {"a": [1]}),
    (dict[str, Any], {"a": None}, {"a": None}),
    (datetime.date, "2024-02-29", datetime.date(2024, 2, 29)),
    (datetime.datetime, "2024-02-29T10:00:00Z", datetime.datetime(2024, 2, 29, 10, tzinfo=datetime.UTC)),
    (datetime.time, "10:30:00", datetime.time(10, 30)),
    (NaiveDatetime, "2024-02-29T10:00:00", datetime.datetime(2024, 2, 29, 10)),
    (datetime.timedelta, "P1DT2H", datetime.timedelta(days=1, hours=2)),
    (uuid.UUID, "12345678-1234-4678-9234-567812345678", uuid.UUID("12345678-1234-4678-9234-567812345678")),
    (pathlib.Path, "a/b", pathlib.Path("a/b")),
    (decimal.Decimal, 1.5, decimal.Decimal("1.5")),
    (bytes, "abc", b"abc"),
    (AnyUrl, "https://example.com/a", AnyUrl("https://example.com/a")),
    (ipaddress.IPv4Address, "10.0.0.1", ipaddress.IPv4Address("10.0.0.1")),
    (ipaddress.IPv6Address, "::1", ipaddress.IPv6Address("::1")),
    (SecretStr, "s", SecretStr("s")),
    (Annotated[int, BeforeValidator(lambda value: value)], 1, 1),
    (list[Literal[Shade.DARK, Shade.LIGHT]], ["light"], [Shade.LIGHT]),
    (Literal[Shade.DARK] | None, "dark", Shade.DARK),
    (Annotated[Literal[Level.HIGH], Field(description="d")], 2, Level.HIGH),
    (dict[str, Literal[Shade.DARK]], {"a": "dark"}, {"a": Shade.DARK}),
    (Exact, {"day": "2024-02-29", "n": 1}, Exact(day=datetime.date(2024, 2, 29), n=1)),
    (T, {"a": 1}, {"a": 1}),
    ("int | None", 1, 1),
    ("Tree", {"value": 1}, Tree(value=1)),
]


@pytest.mark.parametrize(("annotation", "given_", "wanted"), TYPES, ids=lambda it: str(it)[:40])
def test_every_type_arrives(annotation: Any, given_: Any, wanted: Any) -> None:
    got = call(annotation, given_)
    if annotation == Iterable[int]:
        got = list(got)
    assert got == wanted and isinstance(got, type(wanted))


def test_a_time_of_day_has_no_offset_and_compares_with_others() -> None:
    def is_early(at: datetime.time = datetime.time(9)) -> bool:
        """Whether it is before ten."""
        return at < datetime.time(10)

    made = Tool.from_function(is_early)
    assert made.call({"at": "09:30:00"}) and made.call({})
    assert "at?: string(HH:MM:SS) = " in render_tools([made])
    for annotation, wrong in ((datetime.time, "10:30:00Z"), (NaiveDatetime, "2024-02-29T10:00:00Z")):
        with pytest.raises(SchemaError, match="-local"):
            call(annotation, wrong)


CHECKED: list[tuple[Any, Any, Any]] = [  # a set's items differ, which a grammar cannot see to: checked while decoding
    (set[int], [1, 2], {1, 2}),
    (frozenset[str], ["a"], frozenset({"a"})),
    (dict[int, str], {"1": "a"}, {1: "a"}),
    (Pair, [1], Pair(1, "r")),
    (re.Pattern, "a+", re.compile("a+")),
    (fractions.Fraction, "1/3", fractions.Fraction(1, 3)),
]


@pytest.mark.parametrize(("annotation", "given_", "wanted"), CHECKED, ids=lambda it: str(it)[:40])
def test_types_that_need_check_mode(annotation: Any, given_: Any, wanted: Any) -> None:
    assert call(annotation, given_, on_unsupported="check") == wanted


class NotInstalled:
    """A type that needs a package, as pydantic's `EmailStr` does."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        raise ImportError("email-validator is not installed")


@pytest.mark.parametrize("annotation", [Callable[[int], int], type, memoryview, NotInstalled])
def test_types_without_a_json_form_say_so(annotation: Any) -> None:
    with pytest.raises(SchemaError, match=r"JSON|pydantic"):
        call(annotation, 1)


DECODED = [
    int,
    Annotated[float, Field(gt=0, lt=2)],
    bool | None,
    Literal["a", 1, None],
    Shade,
    Level,
    list[Literal[Shade.DARK, Shade.LIGHT]],
    Size,
    Row,
    Pair,
    Cart,
    Tree,
    Annotated[Cat | Dog, Field(discriminator="kind")],
    Box[Item],
    Exact,
    dict[str, int],
    tuple[int, str],
    set[Shade],
    datetime.date,
    datetime.datetime,
    datetime.time,
    NaiveDatetime,
    uuid.UUID,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    pathlib.Path,
    decimal.Decimal,
    bytes,
]


@pytest.mark.parametrize("annotation", DECODED, ids=lambda it: str(it)[:40])
def test_whatever_is_decoded_reaches_the_function(annotation: Any, compiler: GrammarCompiler) -> None:
    def f(x):
        return x

    f.__annotations__ = {"x": annotation}
    made = Tool.from_function(f, on_unsupported="check")
    vocabulary = compiler.vocabulary
    term = JsonSchema(made.parameters, Bounds(text=12, items=3, keys=2, key=8, number=1e6), "check")
    grammar = compiler.compile(term)
    adapter = TypeAdapter(annotation)
    for seed in range(5):
        got = made.call(json.loads(random_walk(grammar, vocabulary, seed)))
        adapter.validate_python(got)  # of the declared type
