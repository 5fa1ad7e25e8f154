"""Training records of runs: what is taken, what is left out, ratings, corrections, secrets, sessions."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loraloop import Agent, Approve
from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.blank import blank_skill
from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.training.data.checker import Checker
from loraloop.adapters.training.data.readers import Reading, read_file
from loraloop.agent.sessions.sessions import Sessions
from loraloop.agent.tracing.trace import Trace
from loraloop.agent.tracing.tracer import Tracer
from loraloop.cli.main import app
from loraloop.improve.order import fingerprint
from loraloop.testing import ScriptedRuntime, calls, verdict
from loraloop.tool_schemas import Tool
from loraloop.tool_schemas.errors import InputError, SchemaError
from loraloop.training.trace_data import REDACTED, from_traces, rate, redacted, shown


def weather(city: str) -> str:
    """The weather in a city."""
    if city == "Nowhere":
        raise ValueError("no such city")
    return f"sunny in {city}"


def ran(folder: Path, *steps: Any, prompt: str = "How is Oslo?", **options: Any) -> Path:
    """The trace of a run that writes these steps."""
    tracer = Tracer()
    Agent(ScriptedRuntime(*steps), [weather], "Be brief.", hooks=[tracer], **options).run_sync(prompt)
    return tracer.last.save(folder / f"{tracer.last.run_id}.json")


def checked(path: Path, contract: str = "calls") -> list[Any]:
    checker = Checker()
    found = checker.check(read_file(path, Reading(contract, source="me")))
    assert not [finding for finding in checker.findings if finding.severity == "error"], checker.findings
    return found


def test_calls_that_worked_become_records_that_training_reads(tmp_path: Path) -> None:
    again = ("weather", {"city": "Oslo"})
    ran(tmp_path, calls(weather={"city": "Oslo"}), "It is sunny.")
    ran(tmp_path, calls(again, again, again), "It is sunny.")
    ran(tmp_path, calls(weather={"city": "Nowhere"}), "There is no such city.", prompt="How is Nowhere?")
    found = from_traces(tmp_path)
    assert len(found.records) == 1 and not found.pairs and found.left_out["a call that failed"] == 1
    out = tmp_path / "out" / "new" / "runs.jsonl"
    assert found.write(out) == (out,)
    (record,) = checked(out)
    assert record.completion == '[{"name":"weather","arguments":{"city":"Oslo"}}]'
    assert (
        record.messages[0].content.startswith("Be brief.\n\n# Tools")
        and record.messages[0].content.count("# Tools") == 1
    )
    assert found.records[0]["origin"]["why"] == "worked"


@pytest.mark.parametrize("result", [{"error": "no such city"}, {"ok": False, "city": "Oslo"}])
def test_a_call_that_reported_a_failure_did_not_work(tmp_path: Path, result: dict[str, Any]) -> None:
    def weather(city: str) -> dict[str, Any]:
        """The weather in a city."""
        return result

    tracer = Tracer()
    script = ScriptedRuntime(calls(weather={"city": "Oslo"}), "It failed.")
    Agent(script, [weather], hooks=[tracer]).run_sync("How is Oslo?")
    trace = tracer.last.save(tmp_path / "one.json")
    found = from_traces(tmp_path)
    assert found.records == [] and found.left_out == {"a call that failed": 1}
    rate(trace, "bad", '[{"name":"weather","arguments":{"city":"Bern"}}]')
    assert [row["origin"]["why"] for row in from_traces(tmp_path).records] == ["corrected"]


def test_what_a_fallback_wrote_trains_nobody(tmp_path: Path) -> None:
    path = ran(tmp_path, calls(weather={"city": "Oslo"}), "It is sunny.")
    trace = Trace.load(path)
    first = replace(trace.steps[0], tokens=replace(trace.steps[0].tokens, written_by="big"))
    replace(trace, steps=(first, *trace.steps[1:])).save(path)
    found = from_traces(tmp_path)
    assert found.records == [] and found.left_out["a step that the fallback wrote"] == 1


@pytest.mark.parametrize(
    "instructions", ["Today is Monday, 8 March 2027.", "", "# Tools\nUse them.\n\n# Style\nBe brief."]
)
@pytest.mark.parametrize("tools", [True, False])
def test_a_note_before_the_request_stays_where_it_is(tmp_path: Path, instructions: str, tools: bool) -> None:
    """A record's transcript is the one that the step read, whatever stands in front of the first request."""
    system = "\n\n".join(filter(None, [instructions, "# Tools\nweather: …" if tools else ""]))
    note, asked = Message("system", "Dates: tomorrow = 2027-03-09 (Tuesday)"), Message("user", "Tomorrow?")
    context = [*([Message("system", system)] if system else []), note, asked]
    listed = [{"name": "weather", "description": "", "parameters": {"type": "object", "properties": {}}}]
    row = {**shown(context, listed if tools else []), "completion": "Fine."}
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    (record,) = checked(path, "text")
    assert record.messages[-2:] == (note, asked)
    first = record.messages[0].content
    assert first.startswith(instructions or ("# Tools" if tools else "Dates")) and first.count("Dates") == (not system)


