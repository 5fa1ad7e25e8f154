"""`POST /v1/decisions`: questions about an input, answered with probabilities, as openai-python sends and reads them.

The input is read once, by the bare base. Each question is a branch at its end: the question is read there, and the
answer is one token out of the labels of that question, so the probabilities are the base's over these labels. They are
divided by what the base gives the same labels without the input, and scaled to one (contextual calibration, arXiv
2102.09690). A question that itself asks for harm is declined: its answer is a refusal. A skill that writes text decides
under its own name. `model="router"` answers a choice among skills by the router, and a predicate by its screen.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Lock
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field, StrictBool, StrictStr, field_validator
from pydantic_core import PydanticCustomError

from loraloop.adapters.base.messages import Message
from loraloop.agent.engine.cache.sequence import UNBOUNDED, Interrupted, RequestContext
from loraloop.agent.engine.sampler import Sampler, Sampling
from loraloop.agent.engine.step import StepRequest, run_step, transcript
from loraloop.agent.guard.guard import default_guard
from loraloop.agent.guard.judge import Judge
from loraloop.agent.threads import awaited
from loraloop.integrations.reply import check_length, check_prompt, check_time
from loraloop.router.decision import NONE, RouterState
from loraloop.server.errors import ApiError, documented
from loraloop.server.state import BodyRoute, state_of, turn_of, while_there
from loraloop.server.wire import (
    AUTO,
    BASE,
    ChatMessage,
    ConversationItem,
    FunctionCall,
    Items,
    RefusalPart,
    Strict,
    TextPart,
    ToolCallItem,
    conversation_of,
    text_of,
)
from loraloop.tool_schemas.errors import InputError, TimeLimitError
from loraloop.tool_schemas.jsontext import levels
from loraloop.tool_schemas.schema.validation import DEEPEST_VALUE

if TYPE_CHECKING:
    from torch import Tensor

    from loraloop.agent.engine.transcript import Transcript
    from loraloop.agent.runtime import Runtime

routes = APIRouter(route_class=BodyRoute)
ROUTER = "router"
NOTHING = "N/A"
"""The input without content by which probabilities are calibrated."""
DECLINED_FROM = 0.7
"""What screen and verdict both have to say of a question that is declined. It is more than a request needs to be
refused: a question about harm is seldom a wish for it."""
KEPT = 1024
"""Questions of which something is kept."""


class JsonPart(Strict):
    """JSON data as a part of a text."""

    type: Literal["input_json"]
    data: dict[str, Any] | Items[dict[str, Any]]

    @property
    def text(self) -> str:
        """The data as JSON."""
        return json.dumps(self.data, ensure_ascii=False)


class ImagePart(Strict):
    """An image, which no base here reads."""

    type: Literal["input_image"]
    image_url: str = ""
    detail: str | None = None
    prompt_cache_breakpoint: Any = None


class CachedText(TextPart):
    """Text, perhaps with a mark for a cache, which is not needed here."""

    type: Literal["input_text", "output_text", "text"]
    prompt_cache_breakpoint: Any = None


Parts = str | Items[Annotated[CachedText | JsonPart | ImagePart | RefusalPart, Field(discriminator="type")]]


class DecisionItem(ConversationItem):
    """A message, a call, or a call's output; a message of the role `tool` is a result as runs have it."""

    type: Literal["message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"] = (
        "message"
    )
    role: Literal["user", "developer", "system", "assistant", "tool"] | None = None
    content: Parts | None = None
    namespace: str | None = None
    input: str | None = None
    output: Parts | None = None


class ChoiceOption(Strict):
    """One of the options of a choice."""

    value: StrictStr | StrictBool
    description: str | None = None


class ScoreLevel(Strict):
    """One of the ordered levels of a score."""

    label: str
    description: str | None = None


class NamedQuestion(Strict):
    """What questions of every kind have."""

    instructions: Parts
    name: str | None = None


class PredicateQuestion(NamedQuestion):
    """How likely a statement about the input is true."""

    type: Literal["predicate"]


class ChoiceQuestion(NamedQuestion):
    """Which of the options fits the input."""

    type: Literal["choice"]
    choices: Items[ChoiceOption] = Field(min_length=2, max_length=255)

    @field_validator("choices")
    @classmethod
    def _unique(cls, choices: list[ChoiceOption]) -> list[ChoiceOption]:
        if len({(type(each.value), each.value) for each in choices}) < len(choices):
            raise PydanticCustomError("choices_repeat", "the choices repeat: each has to be unique")
        return choices


class ScoreQuestion(NamedQuestion):
    """Which of the ordered levels fits the input."""

    type: Literal["score"]
    levels: Items[ScoreLevel] = Field(min_length=2, max_length=255)


