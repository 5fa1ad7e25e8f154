"""The skills of a runtime: their names, and each of them as a function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, overload

from loraloop.router.decision import NONE
from loraloop.tool_schemas.errors import InputError, UnknownNameError, unknown

if TYPE_CHECKING:
    from loraloop.agent.runtime import Runtime
    from loraloop.agent.skills.function import SkillFunction
    from loraloop.agent.skills.functions import (
        AnswerFunction,
        CallsFunction,
        CodeFunction,
        TextFunction,
        VerdictFunction,
    )

F = TypeVar("F", bound="SkillFunction[Any]")


class Skills(tuple[str, ...]):
    """Names of the skills that can be chosen, and each as a function: `skills.retrieval(question, passages)`.

    It is the tuple of the names. `skills["name"]` is the function of any skill, with the result of its contract;
    `skills["none"]` that of the bare base, which is not among the names. `skills.function("name", TextFunction)` is the
    same to a type checker, and checks the contract.
    """

    if TYPE_CHECKING:
        retrieval: AnswerFunction
        tools: CallsFunction
        code: CodeFunction
        safety: VerdictFunction
        none: TextFunction

    _runtime: Runtime

    def __new__(cls, runtime: Runtime) -> Skills:
        made = super().__new__(cls, runtime.bank.names)
        made._runtime = runtime
        return made

    def __reduce__(self) -> tuple[type[tuple[str, ...]], tuple[list[str]]]:
        return tuple, (list(self),)

    @overload
    def __getitem__(self, key: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[str, ...]: ...
    @overload
    def __getitem__(self, key: str) -> Any: ...
    def __getitem__(self, key: Any) -> Any:
        return self._function(key) if isinstance(key, str) else super().__getitem__(key)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._function(name)
        except UnknownNameError as error:
            raise AttributeError(str(error), name=name) from None

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(name for name in self if name.isidentifier()), NONE})

    def function(self, name: str, kind: type[F]) -> F:
        """A skill as a function of a class, such as `TextFunction`.

        Raises:
            UnknownNameError: Naming the nearest skill.
            InputError: Its contract is another.
        """
        made = self._function(name)
        if not isinstance(made, kind):
            raise InputError(f"skill {name!r} is a {type(made).__name__}, not a {kind.__name__}: ask for that class")
        return made

    def _function(self, name: str) -> SkillFunction[Any]:
        from loraloop.agent.skills.functions import FUNCTIONS

        if name != NONE and name not in self._runtime.bank:
            raise unknown("skill", name, (*self._runtime.bank.names, NONE))
        return FUNCTIONS[self._runtime.contract(name)](self._runtime, name)
