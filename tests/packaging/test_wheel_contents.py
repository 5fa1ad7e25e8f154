"""A built wheel holds every module and data file of the rooms, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("adapters", "agent", "kernels", "router", "tool_schemas")
HOMES = {"src/loraloop": "loraloop"} | {room: f"loraloop/{room}" for room in (*ROOMS, "recipes")}
TOOLS = ("recipes/make", "recipes/worlds", "recipes/desk/sealed")
"""In the repository alone: what made the data, the worlds of training, the worlds of releases."""


def expected(tree: Path) -> set[str]:
    """What the wheel should hold, by its path inside the wheel."""
    names = set()
    for home, inside in HOMES.items():
        for path in (tree / home).rglob("*"):
            if path.relative_to(tree).as_posix().startswith(TOOLS):
                continue
            if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".pyc", ".md"}:
                names.add(f"{inside}/{path.relative_to(tree / home).as_posix()}")
    return names


def copied(tree: Path, target: Path) -> None:
    """Copies a tree with weights of no bytes: what is looked at here are names, and packing weights takes long."""
    shutil.copytree(tree, target)
    for weights in target.rglob("*.safetensors"):
        weights.write_bytes(b"")


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    source = target / "source"
    copied(tree, source)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run([*command, "-w", target, source], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    (built,) = target.glob("loraloop-*.whl")
    return built


def test_the_wheel_holds_the_rooms_and_nothing_else(tree, wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected(tree)
    assert "loraloop/py.typed" in held  # of the package, and so of all rooms in it (PEP 561)


def test_a_wheel_built_from_the_source_distribution_is_the_same(tree, wheel, tmp_path):
    source = tmp_path / "source"
    copied(tree, source)
    build = "import setuptools.build_meta as b; print(b.build_sdist('dist'))"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True, timeout=120)
    (archive,) = (source / "dist").glob("*.tar.gz")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "-w", tmp_path, archive], check=True, capture_output=True, timeout=240)
    (built,) = tmp_path.glob("loraloop-*.whl")
    with zipfile.ZipFile(built) as ours, zipfile.ZipFile(wheel) as theirs:
        assert set(ours.namelist()) == set(theirs.namelist())


def test_the_licence_and_the_command_are_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry = next(name for name in names if name.endswith("entry_points.txt"))
        assert "loraloop = loraloop.cli.main:main" in archive.read(entry).decode()
        assert any(name.endswith("licenses/LICENSE") for name in names)


def test_pyproject_lists_every_subpackage_and_where_it_lives():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {}
    for home, inside in HOMES.items():
        for init in (ROOT / home).rglob("__init__.py"):
            folder = init.parent.relative_to(ROOT).as_posix()
            name = (inside + folder.removeprefix(home)).replace("/", ".")
            found[name] = folder
    assert settings["package-dir"] == {inside.replace("/", "."): home for home, inside in HOMES.items()}
    assert sorted(settings["packages"]) == sorted(found)