Question = Annotated[PredicateQuestion | ChoiceQuestion | ScoreQuestion, Field(discriminator="type")]


class DecisionRequest(Strict):
    """The body of `POST /v1/decisions`."""

    model: str
    input: str | Items[DecisionItem]
    questions: Items[Question] = Field(min_length=1, max_length=400)
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    safety_identifier: str | None = None


@routes.post("/v1/decisions", responses=documented({404}))
async def create_decision(body: DecisionRequest, request: Request) -> JSONResponse:
    """Answers questions about an input."""
    state = state_of(request)
    decider: Decider = request.app.state.decider
    if body.model not in (known := decider.models()):
        message = f"there is no decision model {body.model!r}; there are {', '.join(known)}"
        raise ApiError(404, message, "model_not_found", "model")

    limits, gone = state.settings.limits, Event()

    def decide() -> dict[str, Any]:
        request_context = RequestContext(deadline=monotonic() + limits.seconds, cancelled=gone.is_set)
        return decider.decide(messages_of(body.input), body.questions, body.model, request_context, limits.max_prompt)

    with await turn_of(request):
        decided = await while_there(request, awaited(decide, gone.set))
    return JSONResponse({"model": body.model, **decided})


def messages_of(source: str | list[DecisionItem]) -> list[Message]:
    """The input as messages: as they stand where all are messages, else calls and outputs in the form of ours.

    Raises:
        ApiError: 400, it holds an image, is empty, or an output has no call.
    """
    items = [DecisionItem(role="user", content=source)] if isinstance(source, str) else source
    listed: list[ChatMessage] = []
    for place, item in enumerate(items):
        where = f"input.{place}"
        if item.type.endswith("_output"):
            listed.append(ChatMessage(role="tool", content=read_text(item.output, where), tool_call_id=item.call_id))
        elif item.type != "message":
            arguments = item.arguments if item.type == "function_call" else json.dumps({"input": item.input or ""})
            call = ToolCallItem(
                id=item.call_id or "", function=FunctionCall(name=item.name or "", arguments=arguments or "{}")
            )
            listed.append(ChatMessage(role="assistant", tool_calls=[call]))
        elif item.role is None:
            raise ApiError(400, "a message needs a role", "missing", where)
        else:
            listed.append(ChatMessage(role=item.role, content=read_text(item.content, where)))
    if all(item.type == "message" for item in items):
        roles = ["system" if each.role == "developer" else each.role for each in listed]
        messages = [Message(role, each.text) for role, each in zip(roles, listed, strict=True) if each.text.strip()]
    else:
        talk = conversation_of(listed)
        system = [Message("system", "\n\n".join(talk.system))] if talk.system else []
        messages = [*system, *talk.messages]
    if all(each.role == "system" for each in messages):
        raise ApiError(400, "the input is empty", "invalid_value", "input")
    return messages


def read_text(content: Parts | None, where: str) -> str:
    """The text of a message; JSON as text.

    Raises:
        ApiError: 400, a part is an image, or data that is nested too deeply.
    """
    for part in content if isinstance(content, list) else ():
        if isinstance(part, ImagePart):
            raise ApiError(400, "images cannot be read by this base: describe them in words", "unsupported", where)
        if isinstance(part, JsonPart) and levels(part.data) > DEEPEST_VALUE:
            raise ApiError(400, f"data may have {DEEPEST_VALUE} levels: flatten it", "invalid_value", where)
    return text_of(content)


