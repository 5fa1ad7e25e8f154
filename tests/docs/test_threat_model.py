"""Every row of the threat model and of SECURITY.md names a test that is there, and a mutation for `make prove`."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("docs/threat-model.md", "SECURITY.md")
HEADS = ("| surface |", "| route |", "| --- ", "| found |", "| promise |")
spec = importlib.util.spec_from_file_location("mutations", ROOT / "tests" / "prove" / "mutations.py")
assert spec is not None and spec.loader is not None
mutations = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mutations)
tested = {mutation.test for mutation in mutations.MUTATIONS}


def test_every_row_names_a_test_that_exists_and_was_seen_to_fail() -> None:
    lines = [line for page in PAGES for line in (ROOT / page).read_text(encoding="utf-8").splitlines()]
    rows = [line for line in lines if line.startswith("| ") and not line.startswith(HEADS)]
    assert len(rows) > 50
    for row in rows:
        named = re.search(r"`((tests/[\w/]+\.py)::(test_\w+))` \|$", row)
        assert named, f"name the test that holds it: {row}"
        assert named[1] in tested, f"tests/prove/mutations.py lacks an edit that disables its guard: {row}"


def test_every_mutation_can_be_made(tmp_path: Path) -> None:
    """Each is an edit of what is there, after which no name is missing: a NameError would fail the test for nothing."""
    for number, (file, text, replacement, test) in enumerate(mutations.MUTATIONS):
        assert text != replacement
        found = (ROOT / file).read_text(encoding="utf-8").count(text)
        assert found == 1, (
            f"{file} has {text!r} {found} times, and {test} needs it once: change tests/prove/mutations.py"
        )
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path} has no {name}"
        if file.endswith(".py"):
            changed = (ROOT / file).read_text(encoding="utf-8").replace(text, replacement)
            (tmp_path / f"{number}_{Path(file).name}").write_text(changed, encoding="utf-8")
    assert all(edits for edits in mutations.TABLE.values())
    check = ["ruff", "check", "--isolated", "--no-cache", "--select=F821,F823", "--output-format=concise", tmp_path]
    done = subprocess.run([sys.executable, "-m", *check], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_route_of_the_server_has_a_row() -> None:
    from loraloop.server.app import FILES, create_app
    from loraloop.server.settings import ServerSettings
    from loraloop.server.state import ServerState
    from loraloop.testing import ScriptedRuntime

    app = create_app(ServerState(ScriptedRuntime(), ServerSettings(), {}))
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8").partition("## Routes of the server")[2]
    named = set(
        re.findall(
            r"`(?:POST )?(/[\w./{}-]*)`", " ".join(line.split("|")[1] for line in text.splitlines() if "|" in line)
        )
    )
    assert named == {*app.openapi()["paths"], *FILES, "/openapi.json"}
