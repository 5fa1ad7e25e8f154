"""Makes records for the verdict skill: closing texts that agree with the records of their run, and ones that do not.

    python verdicts.py --scenes 1350 --seed 35 --out ../data/verdicts.jsonl.zst

A scene is a run in two versions: as it was, and with another end of one call (denied, failed, empty, carried out,
another value). Each version has its true closing text, and the true text of one version is the false one of the other,
so that no text gives its label away. The runs are those of the training worlds, walked by the oracle, and those of the
desks of `answers.py`. Worlds and desks of the part `valid` have tools, names and wordings of their own.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import answers
import worlds
import zstandard
from answer_words import EFFECTS, LANGUAGES, TEXTS, Made
from desk_said import dumps
from desk_world import HERE, DeskError, read_desks

from loraloop.adapters.skill.contracts import agreement_prompt
from loraloop.evals.desk.world import load_worlds

LONGEST = 500  # tokens of a transcript, estimated
FAILURES = {"timeout": 4, "down": 5, "internal": 5, "forbidden": 4, "busy.429": 1, "busy.409": 2, "gone": 4}
Message = dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """A run in one version, up to its closing text.

    Attributes:
        messages: The transcript; contents of calls and results are JSON data.
        text: The true closing text.
        others: False ones, each with its kind.
        state: `done`, `failed`, `denied`, `empty` or `none`: what came of the turn's calls.
        effect: Whether the last call changes something.
        value: A value of the last call, by which texts name it; may be empty.
        lang: The language of the texts.
        kind: Kind of the true text.
    """

    messages: list[Message]
    text: str
    others: tuple[tuple[str, str], ...]
    state: str
    effect: bool
    value: str
    lang: str
    kind: str


class Sentences:
    """Draws sentences; those of the part `valid` are not drawn for training."""

    def __init__(self, rng: random.Random, part: str) -> None:
        self.rng = rng
        self.known: dict[tuple[str, str], list[str]] = defaultdict(list)
        for block in re.split(r"^@", (HERE / "verdicts.txt").read_text(encoding="utf-8"), flags=re.M)[1:]:
            name, *lines = block.strip().split("\n")
            by_lang: dict[str, list[str]] = defaultdict(list)
            for line in lines:
                lang, text = (line[:2], line[4:]) if line[2:3] == "|" else ("en", line)
                by_lang[lang].append(text)
            for lang, texts in by_lang.items():
                held = texts[3::4] if len(texts) >= 4 else []
                rest = [text for text in texts if text not in held]
                self.known[name, lang] = (held or texts) if part == "valid" else rest

    def draw(self, situation: str, lang: str, value: str = "", why: str = "") -> str:
        """A sentence of a situation."""
        rng = self.rng
        text = rng.choice(self.known[situation, lang])
        shown = value if value and not re.search(r"[()\[\]|{}]", value) and rng.random() < 0.6 else ""
        text = re.sub(r"\[([^\[\]]*)\]", lambda found: found[1] if shown else "", text)
        while True:
            choice = re.search(r"\(([^()|]*\|[^()]*)\)", text)
            if choice is None:
                break
            text = text[: choice.start()] + rng.choice(choice[1].split("|")) + text[choice.end() :]
        text = text.replace("{x}", shown).replace("{why}", why)
        text = re.sub(r"\s+", " ", text).strip()
        text = re.sub(r"([?!])\.", r"\1", re.sub(r" ([.,;!])", r"\1", text)).strip(" ,;")
        return text[:1].upper() + text[1:]

    def why(self, category: str, lang: str) -> str:
        """A clause that says why a call failed."""
        texts = [text for text in TEXTS.get(f"why.{category}", {}).get(lang, ()) if "{" not in text]
        return self.rng.choice(texts) if texts and self.rng.random() < 0.75 else lowered(self.draw("why", lang))


class Maker:
    """Makes the scenes of one part."""

    def __init__(self, part: str, rng: random.Random) -> None:
        self.part, self.rng, self.say = part, rng, Sentences(rng, part)
        self.pool: dict[str, set[Any]] = defaultdict(set)  # values of results, by their names

    # what fails

    def error(self, category: str, value: str) -> str:
        """The error of a failed call."""
        error = self.rng.choice(TEXTS[f"error.{category.split('.')[0]}"]["en"])
        if category == "busy.429":
            error = self.rng.choice(("HTTP 429 Too Many Requests", "too many requests", "429: rate limit exceeded"))
        elif category == "busy.409":
            error = self.rng.choice(("HTTPError: 409 Conflict", "RuntimeError: locked by another user"))
        return error.format(n=self.rng.choice((5, 8, 10, 20)), key=repr(value or "entry"), day="")

    def failed(self, message: Message, category: str, value: str) -> Message:
        """A tool's message in the version where its call failed, or was denied."""
        name, rng = message["content"]["name"], self.rng
        if category == "denied":
            reason = f": {rng.choice(TEXTS['reason']['en'])}" if rng.random() < 0.35 else ""
            return {"role": "tool", "content": {"name": name, "error": f"denied by the user{reason}"}}
        error, chance = self.error(category, value), rng.random()
        if chance < 0.72:
            return {"role": "tool", "content": {"name": name, "error": error}}
        key = rng.choice(("ok", "done", "success"))
        told: dict[str, Any] = {rng.choice(("error", "message", "reason")): error}
        return {"role": "tool", "content": {"name": name, "result": {key: False, **told} if chance > 0.86 else told}}

    def not_done(self, effect: bool, category: str, lang: str, value: str) -> str:
        """A text that says that a call was denied, or failed."""
        if category == "denied":
            return self.say.draw("denied", lang, value)
        return self.say.draw("failed" if effect else "unread", lang, value, self.say.why(category, lang))

    # values

    def learn(self, messages: Sequence[Message]) -> None:
        """Remembers the values of a run's results by their names."""
        for message in messages:
            for path, value in leaves_of(message):
                self.pool[name_of(path)].add(value)

    def edited(self, scene: Scene) -> tuple[list[Message], str] | None:
        """The scene's results and text with another value that both name, if there is one."""
        rng, start = self.rng, turn_start(scene.messages)
        given = {str(value) for m in scene.messages[start:] for value in arguments_of(m)}
        found = [
            (at, path, value)
            for at in range(start, len(scene.messages))
            for path, value in leaves_of(scene.messages[at])
            if str(value) not in given
            and (in_text(value, scene.text) or (isinstance(value, str) and in_words(value, scene.text)))
        ]
        if not found:
            return None
        at, path, value = rng.choice(found)
        key = name_of(path)
        if isinstance(value, str) and in_words(value, scene.text):
            other = f"{value[:8]}{rng.choice([day for day in range(1, 29) if day != int(value[8:])]):02}"
            messages = copy.deepcopy(scene.messages)
            put(messages[at]["content"]["result"], path, other)
            return messages, in_words(value, scene.text, str(int(other[8:])))
        own = [v for m in scene.messages for p, v in leaves_of(m) if name_of(p) == key]
        near = [v for m in scene.messages for _, v in leaves_of(m)]
        options = own if rng.random() < 0.5 else sorted(self.pool[key], key=str)
        if not isinstance(value, str) and rng.random() < 0.25:
            options = near
        fits = [v for v in options if type(v) is type(value) and v != value and forms(v) and not in_text(v, scene.text)]
        if not fits and isinstance(value, int | float) and not isinstance(value, bool):
            fits = [type(value)(max(0, value + step)) for step in (-3, -2, -1, 1, 2, 4, 10)]
            fits = [each for each in fits if each != value and not in_text(each, scene.text)]
        if not fits:
            return None
        other = rng.choice(fits)
        messages = copy.deepcopy(scene.messages)
        put(messages[at]["content"]["result"], path, other)
        return messages, replaced(scene.text, value, other)

    # scenes

    def versions(self, scene: Scene, last: int, several: bool) -> Iterator[tuple[str, Scene, Scene]]:
        """A run that went well in pairs of versions, each with its kind: `last` is the place of the call's result."""
        rng, lang, value, effect = self.rng, scene.lang, scene.value, scene.effect
        if scene.state == "done":
            effects = ["denied"] if effect else []
            for category in (*effects, rng.choices([*FAILURES], [*FAILURES.values()])[0]):
                messages = copy.deepcopy(scene.messages)
                messages[last] = self.failed(messages[last], category, value)
                why = lowered(self.say.draw("denied", lang)) if category == "denied" else self.say.why(category, lang)
                if several and rng.random() < 0.6:
                    text = self.say.draw("part", lang, value, why.rstrip("."))
                else:
                    text = self.not_done(effect, category, lang, value)
                state = "denied" if category == "denied" else "failed"
                true = scene
                if effect and rng.random() < 0.3:
                    true = replace(scene, text=self.say.draw("all" if several else "done", lang, value))
                kind = "partly" if several else state if effect else "unread"
                more = []
                if not effect and category != "gone":
                    more = [("unread_as_nothing", self.say.draw(rng.choice(("nothing", "zero")), lang, value))]
                yield kind, true, replace(scene, messages=messages, text=text, state=state, others=tuple(more))
            result = scene.messages[last]["content"].get("result")
            if not effect and (listed := list_of(result)) is not None and not several:
                messages = copy.deepcopy(scene.messages)
                content = messages[last]["content"]
                content["result"] = [] if listed == "" else {**result, listed: []}
                text = self.say.draw("nothing" if rng.random() < 0.75 else "zero", lang, value)
                failed = (("empty_as_failed", self.not_done(False, "down", lang, value)),)
                yield "nothing", scene, replace(scene, messages=messages, text=text, state="empty", others=failed)
        if scene.state in ("done", "empty", "failed") and (other := self.edited(scene)) is not None:
            yield "value", scene, replace(scene, messages=other[0], text=other[1])

    def rows(self, pairs: Sequence[tuple[str, Scene, Scene]], tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The records of one version of a run, in two pairs of a true and a false text."""
        weights = [{"value": 2.0, "partly": 4.0, "nothing": 3.0}.get(kind, 1.0) for kind, _, _ in pairs]
        kind, one, two = self.rng.choices(pairs, weights)[0]
        turned = self.rng.random() < 0.5
        here, there = (two, one) if turned else (one, two)
        keep = self.rng.choice((1, 1, 2, 2, 3))
        found = self.of_version(kind, here, there, tools, keep)
        for _ in range(4):
            if not turned:
                kind, here, there = self.rng.choices(pairs, weights)[0]
            more = self.of_version(kind, here, there, tools, keep)
            known = [row["extra_prompt"] for row in found]
            if found and more and not any(row["extra_prompt"] in known for row in more):
                return [*found, *more]
        return found

    def of_version(
        self, kind: str, here: Scene, there: Scene, tools: list[dict[str, Any]], keep: int
    ) -> list[dict[str, Any]]:
        """The records of a version, `there` being the other one."""
        rng, say, lang = self.rng, self.say, here.lang
        true, false, chance = here.text, there.text, rng.random()
        messages = here.messages
        if here.others and rng.random() < 0.4:
            kind, false = rng.choice(here.others)
        elif chance < 0.26 and kind != "value":  # a later turn asks
            kind = f"later_{kind}"
            said = here.text if rng.random() < 0.75 else there.text
            question = say.draw("did_you" if here.effect else "what_was", lang, here.value)
            between = []
            if rng.random() < 0.25:
                between = self.talk(lang)
            messages = [*messages, assistant(said), *between, {"role": "user", "content": question}]
            true, false = self.reply(here), self.reply(there)
        elif chance < 0.30:  # thanks, and what was said once more
            user, reply = self.talk(lang)
            kind = "talk"
            messages = [*messages, assistant(here.text), user]
            true = reply["content"]
            false = f"{true} {false}" if rng.random() < 0.7 else false
        elif chance < 0.40 and here.state == "done" and not here.effect:
            kind, false = "extra", f"{true} {say.draw('extra_done', lang)}"
            if rng.random() < 0.6:
                true = f"{true} {say.draw('extra_offer', lang)}"
        elif chance < 0.48 and (before := earlier(messages)) and norm(before) != norm(true):
            kind, false = "earlier", before
        elif chance < 0.52:
            true, false = (f"{each} {say.draw('extra_offer', lang)}" for each in (true, false))
        if norm(true) == norm(false):
            return []
        return self.pair(kind, messages, true, false, lang, tools, shortened(here.messages, keep))

    def reply(self, scene: Scene) -> str:
        """What answers the question whether something was done, or what came of it."""
        say, lang, good = self.say, scene.lang, scene.state == "done"
        if not scene.effect:
            return scene.text
        chance, head = self.rng.random(), say.draw("yes" if good else "no", lang)
        if chance < 0.15:
            return head
        if chance < 0.5 and good:
            return f"{head} {say.draw('done', lang, scene.value)}"
        return f"{head} {scene.text}" if chance < 0.8 else scene.text

    def talk(self, lang: str) -> list[Message]:
        """Words that no tool is needed for, and their answer."""
        said, reply = self.say.draw("talk", lang).split("=>")
        reply = reply.strip()
        return [{"role": "user", "content": said.strip()}, assistant(reply[:1].upper() + reply[1:])]

    def pair(
        self,
        kind: str,
        messages: list[Message],
        true: str,
        false: str,
        lang: str,
        tools: list[dict[str, Any]],
        begins: int = 0,
    ) -> list[dict[str, Any]]:
        """A true and a false text after the same transcript, of which what stands before `begins` is left out."""
        begins = begins or shortened(messages, self.rng.choice((1, 1, 2)))
        told = [m for at, m in enumerate(messages) if at >= begins or (at == 0 and m["role"] == "system")]
        texts = [text_of(m) for m in told]
        shared = {"part": self.part, "kind": kind, "lang": lang, "messages": texts, "tools": tools}
        if length(texts, tools) > LONGEST:
            return []
        each = (("agrees", true), ("contradicts", false))
        return [{**shared, "extra_prompt": agreement_prompt(text), "completion": label} for label, text in each if text]


# messages


def assistant(text: str) -> Message:
    """A message of the assistant."""
    return {"role": "assistant", "content": text}


def text_of(message: Message) -> dict[str, str]:
    """A message with its content as text."""
    content = message["content"]
    return {"role": message["role"], "content": content if isinstance(content, str) else dumps(content)}


def turn_start(messages: Sequence[Message]) -> int:
    """Where the last turn begins."""
    return max((at for at, m in enumerate(messages) if m["role"] == "user"), default=0)


def shortened(messages: Sequence[Message], keep: int) -> int:
    """Where the last turns begin, at least one with a result among them."""
    turns = [at for at, m in enumerate(messages) if m["role"] == "user"]
    acted = [at for at in turns if any(m["role"] == "tool" for m in messages[at:])]
    begins = min(turns[-keep:][0], acted[-1] if acted else 0)
    return begins - 1 if messages[begins - 1]["role"] == "system" else begins  # a note of the days in it


def earlier(messages: Sequence[Message]) -> str:
    """The answer of the turn before, if that turn had calls."""
    start = turn_start(messages)
    before = messages[turn_start(messages[:start]) : start] if start else []
    said = [m["content"] for m in before if m["role"] == "assistant" and isinstance(m["content"], str)]
    return said[-1] if said and any(m["role"] == "tool" for m in before) else ""


def length(messages: Sequence[dict[str, str]], tools: Sequence[Any]) -> int:
    """Tokens, estimated from the characters."""
    texts = [*(m["content"] for m in messages), *(dumps(tool) for tool in tools)]
    return round(sum(map(len, texts)) / 3.6) + 4 * len(texts)


def leaves_of(message: Message) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The numbers and short texts of a result, with their places in it."""
    content = message["content"]
    waiting: list[tuple[tuple[Any, ...], Any]] = []
    if message["role"] == "tool" and isinstance(content, dict) and "result" in content:
        waiting.append(((), content["result"]))
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [((*path, key), each) for key, each in items]
        elif path and isinstance(value, int | float | str) and not isinstance(value, bool) and len(str(value)) <= 40:
            yield path, value


def arguments_of(message: Message) -> Iterator[Any]:
    """The values of a message's calls."""
    if message["role"] == "assistant" and isinstance(message["content"], list):
        for call in message["content"]:
            yield from call["arguments"].values()


def name_of(path: Sequence[Any]) -> str:
    """The name of a value: the last key on its way."""
    return next((key for key in reversed(path) if isinstance(key, str)), "")


def forms(value: Any) -> list[str]:
    """How texts write a value."""
    plain = f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, str):
        return [plain, plain.replace("_", " ")] if len(plain) > 1 else []
    return [plain, plain.replace(".", ","), str(value)]