class Decider:
    """Answers questions about inputs: the input is read once, whatever the number of questions.

    What is known of a question whatever the input, its labels' probabilities without one and whether it is declined, is
    kept for the next input.

    Args:
        runtime: The runtime whose base, text skills and router decide.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._known: OrderedDict[tuple[str, ...], Any] = OrderedDict()
        self._knowing = Lock()

    def models(self) -> tuple[str, ...]:
        """What decides: the base under its names, the router, and each skill that writes text."""
        return (AUTO, BASE, self._runtime.base.name, ROUTER, *self._runtime.with_contract("text"))

    def decide(
        self,
        messages: Sequence[Message],
        questions: Sequence[Question],
        model: str,
        request_context: RequestContext,
        most: int = 0,
    ) -> dict[str, Any]:
        """Answers and usage.

        Args:
            messages: The input.
            questions: About it.
            model: One of `models()`.
            request_context: Until when, and for whom, the input is read and questions are answered.
            most: Tokens that the input may have; 0 for as many as the context holds and can be read in time.

        Raises:
            ContextLengthError: Input and question do not fit the context, or the input is too long, or for the time.
            TimeLimitError: There was not enough time for every question, or whoever asked went away.
            ApiError: A question cannot be answered.
        """
        runtime = self._runtime
        skill = model if model in runtime.with_contract("text") else NONE
        longest = most or runtime.base.config.max_positions
        check_length(sum(len(each.content) for each in messages), runtime.base.tokenizer.longest, longest)
        trunk, reused = read(runtime, messages, request_context, routed=model == ROUTER)
        answers, written = [], 0
        try:
            check_prompt(len(trunk.ids), most)
            if not most and request_context.deadline is not None:
                left = request_context.deadline - monotonic()
                check_time(len(trunk.ids) - reused, runtime.engine.stats.prompt_token, left)
            for question in questions:
                if reason := request_context.gone():
                    raise Interrupted(reason)
                if model == ROUTER:
                    answers.append(by_router(runtime, trunk, question))
                elif self.declines(asked := labelled(runtime, question), request_context):
                    answers.append({"type": "refusal", "name": question.name})
                else:
                    shares, tokens = self.shares(trunk, asked, skill)
                    answers.append(answer(question, shares))
                    written += tokens
            size = len(trunk.ids)
        except Interrupted:
            done = f"{len(answers)} of {len(questions)} questions were answered in time"
            raise TimeLimitError(f"{done}: ask fewer at once, or shorten them or the input") from None
        finally:
            runtime.engine.close(trunk)
        usage = {
            "input_tokens": size + written,
            "input_tokens_details": {"cached_tokens": reused, "cache_write_tokens": size - reused},
            "output_tokens": len(questions),
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": size + written + len(questions),
        }
        return {"answers": answers, "usage": usage}

    def shares(self, trunk: Transcript, asked: Labelled, skill: str = NONE) -> tuple[list[float], int]:
        """The calibrated probabilities of a question's labels, and the tokens that were read for it."""
        import torch

        runtime = self._runtime
        logits, tokens = weigh(runtime, trunk, asked, skill)
        identity, nothing = runtime.bank.identity(skill) if skill != NONE else NONE, [Message("user", NOTHING)]
        prior = self._once(
            ("prior", identity, asked.text),
            lambda: weigh(runtime, read(runtime, nothing, trunk.request_context)[0], asked, skill)[0],
        )
        own, without = torch.tensor([logits, prior], dtype=torch.float64)
        return (own - without).softmax(0).tolist(), tokens

    def declines(self, asked: Labelled, request_context: RequestContext) -> bool:
        """Whether the question itself asks for harm, by the screen and the verdict that requests of runs meet."""
        runtime = self._runtime
        if default_guard(runtime).input is None:
            return False
        judge = Judge(runtime)

        def judged() -> bool:
            trunk = judge.read([Message("user", asked.text)], request_context)
            if judge.screen(trunk).probability < DECLINED_FROM:
                return False
            return judge.judge(trunk).probability >= DECLINED_FROM

        return bool(self._once(("declined", runtime.bank.identity(judge.skill), asked.text), judged))

    def _once(self, key: tuple[str, ...], find: Callable[[], Any]) -> Any:
        """What is known under a key; the one that was not asked for the longest is forgotten."""
        with self._knowing:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        found = find()
        with self._knowing:
            self._known[key] = found
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found


def read(
    runtime: Runtime, messages: Sequence[Message], request_context: RequestContext = UNBOUNDED, *, routed: bool = False
) -> tuple[Transcript, int]:
    """The trunk of some messages, and how many of its tokens were known.

    Args:
        runtime: The runtime, whose store may know the messages, or their beginning.
        messages: The input.
        request_context: Until when, and for whom, it is read.
        routed: The router reads the hidden states of the last message, which is computed again for that.
    """
    complete = runtime.base.chat.complete(list(messages))
    trunk = transcript(runtime.engine, complete, known=len(complete) - routed)
    trunk.request_context = request_context
    return trunk, len(trunk.ids) - trunk.pending


@dataclass(frozen=True, slots=True)
class Labelled:
    """A question as it is asked: its text, and a single token for each answer."""

    text: str
    ids: tuple[int, ...]


def labelled(runtime: Runtime, question: Question) -> Labelled:
    """How a question is asked."""
    instructions = read_text(question.instructions, "questions")
    if isinstance(question, PredicateQuestion):
        ids = tuple(runtime.base.tokenizer.encode(word)[0] for word in ("Yes", "No"))
        return Labelled(f"Is this statement about the text above true?\n{instructions}\nAnswer Yes or No.", ids)
    if isinstance(question, ChoiceQuestion):
        options = [(str(each.value).lower() if isinstance(each.value, bool) else each.value, each.description)
                   for each in question.choices]  # fmt: skip
    else:
        options = [(each.label, each.description) for each in question.levels]
    names = label_names(runtime, len(options))
    lines = [
        f"{name}. {value}" + (f": {about}" if about else "")
        for (name, _), (value, about) in zip(names, options, strict=True)
    ]
    listed = "\n".join(lines)
    text = (
        f"Question about the text above: {instructions}\n{listed}\nAnswer with the letter of the answer that fits best."
    )
    return Labelled(text, tuple(token for _, token in names))


