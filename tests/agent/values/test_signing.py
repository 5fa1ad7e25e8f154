"""Files of runs that wait: signed, whole, and resumed once; nothing runs before all is checked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loraloop import Agent, Approve, PendingRun
from loraloop.agent.values.signing import sign
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas import Tool
from loraloop.tool_schemas.errors import InputError, LoraloopError

KEY = "a key of enough bytes"
paid: list[int] = []


def pay(amount: int) -> str:
    """Pays."""
    paid.append(amount)
    return f"paid {amount}"


def agent(*script: Any) -> Agent[Any, Any]:
    return Agent(ScriptedRuntime(*script), [Tool.from_function(pay, requires_approval=True)])


def pending() -> PendingRun:
    paid.clear()
    found = agent(calls(pay={"amount": 5})).run_sync("Pay 5.").pending
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("LORALOOP_SIGNING_KEY", raising=False)
    return tmp_path / "loraloop"


def test_the_users_key_is_made_once_and_is_nobody_elses(data: Path) -> None:
    text = pending().to_json()
    key = data / "signing.key"
    assert len(key.read_bytes()) == 32 and key.stat().st_mode & 0o777 == 0o600
    assert PendingRun.from_json(text).waiting[0].arguments == {"amount": 5}
    assert pending().to_json() != text and key.read_bytes() == key.read_bytes()
    key.unlink()
    with pytest.raises(InputError, match="changed since it was written, or was signed with another key"):
        PendingRun.from_json(text)


def test_a_key_can_be_given_for_another_machine(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = pending().to_json(key=KEY)
    assert not data.exists()
    assert PendingRun.from_json(text, key=KEY.encode()).signature
    with pytest.raises(InputError, match="another key"):
        PendingRun.from_json(text, key="another key of enough bytes")
    monkeypatch.setenv("LORALOOP_SIGNING_KEY", KEY)
    assert PendingRun.from_json(json.dumps(json.loads(text), sort_keys=True, indent=1)).signature
    with pytest.raises(InputError, match="has 5 bytes: give 16 or more"):
        PendingRun.from_json(text, key="short")


def changed(change: Callable[[dict[str, Any]], Any]) -> str:
    whole = json.loads(pending().to_json())
    change(whole)
    return json.dumps(whole)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda run: run["written"]["calls"][0]["arguments"].update(amount=5000), "not the calls of the transcript"),
        (lambda run: run["written"]["calls"][0].update(approval={"arguments": None}), "changed since"),
        (lambda run: run["written"]["calls"][0].update(approval={"reason": "", "arguments": None}), "approval"),
        (lambda run: run["written"]["calls"][0].update(waits=False), "changed since"),
        (lambda run: run["lines"][-1][1].append(10**9), "changed since"),
        (lambda run: run["lines"][0][0].update(content="Obey."), "changed since"),
        (lambda run: run["asked"].update(prompt="Pay 5000."), "changed since"),
        (lambda run: run["state"]["spent"].update(seconds=-1e9), "changed since"),
        (lambda run: run["state"]["guard"].update(seen=0), "looked at"),
        (lambda run: run["state"]["guard"].update(seen=-3), "looked at"),
        (lambda run: run["state"]["guard"].update(seen=99), "looked at"),
        (lambda run: run.update(signature=""), "not signed"),
        (lambda run: run.pop("signature"), "not signed"),
        (lambda run: run.update(signature=7), "signature"),
    ],
)
def test_what_was_changed_is_refused_and_nothing_runs(change: Callable[[Any], Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        agent("Done.").resume_sync(PendingRun.from_json(changed(change)), {"call_0_0": Approve()})
    assert not paid


def test_a_token_that_the_base_does_not_have_is_refused_before_anything_runs() -> None:
    """Also by whoever has the key."""

    def change(run: dict[str, Any]) -> None:
        run["lines"][1][1].append(10**9)
        run["signature"] = sign(run)

    read = PendingRun.from_json(changed(change))
    with pytest.raises(InputError, match=r"\$\.lines\[1\] has a token that the base does not have"):
        agent("Done.").resume_sync(read, {"call_0_0": Approve()})
    assert not paid


def test_a_file_is_resumed_once() -> None:
    text = pending().to_json()
    yes = {"call_0_0": Approve()}
    with pytest.raises(InputError, match="no decision about call_0_0"):
        agent("Done.").resume_sync(PendingRun.from_json(text), {})
    assert agent("Done.").resume_sync(PendingRun.from_json(text), yes).output == "Done."
    for read in (PendingRun.from_json(text), PendingRun.from_json(text)):
        with pytest.raises(InputError, match="was resumed before"):
            agent("Done.").resume_sync(read, yes)
    assert paid == [5]


def test_a_run_that_was_resumed_in_memory_is_not_resumed_from_its_file() -> None:
    first = pending()
    text = first.to_json()
    agent("Done.").resume_sync(first, {"call_0_0": Approve()})
    with pytest.raises(InputError, match="was resumed before"):
        agent("Done.").resume_sync(PendingRun.from_json(text), {"call_0_0": Approve()})
    assert paid == [5]


def test_a_run_whose_text_was_signed_with_a_given_key_is_not_resumed_elsewhere_after_it_was_in_memory(
    data: Path,
) -> None:
    first = pending()
    text = first.to_json(key=KEY)
    agent("Done.").resume_sync(first, {"call_0_0": Approve()})
    program = PROGRAM.replace("sys.stdin.read()", f"sys.stdin.read(), key={KEY!r}")
    done = subprocess.run([sys.executable, "-c", program], input=text, capture_output=True, text=True, timeout=120)
    assert "was resumed before" in done.stderr and "paid" not in done.stdout


def test_a_key_that_was_emptied_signs_nothing(data: Path) -> None:
    pending().to_json()
    (file,) = data.rglob("signing.key")
    file.write_bytes(b"")
    with pytest.raises(InputError, match=r"signing\.key is damaged: remove it"):
        pending().to_json()


PROGRAM = """
import sys
from loraloop import Agent, Approve, PendingRun
from loraloop.testing import ScriptedRuntime
from loraloop.tool_schemas import Tool

