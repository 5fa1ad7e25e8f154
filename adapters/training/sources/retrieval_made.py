"""Passages and questions made from templates of facts: whose passage it is, and what it tells, decides.

`retrieval_facts.txt` has kinds of things (`@ kind | names`) and their facts, each `sentence | slot: question; …`; the
answer is what the slot holds. `{it}` is the thing's name, `{It}` the same at a sentence's beginning.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from loraloop.adapters.skill.contracts import Answer, Passage
from loraloop.adapters.training.data.example import Example, Split
from loraloop.adapters.training.sources.instructions import instructions_or_none
from loraloop.adapters.training.sources.records import in_valid
from loraloop.adapters.training.sources.retrieval import id_style, retrieval_example
from loraloop.adapters.training.sources.retrieval_documents import SPACED, spaced
from loraloop.adapters.training.sources.typed_pools import pooled

SOURCE, LICENSE = "loraloop facts (made)", "Apache-2.0"
_FILE = Path(__file__).with_name("retrieval_facts.txt")
_WORDS = {
    "crop": "barley; wheat; oats; maize; beetroot; linseed; mustard; hops; lentils; cocoa; cotton; rice",
    "material": "oak; slate; brick; granite; copper; marble; pine; bronze; glass; wool; clay; cedar; iron",
    "animal": "goat; fox; hedgehog; lynx; stork; otter; donkey; toad; wolf; swan; hare; bear",
    "bird": "thrush; finch; warbler; plover; wren; kite; bunting; dove",
    "mineral": "aldrite; corvanite; belmorite; tessalite; norvite; ambrolite; sildrite; quenstite; ferrolite",
    "building": "monastery; granary; hospital; customs house; prison; school; brewery; library; stable; chapel",
    "subject": "Latin; physics; drawing; geography; chemistry; history; music",
    "product": "lenses; biscuits; carpets; barometers; jam; gloves; bicycles; pianos; buttons; fur coats; kettles",
    "day": "Monday; Tuesday; Wednesday; Thursday; Friday; Saturday; Sunday",
    "month": "January; February; March; April; May; June; July; August; September; October; November; December",
    "thing": "Clockmaker; Orchard; Lantern; Harvest; Debt; Winter; Cartographer; Letter; Well; Inheritance",
    "town": "Arnsby; Belham; Corwick; Dunmere; Elstow; Farleigh; Gorling; Hexford; Ingleby; Kelmouth; Lorrach; "
    "Milbury; Nantvale; Ostrava; Penrick; Quarndon; Rossheim; Selkirk; Tarnow; Ulverton; Vasto; Wexcombe; Yarrowby",
}
_LISTS = {name: tuple(text.split("; ")) for name, text in _WORDS.items()}


_ABOUT = (
    "What is known about {it}?",
    "What does the text say about {it}?",
    "Tell me about {it}.",
    "What is there to know about {it}?",
    "Sum up what is said of {it}.",
    "Describe {it}.",
)


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence with slots, and the questions that its slots answer."""

    sentence: str
    questions: tuple[tuple[str, str], ...]

    @property
    def named(self) -> bool:
        """Whether it begins with the thing, so that it can stand alone."""
        return self.sentence.startswith(("{It}", "It ", "Its "))


@dataclass(frozen=True, slots=True)
class Thing:
    """A kind of things: forms of their names, and facts."""

    kind: str
    names: tuple[str, ...]
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """A fact of one thing: its sentence, and each question with its answer."""

    sentence: str
    questions: tuple[tuple[str, str], ...]
    named: bool


@lru_cache(maxsize=1)
def things() -> tuple[Thing, ...]:
    """All kinds of things."""
    found: list[tuple[str, tuple[str, ...], list[Fact]]] = []
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        head, _, tail = line.partition(" | ")
        if line.startswith("@"):
            found.append((head[2:], tuple(name.strip() for name in tail.split(";")), []))
        elif line:
            pairs = (part.strip().partition(": ") for part in tail.split(";"))
            found[-1][2].append(Fact(head, tuple((slot, question) for slot, _, question in pairs)))
    return tuple(Thing(kind, names, tuple(facts)) for kind, names, facts in found)


