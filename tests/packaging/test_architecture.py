"""The rooms stand on each other in one order, and no modules import each other in a circle, lazily or for types.

import-linter does not follow setuptools' package-dir, so it looks at an installed wheel.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

GRAPH = """
import json, grimp, networkx
graph = grimp.build_graph("loraloop", cache_dir=None)
arrows = networkx.DiGraph(
    (module, other) for module in graph.modules for other in graph.find_modules_directly_imported_by(module)
)
circles = [sorted(group) for group in networkx.strongly_connected_components(arrows) if len(group) > 1]
print(json.dumps({"modules": sorted(graph.modules), "circles": circles}))
"""
ROOMS = {room: room for room in ("agent", "router", "adapters", "kernels", "tool_schemas")} | {"": "src/loraloop"}


@pytest.fixture
def installed(tree, environment):
    environment.install(tree)
    return environment


def modules_of(tree: Path) -> set[str]:
    found = set()
    for room, folder in ROOMS.items():
        for path in (tree / folder).rglob("*.py"):
            parts = ["loraloop", room, *path.relative_to(tree / folder).with_suffix("").parts]
            found.add(".".join(part for part in parts if part and part != "__init__"))
    return found


def test_rooms_import_only_from_below_and_nothing_in_circles(installed, tree, tmp_path):
    lint = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    done = subprocess.run([installed.python, "-c", lint], cwd=tree, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(installed.run(GRAPH, tmp_path))
    assert modules_of(tree) <= set(seen["modules"]), "the graph has to hold every module of the tree"
    assert not seen["circles"]
