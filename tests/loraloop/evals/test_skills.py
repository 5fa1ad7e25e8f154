"""`loraloop eval tools|retrieval|code` on a user's files with the default base; killed runs go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loraloop.evals.reasons import why_wrong
from loraloop.evals.records import data_files, examples
from loraloop.tool_schemas.errors import InputError

Run = Callable[..., tuple[int, str, str]]
TOOL = {
    "name": "get_weather",
    "description": "Weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
PASSAGES = [{"id": "1", "text": "Ada Lovelace wrote the first program."}, {"id": "2", "text": "It rained."}]


def calls(city: str | None, **more: Any) -> dict[str, Any]:
    wanted = [] if city is None else [{"name": "get_weather", "arguments": {"city": city}}]
    asked = [{"role": "user", "content": f"What is the weather in {city or 'my soul'}?"}]
    return {"tools": [TOOL], "messages": asked, "calls": wanted, **more}


def code(name: str, tests: str) -> dict[str, Any]:
    asked = [{"role": "user", "content": f"Write a function {name}(x) that returns 1."}]
    return {"messages": asked, "completion": f"def {name}(x):\n    return 1", "tests": tests}


def answer(cited: str | None) -> dict[str, Any]:
    asked = {"question": "Who wrote the first program?", "passages": PASSAGES}
    return {**asked, "answer": "Ada " * 100, "citations": [cited]} if cited else {**asked, "answerable": False}


def written(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def result(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def test_tools_on_a_file_of_ones_own(run: Run, tmp_path: Path) -> None:
    accepts = [{"get_weather": {"city": ["Oslo", "Kristiania"]}}]
    file = written(
        tmp_path / "my-calls.jsonl",
        calls("Oslo", accepts=accepts, category="simple_python"),
        calls(None, category="irrelevance", id="a"),
        calls("Rome", id="b"),
    )
    out = tmp_path / "out.json"
    status, printed, err = run(
        *("eval", "tools", "--data", str(file), "--told", "--json", str(out)),
        *("--show-errors", "3"),
    )
    assert status == 0, err
    found = result(out)
    metrics, errors = found["metrics"], found["details"]["errors"]
    assert found["n"] == metrics["all_n"] == 3 and set(found["peers"]) == {"base", "base_told"}
    assert metrics["simple_python_n"] == metrics["irrelevance_n"] == metrics["exact_n"] == metrics["my_calls_n"] == 1
    assert metrics["bfcl_n"] == 2 and 0 <= metrics["all_low"] <= metrics["all"] <= metrics["all_high"] <= 1
    assert metrics["total_ms"] == pytest.approx(metrics["step_ms"] + metrics["prefill_ms"], rel=1e-3)
    for system, scores in {"skill": metrics, **found["peers"]}.items():
        assert sum(errors[system].values()) == round(3 * (1 - scores["all"]))
        assert f"{system.replace('_', ' ')}: " in printed
    assert printed.count("why:") == sum(errors["skill"].values())
    assert found["name"] == "out" and found["command"]
    assert found["details"]["skill"]["name"] == "tools" and found["details"]["files"] == ["my-calls.jsonl"]


def test_retrieval_and_code_on_files_of_ones_own(run: Run, tmp_path: Path) -> None:
    file, out = written(tmp_path / "answers.jsonl", answer("1"), answer(None)), tmp_path / "out.json"
    assert run("eval", "retrieval", "--data", str(file), "--skill", "none", "--json", str(out))[0] == 0
    metrics = result(out)["metrics"]
    assert {"answerable_f1", "citation_f1", "answer_f1"} <= metrics.keys() and metrics["citation_f1_n"] == 1
    file = written(tmp_path / "code.jsonl", code("one", "assert one(0) == 1"))
    assert run("eval", "code", "--data", str(file), "--json", str(out))[0] == 0
    metrics = result(out)["metrics"]
    assert {"pass_at_1", "syntax_valid", "defines"} <= metrics.keys() and metrics["pass_at_1_n"] == 1


def test_tools_are_listed_beside_records_that_have_none(run: Run, tmp_path: Path) -> None:
    file, out = written(tmp_path / "code.jsonl", code("one", "assert one(0) == 1")), tmp_path / "out.json"
    tools = [{"name": "opening_hours", "description": "When a shop is open.", "parameters": {"type": "object"}}]
    (example,) = examples("code", [file], beside=tools)
    assert example.messages[0].role == "system" and "opening_hours" in example.messages[0].content
    listed = written(tmp_path / "tools.json", *tools)
    assert run("eval", "code", "--data", str(file), "--beside", str(listed), "--json", str(out))[0] == 0
    assert result(out)["metrics"]["syntax_valid_n"] == 1


@pytest.mark.skipif(os.name != "posix", reason="kills a process by a signal")
def test_a_killed_evaluation_goes_on_where_it_was(run: Run, tmp_path: Path) -> None:
    file = written(tmp_path / "calls.jsonl", *(calls(city) for city in ("Oslo", "Rome", "Bern", "Ulm", "Ghent")))

    def command(name: str, *more: str) -> list[str]:
        options = ["--data", str(file), "--skill", "none", "--json", str(tmp_path / f"{name}.json"), *more]
        return ["eval", "tools", *options]

    assert run(*command("whole"))[0] == 0
    outputs = tmp_path / "outputs.jsonl"
    kept = ["--outputs", str(outputs)]
    program = [sys.executable, "-m", "loraloop", *command("killed", *kept)]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and (not outputs.exists() or outputs.read_text("utf-8").count("\n") < 3):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (tmp_path / "killed.json").exists()
    before = outputs.read_text("utf-8").rpartition("\n")[0]
    assert before.count("\n") < 5, "it was killed in the middle"
    assert run(*command("killed", *kept))[0] == 0
    assert outputs.read_text("utf-8").startswith(before + "\n") and outputs.read_text("utf-8").count("\n") == 6
    assert run(*command("again", *kept))[0] == 0

    def comparable(name: str, times: bool = False) -> dict[str, Any]:
        found = result(tmp_path / f"{name}.json")
        for scores in (found["metrics"], *found["peers"].values()):
            for time_name in () if times else ("step_ms", "prefill_ms", "total_ms"):
                del scores[time_name]
        return {key: value for key, value in found.items() if key not in ("name", "machine", "command")}

    assert comparable("whole") == comparable("killed")
    assert comparable("killed", times=True) == comparable("again", times=True)


def test_outputs_of_another_skill_are_refused_and_changed_records_asked_again(run: Run, tmp_path: Path) -> None:
    file, outputs = written(tmp_path / "calls.jsonl", calls("Oslo")), tmp_path / "outputs.jsonl"
    asked = ("eval", "tools", "--data", str(file), "--outputs", str(outputs))
    assert run(*asked, "--skill", "none")[0] == 0
    written(file, calls("Rome"))
    assert run(*asked, "--skill", "none")[0] == 0
    head, *rows = [json.loads(line) for line in outputs.read_text("utf-8").splitlines()]
    assert head["skill"] is None and [row["example"] for row in rows] == ["calls-1"] * 2
    status, _, err = run(*asked)
    assert status == 2 and "another evaluation" in err


def test_what_cannot_be_read_is_named(run: Run, tmp_path: Path) -> None:
    file = written(tmp_path / "calls.jsonl", calls("Oslo"), {"messages": []})
    status, _, err = run("eval", "tools", "--data", str(file))
    assert status == 2 and "calls.jsonl:2" in err
    assert run("eval", "tools", "--data", str(tmp_path / "no.jsonl"))[0] == 2
    status, _, err = run("eval", "tools", "--data", str(written(file, calls("x"))), "--skill", "nowhere")
    assert status == 2 and "--skill" in err
    with pytest.raises(InputError, match="accepted values"):
        examples("tools", [written(file, calls("x", accepts=[{"f": {"city": "Oslo"}}]))])
    with pytest.raises(InputError, match="no records"):
        examples("tools", [written(file)])


def test_files_of_a_folder_and_a_share_of_each(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    page = {"source": "s", "license": "l"}
    one = written(tmp_path / "tools" / "sgd.eval.jsonl", *(calls("a", id=f"sgd-{n}", **page) for n in range(5)))
    two = written(tmp_path / "tools" / "bfcl.eval.jsonl", calls("b", id="x"), calls("b", id="x"))
    written(tmp_path / "tools" / "more.jsonl", calls("c"))
    files = data_files("tools", [tmp_path])
    assert files == [two, one] and data_files("tools", [tmp_path / "tools", one]) == [two, one]
    assert [e.id for e in examples("tools", files, 3)] == ["bfcl-x", "bfcl-x#2", "sgd-0"]
    assert len(examples("tools", files, 6)) == 6, "what a short file lacks, the next one gives"
    others = [e.id for e in examples("tools", [one], 2, seed=3)]
    assert others != ["sgd-0", "sgd-1"] and others == [e.id for e in examples("tools", [one], 2, seed=3)]
    assert data_files("tools", [one, tmp_path / "tools" / ".." / "tools" / one.name]) == [one], "it is read once"
    for given in ([tmp_path], [one, tmp_path]):
        with pytest.raises(InputError, match="no evaluation files"):
            data_files("code", given)


def test_a_record_has_the_title_of_its_first_passage(tmp_path: Path) -> None:
    (titled,) = examples("retrieval", [written(tmp_path / "a.jsonl", {**answer("1"), "title": "The sky"})])
    assert titled.passages[0].title == "The sky" and "The sky" in titled.messages[-1].content
    assert all(not passage.title for passage in titled.passages[1:])


def test_each_error_has_one_reason(tmp_path: Path) -> None:
    def reason(skill: str, record: dict[str, Any], output: str) -> str:
        (example,) = examples(skill, [written(tmp_path / "a.jsonl", record)])
        assert not why_wrong(example, example.completion, lambda program: True), "the completion is right"
        return why_wrong(example, output, lambda program: "return 1" in program)

    asked = code("one", "assert one(0) == 1")
    assert reason("code", asked, "```python\ndef one(x):\n    return 2\n```") == "fails its tests"
    assert reason("code", asked, "```python\ndef two(x):\n    return 1\n```") == "another definition"
    assert reason("code", asked, "```python\ndef one(x:\n```") == "no Python"
    assert reason("code", asked, "def one(x): return 1") == "no code block"
    assert reason("retrieval", answer("1"), '{"answerable":false}') == "should have answered"
    assert reason("retrieval", answer("1"), "?") == "no answer"
    template = '{"answerable":true,"citations":["%s"],"answer":"%s"}'
    assert reason("retrieval", answer("1"), template % ("2", "Ada")) == "other passages"
    assert reason("retrieval", answer("1"), template % ("1", "Bob")) == "other answer"
    assert reason("retrieval", answer(None), template % ("1", "Ada")) == "should have abstained"
    assert reason("tools", calls(None), '[{"name":"get_weather","arguments":{}}]') == "should have abstained"
