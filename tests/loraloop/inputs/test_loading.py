"""What a command line names: a skill that does not exist is said before anything runs."""

from __future__ import annotations

import pytest

from loraloop.inputs.loading import forced_skills
from loraloop.testing import ScriptedRuntime
from loraloop.tool_schemas.errors import UnknownNameError


def test_a_skill_that_is_neither_known_nor_a_folder_is_refused() -> None:
    runtime = ScriptedRuntime()
    assert forced_skills(runtime, ["none"]) == ("none",)
    with pytest.raises(UnknownNameError, match="did you mean 'tools'"):
        forced_skills(runtime, ["tool"])