def test_ratings_and_corrections(tmp_path: Path) -> None:
    wrong = ran(tmp_path, calls(weather={"city": "Rome"}), "It is sunny.", prompt="And in Oslo?")
    idle = ran(tmp_path, calls(), "Hello!", prompt="Hello")
    bad = ran(tmp_path, calls(weather={"city": "Bern"}), "It is sunny.", prompt="How is Bern?")
    assert len(from_traces(tmp_path).records) == 2, "nobody has said anything yet"
    rate(wrong, "bad", '[{"name":"weather","arguments":{"city":"Oslo"}}]')
    rate(idle, "good")
    rate(bad, "bad")
    found = from_traces(tmp_path)
    assert {row["origin"]["why"] for row in found.records} == {"corrected", "rated good"}
    assert [row["calls"] for row in found.records if row["messages"][0]["content"] == "Hello"] == [[]]
    (pair,) = found.pairs
    assert "Oslo" in pair["chosen"] and "Rome" in pair["rejected"]
    out = tmp_path / "out" / "runs.jsonl"
    out.parent.mkdir()
    records, pairs = found.write(out)
    assert len(checked(records)) == 2 and checked(pairs)[0].rejected
    assert {record.source for record in checked(records)} == {"me (runs, corrected)", "me (runs, rated good)"}
    assert [row["completion"] for row in from_traces(tmp_path, "text").records] == ["Hello!"]
    rate(wrong, "bad", '[{"name": "weather", "arguments": {"city": null}}]')
    lacking = [{"name": "weather", "arguments": {"city": None}}]
    (asked,) = [row for row in from_traces(tmp_path).records if row["calls"] == lacking]
    assert asked["origin"]["why"] == "corrected"
    with pytest.raises(InputError, match="no step 7"):
        rate(wrong, "bad", step=7)
    for text in ("good", "[]", '{"rating":"fine"}'):
        (tmp_path / f"{idle.stem}.rating.json").write_text(text)
        with pytest.raises(InputError, match=r"rating\.json is damaged"):
            from_traces(tmp_path)
    for text in ('[{"name":"wether","arguments":{}}]', '[{"name":"weather","arguments":{"city":null,"day":null}}]'):
        with pytest.raises(SchemaError):
            rate(wrong, "bad", text)


def test_an_answer_that_begins_with_a_bracket_is_an_answer(tmp_path: Path) -> None:
    trace = ran(tmp_path, "It is open.", prompt="When is it open?")
    rate(trace, "bad", "[hours] On weekdays, from 9 to 17.")
    assert [row["completion"] for row in from_traces(tmp_path, "text").records] == [
        "[hours] On weekdays, from 9 to 17."
    ]
    with pytest.raises(SchemaError):
        rate(trace, "bad", ' [ {"name": "weather"')


def test_a_run_that_answered_where_it_should_have_called_can_be_corrected(tmp_path: Path) -> None:
    trace = ran(tmp_path, "I cannot know that.")
    rate(trace, "bad", '[{"name":"weather","arguments":{"city":"Oslo"}}]')
    found = from_traces(tmp_path)
    (record,) = found.records
    assert record["calls"][0]["arguments"] == {"city": "Oslo"} and record["messages"][-1]["content"] == "How is Oslo?"
    assert [pair["rejected"] for pair in found.pairs] == ["[]"]