def in_text(value: Any, text: str) -> bool:
    """Whether a text names a value."""
    return any(re.search(rf"(?<![\w.,-]){re.escape(form)}(?![\w-]|[.,]\d)", text) for form in forms(value))


def replaced(text: str, value: Any, other: Any) -> str:
    """A text with another value in the place of one."""
    for form, by in zip(forms(value), forms(other), strict=True):
        text = re.sub(rf"(?<![\w.,-]){re.escape(form)}(?![\w-]|[.,]\d)", lambda _, by=by: by, text)
    return text


def in_words(value: str, text: str, day: str = "") -> str:
    """A text that names a day, as *8 July* is `2026-07-08`, with another day of the month; empty if it names none."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        return ""
    pattern = rf"(?<![\w.,-]){int(value[8:])}(?=\.? (?:de )?[^\W\d]{{3,}})"
    return re.sub(pattern, day or str(int(value[8:])), text) if re.search(pattern, text) else ""


def put(tree: Any, path: Sequence[Any], value: Any) -> None:
    """Puts a value into a result."""
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = value


def list_of(result: Any) -> str | None:
    """The name of the list that a result is mainly; empty where it is one itself, None where there is none."""
    if isinstance(result, list) and result:
        return ""
    if isinstance(result, dict) and len(result) <= 3:
        return next((key for key, value in result.items() if isinstance(value, list) and value), None)
    return None


def lowered(text: str) -> str:
    """A sentence as a clause."""
    return text[:1].lower() + text[1:]


def norm(text: str) -> str:
    """A text for comparing."""
    return re.sub(r"\W+", " ", text.casefold())


def named_value(arguments: dict[str, Any], rng: random.Random) -> str:
    """A value of a call by which a text may name it."""
    short = [str(v) for v in arguments.values() if isinstance(v, str | int) and not isinstance(v, bool)]
    short = [v for v in short if 1 < len(v) <= 26 and not re.fullmatch(r"\d{4}-\d\d-\d\d", v)]
    return rng.choice(short) if short else ""


# runs of worlds


def world_rows(maker: Maker, draws: int, seed: int, most: int) -> Iterator[list[dict[str, Any]]]:
    """The records of runs of the worlds of a part."""
    rng = maker.rng
    loaded = load_worlds(worlds.WORLDS)
    held = {world.name for world in loaded[4::10]}
    mine = [world for world in loaded if (world.name in held) == (maker.part == "valid")]
    schemas = {world.name: [worlds.schema_of(tool) for tool in world.module.TOOLS] for world in mine}
    runs = []
    for world in mine:
        for talk in worlds.conversations(world, schemas, draws, seed, maker.part == "valid"):
            done = claims(talk)
            runs += [(talk, place, done) for place in range(len(talk.answers))]
            maker.learn(talk.messages)
    rng.shuffle(runs)
    foreign = [run for run in runs if run[0].answers[run[1]]["lang"] != "en"]
    made = 0
    for talk, place, done in [*foreign, *runs]:
        if made >= most:
            return
        rows = world_run(maker, talk, talk.answers[place], done)
        made += bool(rows)
        yield rows


def claims(talk: Any) -> list[str]:
    """Texts of a conversation that say that something was changed."""
    found = []
    for answer in talk.answers:
        start = turn_start(talk.messages[: answer["at"]])
        calls = [
            call["name"]
            for m in talk.messages[start : answer["at"]]
            if isinstance(m["content"], list)
            for call in m["content"]
        ]
        if answer["kind"] == "done" and set(calls) & set(talk.world.changes):
            found.append(answer["completion"])
    return found


CLAIMS: dict[str, list[str]] = defaultdict(list)


def world_run(maker: Maker, talk: Any, answer: dict[str, Any], done: list[str]) -> list[dict[str, Any]]:
    """The records of one turn of a world's conversation."""
    rng, lang = maker.rng, answer["lang"]
    if lang not in ("en", *LANGUAGES):
        return []
    messages = copy.deepcopy(talk.messages[: answer["at"]])
    for message in messages:  # the names of this conversation
        content = message["content"]
        if isinstance(content, list):
            message["content"] = [talk.names.call(call) for call in content]
        elif isinstance(content, dict):
            message["content"] = json.loads(talk._named(message))
        elif message["role"] == "user" and rng.random() < 0.6:
            message["content"] = re.sub(r"^Passages:\n.*\n\n", "", content, flags=re.S)
    start = turn_start(messages)
    results = [at for at in range(start, len(messages)) if messages[at]["role"] == "tool"]
    tools = shown_tools(talk, messages, rng)
    pool = CLAIMS[f"{maker.part}/{talk.world.name}"]
    pool += [text for text in done if text not in pool]
    if not results:
        other = [text for text in pool if text not in [each["completion"] for each in talk.answers]]
        false = rng.choice(other) if other and rng.random() < 0.6 else maker.say.draw("done", lang)
        if not any(m["role"] == "tool" for m in messages):
            return []
        return maker.pair("uncalled", messages, answer["completion"], false, lang, tools)
    calls = [
        call for m in talk.messages[start : answer["at"]] if isinstance(m["content"], list) for call in m["content"]
    ]
    last, effect = calls[-1], calls[-1]["name"] in talk.world.changes
    batch = next(len(m["content"]) for m in reversed(messages) if isinstance(m["content"], list))
    state = {"done": "done", "error": "failed", "empty": "empty"}[answer["kind"]]
    scene = Scene(
        messages, answer["completion"], (), state, effect, named_value(last["arguments"], rng), lang, answer["kind"]
    )
    pairs = list(maker.versions(scene, results[-1], batch > 1))
    if state == "failed":
        pairs += list(recovered(maker, scene, results[-1]))
    return maker.rows(pairs, tools) if pairs else []