def pay(amount: int) -> str:
    "Pays."
    print("paid", amount)
    return "paid"

agent = Agent(ScriptedRuntime("Done."), [Tool.from_function(pay, requires_approval=True)])
agent.resume_sync(PendingRun.from_json(sys.stdin.read()), {"call_0_0": Approve()})
"""


def test_another_process_does_not_resume_it_again() -> None:
    text = pending().to_json()
    done = subprocess.run([sys.executable, "-c", PROGRAM], input=text, capture_output=True, text=True, timeout=120)
    assert done.stdout == "paid 5\n", done.stderr
    with pytest.raises(InputError, match="was resumed before"):
        agent("Done.").resume_sync(PendingRun.from_json(text), {"call_0_0": Approve()})
    assert paid == []


GOOD = json.loads(pending().to_json(key=KEY))


def places(value: Any) -> Any:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_change_is_refused_in_words(data: st.DataObject) -> None:
    """With the signature of the old text, and with a new one by whoever has the key."""
    run = json.loads(json.dumps(GOOD))
    holder, key = data.draw(st.sampled_from(list(places(run))))
    value = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just([[]]) | st.just({})
    holder[key] = data.draw(value)
    text = json.dumps(run)
    try:
        read = PendingRun.from_json(text, key=KEY)
    except LoraloopError:
        pass
    else:
        assert json.loads(text) == GOOD and read == PendingRun.from_json(json.dumps(GOOD), key=KEY)
    run["signature"] = sign(run, KEY)
    try:
        agent("Done.").resume_sync(PendingRun.from_json(json.dumps(run), key=KEY), {"call_0_0": Approve()})
    except LoraloopError:
        return


@pytest.mark.parametrize("levels", [300, 900, 5000, 100_000])
def test_a_run_nested_without_end_is_refused(levels: int) -> None:
    text = json.dumps(GOOD).replace('{"amount": 5}', "[" * levels + "]" * levels)
    with pytest.raises(InputError, match=r"nested|recursion"):
        PendingRun.from_json(text, key=KEY)
