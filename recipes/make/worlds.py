"""Makes training records out of worlds with slots: right runs of their requests, walked by the oracle without a model.

    python worlds.py --draws 20 --seed 7 --tools tools.jsonl --answers answers.jsonl --safe safe.jsonl

A file that ends in `.zst` is packed.

Each request of each world is drawn, half of them several in one conversation whose state carries on. The calls are
carried out, so what tools say is true. One file has conversations with the steps of the tools skill (`at`, the messages
before it; `kind`, `calls`, maybe `extra_prompt`; the kind is the request's, `passing` where it has this tag, or `stop`
where nothing is left to do after results), another one the closing texts of their turns for the answer skill
(`completion`, `lang`), a third one what users said first, which the guard's skill learns to be safe. Every tenth world
is for the part `valid` alone.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import re
from collections.abc import Container, Mapping, Sequence, Set
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import zstandard

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Passage, user_content
from loraloop.agent.dates.notes import with_date_notes
from loraloop.agent.dates.resolve import stated_today
from loraloop.evals.desk.oracle import NextStep, next_step, rehearse
from loraloop.evals.desk.request import DeskRequest, DeskTurn, WantedCall
from loraloop.evals.desk.slots import DrawError
from loraloop.evals.desk.template import RequestTemplate
from loraloop.evals.desk.toolbox import Toolbox
from loraloop.evals.desk.world import World, load_worlds
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.tools.tool import Tool

WORLDS = Path(__file__).resolve().parents[1] / "worlds"
EXTRA = (
    "",
    "",
    " Answer briefly.",
    " Never guess a value.",
    " Ask for what is missing.",
    " Use the tools where they help.",
)
TAKEN_AWAY = 0.1
"""How often the tool that is needed is not there."""
MOST_TOOLS = 30
ALIKE = 8
"""Conversations of one assistant."""
OPENED = 0.4
"""How often a request of the world stands before what else is drawn."""
SAFE = 4
"""Conversations to learn from for each one that begins a record of the guard's skill."""
FEW = 4
"""Tools in such a record, at most: what is judged is the message."""
NAMES = re.compile(r"[A-Z0-9][\w/-]*(?:[ .][A-Z0-9][\w/-]*)*")
"""Names and numbers in a text."""
DETOURS = (0.3, 0.12)
"""How often a wrong call stands before the first right step of a turn, and before a later one."""


def masked_name(heads: Sequence[str], taken: Container[str], rng: random.Random) -> str:
    """A name that says nothing of what it names, such as `func_17` or `tool_kx`."""
    while True:
        letters = "".join(rng.choices("abcdefghijkmnopqrstuvwxyz", k=rng.choice((1, 2))))
        name = f"{rng.choice(heads)}_{rng.choice((letters, str(rng.randint(1, 60))))}"
        if name not in taken:
            return name


class CarriedToolbox(Toolbox):
    """A toolbox whose state goes on: rebuilding it makes the calls of the conversation's earlier turns again."""

    def begin(self, seed: str) -> None:
        """Begins a conversation on a new state."""
        self.conversation, self.past = seed, list[tuple[str, dict[str, Any]]]()

    def fresh(self, seed: str | None = None) -> Any:
        """The state after the earlier turns, whatever the seed."""
        state = super().fresh(self.conversation)
        for name, arguments in self.past:
            self.functions[name](**copy.deepcopy(arguments))
        return state


