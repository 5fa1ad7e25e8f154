"""The skills of a runtime: their names, and each of them as a function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from loraloop.agent.skills.functions import (
    FUNCTIONS,
    AnswerFunction,
    CallsFunction,
    CodeFunction,
    TextFunction,
    VerdictFunction,
)
from loraloop.router.decision import NONE
from loraloop.tool_schemas.errors import InputError, unknown

if TYPE_CHECKING:
    from loraloop.agent.skills.function import SkillFunction, SkillRuntime

F = TypeVar("F", bound="SkillFunction[Any]")


class Skills(Sequence[str]):
    """Names of the skills that can be chosen, in their order, and each as a function.

    `skills["name"]` is the function of any skill, with the result of its contract. `skills["none"]` is that of the bare
    base, which is not among the names. The skills that are shipped are attributes, and so are typed.
    `skills.function("name", TextFunction)` is the same for others.
    """

    def __init__(self, runtime: SkillRuntime) -> None:
        self._runtime = runtime
        checks = runtime.bank.with_contract("agreement")  # these look at answers, and no step runs on them
        self._names: tuple[str, ...] = tuple(name for name in runtime.bank.names if name not in checks)

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[str, ...]: ...
    @overload
    def __getitem__(self, key: str) -> Any: ...
    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return self._names[key]
        if key != NONE and key not in self._names:
            raise unknown("skill", key, (*self._names, NONE))
        return FUNCTIONS[self._runtime.contract(key)](self._runtime, key)

    if not TYPE_CHECKING:  # a type checker knows which attributes there are

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            found = f"it is skills[{name!r}]" if name in self._names else unknown("skill", name, (*self._names, NONE))
            raise AttributeError(f"skills.{name} is none of the shipped skills; {found}")

    def __repr__(self) -> str:
        return f"Skills({', '.join(self._names)})"

    def function(self, name: str, kind: type[F]) -> F:
        """A skill as a function of a class, such as `TextFunction`.

        Raises:
            UnknownNameError: There is no such skill; the nearest is named.
            InputError: The skill has another contract.
        """
        made = self[name]
        if not isinstance(made, kind):
            raise InputError(f"skill {name!r} is a {type(made).__name__}, not a {kind.__name__}: ask for that class")
        return made

    @property
    def retrieval(self) -> AnswerFunction:
        """Answers from passages."""
        return self.function("retrieval", AnswerFunction)

    @property
    def tools(self) -> CallsFunction:
        """Writes calls of tools."""
        return self.function("tools", CallsFunction)

    @property
    def code(self) -> CodeFunction:
        """Writes a program."""
        return self.function("code", CodeFunction)

    @property
    def safety(self) -> VerdictFunction:
        """Judges a text."""
        return self.function("safety", VerdictFunction)

    @property
    def none(self) -> TextFunction:
        """The bare base."""
        return self.function(NONE, TextFunction)