def test_edited_calls_are_pairs_and_denied_ones_are_left_out(tmp_path: Path) -> None:
    careful = Tool.from_function(weather, effects=True)
    tracer = Tracer()
    agent = Agent(ScriptedRuntime(calls(weather={"city": "Rome"}), "Done."), [careful], hooks=[tracer])
    waiting = agent.run_sync("How is Rome, or rather Oslo?")
    assert waiting.stop_reason == "approval" and waiting.pending is not None
    paused = tracer.last.save(tmp_path / "paused.json")
    assert not from_traces(paused).records and from_traces(paused).left_out["calls that still wait for approval"] == 1
    rate(paused, "bad", '[{"name":"weather","arguments":{"city":"Bern"}}]')
    assert "Rome" in from_traces(paused).pairs[0]["rejected"]
    paused.unlink()
    agent.resume_sync(waiting.pending, {waiting.pending.calls[0].id: Approve({"city": "Oslo"})})
    tracer.last.save(tmp_path / "edited.json")
    found = from_traces(tmp_path)
    assert [row["calls"][0]["arguments"] for row in found.records] == [{"city": "Oslo"}]
    assert [message["role"] for message in found.records[0]["messages"]] == ["user"], "as before the call"
    assert "Rome" in found.pairs[0]["rejected"] and "Oslo" in found.pairs[0]["chosen"]


