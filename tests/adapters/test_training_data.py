"""Training data: made examples say what their calls hold; splits are disjoint; evaluation requests stay out."""

from __future__ import annotations

import json
import random
import re

import jsonschema
import pytest

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.prompting import CALLS_HEADER
from loraloop.adapters.skill import contracts
from loraloop.adapters.training.data.example import Example, estimate, system_content, transcript
from loraloop.adapters.training.data.overlap import Overlap
from loraloop.adapters.training.data.shipped import counted_mixture, eval_files, load_examples
from loraloop.adapters.training.sources import retrieval_documents, safety_made, safety_pairs, tools_made
from loraloop.adapters.training.sources.code import usable
from loraloop.adapters.training.sources.records import generator, in_valid
from loraloop.adapters.training.sources.tools_public import case_of, figures_said
from loraloop.adapters.training.sources.typed import drawn, family_specs, fill, parse, specs
from loraloop.adapters.training.sources.typed_forms import CODES, CURRENCIES, PLACES, UNITS
from loraloop.adapters.training.sources.typed_runs import RunMaker as Maker
from loraloop.adapters.training.sources.typed_shown import roughened
from loraloop.evals.bench import term_of
from loraloop.tool_schemas import Tool, calls_schema, parse_calls, render_tools
from loraloop.tool_schemas.errors import InputError, UnknownNameError
from loraloop.tool_schemas.grammar.grammar import JsonSchema

SPEC = """
@ test
add numbers | Adds numbers.
 first: int(1,9) | First
 second: num(1,9,1) | Second
 loud?: bool = false | Loud | loudly // quietly
> Add {first} to {second}
~ {first} and {second}
! Add something.
"""


