"""Which calls of a tool wait for approval: all, none, or those of which a function of the caller's says so."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING, Any, TypeAlias

from loraloop.tool_schemas.errors import SchemaError

if TYPE_CHECKING:
    from loraloop.tool_schemas.tools.context import Context

ApprovalRule: TypeAlias = "bool | Callable[..., bool]"
"""True, false, or a function of (arguments) or of (arguments, context)."""

log = logging.getLogger("loraloop.tool_schemas")


def check_rule(rule: object, called: str) -> None:
    """Checks a tool's `requires_approval`.

    Raises:
        SchemaError: It is neither true, false nor a plain function of one or two arguments.
    """
    if isinstance(rule, bool | None):
        return
    wanted = "use true, false, or a function of (arguments) or (arguments, context)"
    if not callable(rule):
        raise SchemaError(f"tool {called!r}: requires_approval is {rule!r}; {wanted}")
    if inspect.iscoroutinefunction(rule):
        raise SchemaError(
            f"tool {called!r}: requires_approval is an async function, which cannot be waited for here; {wanted}"
        )
    if not any(_takes(rule, count) for count in (1, 2)):
        raise SchemaError(f"tool {called!r}: requires_approval takes other parameters; {wanted}")


def says_so(rule: ApprovalRule, called: str, arguments: dict[str, Any], context: Context[Any]) -> bool:
    """Whether a call waits for approval. One of which the rule cannot say does.

    Args:
        rule: The tool's `requires_approval`.
        called: Name of the tool, for the log.
        arguments: Arguments of the call, which the rule is given.
        context: The run's context, which a rule of two parameters is given too.
    """
    if isinstance(rule, bool):
        return rule
    arguments = deepcopy(arguments)  # the rule decides about what runs, and changes none of it
    try:
        return bool(rule(arguments, context) if _takes(rule, 2) else rule(arguments))
    except Exception as error:
        log.warning("requires_approval of the tool %s failed, so the call waits for approval: %r", called, error)
        return True


def _takes(rule: Callable[..., bool], count: int) -> bool:
    try:
        inspect.signature(rule).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # a builtin that does not say what it takes
        return count == 1
    return True