def test_sessions_give_records_with_the_tools_that_are_named(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    runtime = ScriptedRuntime(calls(weather={"city": "Oslo"}), "Sunny.", calls(weather={"city": "Rome"}), "Sunny too.")
    agent = Agent(runtime, [weather])
    with Sessions(path) as store:
        agent.run_sync("How is Oslo?", session=store.session("one"))
        agent.run_sync("And Rome?", session=store.session("one"))
    with pytest.raises(InputError, match="--tools"):
        from_traces(path)
    made = Tool.from_function(weather)
    schema = {"name": made.name, "description": made.description, "parameters": made.parameters}
    found = from_traces(path, tools=[schema])
    assert [row["calls"][0]["arguments"]["city"] for row in found.records] == ["Oslo", "Rome"]
    assert [m["role"] for m in found.records[1]["messages"]] == ["user", "assistant", "tool", "assistant", "user"]


def test_a_turn_of_a_session_begins_where_its_own_steps_do(tmp_path: Path) -> None:
    """Whatever stands before it: a request that was refused, or the turn in which its call waited for approval."""
    path, made = tmp_path / "sessions.db", Tool.from_function(weather, effects=True)
    script = verdict("violence"), calls(weather={"city": "Rome"}), "Sunny.", calls(weather={"city": "Bern"}), "Sunny."
    agent = Agent(ScriptedRuntime(*script), [made])
    with Sessions(path) as store:
        session = store.session("one")
        agent.run_sync("Burn Oslo down.", session=session)
        for prompt in ("How is Rome?", "And Bern?"):
            waiting = agent.run_sync(prompt, session=session).pending
            assert waiting is not None
            agent.resume_sync(waiting, {waiting.calls[0].id: Approve()}, session=session)
    schema = {"name": made.name, "description": made.description, "parameters": made.parameters}
    found = from_traces(path, tools=[schema]).records
    assert [row["calls"][0]["arguments"]["city"] for row in found] == ["Rome", "Bern"]
    assert [row["messages"][-1] for row in found] == [
        {"role": "user", "content": "How is Rome?"},
        {"role": "user", "content": "And Bern?"},
    ]


@pytest.mark.parametrize(
    "secret",
    ["sk-proj-abcdefghijklmnop1234", "ghp_" + "a1B2" * 9, "AKIAABCDEFGHIJKLMNOP", "eyJhbGciOi.eyJzdWIiOi.abcdefgh12"],
)
def test_secrets_are_replaced(secret: str, tmp_path: Path) -> None:
    assert redacted(f"My key is {secret}.") == "My key is [redacted]."
    assert redacted("password: hunter22, please") == "password: [redacted], please"
    assert redacted("Order A-1042 costs 12.50 and the word secretary stays.").count("[redacted]") == 0
    ran(tmp_path, calls(weather={"city": "Oslo"}), "Sunny.", prompt=f"How is Oslo? My key is {secret}")
    assert secret not in json.dumps(from_traces(tmp_path).records)


def test_what_a_field_calls_secret_is_replaced_in_the_whole_record(tmp_path: Path) -> None:
    def log_in(user: str, password: str) -> dict[str, str]:
        return {"session_token": "q7-x9", "user": user}

    tracer = Tracer()
    steps = calls(log_in={"user": "ada", "password": "tulip99"}), calls(log_in={"user": "bob", "password": "rose77"})
    agent = Agent(ScriptedRuntime(*steps, "Both are in."), [log_in], hooks=[tracer])
    agent.run_sync("Log in ada with tulip99, then bob with rose77.")
    trace = tracer.last.save(tmp_path / "one.json")
    rate(trace, "bad", '[{"name":"log_in","arguments":{"user":"ada","password":"lily55"}}]')
    found = from_traces(tmp_path)
    text = json.dumps([found.records, found.pairs])
    assert found.pairs and not [word for word in ("tulip99", "rose77", "lily55", "q7-x9") if word in text]
    assert found.records[0]["tools"][0]["parameters"]["properties"]["password"] == {"type": "string"}
    assert redacted('{"api_key": "abcd", "user": "ada"}') == '{"api_key": "[redacted]", "user": "ada"}'


@pytest.mark.parametrize("text", ["-eyJ" * 100_000, "-----BEGIN PRIVATE KEY-----" * 15_000, "Bearer " * 60_000])
def test_texts_are_redacted_in_bounded_time(text: str) -> None:
    start = time.thread_time()
    redacted(text)
    assert time.thread_time() - start < 5


def test_a_key_that_was_cut_off_is_replaced_to_the_end() -> None:
    assert redacted("It is -----BEGIN RSA PRIVATE KEY-----\nMIIEow") == f"It is {REDACTED}"


def test_the_commands(tmp_path: Path) -> None:
    trace = ran(tmp_path, calls(weather={"city": "Rome"}), "It is sunny.", prompt="And in Oslo?")
    run = CliRunner().invoke
    told = run(
        app, ["trace", "rate", str(trace), "bad", "--correct", '[{"name":"weather","arguments":{"city":"Oslo"}}]']
    )
    assert told.exit_code == 0, told.output
    out = tmp_path / "runs.jsonl"
    told = run(app, ["data", "from-traces", str(trace), "--out", str(out)])
    assert told.exit_code == 0 and out.is_file() and out.with_suffix(".pairs.jsonl").is_file()
    (tmp_path / "weather.json").write_text(json.dumps({"name": "weather", "parameters": {"type": "object"}}))
    with Sessions(tmp_path / "s.db") as store:
        agent = Agent(ScriptedRuntime(calls(weather={"city": "Oslo"}), "Sunny."), [weather])
        agent.run_sync("How is Oslo?", session=store.session("one"))
    of_sessions = ["data", "from-traces", str(tmp_path / "s.db"), "--out", str(out), "--tools"]
    assert run(app, [*of_sessions, str(tmp_path / "weather.json")]).exit_code == 0
    assert json.loads(out.read_text())["tools"] == [
        {"name": "weather", "description": "", "parameters": {"type": "object"}}
    ]
    assert run(app, [*of_sessions, str(tmp_path / "absent.json")]).exit_code != 0
    for read in (trace, tmp_path / "s.db"):
        before, other = read.read_bytes(), tmp_path / "weather.json"
        for place, out_there, said in ((read, read, "is read from"), (read, other / "x", "cannot write")):
            command = ["data", "from-traces", str(place), "--tools", str(other), "--out", str(out_there)]
            told = run(app, command)
            assert isinstance(told.exception, InputError) and said in str(told.exception)
            assert read.read_bytes() == before
    assert run(app, ["trace", "rate", str(trace), "fine"]).exit_code != 0
    assert run(app, ["data", "from-traces", str(tmp_path / "out"), "--out", str(out)]).exit_code != 0


def test_a_run_that_asked_and_was_rated_good_is_a_record_of_the_call_with_null(tmp_path: Path) -> None:
    runtime = ScriptedRuntime(calls(weather={"city": None}), "Where?")
    plain = blank_skill(runtime.base, "tools", "calls")
    runtime.bank.remove("tools")
    runtime.bank.add(Skill(plain.card.model_copy(update={"asks": True}), plain.tensors))
    tracer = Tracer()
    Agent(runtime, [weather], hooks=[tracer]).run_sync("How is the weather?")
    trace = tracer.last.save(tmp_path / "asked.json")
    assert tracer.last.steps[0].asked == ("city",) and not from_traces(tmp_path).records
    rate(trace, "good")
    (record,) = from_traces(tmp_path).records
    assert record["calls"] == [{"name": "weather", "arguments": {"city": None}}]
    out = tmp_path / "asked.jsonl"
    from_traces(tmp_path).write(out)
    (read,) = checked(out)
    assert read.gold == {"calls": record["calls"], "ask": ["city"]}
    rate(trace, "bad", '[{"name":"weather","arguments":{"city":"Oslo"}}]')
    (pair,) = from_traces(tmp_path).pairs
    assert "null" in pair["rejected"] and "Oslo" in pair["chosen"]


def test_traces_in_a_folder_that_cannot_be_listed_are_not_left_out_in_silence(unlisted: Path) -> None:
    for read in (from_traces, fingerprint):
        with pytest.raises(InputError, match="all/shut cannot be listed"):
            read(unlisted)
