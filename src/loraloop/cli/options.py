"""Options that several commands share: a group of them is a dataclass, and `command` makes its fields options."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from loraloop.inputs.loading import BaseName, SkillsFolder, forced_skills, open_runtime
from loraloop.tool_schemas.errors import InputError, file_errors

if TYPE_CHECKING:
    from loraloop.agent import Agent, Fallback, PassageIndex, Runtime
    from loraloop.tool_schemas import McpServer, NetworkPolicy, Tool

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Prompt = Annotated[str, typer.Argument(help="The request; `-` reads it from standard input.")]
Quantize = Annotated[str | None, typer.Option("--quantize", help="int4, int8, bf16, fp32 or nf4.")]
PassageFile = Annotated[Path | None, typer.Option("--passages", help='JSON list of {"id", "text", "title"}.')]
Instructions = Annotated[str, typer.Option("--instructions", help="The system message.")]
Python = Annotated[bool, typer.Option("--python", help="Run the code that the agent writes, in a sandbox.")]


@dataclass(frozen=True, slots=True)
class BaseOptions:
    """Which base a command loads, and with which skills."""

    base: BaseName = "smollm2-135m"
    bare: Annotated[
        bool, typer.Option("--bare", help="Run the base alone, without trained skills and router; --skill chooses.")
    ] = False
    own_calls: Annotated[bool, typer.Option("--own-calls", help="With --bare: calls in the base's format.")] = False
    quantize: Quantize = None
    skills_folder: SkillsFolder = None
    keep_prefixes: Annotated[
        bool,
        typer.Option(help="Keep what is computed of instructions and tools in the cache folder, for the next start."),
    ] = True
    connect: Annotated[str, typer.Option(metavar="URL", help="A server that writes the steps; see --engine.")] = ""
    engine: Annotated[str, typer.Option(help="What --connect leads to: vllm, sglang, or openai for any other.")] = (
        "openai"
    )
    connect_key_env: Annotated[str, typer.Option(help="Environment variable with the key for --connect.")] = ""
    eyes: Annotated[
        str, typer.Option(help="With --connect, who chooses skills: a base here, or a server (its address).")
    ] = "smollm2-135m"
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SKILL=FOLDER",
            help="With --connect, an exported skill to load into the server, again after its restart; repeatable.",
        ),
    ] = None

    def open(self, quiet: bool = False) -> Runtime:
        """Loads the base with its skills and router, or bare; see `open_runtime`. Or connects to a server.

        Args:
            quiet: Show no progress.

        Raises:
            InputError: An option is of a base in this process, and a server is given; or one has no meaning.
        """
        if not all("=" in each for each in self.adapter or ()):
            raise InputError("give --adapter as SKILL=FOLDER")
        usual = BaseOptions()
        for name in () if self.connect else ("adapter", "engine", "eyes", "connect_key_env"):
            if getattr(self, name) != getattr(usual, name):
                option = f"--{name.replace('_', '-')}"
                raise InputError(f"{option} is of a server that writes the steps: give its address (--connect)")
        if self.connect:
            from loraloop.agent import Runtime

            if self.bare or self.own_calls or self.quantize or self.skills_folder:
                raise InputError(
                    "--connect leaves the model to a server: leave out --bare, --own-calls, --quantize and --skills"
                )
            named = None if self.base == usual.base else self.base
            folders = {name: Path(folder) for name, _, folder in (each.partition("=") for each in self.adapter or ())}
            return Runtime.connect(
                self.connect,
                base=named,
                eyes=self.eyes,
                engine=self.engine,  # type: ignore[arg-type]
                skills=folders or None,
                key=secret(self.connect_key_env),
            )
        return open_runtime(
            self.base,
            self.quantize,
            quiet,
            bare=self.bare,
            skills=self.skills_folder,
            keep_prefixes=self.keep_prefixes,
            own_calls=self.own_calls,
        )

    def folders(self, runtime: Runtime) -> list[Path]:
        """The folders of the skills that an opened runtime should have now."""
        from loraloop.adapters.skill.registry import built_skills, fitting_skills

        if self.bare or self.connect:
            return []
        return built_skills(self.skills_folder)[0] if self.skills_folder else [*fitting_skills(runtime.base).values()]


def secret(variable: str) -> str:
    """What a variable holds, without blanks around it, which no client can send; empty where none is named.

    Raises:
        InputError: It is empty.
    """
    value = os.environ.get(variable, "").strip() if variable else ""
    if variable and not value:
        raise InputError(f"the variable {variable} is empty: put the key there")
    return value


AllowLocal = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-local",
        metavar="HOST[:PORT]",
        help="A service of this machine or network that tools of OpenAPI documents may reach; repeatable.",
    ),
]


def policy_of(local: list[str] | None) -> NetworkPolicy | None:
    """The network policy that `--allow-local` gives; None: the default."""
    from loraloop.tool_schemas import NetworkPolicy

    return NetworkPolicy.local(*local) if local else None


@dataclass(frozen=True, slots=True)
class ToolSources:
    """Where a command's tools come from."""

    tools: Annotated[
        list[str] | None, typer.Option(help="File or folder of tools, or module:attribute; repeatable.")
    ] = None
    mcp: Annotated[
        list[str] | None, typer.Option(help='An MCP server: its command line ("python server.py") or URL.')
    ] = None

    allow_local: AllowLocal = None

    def load(self, enter: Callable[[McpServer], McpServer]) -> list[Tool]:
        """Reads the tools; see `tools_from_sources`."""
        from loraloop.inputs.tool_sources import tools_from_sources

        return tools_from_sources(self.tools, self.mcp, enter, policy_of(self.allow_local))


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """What an agent is made of besides its base and tools, and the limits of a run."""

    skill: Annotated[
        list[str] | None, typer.Option(help="Skill of the first step, or a skill's folder (with a slash); repeatable.")
    ] = None
    docs: Annotated[
        list[Path] | None, typer.Option(help="Folder or file of text, Markdown or HTML to answer from; repeatable.")
    ] = None
    instructions: Instructions = ""
    python: Python = False
    tool_choice: Annotated[str, typer.Option(help="auto, required, none, or a tool's name.")] = "auto"
    max_steps: Annotated[int, typer.Option(help="Maximum number of steps of a run.")] = 12
    max_tokens: Annotated[int, typer.Option(help="Maximum number of tokens that a run may generate.")] = 4096
    deadline: Annotated[float | None, typer.Option(help="Maximum seconds of a run.")] = None
    temperature: Annotated[float, typer.Option(help="Sampling temperature; 0 is greedy.")] = 0.0
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0
    screen: Annotated[bool, typer.Option(help="Refuse unsafe requests.")] = True
    ask: Annotated[
        list[str] | None,
        typer.Option(help="Tool whose calls need approval (`all`: every tool), besides those that say so."),
    ] = None
    fallback: Annotated[
        str,
        typer.Option(
            metavar="URL", help="API of a larger model, which writes a step where the router abstains or checks fail."
        ),
    ] = ""
    fallback_model: Annotated[
        str, typer.Option(help="That model's name there; by default the first that it lists.")
    ] = ""
    fallback_key_env: Annotated[str, typer.Option(help="Environment variable with the key for --fallback.")] = ""

    def settings(self, runtime: Runtime, index: PassageIndex | None) -> dict[str, Any]:
        """The arguments of `Agent` that these options give, without instructions; skills from folders are loaded."""
        from loraloop.agent import Limits, Policy, Sampling
        from loraloop.agent.guard.guard import default_guard
        from loraloop.agent.values.policy import ALL

        guard = default_guard(runtime)
        return {
            "python": self.python,
            "limits": Limits(max_steps=self.max_steps, run_tokens=self.max_tokens, deadline=self.deadline),
            "policy": Policy(
                skills=forced_skills(runtime, self.skill or []),
                tool_choice=self.tool_choice,
                needs_approval=frozenset(ALL if name == "all" else name for name in self.ask or ()),
            ),
            "sampling": Sampling(temperature=self.temperature, seed=self.seed),
            "retriever": index,
            "guard": guard if self.screen else replace(guard, input=None),
            "fallback": self._fallback(),
        }

    def _fallback(self) -> Fallback | None:
        """The larger model that these options name; None for none.

        Raises:
            InputError: It has no address, or its key is empty.
        """
        from loraloop.agent import Fallback

        if self.fallback:
            return Fallback(self.fallback, self.fallback_model, key_env=self.fallback_key_env)
        if self.fallback_model or self.fallback_key_env:
            raise InputError("--fallback-model and --fallback-key-env are of a fallback: give its address (--fallback)")
        return None

    def agent(self, runtime: Runtime, tools: list[Tool], index: PassageIndex | None, **more: Any) -> Agent[Any, Any]:
        """An agent with these options."""
        from loraloop.agent import Agent

        return Agent(runtime, tools, self.instructions, **self.settings(runtime, index), **more)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A function whose parameters include groups of options, as the function that typer expects.

    Each parameter that is annotated with a dataclass is replaced by the dataclass's fields, which become options; the
    function receives one filled instance.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for each in inspect.signature(function).parameters.values():
        if each.name not in groups:
            parameters.append(each.replace(annotation=hints[each.name], kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        inside = get_type_hints(groups[each.name], include_extras=True)
        for field in fields(groups[each.name]):
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            parameters.append(
                inspect.Parameter(
                    field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=inside[field.name]
                )
            )

    @functools.wraps(function)
    def called(**values: Any) -> None:
        for name, group in groups.items():
            options = {field.name: values.pop(field.name) for field in fields(group)}
            values[name] = group(**options)
        function(**values)

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    del called.__wrapped__
    return called


def text_of(prompt: str) -> str:
    """The request itself, which may come from standard input.

    Raises:
        InputError: It is empty, or cannot be read.
    """
    with file_errors("cannot read standard input"):
        text = sys.stdin.read() if prompt == "-" else prompt
    if not text.strip():
        raise InputError("the prompt is empty: say what the agent should do")
    return text