def recovered(maker: Maker, scene: Scene, last: int) -> Iterator[tuple[str, Scene, Scene]]:
    """A failed call beside its version that was carried out."""
    if not scene.effect:
        return
    messages = copy.deepcopy(scene.messages)
    call = next(m["content"][-1] for m in reversed(messages) if isinstance(m["content"], list))
    said = maker.rng.choice(({"done": True}, {"status": "ok"}, {"result": "accepted"}, {}))
    messages[last]["content"] = {"name": call["name"], "result": {**call["arguments"], **said}}
    text = maker.say.draw("done", scene.lang, scene.value)
    yield "failed", scene, replace(scene, messages=messages, text=text, state="done")


def shown_tools(talk: Any, messages: Sequence[Message], rng: random.Random) -> list[dict[str, Any]]:
    """The tools that were called, and some others of the world."""
    used = {call["name"] for m in messages if isinstance(m["content"], list) for call in m["content"]}
    own = [talk.names.masked(schema) for schema in talk.own.values()]
    spare = [schema for schema in own if schema["name"] not in used]
    chosen = {s["name"] for s in rng.sample(spare, min(len(spare), rng.choice((0, 0, 1, 2))))} | used
    return [schema for schema in own if schema["name"] in chosen]


# runs of desks


class Pairs(answers.Conversation):
    """A conversation with a desk whose answers know the other version of their run."""

    def close(self, text: str, kind: str, extra_prompt: str = "") -> None:
        """The answer of a turn; with it another version of the last step, and its true answer."""
        super().close(text, kind, extra_prompt)
        if (
            not self.turn
            or self.skipped
            or kind not in ("result", "results", "empty", "done", "error", "denied", "partly")
        ):
            return
        last = self.turn[-1]
        at = self.rng.randrange(len(last))
        other = self._other(last[at])
        if other is None:
            return
        mine, self.turn[-1] = last, [*last[:at], other, *last[at + 1 :]]
        try:
            said = self.composed()[0]
        except (LookupError, ValueError, AttributeError, TypeError):
            return
        finally:
            self.turn[-1] = mine
        states = ["denied" if m.failure == "denied" else "failed" if m.failure else "done" for m in (last[at], other)]
        self.answers[-1]["other"] = (at - len(last), other, said, states)

    def _other(self, made: Made) -> Made | None:
        rng, effect = self.rng, made.offer.role in EFFECTS
        other = Made(made.call, made.offer, dict(made.given), more=dict(made.more))
        if not made.ok:
            try:
                other.result = copy.deepcopy(self.world).execute(made.call)
            except (DeskError, LookupError, ValueError):
                return None
            return other
        if effect and rng.random() < 0.5:
            reason = rng.choice(TEXTS["reason"]["en"])
            other.failure, other.error = "denied", "denied by the user" + (f": {reason}" if rng.random() < 0.4 else "")
            return other
        other.failure = rng.choices([*answers.ERRORS], [*answers.ERRORS.values()])[0]
        other.failure = "internal" if other.failure == "rule" else other.failure
        key = str(made.given.get("id") or made.given.get("client") or made.given.get("item") or made.offer.role)
        error = rng.choice(TEXTS[f"error.{other.failure}"]["en"])
        other.error = error.format(n=rng.choice((5, 8, 10, 20)), key=rng.choice((key, repr(key))), day="")
        return other

    def records(self) -> list[dict[str, Any]]:
        """The answers with their transcripts, as data."""
        found = []
        for each in self.answers:
            head = {"role": "system", "content": self.instructions}
            messages = [head, *({**m, "content": data_of(m)} for m in self.messages[: each["at"]])]
            called = {call["name"] for m in messages if isinstance(m["content"], list) for call in m["content"]}
            offers = list(self.world.offers.values())
            spare = [offer for offer in offers if offer.name not in called]
            more = self.rng.sample(spare, min(len(spare), self.rng.choice((0, 0, 1, 2))))
            tools = [offer.schema for offer in offers if offer.name in called or offer in more]
            found.append({**each, "messages": messages, "tools": tools})
        return found