class Names:
    """The names of a conversation's tools and arguments, a share of which says nothing."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.share = rng, rng.choice((0.0, 0.0, 0.0, 0.6, 1.0, 0.4))
        self.camel = rng.random() < 0.2
        self.tools, self.arguments = dict[str, str](), dict[str, str]()

    def masked(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """A tool's schema with the names of this conversation."""
        made = copy.deepcopy(dict(schema))
        made["name"] = self.tool(schema["name"])
        parameters = made["parameters"]
        names = {name: self.argument(name) for name in parameters["properties"]}
        parameters["properties"] = {names[name]: value for name, value in parameters["properties"].items()}
        parameters["required"] = [names[name] for name in parameters.get("required", ())]
        return made

    def tool(self, name: str) -> str:
        """The name of a tool here."""
        return self._of(name, self.tools, ("func", "tool", "op", "fn"))

    def argument(self, name: str) -> str:
        """The name of an argument here, the same in all tools."""
        return self._of(name, self.arguments, ("arg", "param", "p", "field"))

    def _of(self, name: str, known: dict[str, str], heads: Sequence[str]) -> str:
        if name not in known:
            masked = self.rng.random() < self.share
            plain = re.sub("_([a-z])", lambda match: match[1].upper(), name) if self.camel else name
            known[name] = masked_name(heads, known.values(), self.rng) if masked else plain
        return known[name]

    def call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """A call with these names."""
        named = {self.argument(name): value for name, value in call["arguments"].items()}
        return {"name": self.tool(call["name"]), "arguments": named}

    def text(self, text: str) -> str:
        """A text in which tools are named, such as the advice of an error."""
        for name, masked in self.tools.items():
            if "_" in name and name != masked:
                text = re.sub(rf"\b{name}\b", masked, text)
        return text


class Assistant:
    """What a number of conversations share, so that training reads it once: instructions, names and tools.

    Args:
        world: Its world.
        rng: Decides what is drawn.
        schemas: Schemas of all worlds' tools, by world.
    """

    def __init__(self, world: World, rng: random.Random, schemas: Mapping[str, Sequence[dict[str, Any]]]) -> None:
        self.rng, self.names = rng, Names(rng)
        self.instructions = world.instructions + rng.choice(EXTRA)
        self.own = {schema["name"]: schema for schema in schemas[world.name]}
        self.others = [schema for name, of in schemas.items() if name != world.name for schema in of]
        self.used = set[str]()

    def tools(self, missing: Set[str]) -> list[dict[str, Any]]:
        """The tools that are shown: those that are used, others of the world, in half of the draws strangers.

        Args:
            missing: Tools that this conversation lacks.
        """
        return [self.names.masked(schema) for schema in self._shown if schema["name"] not in missing]

    @cached_property
    def _shown(self) -> list[dict[str, Any]]:
        rng = self.rng
        spare = [name for name in self.own if name not in self.used]
        kept = {*self.used, *rng.sample(spare, rng.randint(0, len(spare)))}
        shown = [self.own[name] for name in self.own if name in kept]
        if rng.random() < 0.5 or not shown:
            taken = {schema["name"] for schema in self.own.values()}
            strangers = [schema for schema in self.others if schema["name"] not in taken]
            most = rng.choices((rng.randint(1, 5), rng.randint(4, 10), rng.randint(10, 24)), (65, 27, 8))[0]
            shown += rng.sample(strangers, min(most, len(strangers), MOST_TOOLS - len(shown)))
        rng.shuffle(shown)
        return list({schema["name"]: schema for schema in shown}.values())


