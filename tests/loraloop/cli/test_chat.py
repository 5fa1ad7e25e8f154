"""`loraloop chat`: on a terminal of its own, through pipes, and its commands."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loraloop.agent import Deny, Gate, Guard, Policy
from loraloop.agent.messages import as_tools
from loraloop.cli.chat.command import converse
from loraloop.cli.chat.conversation import Conversation, read_messages
from loraloop.cli.chat.slash_commands import COMMANDS
from loraloop.render.steps import harmless
from loraloop.testing import ScriptedRuntime, answer, calls, code, verdict
from loraloop.tool_schemas.errors import InputError

HERE = Path(__file__).resolve().parent
WEATHER = HERE.parents[2] / "examples" / "tools" / "weather.json"
Run = Callable[..., tuple[int, str, str]]


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`piped(conversation, *lines)`: exit code, standard output and error of a conversation through pipes."""

    def say(talk: Conversation, *lines: str, **options: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        done = converse(talk, **options)
        out, err = capsys.readouterr()
        return done, out, err

    return say


def talk(*steps: Any, **options: Any) -> Conversation:
    return Conversation(ScriptedRuntime(*steps), as_tools([weather]), **options)


Piped = Callable[..., tuple[int, str, str]]


def test_piped_lines_are_answered_one_by_one(piped: Piped) -> None:
    mine = talk(calls(weather={"city": "Oslo"}), "It is sunny.", "You are welcome.")
    status, out, err = piped(mine, "How is Oslo?", "", "Thank you")
    assert (status, out) == (0, "It is sunny.\nYou are welcome.\n")
    assert '  weather(city="Oslo")' in err and '→ weather: "sunny in Oslo"' in err
    assert "[tools 0.80 · 48 tokens" in err and "switch" in err and "\x1b" not in out + err
    roles = " ".join(message.role for message in mine.messages)
    assert roles == "user assistant tool assistant user assistant"
    runtime = mine.runtime
    assert isinstance(runtime, ScriptedRuntime) and "It is sunny." in [m.content for m in runtime.turns[-1].messages]
    assert piped(talk("Hello."), "hi", quiet=True) == (0, "Hello.\n", "")
    assert piped(talk("Hello."), "hi\\", quiet=True) == (0, "Hello.\n", "")  # nothing follows


def test_what_is_not_written_for_people_is_not_streamed(piped: Piped) -> None:
    mine = talk(answer("Ada wrote it.", ["1"]), code("print(1)"), calls(), "Which city?")
    mine.passages = read_passage()
    _, out, err = piped(mine, "Who?", "/passages off", "Code?", "Weather?")
    assert out == "Ada wrote it.\nno passages\n```python\nprint(1)\n```\nWhich city?\n"
    assert "cites 1" in err and "no_call, dropped" in err


def read_passage() -> tuple[Any, ...]:
    from loraloop.agent.messages import as_passages

    return as_passages(["Ada wrote it."])


def get_stock(item: str) -> int:
    """How many are in stock."""
    return 17


LOOK = calls(get_stock={"item": "pears"})


def test_a_replaced_answer_is_printed_once(piped: Piped) -> None:
    mine = Conversation(ScriptedRuntime(LOOK, calls(), "There are 71."), as_tools([get_stock]))
    assert piped(mine, "How many?", quiet=True) == (0, "Done: get stock (item: pears). Result: 17.\n", "")


@pytest.mark.parametrize("more", [(), ("--stream",)])
def test_run_prints_a_replaced_answer_once(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, more: tuple[str, ...]
) -> None:
    runtime = ScriptedRuntime(LOOK, calls(), "There are 71.")
    monkeypatch.setattr("loraloop.cli.options.open_runtime", lambda *_, **__: runtime)
    monkeypatch.chdir(tmp_path)
    source = 'def get_stock(item: str) -> int:\n    """In stock."""\n    return 17\n\n\ntools = [get_stock]\n'
    (tmp_path / "shop.py").write_text(source)
    status, out, _ = run("run", "How many?", "--tools", "shop.py:tools", *more)
    assert status == 0 and out.count("Result: 17.") == 1


def test_what_was_not_done_or_was_left_out_is_said_in_a_line(piped: Piped) -> None:
    policy = Policy(needs_approval="*", approve=lambda call, context: Deny())
    mine = Conversation(ScriptedRuntime(LOOK, calls(), "Here you are."), as_tools([get_stock]), {"policy": policy})
    status, out, err = piped(mine, "How many?")
    assert (status, out) == (0, "Here you are.\n")
    assert "\n  Not done, because it was denied: get stock (item: pears).\n" in err
    guard = {"guard": Guard(tools=Gate(then="withhold"))}
    runtime = ScriptedRuntime(LOOK, verdict("fraud"), calls(), "I cannot tell.")
    _, _, err = piped(Conversation(runtime, as_tools([get_stock]), guard), "How many?")
    assert "  gate at tools (get_stock): withheld: fraud\n" in err and "gate at input" not in err


def test_a_refused_line_is_told_and_the_rest_goes_on(piped: Piped) -> None:
    status, out, err = piped(talk("Hello."), "/skil tools", "/skill", "/skill retrieval", "/undo now", "hi")
    assert (status, out.splitlines()[-1]) == (2, "Hello.") or "retrieval" in err
    assert "did you mean '/skill'?" in err and "say /skill NAME|auto" in err and "/undo takes no argument" in err
    status, out, err = piped(talk("Hello."), "one", "two", "/tools")
    assert status == 2 and "the script has 1 steps" in err and "The weather in a city." in out  # "two" failed


def test_lines_that_are_no_text_are_refused(piped: Piped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9\n"), encoding="utf-8"))
    with pytest.raises(InputError, match="cannot read standard input"):
        converse(talk("Hello."))


def test_the_skill_can_be_forced_and_given_back(piped: Piped) -> None:
    mine = talk(calls(), "Hm.", "Hello.", "Again.")
    status, out, _ = piped(mine, "/skill tools", "hi", "/skill none", "hi", "/skills", "/skill auto", "hi")
    assert status == 0 and "each answer begins with tools" in out and "the router chooses" in out
    assert [step.decided_by for turn in mine.turns for step in turn.result.steps] == [
        "policy", "router", "policy", "router"
    ]  # fmt: skip
    assert "forced" in next(line for line in out.splitlines() if line.strip().startswith("none"))
    assert "did you mean 'tools'" in piped(talk(), "/skill tols")[2]


def test_turns_are_taken_back_saved_and_loaded(piped: Piped, tmp_path: Path) -> None:
    mine, file = talk("One.", "Two.", "Three."), tmp_path / "talk.json"
    status, out, _ = piped(
        mine, "/system Be brief.", "first", "second", "/undo", f"/save {file}", "/reset", "/trace", f"/load {file}"
    )
    assert "took back: second" in out and "2 messages in" in out and "2 messages from" in out and status == 2
    assert [message.content for message in mine.messages] == ["first", "One."] and mine.instructions == "Be brief."
    assert json.loads(file.read_text())["instructions"] == "Be brief."
    _, out, _ = piped(mine, "third", "/trace 1")
    assert out.startswith("Three.\n") and "user: third" in out
    assert isinstance(mine.runtime, ScriptedRuntime)
    sent = [message.content for message in mine.runtime.turns[-1].messages]
    assert sent[0].startswith("Be brief.") and sent[1:4] == ["first", "One.", "third"]
    for bad, why in (
        ("{", "not valid JSON"),
        ("[1]", "message 0"),
        ('{"a": 1}', "JSON list"),
        ('[{"role": "x"}]', "0"),
    ):
        file.write_text(bad)
        with pytest.raises(InputError, match=why):
            read_messages(file)
    assert "cannot write" in piped(talk(), f"/save {tmp_path}/no/folder.json")[2]


def test_the_list_of_commands_is_complete(piped: Piped) -> None:
    mine = talk(calls(weather={"city": "Oslo"}), "Sunny.", "//etc is a folder.")
    _, out, _ = piped(mine, "/help", "/tools", "How?", "//etc?", "/quit", "never read")
    assert all(f"{name} {each.argument}".strip() in out for name, each in COMMANDS.items())
    assert "The weather in a city." in out
    assert mine.turns[1].prompt == "/etc?" and len(mine.turns) == 2


def test_a_line_goes_on_after_a_backslash_and_control_characters_are_left_out(piped: Piped) -> None:
    mine = talk("Red \x1b[31malert\x07.")
    _, out, _ = piped(mine, "one\\", "two")
    assert mine.turns[0].prompt == "one\ntwo" and out == "Red [31malert.\n"
    assert harmless("a\tb\nc\x9bd\r") == "a\tb\ncd"


def test_the_command_takes_the_options_of_run(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runtimes = [ScriptedRuntime(calls(get_weather={"city": "Oslo"}), "Sunny."), ScriptedRuntime(calls(), "Hm.")]
    monkeypatch.setattr("loraloop.cli.options.open_runtime", lambda *_, **__: runtimes.pop(0))
    start = tmp_path / "start.json"
    start.write_text('[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}]')
    monkeypatch.setattr(sys, "stdin", io.StringIO("How is Oslo?\n"))
    options = ("--messages", str(start), "--traces", str(tmp_path / "traces"), "--quiet", "--max-steps", "3")
    assert run("chat", "--tools", str(WEATHER), *options) == (0, "Sunny.\n", "")
    (trace,) = (json.loads(path.read_text()) for path in (tmp_path / "traces").iterdir())
    assert [message["content"] for message in trace["messages"]][1:] == ["hi", "How is Oslo?"]
    assert trace["messages"][0]["content"].startswith("Be kind.") and trace["settings"]["limits"]["max_steps"] == 3
    monkeypatch.setattr(sys, "stdin", io.StringIO("hm?\n/nothing\n"))
    status, out, err = run("chat", "--tools", str(WEATHER), "--skill", "tools")
    assert (status, out) == (2, "Hm.\n") and "by policy" in err
    assert run("chat", "--tool-choic", "none")[0] == 2


class Terminal:
    """A program at a terminal of its own."""

    def __init__(self, *command: str, env: dict[str, str]) -> None:
        self._main, side = pty.openpty()
        self._shown = b""  # and not looked at
        self.process = subprocess.Popen(
            command,
            stdin=side,
            stdout=side,
            stderr=side,
            start_new_session=True,
            preexec_fn=self._begin,
            env={**os.environ, "TERM": "dumb", **env},
        )
        os.close(side)

    @staticmethod
    def _begin() -> None:
        """The terminal is the program's, and Ctrl-C reaches it, also where the tests run in the background."""
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def type(self, keys: str) -> None:
        os.write(self._main, keys.encode())

    def until(self, text: str, seconds: float = 60) -> str:
        """What is shown up to a text."""
        end = time.monotonic() + seconds
        while text.encode() not in self._shown:
            assert time.monotonic() < end, f"{text!r} is not in {self._shown.decode()!r}"
            if select.select([self._main], [], [], 0.1)[0]:
                self._shown += os.read(self._main, 4096)
        before, found, self._shown = self._shown.partition(text.encode())
        return (before + found).decode()

    def interrupt(self, text: str) -> None:
        """Ctrl-C until a text is shown: Python's input() overlooks a signal that comes while it handles a key."""
        for _ in range(20):
            self.type("\x03")
            try:
                self.until(text, 3)
            except AssertionError:
                continue
            return
        self.until(text, 0)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        os.close(self._main)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def make(*command: str) -> Terminal:
        opened.append(Terminal(sys.executable, *command, env={"LORALOOP_CACHE": str(tmp_path / "cache")}))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def test_on_a_terminal_ctrl_c_stops_the_answer_and_ctrl_d_leaves(
    terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    job = str(HERE / "chat_job.py")
    mine = terminal(job)
    assert "/help" in mine.until("> ")
    mine.type("How is Oslo?\n")
    shown = mine.until("[none 0.80")
    assert "It is sunny." in shown and 'weather(city="Oslo")' in shown and "[tools 0.80" in shown
    mine.until("> ")
    mine.type("Take your time\n")
    mine.until("slow(")
    time.sleep(0.3)
    mine.type("\x03")
    assert "(cancelled)" in mine.until("> ", 20)  # the tool alone would take a minute
    mine.type("half a line")
    mine.until("half a line")
    mine.interrupt("> ")  # leaves the line
    mine.type("/und\t\n")
    assert "took back: Take your time" in mine.until("back: Take your time")
    mine.until("> ")
    mine.type("hi\n")
    mine.until("Hello again.")
    mine.until("> ")
    mine.type("\x04")
    assert mine.process.wait(20) == 0
    history = (tmp_path / "cache" / "chat_history").read_text()
    assert "How is Oslo?" in history and (tmp_path / "cache" / "chat_history").stat().st_mode & 0o77 == 0
    again = terminal(job)
    again.until("> ")
    again.type("\x1b[A")  # the last line of the time before
    again.until("hi")


def test_the_embedded_base_answers_through_a_pipe(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("What is the weather in Paris in celsius?\nThank you!\n/trace 2\n"))
    status, out, err = run("chat", "--tools", str(WEATHER), "--max-tokens", "200")
    assert status == 0 and "get_weather(" in err and "[tools" in err and "Thank you!" in out