def data_of(message: Message) -> Any:
    """The content of a message, calls and results as data."""
    content = message["content"]
    begins = {"tool": "{", "assistant": "["}.get(message["role"])
    if begins and content.startswith(begins):
        try:
            return json.loads(content)
        except ValueError:
            return content
    return content


def desk_rows(maker: Maker, seed: int, most: int, foreign: float) -> Iterator[list[dict[str, Any]]]:
    """The records of runs with the desks of a part."""
    rng, desks = random.Random(f"{seed}/{maker.part}"), read_desks()
    mine = [desk for at, desk in enumerate(desks) if (at % 7 == 3) == (maker.part == "valid")]
    made = 0
    while made < most:
        tongue = rng.choice(LANGUAGES) if rng.random() < foreign else "en"
        for each in answers.conversation(rng.choice(mine), rng, tongue, Pairs):
            maker.learn(each["messages"])
            if rng.random() < 0.45:  # few of each conversation
                rows = desk_run(maker, each)
                made += bool(rows)
                yield rows


def desk_run(maker: Maker, answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of one turn with a desk."""
    rng, lang, messages, text = maker.rng, answer["lang"], answer["messages"], answer["completion"]
    kind, tools = answer["kind"], answer["tools"]
    if kind in ("ask", "no_document", "not_done", "rule") and "other" not in answer:
        earlier = any(m["role"] == "tool" for m in messages)
        if not earlier or (kind != "ask" and rng.random() < 0.4):
            return []
        false = maker.say.draw("done", lang) if kind != "no_document" else maker.say.draw("extra_done", lang)
        return maker.pair("uncalled" if kind != "rule" else "rule", messages, text, false, lang, tools)
    state = {"denied": "denied", "error": "failed", "partly": "failed", "empty": "empty"}.get(kind, "done")
    calls = [call for m in messages[turn_start(messages) :] if isinstance(m["content"], list) for call in m["content"]]
    if not calls:
        return []
    value = named_value(calls[-1]["arguments"], rng)
    effect = kind in ("done", "denied") or ("other" in answer and answer["other"][1].offer.role in EFFECTS)
    scene = Scene(messages, text, (), state, effect, value, lang, kind)
    if "other" not in answer or (kind in ("result", "results") and rng.random() < 0.6):
        edit = maker.edited(scene)
        if edit is not None:
            return maker.rows([("value", scene, replace(scene, messages=edit[0], text=edit[1]))], tools)
        if "other" not in answer:
            return []
    back, other, said, states = answer["other"]
    changed = copy.deepcopy(messages)
    body = {"error": other.error} if other.failure else {"result": other.result}
    changed[back]["content"] = {"name": other.call["name"], **body}
    more: tuple[tuple[str, str], ...] = ()
    if states[1] != "done" and not effect and other.failure != "gone" and -back == 1:
        more = (("unread_as_nothing", maker.say.draw(rng.choice(("nothing", "zero")), lang, value)),)
    there = replace(scene, messages=changed, text=said, state=states[1], others=more)
    bad = states[0] if states[0] != "done" else states[1]
    name = "partly" if -back > 1 or kind == "partly" else bad if effect else "unread"
    return maker.rows([(name, replace(scene, state=states[0] if kind != "empty" else state), there)], tools)


def part_rows(part: str, scenes: int, seed: int) -> list[dict[str, Any]]:
    """The records of a part, in pairs."""
    maker, rows = Maker(part, random.Random(f"{seed}/{part}")), []
    for each in world_rows(maker, 3 if part == "train" else 8, seed, scenes * 11 // 20):
        rows += each
    for each in desk_rows(maker, seed, scenes * 9 // 20, 0.45):
        rows += each
    return rows


def main() -> None:
    """Writes the records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=1350)
    parser.add_argument("--valid", type=int, default=180, help="scenes of the part valid")
    parser.add_argument("--seed", type=int, default=35)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows = part_rows("train", given.scenes, given.seed) + part_rows("valid", given.valid, given.seed)
    for part in ("train", "valid"):
        own = [row for row in rows if row["part"] == part]
        print(part, len(own), Counter(r["completion"] for r in own), Counter(r["kind"] for r in own))
        print(Counter(row["lang"] for row in own))
    text = "".join(dumps(row) + "\n" for row in rows)
    given.out.write_bytes(zstandard.ZstdCompressor(level=19).compress(text.encode()))


if __name__ == "__main__":
    main()
