"""Typed functions: every docstring style, every kind of callable, defaults, local types."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import enum
import functools
import json
from typing import Annotated, Any, NotRequired

import pytest
from pydantic import BaseModel, BeforeValidator, Field
from typing_extensions import TypedDict, Unpack

from loraloop.tool_schemas import Tool, render_tools, tool
from loraloop.tool_schemas.errors import SchemaError, ToolError
from loraloop.tool_schemas.tools.context import Context


class Shade(enum.Enum):
    DARK = "dark"
    LIGHT = "light"


@dataclasses.dataclass
class Size:
    """How large.

    Attributes:
        width: In metres.
    """

    width: int
    height: int = 1
    tags: list[str] = dataclasses.field(default_factory=list)


class Item(BaseModel):
    name: str = Field(min_length=1)
    price: float = Field(ge=0, description="In euros")


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


def properties(made: Tool) -> dict[str, Any]:
    return made.parameters["properties"]


DOCSTRINGS = {
    "google": """
    Books a room.

    For one night.

    Args:
        day (str): The day: of arrival,
            as a date.
        room: Which room.
            Defaults to the small one.

    Returns:
        The booking.

    Raises:
        KeyError: Never.
    """,
    "numpy": """
    Books a room.

    For one night.

    Parameters
    ----------
    day : str
        The day: of arrival,
        as a date.
    room : int, optional
        Which room.
        Defaults to the small one.

    Returns
    -------
    dict
        The booking.
    """,
    "sphinx": """
    Books a room.

    For one night.

    :param str day: The day: of arrival,
        as a date.
    :param room: Which room.
        Defaults to the small one.
    :type room: int
    :returns: The booking.
    :raises KeyError: Never.
    """,
    "epytext": """
    Books a room.

    For one night.

    @param day: The day: of arrival,
        as a date.
    @type day: str
    @param room: Which room.
        Defaults to the small one.
    @return: The booking.
    """,
}


@pytest.mark.parametrize("style", DOCSTRINGS)
def test_docstrings(style: str) -> None:
    def book(day: str, room: int = 1) -> dict[str, Any]:
        return {"day": day, "room": room}

    book.__doc__ = DOCSTRINGS[style]
    made = Tool.from_function(book)
    assert " ".join(made.description.split()) == "Books a room. For one night."
    assert " ".join(properties(made)["day"]["description"].split()) == "The day: of arrival, as a date."
    assert properties(made)["room"]["description"].split() == [
        "Which",
        "room.",
        "Defaults",
        "to",
        "the",
        "small",
        "one.",
    ]
    assert "- room?: integer = 1 - Which room. Defaults to the small one." in render_tools([made])
    assert made.call({"day": "x"}) == {"day": "x", "room": 1}


def test_numpy_names_that_share_a_description() -> None:
    def area(a: int, b: int) -> int:
        """Area.

        Parameters
        ----------
        a, b : int
            A side.
        """
        return a * b

    assert [each["description"] for each in properties(Tool.from_function(area)).values()] == ["A side.", "A side."]


def test_descriptions_in_annotations_go_before_the_docstring() -> None:
    class Doc:
        documentation = "from Doc"

    def f(
        a: Annotated[int, "plain"], b: Annotated[int, Field(description="field")], c: Annotated[int, Doc()], d: int
    ) -> None:
        """F.

        Args:
            a: No.
            b: No.
            c: No.
            d: Yes.
        """

    told = [each["description"] for each in properties(Tool.from_function(f)).values()]
    assert told == ["plain", "field", "from Doc", "Yes."]


class Desk:
    """A desk.

    Args:
        city: Where it is.
    """

    def __init__(self, city: str = "Paris") -> None:
        self.city = city

    def greet(self, name: str, /, times: int = 1) -> str:
        """Greets.

        Args:
            name: Whom.
        """
        return f"{self.city}: {name}" * times

    @classmethod
    def open(cls, city: str) -> str:
        """Opens."""
        return cls(city).city

    @staticmethod
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    def __call__(self, word: str) -> str:
        """Says."""
        return f"{self.city} says {word}"


class Later:
    """Answers later."""

    async def __call__(self, n: int) -> int:
        return n + 1


def timed(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@timed
def shown(a: int, *, b: Shade = Shade.DARK) -> list[Any]:
    """Shown."""
    return [a, b]


def secret(query: str, key: str, limit: int = 3) -> list[Any]:
    """Searches.

    Args:
        query: What for.
        key: Not for the model.
    """
    return [query, key, limit]


async def later(n: int) -> int:
    """Answers later."""
    return n + 1


@pytest.mark.parametrize(
    ("function", "name", "description", "arguments", "wanted"),
    [
        (Desk("Rome").greet, "greet", "Greets.", {"name": "Ann"}, "Rome: Ann"),
        (Desk.open, "open", "Opens.", {"city": "Bern"}, "Bern"),
        (Desk.add, "add", "Adds.", {"a": 1, "b": 2}, 3),
        (Desk("Oslo"), "Desk", "A desk.", {"word": "hi"}, "Oslo says hi"),
        (shown, "shown", "Shown.", {"a": 1, "b": "light"}, [1, Shade.LIGHT]),
        (functools.partial(secret, key="k"), "secret", "Searches.", {"query": "q"}, ["q", "k", 3]),
        (functools.partial(secret, "q", key="k"), "secret", "Searches.", {"limit": 5}, ["q", "k", 5]),
        (functools.partial(functools.partial(secret, "q"), "k"), "secret", "Searches.", {}, ["q", "k", 3]),
        (Size, "Size", "How large.", {"width": 2}, Size(2)),
        (dataclasses.make_dataclass("Plain", [("n", int)]), "Plain", "", {"n": 2}, None),
        (later, "later", "Answers later.", {"n": 1}, 2),
        (Later(), "Later", "Answers later.", {"n": 1}, 2),
        (functools.partial(later), "later", "Answers later.", {"n": 1}, 2),
    ],
    ids=lambda it: None,
)
def test_callables_of_every_kind(
    function: Any, name: str, description: str, arguments: dict[str, Any], wanted: Any
) -> None:
    made = Tool.from_function(function)
    got = made.call(arguments)
    if asyncio.iscoroutine(got):
        got = asyncio.run(got)
    assert made.name == name and made.description == description
    assert "key" not in properties(made)  # what a partial fills in is neither shown nor given by the model
    assert wanted is None or got == wanted


class Options(TypedDict):
    limit: Annotated[int, Field(ge=1, description="How many")]
    shade: NotRequired[Shade]


class More(Options, total=False):
    size: Size


def test_keywords_that_a_typed_dict_lists() -> None:
    def f(query: str, **options: Unpack[More]) -> list[Any]:
        """Searches.

        Args:
            size: How large.
        """
        return [query, options]

    made = Tool.from_function(f)
    assert made.parameters["required"] == ["query", "limit"] and list(properties(made)) == [
        *("query", "limit", "shade", "size"),
    ]
    assert "default" not in json.dumps(properties(made)["shade"]) and properties(made)["limit"]["minimum"] == 1
    assert made.call({"query": "a", "limit": 2}) == ["a", {"limit": 2}]
    got = made.call({"query": "a", "limit": 2, "shade": "dark", "size": {"width": 3}})
    assert got == ["a", {"limit": 2, "shade": Shade.DARK, "size": Size(3)}]


def test_local_types_and_types_that_come_later() -> None:
    class Local(BaseModel):
        n: int

    def f(x: Local, y: list[Local] | None = None) -> Local:
        return x

    assert Tool.from_function(f).call({"x": {"n": 1}}) == Local(n=1)
    assert tool(name="g")(lambda: 3).call({}) == 3

    def lost(x: Nowhere) -> None: ...  # noqa: F821

    with pytest.raises(SchemaError, match="'Nowhere' is not defined; import"):
        Tool.from_function(lost)
    with pytest.raises(SchemaError, match="bound method"):
        Tool.from_function(Desk.greet)
    with pytest.raises(SchemaError, match="cannot be called"):
        Tool.from_function(3)  # type: ignore[arg-type]


def test_defaults_of_every_kind() -> None:
    def f(
        when: datetime.date = datetime.date(2024, 1, 1),
        shade: Shade = Shade.DARK,
        sizes: list[Size] = [Size(1)],  # noqa: B006, B008
        item: Item = Item(name="a", price=1),  # noqa: B008
        made: Annotated[list[int], Field(default_factory=lambda: [1])] = Field(default_factory=lambda: [2]),  # noqa: B008
        number: int = None,  # type: ignore[assignment]  # noqa: RUF013
        opaque: Any = object,
        kind: str = Field("x", alias="type"),
    ) -> list[Any]:
        return [when, shade, sizes, item, made, number, opaque, kind]

    made = Tool.from_function(f)
    shown_ = {name: schema.get("default", "nothing") for name, schema in properties(made).items()}
    assert shown_["when"] == "2024-01-01" and shown_["shade"] == "dark" and shown_["type"] == "x"
    assert shown_["sizes"] == [{"width": 1, "height": 1, "tags": []}] and shown_["item"] == {"name": "a", "price": 1.0}
    assert shown_["opaque"] == "nothing" and "required" not in made.parameters
    got = made.call({})
    assert got[0] == datetime.date(2024, 1, 1) and got[2] == [Size(1)] and got[4] in ([1], [2]) and got[5] is None
    assert made.call({"type": "y"})[7] == "y"

    def g(x: Annotated[list[int], Field(default_factory=list)]) -> list[int]:
        return x

    assert Tool.from_function(g).call({}) == []


def test_a_default_that_json_has_no_number_for_is_left_out() -> None:
    def f(limit: float = float("inf"), limits: list[float] = [1.0, float("-inf")]) -> list[Any]:  # noqa: B006
        return [limit, limits]

    class Limits(BaseModel):
        limit: float = float("inf")

    made = Tool.from_function(f)
    assert "default" not in properties(made)["limit"] and "required" not in made.parameters
    assert made.call({}) == [float("inf"), [1.0, float("-inf")]] and made.call({"limit": 2})[0] == 2
    assert Tool.from_model(Limits, lambda limits: limits.limit).call({}) == float("inf")


def test_a_context_may_be_optional() -> None:
    class Shop: ...

    def f(n: int, context: Context[Shop] | None = None) -> list[Any]:
        return [n, context]

    def g(n: int, context: Annotated[Context | None, "the run"]) -> list[Any]:
        return [n, context]

    made = Tool.from_function(f)
    assert list(properties(made)) == ["n"] and made.binding.deps is Shop
    given = Context(Shop())
    assert made.call({"n": 1}, given) == [1, given] and made.call({"n": 1}) == [1, None]
    assert Tool.from_function(g).call({"n": 1}, given) == [1, given]
    with pytest.raises(ToolError, match="takes a context"):
        Tool.from_function(g).call({"n": 1})


def test_a_model_that_contains_itself_shows_its_fields() -> None:
    made = Tool.from_model(Tree, lambda tree: tree)
    assert "- value: integer" in render_tools([made])
    assert made.call({"value": 1, "children": [{"value": 2}]}).children[0].value == 2
    with pytest.raises(SchemaError):
        made.call({"value": 1, "children": [{"value": "x"}]})


def test_what_only_a_validator_finds_is_an_error_with_its_path() -> None:
    def f(n: Annotated[int, BeforeValidator(lambda value: 1 // (value - 3))], item: Item) -> int:
        return n

    with pytest.raises(ToolError, match="ZeroDivisionError"):
        Tool.from_function(f).call({"n": 3, "item": {"name": "a", "price": 1}})
    with pytest.raises(SchemaError) as caught:
        Tool.from_function(f).call({"n": 4, "item": {"name": "", "price": 1}})
    assert caught.value.path == "$.item.name"


def test_options_hold_also_where_the_decorator_is_called_with_a_function() -> None:
    def add(a: int) -> int:
        """Add."""
        return a

    made = tool(add, name="plus", description="Adds.", timeout=0.5, retries=3, strict=False)
    assert (made.name, made.description, made.timeout, made.retries, made.strict) == ("plus", "Adds.", 0.5, 3, False)
    assert made == tool(name="plus", description="Adds.", timeout=0.5, retries=3, strict=False)(add)
    with pytest.raises(TypeError, match="timeot"):
        tool(add, timeot=0.5)  # type: ignore[call-overload]