class Conversation:
    """One conversation as it goes on, and its records.

    Args:
        world: With `toolbox` for its own.
        toolbox: Begun.
        assistant: Its instructions, names and tools.
        values: Values of arguments that other draws of this world had, by argument; they grow.
        held_out: Whether values and wordings are those of held-out requests.
    """

    def __init__(
        self,
        world: World,
        toolbox: CarriedToolbox,
        assistant: Assistant,
        values: dict[str, list[Any]],
        held_out: bool,
    ) -> None:
        self.world, self.toolbox, self.assistant, self.held_out = world, toolbox, assistant, held_out
        self.rng, self.names, self.values = assistant.rng, assistant.names, values
        self.today = stated_today(world.instructions)
        self.messages = [{"role": "system", "content": assistant.instructions}]
        self.with_documents = self.rng.random() < 0.5
        self.missing = set[str]()
        self.steps, self.answers = list[dict[str, Any]](), list[dict[str, Any]]()

    def ask(self, template: RequestTemplate, seed: str, alone: bool) -> bool:
        """Draws a request on the state as it is and walks its right run; False if it does not fit here."""
        try:
            request = template.draw(self.toolbox, seed, self.held_out)
        except (DrawError, LookupError):
            return False
        if rehearse(self.world, request):
            return False
        self.world.start(request)
        if alone and len(request.turns) == 1 and len(request.turns[0].calls) == 1 and self.rng.random() < TAKEN_AWAY:
            needed = request.turns[0].calls[0].name
            looks = {name for name in self.assistant.own if name not in self.world.changes}
            self.missing = {needed} if needed in self.world.changes else looks
        functions = {function.__name__: function for function in self.world.tools}
        for self.world.turn, turn in enumerate(request.turns):
            self._turn(request, turn, template, functions)
        self.toolbox.past += [(call.name, call.arguments) for call in self.world.calls]
        self.assistant.used |= {call.name for call in self.world.calls}
        return True

    def _turn(
        self, request: DeskRequest, turn: DeskTurn, template: RequestTemplate, functions: Mapping[str, Any]
    ) -> None:
        shown = self._user(turn, "not_answered" in request.tags)
        lang = template.id.rpartition("-")[2] if "foreign" in template.tags else "en"
        wanted = next_step(self.world, request, turn, [])
        failed = empty = strayed = False
        first = True
        while wanted is not None:
            kind = "none" if self.missing else "passing" if "passing" in request.tags else request.kind
            if not strayed and self.rng.random() < DETOURS[not first]:
                self._step(self._right(wanted), kind)
                strayed = self._detour(turn, wanted)
                kind = "detour" if strayed else kind
            if wanted.ask:
                self.assistant.used.add(wanted.ask.name)
                self._step(self._right(wanted), kind, self._flaw(wanted.missing, 0.35))
                self._answer(turn, lang, "ask", f"Missing: {', '.join(map(self.names.argument, wanted.missing))}")
                return
            calls = self._right(wanted)
            self._step(calls, kind, self._flaw(self._later(turn, wanted), 0.3) if first else "")
            if not calls:
                break
            self.messages.append({"role": "assistant", "content": calls})
            for call in calls:
                self._remember(call)
                result = functions[call["name"]](**copy.deepcopy(call["arguments"]))
                error = self._tell(call, result)
                failed, empty = failed or bool(error), empty or result == []
            made = [call for call in self.world.calls if call.turn == self.world.turn]
            wanted, first = next_step(self.world, request, turn, made), False
        if self.missing:
            return
        if turn.talk or request.kind == "retrieval":
            if "not_answered" in request.tags and shown:
                self._answer(turn, lang, "no_document", f"Not in the documents: {', '.join(shown)}")
            else:
                self.messages.append({"role": "assistant", "content": turn.good})
            return
        self._answer(turn, lang, "error" if failed else "empty" if empty else "done")

    def _right(self, wanted: NextStep) -> list[dict[str, Any]]:
        """A right step as it is written."""
        if wanted.ask:
            return [self._call(wanted.ask)]
        return [] if self.missing else [self._call(call) for call in wanted.calls]

    def _tell(self, call: Mapping[str, Any], result: Any) -> Any:
        """Adds the message with a call's result; returns its error, if it is one."""
        error = result.get("error") if isinstance(result, dict) else None
        raised = error is not None and self.rng.random() < 0.4
        outcome = {"error": self.rng.choice(("ValueError: ", "")) + str(error)} if raised else {"result": result}
        self.messages.append({"role": "tool", "content": {"name": call["name"], **outcome}})
        return error

    # calls that go astray

    def _detour(self, turn: DeskTurn, wanted: NextStep) -> bool:
        """Adds a wrong call as models make it, with the user's words, and its result; False if none was found.

        The call changes nothing: what is right afterwards is what was right before.
        """
        state, right = self.toolbox.state, {call.name for call in wanted.calls}
        later = {call.name for call in turn.calls}
        before = copy.deepcopy(state)
        there = [name for name in self.assistant.own if name not in self.missing]
        for _ in range(8):
            name = self.rng.choice(there)
            arguments = self._strayed(name, turn.say)
            if arguments is None or any(
                c.name == name and arguments.items() <= c.arguments.items() for c in turn.calls
            ):
                continue
            try:
                result = self.toolbox.functions[name](**copy.deepcopy(arguments))
            except ValueError as error:
                result = {"error": str(error)}
            except Exception:  # says nothing that helps
                result = None
            if state != before:
                state.clear()
                state.update(copy.deepcopy(before))
                continue
            if result is None:
                continue
            failed = result == [] or (isinstance(result, dict) and bool(result.get("error")))
            if not failed and (name in right | later or name in self.world.changes or self.rng.random() < 0.5):
                continue
            call = {"name": name, "arguments": arguments}
            self.messages.append({"role": "assistant", "content": [call]})
            self._tell(call, result)
            self.assistant.used.add(name)
            return True
        return False

    def _strayed(self, name: str, say: str) -> dict[str, Any] | None:
        """Arguments for a call of a tool, taken from what the user says; None where it says nothing of that type."""
        parameters = self.assistant.own[name]["parameters"]
        names = [name for name in NAMES.findall(say) if " " in name or any(map(str.isdigit, name))]
        names = names or [say.rstrip(".?! ")]
        numbers = [int(number) for number in re.findall(r"\d{1,6}", say)]
        found = dict[str, Any]()
        for argument in parameters.get("required", ()):
            schema = parameters["properties"][argument]
            if "enum" in schema:
                found[argument] = self.rng.choice(schema["enum"])
            elif self.today and (schema.get("format") == "date" or "YYYY" in schema.get("description", "")):
                found[argument] = self.today.isoformat()
            elif schema.get("type") == "string":
                found[argument] = self.rng.choice(names)
            elif schema.get("type") in {"integer", "number"} and numbers:
                found[argument] = self.rng.choice(numbers)
            elif schema.get("type") == "boolean":
                found[argument] = self.rng.random() < 0.5
            else:
                return None
        return found or None

    def _call(self, wanted: WantedCall) -> dict[str, Any]:
        """A call with its arguments in the order of the tool's schema."""
        properties = self.assistant.own[wanted.name]["parameters"]["properties"]
        order = [name for name in properties if name in wanted.arguments]
        return {"name": wanted.name, "arguments": {name: wanted.arguments[name] for name in order}}

    def _user(self, turn: DeskTurn, unanswered: bool) -> list[str]:
        """Adds what the user says; returns the titles of the passages beside it."""
        before = [Message(each["role"], self._content(each)) for each in self.messages]
        noted = with_date_notes([*before, Message("user", turn.say)], self.today)
        if len(noted) > 1 and noted[-2].role == "system" and len(noted) > len(before) + 1:
            self.messages.append({"role": "system", "content": noted[-2].content})
        text, titles, documents = turn.say, list[str](), list(self.world.documents)
        if self.with_documents and documents and (turn.cites or unanswered or self.rng.random() < 0.85):
            chosen = self.rng.sample(documents, min(len(documents), self.rng.choice((1, 1, 2, 3))))
            if turn.cites:
                cited = next(each for each in documents if each["id"] == turn.cites)
                chosen = [cited, *(each for each in chosen if each is not cited)][:3]
                self.rng.shuffle(chosen)
            titles = [each["title"] for each in chosen]
            shown = [Passage(f"p{at}", each["text"], each["title"]) for at, each in enumerate(chosen, 1)]
            text = user_content(text, shown)
        self.messages.append({"role": "user", "content": text})
        return titles

    def _content(self, message: Mapping[str, Any]) -> str:
        content = message["content"]
        return content if isinstance(content, str) else dumps(content)

    def _step(self, calls: Any, kind: str, flaw: str = "") -> None:
        kind = "stop" if calls == [] and self.messages[-1]["role"] == "tool" else kind
        step = {"at": len(self.messages), "kind": kind, "calls": calls}
        self.steps.append(step)
        if flaw:
            again = f"That is not valid: {flaw}\nWrite it again."
            self.steps.append({**step, "kind": "again", "extra_prompt": again})

    def _answer(self, turn: DeskTurn, lang: str, kind: str, extra_prompt: str = "") -> None:
        answer = {"at": len(self.messages), "kind": kind, "completion": turn.good, "lang": lang}
        self.answers.append({**answer, **({"extra_prompt": extra_prompt} if extra_prompt else {})})
        self.messages.append({"role": "assistant", "content": turn.good})

    # values that nobody gave

    def _remember(self, call: Mapping[str, Any]) -> None:
        for name, value in call["arguments"].items():
            if isinstance(value, str | int) and not isinstance(value, bool) and len(str(value)) < 30:
                self.values.setdefault(name, []).append(value)

    def _later(self, turn: DeskTurn, wanted: Any) -> list[str]:
        """Arguments of the calls that wait for the first ones."""
        later = [call for call in turn.calls if call not in wanted.calls]
        return [name for call in later for name in call.arguments if name not in call.free]

    def _flaw(self, names: Sequence[str], often: float) -> str:
        """What the runtime would say of a value that nobody gave for one of these arguments; empty for nothing."""
        if not names or self.rng.random() > often:
            return ""
        name = self.rng.choice(list(names))
        transcript = " ".join(self._content(each) for each in self.messages)
        found = [value for value in self.values.get(name, ())[-200:] if str(value) not in transcript]
        if not found:
            return ""
        return f"Nobody gave {self.names.argument(name)} {dumps(self.rng.choice(found))}: look it up, or ask for it."

    def records(self, part: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The conversation with its steps, and with its closing texts; nothing where every tool was taken away."""
        if not (tools := self.assistant.tools(self.missing)):
            return [], []
        messages = [{"role": each["role"], "content": self._named(each)} for each in self.messages]
        shared = {"messages": messages, "tools": tools, **({"part": part} if part != "train" else {})}
        steps = [{**step, "calls": [self.names.call(call) for call in step["calls"]]} for step in self.steps]
        return [{**shared, "steps": steps}], [{**shared, "steps": self.answers}] if self.answers else []

    def safe(self, part: str) -> list[dict[str, Any]]:
        """The record of the guard's skill: what the user said first, before a few of the tools."""
        tools = self.assistant.tools(self.missing)
        messages = [{"role": each["role"], "content": self._named(each)} for each in self.messages[:2]]
        if not tools or messages[-1]["role"] != "user" or messages[-1]["content"].startswith("Passages:"):
            return []
        shared = {"tools": tools[:FEW], **({"part": part} if part != "train" else {})}
        return [{"kind": "world", "messages": messages, **shared, "completion": "safe"}]

    def _named(self, message: Mapping[str, Any]) -> str:
        content = message["content"]
        if isinstance(content, str):
            return content
        if message["role"] == "assistant":
            return dumps([self.names.call(call) for call in content])
        body = json.loads(self.names.text(dumps({k: v for k, v in content.items() if k != "name"})))
        return dumps({"name": self.names.tool(content["name"]), **body})


Kind = TypeVar("Kind", bound=Conversation)


def schema_of(function: Any) -> dict[str, Any]:
    """A tool as it is shown: name, description, parameters."""
    tool = Tool.from_function(function)
    return {"name": tool.name, "description": tool.description, "parameters": copy.deepcopy(dict(tool.parameters))}


def conversations(
    world: World, schemas: Mapping[str, Sequence[dict[str, Any]]], draws: int, seed: int, held_out: bool
) -> list[Conversation]:
    """Conversations in which each request of a world is drawn so many times, half of them beside others.

    Args:
        world: The world.
        schemas: Schemas of the tools of each world.
        draws: Times that each request is drawn.
        seed: Seed of the draws.
        held_out: Whether values and wordings are those of held-out requests.
    """
    rng = random.Random(f"{seed}/{world.name}/{held_out}")
    toolbox = CarriedToolbox(world.toolbox.file)
    own = replace(world, toolbox=toolbox, calls=[], turn=0)
    pool = [template for template in world.templates for _ in range(draws)]
    rng.shuffle(pool)
    found, values = list[Conversation](), dict[str, list[Any]]()
    while pool:
        number = 1 if rng.random() < 0.7 else rng.choice((2, 2, 3, 4))  # by requests, half of them are joined
        if len(found) % ALIKE == 0:
            assistant = Assistant(world, rng, schemas)
        toolbox.begin(f"{seed}/{world.name}/{len(pool)}")
        talk = Conversation(own, toolbox, assistant, values, held_out)
        for place in range(min(number, len(pool))):
            talk.ask(pool.pop(), f"{seed}.{len(pool)}", alone=number == 1 and place == 0)
        if talk.steps:
            found.append(talk)
    return found


def opened(talk: Kind, seed: int, what: str, number: int, documents: bool = True) -> Kind:
    """A new conversation, begun; two in five have a request first that calls a tool, with or without passages.

    Args:
        talk: The conversation.
        seed: Seed of the draw.
        what: What is drawn.
        number: Number of the conversation among those of its world.
        documents: Whether passages may stand beside the request.
    """
    talk.toolbox.begin(f"{seed}/{talk.world.name}/{what}/{number}")
    if talk.rng.random() < OPENED:
        talk.with_documents &= documents
        openings = [each for each in talk.world.templates if each.kind in ("single", "indirect")]
        talk.ask(talk.rng.choice(openings), f"{seed}.{number}", alone=False)
    return talk


def parts_of(worlds: Sequence[World], valid: Sequence[str] | None = None) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Schemas of the worlds' tools, by part and world.

    Args:
        worlds: All of them.
        valid: Names of those of the part `valid`; every tenth where None.
    """
    held = set([world.name for world in worlds][4::10] if valid is None else valid)
    return {
        part: {
            world.name: [schema_of(tool) for tool in world.module.TOOLS]
            for world in worlds
            if (world.name in held) == (part == "valid")
        }
        for part in ("train", "valid")
    }


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows as JSON Lines; packed tightly (lines repeat what stood megabytes before) where the name ends so."""
    text = "".join(dumps(row) + "\n" for row in rows).encode()
    if path.suffix == ".zst":
        parameters = zstandard.ZstdCompressionParameters.from_level(22, window_log=27, enable_ldm=True)
        text = zstandard.ZstdCompressor(compression_params=parameters).compress(text)
    path.write_bytes(text)


def options(description: str | None, draws: int) -> argparse.ArgumentParser:
    """The options that the makers share; `draws` is the default of how often each item is drawn."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=Path, default=WORLDS)
    parser.add_argument("--draws", type=int, default=draws, help="of each item")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> None:
    """Writes the records."""
    parser = options(__doc__, draws=20)
    parser.add_argument("--tools", type=Path, required=True, help="where the steps of the tools skill are written")
    parser.add_argument("--answers", type=Path, required=True, help="where the closing texts are written")
    parser.add_argument("--safe", type=Path, required=True, help="where requests for the guard's skill are written")
    parser.add_argument("--valid", nargs="*", help="worlds of the part valid; every tenth by default")
    given = parser.parse_args()
    worlds = load_worlds(given.worlds)
    parts = parts_of(worlds, given.valid)
    made = dict[Path, list[dict[str, Any]]]({given.tools: [], given.answers: [], given.safe: []})
    for world in worlds:
        part = "valid" if world.name in parts["valid"] else "train"
        draws = max(1, given.draws // 4) if part == "valid" else given.draws
        for number, talk in enumerate(conversations(world, parts[part], draws, given.seed, part == "valid")):
            safe = [] if number % SAFE and part == "train" else talk.safe(part)
            for rows, more in zip(made.values(), (*talk.records(part), safe), strict=True):
                rows += more
    for path, rows in made.items():
        write(path, rows)


if __name__ == "__main__":
    main()