def label_names(runtime: Runtime, count: int) -> list[tuple[str, int]]:
    """So many labels that are one token each: letters, then pairs of letters."""
    encode = runtime.base.tokenizer.encode
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    found: list[tuple[str, int]] = []
    for name in [*letters, *(one + two for one in letters for two in letters)]:
        ids = encode(name)
        if len(ids) == 1 and ids[0] not in {token for _, token in found}:
            found.append((name, ids[0]))
        if len(found) == count:
            return found
    raise ApiError(400, f"this base has {len(found)} labels of one token: give fewer choices", "invalid_value")


class Probe(Sampler):
    """Takes the likeliest of some tokens, and notes how likely each of them is."""

    def __init__(self, ids: Sequence[int]) -> None:
        super().__init__(Sampling())
        self._ids = list(ids)
        self.logits: list[float] = []

    def pick(self, logits: Tensor) -> int:
        """The likeliest of the tokens by `logits[V]`."""
        self.logits = logits[self._ids].float().tolist()
        return self._ids[max(range(len(self._ids)), key=self.logits.__getitem__)]


def weigh(runtime: Runtime, trunk: Transcript, asked: Labelled, skill: str = NONE) -> tuple[list[float], int]:
    """The logits of a question's labels at a trunk's end, and the tokens that were read for it.

    Args:
        runtime: Base and skills.
        trunk: What the question is about; it stays as it is.
        asked: The question as it is put, with a token for each label.
        skill: The skill that answers; by default the bare base.

    Raises:
        InputError: The runtime's engine gives no token probabilities.
    """
    chat, probe, question = runtime.base.chat, Probe(asked.ids), Message("user", asked.text)
    size = len(chat.message(question.role, question.content)) + len(chat.generation_prompt)
    trunk.room(size + 1)
    run_step(runtime.engine, trunk, StepRequest(choice=skill, extra_prompt=[[question]], max_tokens=1, sampler=probe))
    if not probe.logits:
        raise InputError(
            "decisions need token probabilities, which this runtime's engine does not give: use a local base"
        )
    return probe.logits, size


def by_router(runtime: Runtime, trunk: Transcript, question: Question) -> dict[str, Any]:
    """The router's answer: a choice among skills, or a predicate, which its screen answers; with its threshold.

    `far` says that the message is far from all that the router was fitted on, so that it would take no skill; `call`,
    how probable it is that the message needs a call, where the router tells.

    Raises:
        ApiError: 400, a choice is no skill, or a score is asked for.
    """
    router = runtime.router
    trunk.flush()
    features = runtime.read(trunk.features(), [span.message for span in trunk.messages], trunk.request_context)
    if isinstance(question, PredicateQuestion):
        screened = router.screen(features)
        return {**answer(question, [screened.probability]), "threshold": screened.threshold}
    if isinstance(question, ScoreQuestion):
        raise ApiError(400, "the router answers choices among skills, and predicates", "unsupported", "questions")
    route = router.choose(features, RouterState(True, True, True, frozenset(), "user"))
    unknown = [each.value for each in question.choices if each.value not in (*runtime.skills, NONE)]
    if unknown:
        skills = ", ".join((*runtime.skills, NONE))
        raise ApiError(400, f"{unknown[0]!r} is not a skill; there are {skills}", "invalid_value", "questions")
    shares = [max(route.probabilities.get(str(each.value), 0.0), 1e-9) for each in question.choices]
    weighed = answer(question, [share / sum(shares) for share in shares])
    needed = {} if route.call is None else {"call": route.call}
    return {**weighed, "threshold": route.threshold, "far": route.far, **needed}


def answer(question: Question, shares: Sequence[float]) -> dict[str, Any]:
    """An answer of a question's kind, from the probabilities of its labels."""
    if isinstance(question, PredicateQuestion):
        return {"type": "predicate", "name": question.name, "probability": shares[0]}
    best = max(range(len(shares)), key=shares.__getitem__)
    if isinstance(question, ChoiceQuestion):
        listed = [
            {"value": each.value, "probability": share} for each, share in zip(question.choices, shares, strict=True)
        ]
        return {
            "type": "choice",
            "name": question.name,
            "choice": question.choices[best].value,
            "confidence": shares[best],
            "probabilities": listed,
        }
    levels = [
        {"label": each.label, "value": value, "probability": share}
        for value, (each, share) in enumerate(zip(question.levels, shares, strict=True))
    ]
    return {
        "type": "score",
        "name": question.name,
        "score": sum(value * share for value, share in enumerate(shares)),
        "confidence": shares[best],
        "probabilities": levels,
    }
