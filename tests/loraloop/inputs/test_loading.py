"""What a command line names: a skill that does not exist is said before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraloop.adapters.skill.blank import blank_skill
from loraloop.inputs.loading import forced_skills
from loraloop.testing import ScriptedRuntime
from loraloop.tool_schemas.errors import UnknownNameError


def test_a_skill_that_is_neither_known_nor_a_folder_is_refused() -> None:
    runtime = ScriptedRuntime()
    assert forced_skills(runtime, ["none"]) == ("none",)
    with pytest.raises(UnknownNameError, match="did you mean 'tools'"):
        forced_skills(runtime, ["tool"])


def test_a_skill_of_a_folder_takes_the_place_of_the_one_of_its_name(tmp_path: Path) -> None:
    runtime = ScriptedRuntime()
    before = runtime.bank.names
    blank_skill(runtime.base, before[0], runtime.contract(before[0]), "Mine.").save(tmp_path / "own")
    assert forced_skills(runtime, [str(tmp_path / "own")]) == (before[0],)
    assert runtime.bank.names == before and runtime.bank.card(before[0]).description == "Mine."
