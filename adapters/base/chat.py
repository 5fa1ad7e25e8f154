"""How a transcript becomes tokens, with the base's own chat template.

The template is probed once, with markers in place of the contents, for what it puts around each role's
message. Special tokens are then only ever taken from the template's own text: contents are encoded as plain
text together with the plain template text that touches them, which gives the ids Hugging Face gives for
harmless text and ordinary characters for text that spells a special token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from loraloop.adapters.base.messages import ROLES, Message
from loraloop.adapters.base.tokenizer import Tokenizer
from loraloop.tool_schemas.errors import BaseModelError
from loraloop.tool_schemas.tools.call_format import CallFormat

_MARK = "\ue000content\ue001"


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """The template text around a message of each role, the generation prompt and the default system message.

    Attributes:
        around: (before, after) the content, by role. What a transcript begins with stands before a system message too.
        generation: opens the assistant's message; a branch begins with it.
        default_system: the system message that the template inserts where a transcript has none.
        opening: what a transcript without any system message begins with, such as a begin-of-text token.
    """

    around: dict[str, tuple[str, str]]
    generation: str
    default_system: str | None
    opening: str = ""

    def to_dict(self) -> dict[str, Any]:
        fields = {"around": self.around, "generation": self.generation, "default_system": self.default_system}
        return {**fields, "opening": self.opening} if self.opening else fields

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> ChatFormat:
        around = {role: (head, tail) for role, (head, tail) in fields["around"].items()}
        return cls(around, fields["generation"], fields["default_system"], fields.get("opening", ""))

    @classmethod
    def probe(cls, template: str, bos: str = "", eos: str = "") -> ChatFormat:
        """Reads the format off a Jinja chat template.

        A template that has no system messages, or moves their text into a later message, gets them as turns of the
        user. Where there is no generation prompt, what ends the user's message is taken for it (Mistral's `[/INST]`).

        Raises:
            BaseModelError: if the template is broken, or rewrites earlier messages when later ones come.
        """
        render = dated_renderer(template, bos, eos)
        user = [_marked("user")]
        try:
            system = render([_marked("system")], False)
            around = {"system": _split(system, "system")}
            around["user"] = _split(_after(system, render([_marked("system"), *user], False)), "user")
            user = [_marked("system"), *user]
        except BaseModelError:
            head, tail = _split(render(user, False), "user")
            opening = bos if head.startswith(bos) else ""
            around = {"user": (head[len(opening) :], tail), "system": (head, "\n\n")}
        before, whole = render(user, False), render([*user, _marked("assistant")], False)
        around["assistant"] = _split(_after(before, whole), "assistant")
        generation = _after(before, render(user, True))
        if not generation:
            (head, generation), (opens, closes) = around["user"], around["assistant"]
            around |= {"user": (head, ""), "assistant": (generation + opens, closes)}
        if not generation:
            raise BaseModelError("the chat template puts nothing between a user's message and its answer")
        try:
            if not around["user"][1]:
                raise BaseModelError("a tool's result would not end where the assistant's message begins")
            result = _after(whole, render([*user, _marked("assistant"), _marked("tool")], False))
            around["tool"] = _split(result, "tool")
        except BaseModelError:
            around["tool"] = around["user"]
        if not around["assistant"][0].startswith(generation):
            raise BaseModelError("the chat template's generation prompt is not how it opens an assistant message")
        return cls(around, generation, *_beginning(render, around))


class Chat:
    """Renders messages to ids. A transcript's ids are its messages' ids one after another.

    Attributes:
        format: The template text around messages.
        calls: The base's own format of calls; None where calls stand in a transcript as the runtime keeps them.
        generation_prompt: Ids that open an assistant's message.
        closing: Ids that end one.
    """

    calls: CallFormat | None = None

    def __init__(self, format: ChatFormat, tokenizer: Tokenizer) -> None:
        self.format = format
        self._tokenizer = tokenizer
        names = sorted(tokenizer.special, key=len, reverse=True)
        self._specials = re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else None
        self.generation_prompt: tuple[int, ...] = tuple(self._ids(format.generation, "", ""))
        self._later_system = _without_beginning(format)
        self.closing: tuple[int, ...] = tuple(self._ids("", "", format.around["assistant"][1]))
        if not self.closing or self.closing[0] not in tokenizer.special_ids:
            raise BaseModelError("the chat template does not end an assistant message with a special token")

    def message(self, role: str, content: str, first: bool = True) -> list[int]:
        """Ids of one whole message.

        Args:
            role: Who speaks.
            content: What is said.
            first: Whether a system message begins the transcript. A later one has the same form, without what only
                begins a transcript; so it is a turn of the user where the template has no system messages.
        """
        if role not in ROLES:
            raise ValueError(f"unknown message role {role!r}: use one of {', '.join(ROLES)}")
        if role == "system" and not content and self.format.opening:
            return self._ids(self.format.opening, "", "")
        later = role == "system" and not first
        head, tail = self._later_system if later else self.format.around[role]
        return self._ids(head, content, tail)

    def complete(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with the template's default system message in front where it would insert one.

        An empty one stands for the beginning of a transcript that the template gives no system message.
        """
        listed = list(messages)
        default = self.format.default_system
        if default is None and self.format.opening:
            default = ""
        if default is not None and (not listed or not listed[0].instructs):
            listed.insert(0, Message("system", default))
        return listed

    def render(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a whole transcript, without a generation prompt."""
        listed = enumerate(self.complete(messages))
        return [token for place, each in listed for token in self.message(each.role, each.content, not place)]

    def _ids(self, head: str, content: str, tail: str) -> list[int]:
        """Ids of a text whose special tokens come from `head` and `tail` alone."""
        return self._encoded([(head, True), (content, False), (tail, True)])

    def _encoded(self, parts: Iterable[tuple[str, bool]]) -> list[int]:
        """Ids of texts one after another; those marked true may spell special tokens, and plain stretches are one."""
        ids: list[int] = []
        plain = ""
        for text, own in parts:
            for place, piece in enumerate(self._pieces(text) if own else [text]):
                if place % 2:
                    ids += [*self._tokenizer.encode(plain), self._tokenizer.special[piece]]
                    plain = ""
                else:
                    plain += piece
        return [*ids, *self._tokenizer.encode(plain)]

    def _pieces(self, text: str) -> list[str]:
        """Template text as plain, special, plain, special, …, plain."""
        return self._specials.split(text) if self._specials else [text]


def dated_renderer(template: str, bos: str, eos: str) -> Any:
    """A renderer that leaves out the date, where a template asks for it in every transcript (SmolLM3)."""
    render = renderer(template, bos, eos)
    try:
        render([_marked("user")], False)
    except BaseModelError:
        try:
            render([_marked("system"), _marked("user")], False)
        except BaseModelError:
            return renderer(template, bos, eos, strftime_now=lambda form: "")
    return render


def renderer(template: str, bos: str, eos: str, **more: Any) -> Any:
    """Renders messages with a Jinja chat template: `render(messages, add_generation_prompt, tools)`.

    Models that think before they answer are told not to, where their template knows `enable_thinking`.

    Args:
        template: The template.
        bos: Text of the token that begins a text.
        eos: Text of the token that ends one.
        **more: What else the template finds.
    """
    import jinja2
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    class Generation(Extension):
        """`{% generation %}`, by which transformers knows what the model writes: here only its body counts."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    environment.globals["raise_exception"] = refuse
    environment.filters["tojson"] = _to_json
    fixed = {"bos_token": bos, "eos_token": eos, "enable_thinking": False, "tools_in_user_message": False, **more}
    try:
        compiled = environment.from_string(template)
    except jinja2.TemplateError as error:
        raise BaseModelError(f"the base's chat template does not compile: {error}") from error

    def render(messages: list[dict[str, Any]], generation: bool, tools: Sequence[Any] = ()) -> str:
        listed = {"tools": list(tools)} if tools else {}
        try:
            return compiled.render(messages=messages, add_generation_prompt=generation, **listed, **fixed)
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise BaseModelError(f"the base's chat template refuses a plain transcript: {error}") from error

    return render


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """What `tojson` does in transformers: Jinja's own escapes what has a meaning in HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _after(shorter: str, longer: str) -> str:
    if not longer.startswith(shorter):
        raise BaseModelError(
            "the chat template rewrites earlier messages when later ones come; trunks need one that appends"
        )
    return longer[len(shorter) :]


def _split(text: str, role: str) -> tuple[str, str]:
    head, mark, tail = text.partition(_MARK)
    if not mark or _MARK in tail:
        raise BaseModelError(f"the chat template does not show a {role} message's content exactly once")
    return head, tail


def _marked(role: str) -> dict[str, str]:
    return {"role": role, "content": _MARK}


def _without_beginning(format: ChatFormat) -> tuple[str, str]:
    """What stands around a system message that does not begin the transcript."""
    head, tail = format.around["system"]
    if format.opening and head.startswith(format.opening):
        return head[len(format.opening) :], tail
    pairs = zip(format.around["user"][0], format.around["assistant"][0], strict=False)
    turn = "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))  # what opens every turn
    return head[max(head.find(turn), 0) :], tail


def _beginning(render: Any, around: dict[str, tuple[str, str]]) -> tuple[str | None, str]:
    """The system text that the template inserts when a transcript has none, or else what such a transcript begins with.

    A default that depends on the day (Granite's, by `strftime_now`, which is not defined here) is left out: transcripts
    would differ from one day to the next.
    """
    head, tail = around["system"]
    try:
        shown = render([_marked("user")], False)
    except BaseModelError:
        return None, ""
    opening, found, _ = shown.partition(around["user"][0] + _MARK)
    if not found or not opening:
        return None, ""
    if opening.startswith(head) and opening.endswith(tail) and len(opening) >= len(head) + len(tail):
        return opening[len(head) : len(opening) - len(tail)], ""
    return None, opening
