"""``loraloop run`` with calls that wait for approval: asked on a terminal, or written to a file and resumed."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from loraloop.testing import ScriptedRuntime, calls, verdict

Run = Callable[..., tuple[int, str, str]]
MODULE = '''
from loraloop import tool

@tool(requires_approval=True)
def pay(to: str, amount: int) -> str:
    """Pays."""
    return f"paid {amount} to {to}"

@tool
def look(to: str) -> str:
    """Looks."""
    return f"saw {to}"
'''
STEP = calls(("pay", {"to": "ann", "amount": 5}), ("pay", {"to": "bob", "amount": 6}), ("look", {"to": "ann"}))


@pytest.fixture
def act(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """`act(script, *arguments)`: runs the command with two tools on a model that writes the script."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.py").write_text(f"{MODULE}\nTOOLS = [pay, look]\n")

    def call(script: list[Any], *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("loraloop.cli.options.open_runtime", lambda *_, **__: ScriptedRuntime(*script))
        return run("run", *arguments, "--tools", "shop.py:TOOLS")

    return call


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`typed(*lines)`: there is a terminal, and somebody types these; returns what they were asked."""

    def type_(*lines: str) -> list[str]:
        left, asked = list(lines), []

        def prompt(text: str, **options: Any) -> str:
            asked.append(text)
            if not left:
                raise typer.Abort
            return left.pop(0) or str(options.get("default", ""))

        monkeypatch.setattr("typer.prompt", prompt)
        for name in ("stdin", "stderr"):
            monkeypatch.setattr(f"sys.{name}.isatty", lambda: True, raising=False)
        return asked

    return type_


def results(out: str) -> list[Any]:
    """What the calls gave, of a run as JSON."""
    steps = json.loads(out)["steps"]
    return [call["result"] if call["error"] is None else call["error"] for call in steps[0]["calls"]]


def test_off_a_terminal_a_run_is_written_and_goes_on(act: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, out, err = act([STEP], "go", "--pending", "run.json")
    assert code == 3 and "waits for approval: call_0_1 pay" in out and "--resume run.json" in err
    assert stat.S_IMODE((tmp_path / "run.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.glob("*run.json*")] == ["run.json"]
    code, _, err = act([], "--resume", "run.json", "--approve", "call_0_0")
    assert code == 2 and "no decision about call_0_1 (pay" in err
    decided = ("--approve", "all", "--deny", "call_0_1=not bob")
    code, out, _ = act(["Done."], "--resume", "run.json", *decided, "--json")
    assert code == 0 and json.loads(out)["output"] == "Done."
    assert results(out) == ["paid 5 to ann", "denied by the user: not bob", "saw ann"]


def test_without_a_file_the_run_is_lost_and_that_is_said(act: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = act([STEP], "go", "--json")
    assert code == 3 and json.loads(out)["pending"]["version"] == 2 and "give --pending FILE" in err
    code, out, _ = act([STEP], "go", "--stream")
    assert code == 3 and "waits for approval: call_0_0 pay" in out


def test_tools_can_be_asked_about_that_do_not_say_so(act: Callable[..., tuple[int, str, str]]) -> None:
    for asks in (("--ask", "look"), ("--ask", "all")):
        code, out, _ = act([calls(look={"to": "ann"})], "go", "--json", *asks)
        assert code == 3 and [call["name"] for call in json.loads(out)["pending"]["written"]["calls"]] == ["look"]
    code, _, err = act([], "go", "--ask", "lok")
    assert code == 2 and "did you mean 'look'" in err and "*" not in err, "the option's word for all is `all`"


def test_on_a_terminal_somebody_is_asked(
    act: Callable[..., tuple[int, str, str]], typed: Callable[..., list[str]]
) -> None:
    asked = typed("what?", "n", "too dear", "y")
    code, out, err = act([STEP, "Done."], "go", "--json")
    assert code == 0 and results(out) == ["denied by the user: too dear", "paid 6 to bob", "saw ann"]
    assert len(asked) == 4 and 'call_0_0  pay {"to": "ann", "amount": 5}' in err
    typed("a")
    code, out, _ = act([STEP, calls(("pay", {"to": "eve", "amount": 1}))], "go", "--stream")
    assert (
        code == 130 and "paid 6 to bob" in out
    )  # "all" was of one step: eve's call is asked about, and nobody answers
    assert "paid 1 to eve" not in out


@pytest.mark.parametrize("editor", ["", "a program"])
def test_arguments_are_edited_until_they_fit(
    act: Callable[..., tuple[int, str, str]],
    typed: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    editor: str,
) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    if editor:
        script = tmp_path / "editor"
        script.write_text("#!/bin/sh\nif grep -q 55 seen 2>/dev/null; then v=7; else v='\"x\"'; fi; cat \"$1\" > seen\n"
                          "echo 55 >> seen; printf '{\"to\": \"ann\", \"amount\": %s}' \"$v\" > \"$1\"\n")  # fmt: skip
        script.chmod(0o700)
        monkeypatch.setenv("EDITOR", str(script))
        typed("e", "e", "n", "")
    else:
        monkeypatch.delenv("EDITOR", raising=False)
        typed("e", '{"to": "ann", "amount": "x"}', "e", '{"to": "ann", "amount": 7}', "n", "")
    code, out, err = act([STEP, "Done."], "go", "--json")
    assert code == 0 and results(out) == ["paid 7 to ann", "denied by the user", "saw ann"]
    assert "that cannot be used: $.amount" in err
    assert json.loads(out)["steps"][0]["calls"][0]["approval"] == "edited"


def test_options_that_do_not_go_together_are_refused(act: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    for arguments, says in (
        (("go", "--approve", "all"), "name its file with --resume FILE"),
        (("go", "--resume", "other.json"), "leave the prompt out"),
        (("--resume", "absent.json"), "cannot read the run in absent.json"),
        (("--resume", "other.json"), "other.json: not a pending run"),
        (("go", "--pending", "no/such/folder.json"), "cannot write the run"),
        ((), "the prompt is empty"),
    ):
        code, _, err = act([STEP], *arguments)
        assert code == 2 and says in err, (arguments, err)
    assert act([STEP], "go", "--pending", "run.json")[0] == 3
    code, _, err = act([], "--resume", "run.json", "--approve", "call_0_0", "--deny", "call_0_0")
    assert code == 2 and "both name call_0_0" in err


def test_exit_codes_tell_a_refusal_and_a_cut_answer_from_an_answer(act: Callable[..., tuple[int, str, str]]) -> None:
    assert act(["Sunny."], "How is Oslo?")[0] == 0
    assert act([verdict("crime")], "Help me to steal.")[0] == 4
    assert act(["word " * 50], "Talk.", "--max-tokens", "8")[0] == 5


def test_a_session_keeps_what_follows_an_approval(
    act: Callable[..., tuple[int, str, str]], run: Run, typed: Callable[..., list[str]]
) -> None:
    kept = ("--session", "s", "--sessions", "s.db")

    def turns() -> list[str]:
        return [
            turn["stop_reason"] for turn in json.loads(run("sessions", "show", "s", *kept[2:], "--json")[1])["turns"]
        ]

    code, _, err = act([STEP], "go", *kept)
    assert code == 3 and turns() == ["approval"]
    assert "`loraloop sessions resume s` with the same tools, base and --sessions asks about its calls" in err
    code, _, err = run("sessions", "resume", "s", *kept[2:])
    assert code == 2 and "waits for approval (call_0_0 pay, call_0_1 pay): give --approve ID" in err
    typed("a")
    code, _, err = act(["It is paid.", "Not at all."], "--session", "s", "--sessions", "s.db", "Thanks.")
    assert code == 2 and "waits for approval" in err
    code, out, err = run("sessions", "resume", "s", *kept[2:], "--tools", "shop.py:TOOLS", "--json")
    assert code == 0 and json.loads(out)["output"] == "It is paid.", err
    assert turns() == ["approval", "answer"]
    typed("a")
    code, out, err = act([STEP, "Paid again."], "Again.", *kept, "--json")
    assert code == 0 and json.loads(out)["output"] == "Paid again.", err
    assert act([STEP], "Once more.", *kept, "--pending", "run.json")[0] == 3
    code, _, err = act(["Paid."], "--resume", "run.json", "--approve", "all", *kept)
    assert code == 0 and turns() == ["approval", "answer"] * 3, err


def test_a_waiting_session_goes_on_without_a_terminal(act: Callable[..., tuple[int, str, str]], run: Run) -> None:
    assert act([STEP], "go", "--session", "s", "--sessions", "s.db")[0] == 3
    resume = ("sessions", "resume", "s", "--sessions", "s.db", "--tools", "shop.py:TOOLS", "--json")
    code, _, err = run(*resume, "--approve", "call_0_0")
    assert code == 2 and "no decision about call_0_1 (pay" in err
    act(["Done."])  # what the model writes next
    code, out, err = run(*resume, "--approve", "all", "--deny", "call_0_1=not bob")
    assert code == 0 and results(out) == ["paid 5 to ann", "denied by the user: not bob", "saw ann"], err
    code, _, err = run(*resume, "--approve", "all")
    assert code == 2 and "is idle: there is no interrupted run" in err