class FactMaker:
    """Makes examples of one part of the things.

    Args:
        split: Part of the things; validation has kinds of its own.
        rng: Source of randomness.
    """

    def __init__(self, split: Split, rng: random.Random) -> None:
        self.rng = rng
        self.things = tuple(thing for thing in things() if in_valid(f"facts {thing.kind}", 14) == (split != "train"))
        self._count = 0

    def passages(self) -> Example:
        """Short texts on several things; one of them answers, or none: it tells that of another, or something else."""
        rng = self.rng
        thing = rng.choice(self.things)
        mine, facts = self._told(thing)
        other, theirs = self._another(thing, mine)
        place = rng.randrange(len(facts))
        question, answer = rng.choice(facts[place].questions)
        answerable = rng.random() < 0.62
        rest = [fact for index, fact in enumerate(facts) if index != place]
        rng.shuffle(rest)
        texts = [(other, self._text(other, [theirs[place], *theirs[:1]]))] if rng.random() < 0.8 else []
        for fact in rest[: rng.choice((1, 1, 2, 2, 3))]:
            texts.append((mine, self._text(mine, [fact])))
        for _ in range(rng.choice((0, 0, 1, 2))):
            name, known = self._told(rng.choice(self.things))
            texts.append((name, self._text(name, rng.sample(known, k=rng.choice((1, 1, 2))))))
        right = self._text(mine, [facts[place], *rest[-1:]] if rng.random() < 0.4 else [facts[place]])
        if answerable:
            texts.append((mine, right))
        rng.shuffle(texts)
        style, titled = id_style(rng), rng.random() < 0.4
        shown = [Passage(style(i), text, _title(name) if titled else "") for i, (name, text) in enumerate(texts)]
        cited = tuple(passage.id for passage, (_, text) in zip(shown, texts, strict=True) if text == right)
        if not answerable:
            answer, cited = "", ()
        return self._example(thing, question, shown, Answer(answerable, cited, answer), answer, "facts_passages")

    def document(self) -> Example:
        """The sentences of a text on one thing; one of them answers, or none does: it is gone, or the thing another."""
        rng = self.rng
        thing = rng.choice(self.things)
        name, facts = self._told(thing)
        place = rng.randrange(len(facts))
        question, answer = rng.choice(facts[place].questions)
        elsewhere = rng.random() < 0.2
        if elsewhere:
            question, answer = rng.choice(self._another(thing, name)[1][place].questions)
        holding = self._text(name, [facts[place]])
        sentences = [fact.sentence for index, fact in enumerate(facts) if index != place]
        rng.shuffle(sentences)
        sentences.sort(key=lambda text: not text.startswith(name[:1].upper() + name[1:]))  # what names it comes first
        answerable = not elsewhere and rng.random() < 0.6
        if answerable:
            sentences.insert(rng.randint(0, len(sentences)), holding)
        cited = [holding] if answerable else []
        return self._document(thing, name, question, sentences, cited, "facts_document", answer)

    def both(self) -> Example:
        """The sentences of a text on one thing, and a question for two of them: both are told."""
        rng = self.rng
        thing = rng.choice(self.things)
        name, facts = self._told(thing)
        first, second = rng.sample(facts, k=2)
        (asked, _), (also, _) = rng.choice(first.questions), rng.choice(second.questions)
        also = also[:1].lower() + also[1:].replace(name, "it")
        question = f"{asked.rstrip('?')}{rng.choice((' and ', ', and '))}{also}"
        rng.shuffle(facts)
        sentences = self._shown(name, facts)
        cited = [text for fact, text in zip(facts, sentences, strict=True) if fact in (first, second)]
        return self._document(thing, name, question, sentences, cited, "facts_both")

    def about(self) -> Example:
        """Sentences on two things, and a question for all that is said of one, or of a third of which nothing is."""
        rng = self.rng
        thing = rng.choice(self.things)
        mine, facts = self._told(thing)
        theirs = self._another(thing, mine)
        groups = [(mine, rng.sample(facts, k=rng.choice((1, 2, 2, 3)))), (theirs[0], rng.sample(theirs[1], k=2))]
        rng.shuffle(groups)
        known = rng.random() < 0.75
        asked = mine if known else self._another(thing, mine)[0]
        if asked == theirs[0]:
            return self.about()
        question = rng.choice(_ABOUT).replace("{it}", asked)
        shown = [(name, text) for name, told in groups for text in self._shown(name, told)]
        cited = [text for name, text in shown if known and name == mine]
        return self._document(thing, shown[0][0], question, [text for _, text in shown], cited, "facts_about")

    def _shown(self, name: str, facts: list[Told]) -> list[str]:
        """The sentences of facts, the first of which names the thing."""
        return [self._text(name, facts[:1]), *(fact.sentence for fact in facts[1:])]

    def _document(
        self,
        thing: Thing,
        name: str,
        question: str,
        sentences: list[str],
        cited: list[str],
        kind: str,
        value: str | None = None,
    ) -> Example:
        """An example of a document's sentences, of which the cited ones are the answer, or hold this value."""
        rng = self.rng
        told = [text in cited for text in sentences]
        if rng.random() < SPACED:
            sentences = [spaced(text) for text in sentences]
        style = id_style(rng)
        head = _title(name) if rng.random() < 0.7 else ""
        shown = [Passage(style(i), text, head if i == 0 else "") for i, text in enumerate(sentences)]
        right = [passage for passage, mine in zip(shown, told, strict=True) if mine]
        made = Answer(bool(right), tuple(p.id for p in right), " ".join(p.text for p in right))
        return self._example(thing, question, shown, made, value or made.answer, kind)

    def _told(self, thing: Thing) -> tuple[str, list[Told]]:
        """A thing of a kind with a name, and all its facts."""
        name = self._filled(self.rng.choice(thing.names))[0]
        told = []
        for fact in thing.facts:
            text, values = self._filled(
                fact.sentence.replace("{It}", name[:1].upper() + name[1:]).replace("{it}", name)
            )
            asked = tuple((question.replace("{it}", name), values[slot]) for slot, question in fact.questions)
            told.append(Told(text, asked, fact.named))
        return name, told

    def _another(self, thing: Thing, name: str) -> tuple[str, list[Told]]:
        """A thing of the kind with another name."""
        found = self._told(thing)
        return found if found[0] != name else self._another(thing, name)

    def _filled(self, template: str) -> tuple[str, dict[str, str]]:
        """A template with values, a slot that occurs twice with two of them; the first ones by their slots."""
        values: dict[str, str] = {}

        def said(match: re.Match[str]) -> str:
            value = self._value(match[1])
            values.setdefault(match[1], value)
            return value

        return re.sub(r"\{(\w+)\}", said, template), values

    def _value(self, slot: str) -> str:
        rng = self.rng
        match slot:
            case "year":
                return str(rng.randint(1610, 2019))
            case "small":
                return str(rng.randint(2, 40))
            case "n":
                return str(rng.randint(41, 420))
            case "big":
                number = rng.randint(450, 90_000)
                return f"{number:,}" if rng.random() < 0.6 else str(number)
            case "digit":
                return str(rng.randint(1, 9))
            case "name":
                return pooled("coined", rng)
            case "colour" | "country" | "fish" | "food" | "person":
                return pooled(slot, rng)
        return rng.choice(_LISTS[slot])

    def _text(self, name: str, facts: list[Told]) -> str:
        """Sentences on a thing, the first of which names it."""
        unique = list(dict.fromkeys(facts))
        first, *rest = sorted(unique, key=lambda fact: not fact.named)
        text = first.sentence
        upper = name[:1].upper() + name[1:]
        if not first.named:
            text = self.rng.choice((f"{upper}: {text}", f"{text[:-1]} ({name})."))
        elif text.startswith("Its "):
            text = f"{upper}'s {text[4:]}"
        elif text.startswith("It "):
            text = f"{upper} {text[3:]}"
        return " ".join([text, *(fact.sentence for fact in rest)])

    def _example(
        self, thing: Thing, question: str, shown: list[Passage], answer: Answer, value: str, kind: str
    ) -> Example:
        rng = self.rng
        self._count += 1
        if rng.random() < 0.3:
            question = question.lower().rstrip("?")
        record = {
            "id": f"facts-{thing.kind}-{self._count}",
            "question": question,
            "answer": answer.answer,
            "answers": [value] if answer.answerable else [],
            "source": SOURCE,
            "license": LICENSE,
        }
        if not answer.answerable:
            kind += "_unanswerable"
        return retrieval_example(record, shown, answer, kind, instructions_or_none(rng, 0.2))


def _title(name: str) -> str:
    return re.sub(r'^the |"', "", name)
