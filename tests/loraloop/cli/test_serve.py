"""``loraloop serve`` reads keys; ``serve mcp`` refuses what it cannot do, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import typer

from loraloop.cli.serve import ServerParts, serve_app


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--python"], "add --run"),
        (["--http", "--token-env", "NO_SUCH_VARIABLE"], "NO_SUCH_VARIABLE is empty"),
        (["--prt", "1"], "No such option"),
        (["--http", "--port", "70000"], "less than or equal to 65535"),
    ],
)
def test_what_cannot_be_served(run: Callable[..., tuple[int, str, str]], arguments: list[str], words: str) -> None:
    code, out, err = run("serve", "mcp", *arguments)
    assert (code, out) == (2, "") and words in err


def test_a_port_that_no_machine_has_is_refused_at_once(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = run("serve", "--port", "70000")
    assert (code, out) == (2, "") and "less than or equal to 65535" in err


def test_a_variable_that_holds_no_key_does_not_open_a_server(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `KEYS=$ANN,$BOB` makes it where both are empty."""
    monkeypatch.setenv("KEYS", " ,")
    code, out, err = run("serve", "--key-env", "KEYS", "--connect", "http://127.0.0.1:9/v1")
    assert (code, out) == (2, "") and "KEYS holds commas and no key" in err


def test_the_key_of_a_server_that_writes_the_steps_is_missed_at_once(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = run("run", "Hi.", "--connect", "http://127.0.0.1:9/v1", "--connect-key-env", "NO_SUCH_VARIABLE")
    assert (code, out) == (2, "") and "NO_SUCH_VARIABLE is empty" in err


@pytest.mark.parametrize(
    "option", [["--engine", "vllm"], ["--eyes", "http://x/v1"], ["--connect-key-env", "X"], ["--adapter", "tools=t"]]
)
def test_what_is_of_a_server_that_writes_the_steps_needs_its_address(
    run: Callable[..., tuple[int, str, str]], option: list[str]
) -> None:
    code, out, err = run("run", "Hi.", *option)
    assert (code, out) == (2, "") and f"{option[0]} is of a server" in err and "(--connect)" in err


def test_blanks_around_keys_are_no_part_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client cannot send them: the blanks at the end of a header are none of its value."""
    monkeypatch.setenv("KEYS", "key-of-ann, key-of-bob,\n")
    monkeypatch.setenv("ADMIN", "key-of-admin\n")
    found: list[ServerParts] = []
    options = ["--key-env", "KEYS", "--admin-key-env", "ADMIN"]
    typer.main.get_command(serve_app).main(options, "loraloop serve", standalone_mode=False, obj=found.append)
    assert found[0].settings.keys == {"key-of-ann", "key-of-bob"} and found[0].settings.admin_key == "key-of-admin"


def test_without_options_it_serves() -> None:
    found: list[ServerParts] = []
    typer.main.get_command(serve_app).main([], "loraloop serve", standalone_mode=False, obj=found.append)
    assert (found[0].settings.host, found[0].settings.port) == ("127.0.0.1", 8000)