def record(identity: str, **more: object) -> dict[str, object]:
    return {"id": identity, "source": "test", "license": "MIT", "n_tokens": 40, **more}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data folder in the data page's forms, small and made here."""
    root = tmp_path_factory.mktemp("data")
    rng = random.Random(1)
    tool = {
        "name": "GetWeather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
    book = {**tool, "name": "BookRoom", "description": "Books a room"}

    def call_records(prefix: str, count: int) -> list[dict[str, object]]:
        made = []
        for index in range(count):
            city = f"Town{rng.randrange(10**6)}"
            called = index % 4 != 0
            made.append(
                record(
                    f"{prefix}-{index}",
                    tools=[tool, book],
                    messages=[{"role": "user", "content": f"Weather in {city} for record {prefix} {index}"}],
                    calls=[{"name": "GetWeather", "arguments": {"city": city}}] if called else [],
                    kind="call" if called else "no_matching_tool",
                )
            )
        return made

    def passage_records(prefix: str, count: int) -> list[dict[str, object]]:
        made = []
        for index in range(count):
            fact = f"The harbour of place {index} opened in {1800 + index}."
            text = f"Place {index} lies by the sea. {fact} Many people live there. It has a market."
            other = {"id": "2", "title": "Other", "text": "Nothing of interest is said here."}
            made.append(
                record(
                    f"{prefix}-{index}",
                    question=f"when did the harbour of place number {index} open",
                    passages=[{"id": "1", "title": f"Place {index}", "text": text}, other],
                    answer=str(1800 + index) if index % 5 else "",
                    answers=[str(1800 + index)] if index % 5 else [],
                    citations=["1"] if index % 5 else [],
                    answerable=bool(index % 5),
                )
            )
        return made

    def code_records(prefix: str, count: int) -> list[dict[str, object]]:
        return [
            record(
                f"{prefix}-{index}",
                messages=[{"role": "user", "content": f"Write a function f{index}."}],
                completion=f"def f{index}():\n    return {index}\n",
                tests=f"assert f{index}() == {index}",
                language="python",
            )
            for index in range(count)
        ]

    def texts(prefix: str, count: int) -> list[dict[str, object]]:
        kinds = (("safe", "benign_question"), ("unsafe", "jailbreak"), ("unsafe", "airt_scams"))
        kinds += (("safe", "cyber_benign_borderline"), ("safe", "benign_document (as tool output)"))
        return [
            record(f"{prefix}-{i}", text=f"{kinds[i % 5][1]} text of record {prefix} {i}", label=kinds[i % 5][0])
            | {"category": kinds[i % 5][1]}
            for i in range(count)
        ]

    files = {
        "tools/sgd.train": call_records("sgd-train", 80),
        "tools/snips.train": call_records("snips", 80),
        "tools/sealtools.train": call_records("seal", 80),
        "tools/toolformer.train": [r for r in call_records("toolformer", 80) if r["calls"]],
        "tools/bfcl.eval": call_records("bfcl", 6),
        "code/mbpp.train": code_records("mbpp", 60),
        "code/thealgorithms.train": code_records("algorithms", 60),
        "code/codegen_instruct.train": code_records("codegen", 60),
        "code/mbpp.eval": code_records("mbpp-test", 5),
        "retrieval/nq_open.train": passage_records("nq", 90),
        "retrieval/entailmentbank.train": passage_records("entailmentbank", 90),
        "retrieval/nq_open.eval": passage_records("nq", 3),
        "safety/prompts.train": texts("prompt", 200),
        "safety/xstest.eval": texts("xstest", 4),
        "general/gsm8k.train": code_records("gsm", 60),
        "general/roleplay.train": code_records("roleplay", 60),
    }
    for name, records in files.items():
        path = root / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return root


def test_made_tools_are_well_formed():
    rng = random.Random(0)
    assert len(specs()) >= 250 and len(family_specs()) >= 250
    for spec in (*specs(), *family_specs()):
        values = drawn(spec.arguments, rng)
        assert spec.requests, spec.words
        for text in (*spec.requests, spec.short, *spec.lacking, *(a.clause for a in spec.arguments)):
            assert "{" not in fill(text, values)
        for request in spec.requests:
            missing = [a.name for a in spec.arguments if a.required and "{" + a.name not in request]
            assert not missing, f"{spec.words}: {request!r} does not say {missing}"


def test_two_ends_of_a_way_differ():
    (spec,) = parse("@ x\ngo | Goes.\n a: enum(p/q) | From\n b: enum(p/q) | To\n> Go from {a} to {b}")
    for seed in range(30):
        values = drawn(spec.arguments, random.Random(seed))
        assert values["a"].value != values["b"].value


def test_notation():
    (spec,) = parse(SPEC)
    assert spec.domain == "test" and [a.required for a in spec.arguments] == [True, True, False]
    assert spec.argument("loud").default is False
    with pytest.raises(ValueError, match="notation"):
        parse("@ x\nadd it | Adds.\n? what")


WRITTEN = re.compile(r"[\d/.-]{8,10}|[A-Z][a-z]+ \d\d, \d{4}|\d\d:\d\d|.*\bx\b.*")  # dates, times, functions
CODED = {*PLACES.values(), *CURRENCIES, *UNITS, *(code for codes in CODES.values() for code in codes.values())}


@pytest.mark.parametrize("way", ["single", "parallel", "multiple", "near_miss", "lacking", "after_result", "failed"])
def test_made_cases_are_valid_and_said(way):
    maker = Maker("train", random.Random(3))
    for _ in range(20):
        case = getattr(maker, way)()
        example = case.example()
        tools = [Tool.from_schema(tool) for tool in case.tools]
        jsonschema.validate(json.loads(example.completion), calls_schema(tools))
        calls = parse_calls(example.completion, tools)
        if way == "near_miss":
            assert not calls
        if way in ("parallel", "multiple"):
            assert len(calls) >= 2
        said = " ".join(turn.content for turn in case.turns if turn.role == "user")
        for call in calls:
            for value in call.arguments.values():
                if isinstance(value, str) and not WRITTEN.fullmatch(value) and value not in CODED:
                    assert value.lower() in said.lower()


def test_what_was_called_before_a_follow_up_is_still_on_the_list():
    maker, long = Maker("train", random.Random(5)), 0
    for _ in range(150):
        case = maker.after_result()
        listed = {tool["name"] for tool in case.tools}
        calls = [turn.content for turn in case.turns if turn.role == "assistant" and turn.content.startswith("[")]
        assert {call["name"] for content in calls for call in json.loads(content)} <= listed
        long += len(listed) > 3 and bool(case.calls)
    assert long > 5


def test_a_round_asks_one_set_of_tools_for_different_things():
    maker, kinds = Maker("train", random.Random(7)), set[str]()
    texts = iter(["Who wrote Faust?"] * 200)
    for _ in range(25):
        cases = maker.round(texts, 4)
        examples = [case.example() for case in cases]
        assert len({example.messages[0].content for example in examples}) == 1
        schema = calls_schema([Tool.from_schema(tool) for tool in cases[0].tools])
        for example in examples:
            jsonschema.validate(json.loads(example.completion), schema)
            kinds.add(example.kind)
    assert kinds == {"single", "parallel", "parallel_multiple", "none"}


def test_requests_in_haste_keep_their_values():
    calls = [{"name": "f", "arguments": {"city": "Oslo", "n": 3}}]
    rough = {roughened("Please show the weather in Oslo for 3 days.", calls, random.Random(s)) for s in range(40)}
    assert len(rough) > 5 and all("Oslo" in text and "3" in text for text in rough)


def test_made_cases_are_reproducible_and_split_by_tool():
    first, again = (Maker("train", random.Random(9)) for _ in range(2))
    assert [first.single().example() for _ in range(5)] == [again.single().example() for _ in range(5)]
    train, valid = Maker("train", random.Random(0)), Maker("valid", random.Random(0))
    assert valid.specs and not {s.words for s in train.specs} & {s.words for s in valid.specs}


def test_a_system_message_is_what_the_agent_writes():
    tool = Tool.from_schema({"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}})
    plain = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    assert system_content("Be kind.", [plain]) == "Be kind.\n\n" + render_tools([tool], CALLS_HEADER)
    assert system_content("Be kind.") == "Be kind." and system_content() == ""
    assert transcript([Message("user", "hi")]) == (Message("user", "hi"),)


def test_defaults_that_nobody_asked_for_are_left_out():
    seats = {"type": "integer", "default": 2}
    tool = {"name": "book", "description": "", "parameters": {"type": "object", "properties": {"seats": seats}}}
    tool["parameters"]["properties"]["city"] = {"type": "string"}
    given = record(
        "r",
        tools=[tool],
        messages=[{"role": "user", "content": "Book in Rome"}],
        calls=[{"name": "book", "arguments": {"city": "Rome", "seats": 2}}],
        kind="call",
    )
    assert case_of(given).calls[0]["arguments"] == {"city": "Rome"}
    assert case_of(given, keep_defaults=True).calls[0]["arguments"]["seats"] == 2
    assert case_of(given).example().completion == '[{"name":"book","arguments":{"city":"Rome"}}]'
    assert not figures_said(case_of({**given, "calls": [{"name": "book", "arguments": {"city": "Rome 9"}}]}))


def test_records_can_be_renamed_composed_and_emptied(folder):
    rng = random.Random(2)
    lines = (folder / "tools/snips.train.jsonl").read_text().splitlines()
    cases = [case_of(json.loads(line)) for line in lines[1:4]]
    changed = tools_made.renamed(cases[0], rng)
    parse_calls(changed.example().completion, [Tool.from_schema(tool) for tool in changed.tools])
    (group,) = tools_made.by_tool(cases)
    assert len(group) == len(cases) and len(group[0].tools) == 1
    both = tools_made.composed(cases, rng)
    assert both is not None and len(both.calls) == 3 and both.kind == "parallel"
    gone = tools_made.without_right_tool(cases[0], [], rng)
    assert gone is not None and gone.calls == () and [t["name"] for t in gone.tools] == ["BookRoom"]


@pytest.mark.parametrize("skill", ["tools", "code", "retrieval", "safety"])
def test_mixture(tiny_base, folder, skill):
    examples = load_examples(skill, folder, limit=120, seed=3)
    assert examples == load_examples(skill, folder, limit=120, seed=3)
    assert examples != load_examples(skill, folder, limit=120, seed=4)
    assert len(examples) >= 90
    valid = load_examples(skill, folder, "valid", limit=60)
    public = {e.group for e in examples if not e.group.startswith(("typed", "contrast", "result"))}
    assert valid and not public & {e.group for e in valid}
    for example in examples:
        term = term_of(tiny_base, example)
        if isinstance(term, JsonSchema):
            jsonschema.validate(json.loads(example.completion), term.schema)
        else:
            contracts.code_of(example.completion)


def test_tools_mixture_is_balanced(folder):
    examples = load_examples("tools", folder, limit=400)
    shares = {
        "none": sum(e.completion == "[]" for e in examples) / len(examples),
        "several": sum(len(json.loads(e.completion)) > 1 for e in examples) / len(examples),
    }
    assert 0.22 <= shares["none"] <= 0.36 and 0.2 <= shares["several"] <= 0.45, shares


def test_retrieval_cites_what_holds_the_answer(folder):
    for example in load_examples("retrieval", folder, limit=120):
        answer = contracts.answer_of(example.completion)
        texts = {p.id: p.text for p in example.passages}
        assert set(answer.citations) <= set(texts)
        if example.kind == "document":
            assert all(a in answer.answer for a in example.gold["answers"])
        if example.kind in ("document_unanswerable", "nq_unanswerable") and example.gold["answers"]:
            assert not any(a in text for a in example.gold["answers"] for text in texts.values())


def test_sentences():
    assert retrieval_documents.split_sentences('Dr. Who met J. Doe in 1999. It rained! "Fine," he said.') == [
        "Dr. Who met J. Doe in 1999.",
        "It rained!",
        '"Fine," he said.',
    ]


def test_safety_is_balanced_and_judges_the_last_message(folder):
    examples = load_examples("safety", folder, limit=200)
    unsafe = sum(e.gold["unsafe"] for e in examples) / len(examples)
    assert 0.35 < unsafe < 0.6
    for example in examples:
        assert contracts.verdict_of(example.completion).unsafe == example.gold["unsafe"]
        assert example.kind == "assistant_command" or example.gold["text"][:20] in example.messages[-1].content.replace(
            '\\"', '"'
        )


def test_contrast_requests_have_contract_categories():
    rng = random.Random(0)
    for _ in range(200):
        text, category = safety_made.harmful(rng)
        assert category in contracts.CATEGORIES and "{" not in text
        assert "{" not in safety_made.harmless(rng)


def test_pairs_share_their_frames_and_split_their_entries():
    """Validation asks about deeds, verbs and topics that training never has; both sides use the same frames."""
    words = safety_pairs.words()
    for name in ("deed", "task", "verb", "ill_topic", "fair", "fair_task"):
        parts = [safety_pairs.entries(name, split) for split in ("train", "valid")]
        assert all(parts) and not set(parts[0]) & set(parts[1])
        assert len(parts[0]) + len(parts[1]) == len(words[name]) == len(set(words[name]))
    for split in ("train", "valid"):
        rng = random.Random(1)
        harmful = [safety_pairs.harmful(rng, split) for _ in range(300)]
        harmless = [safety_pairs.harmless(rng, split) for _ in range(300)]
        assert {category for _, category in harmful} <= set(contracts.CATEGORIES)
        assert not {text for text, _ in harmful} & set(harmless)
        assert not any(mark in text for text, _ in harmful for mark in "{}|>")
        assert not any(mark in text for text in harmless for mark in "{}|>")


def test_code_that_does_not_compile_is_left_out():
    good = record("c", completion="x = 1\n", language="python")
    assert usable(good)
    for bad in ({"completion": "x ="}, {"language": "java"}, {"completion": "'''\n```\n'''"}, {"n_tokens": 900}):
        assert not usable({**good, **bad})


def test_overlap_finds_near_copies():
    overlap = Overlap(["Book me a table for two at the Green Garden tonight please", "Short one"])
    assert overlap.hit("book me a table for two at the green garden tonight, please!")
    assert overlap.hit("Hello, book me a table for two at the Green Garden tonight please")
    assert overlap.hit("short ONE") and not overlap.hit("another short one")
    assert not overlap.hit("Book me a table for nine people at some other place on Monday evening, please")


def test_evaluation_requests_stay_out(folder):
    asked = {e.request for e in load_examples("retrieval", folder, "eval", files=["nq_open"])}
    questions = {e.gold["question"] for e in load_examples("retrieval", folder, limit=150)}
    assert (
        asked
        and not {e.gold["question"] for e in load_examples("retrieval", folder, "eval", files=["nq_open"])} & questions
    )
    assert counted_mixture("retrieval", folder, 400)[1]["in an evaluation file"] > 0


def test_evaluation_examples_are_the_files(folder):
    assert len(load_examples("tools", folder, "eval", files=["bfcl"])) == 6
    assert len(load_examples("code", folder, "eval", limit=3)) == 3
    assert load_examples("safety", folder, "eval", files=["xstest"])[1].gold["unsafe"]


def test_errors_say_what_to_do(folder, tmp_path):
    with pytest.raises(UnknownNameError, match="tools"):
        load_examples("tool", folder, limit=5)
    with pytest.raises(UnknownNameError, match="bfcl"):
        load_examples("tools", folder, "eval", files=["bfc"])
    with pytest.raises(InputError, match="folder"):
        load_examples("code", tmp_path, "eval")
    assert eval_files("code") == ("mbpp",)
    with pytest.raises(ValueError, match="unknown skill"):
        Example("x", "k", "i", "g", (Message("user", "?"),), "", "s", "l")


def test_draws_do_not_depend_on_order():
    assert generator(1, "a").random() == generator(1, "a").random() != generator(1, "b").random()
    assert [in_valid(f"g{i}") for i in range(300)].count(True) in range(5, 40)
    assert estimate("a" * 36) == 14
