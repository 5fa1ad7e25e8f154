"""Every test that the threat model names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADS = ("| surface |", "| route |", "| --- ", "| found |")


def test_every_row_names_a_test_that_exists() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(HEADS)]
    assert len(rows) > 50
    for row in rows:
        named = re.search(r"`(tests/[\w/]+\.py)::(test_\w+)` \|$", row)
        assert named, f"name the test that holds it: {row}"
        source = (ROOT / named[1]).read_text(encoding="utf-8")
        assert f"def {named[2]}(" in source, f"{named[1]} has no {named[2]}"


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
