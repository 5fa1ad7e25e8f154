"""A private copy of the tree, and environments to install it into without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def clean_environment() -> dict[str, str]:
    """The caller's environment without what would change how Python finds packages."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


@dataclass(frozen=True, slots=True)
class Environment:
    """A fresh virtual environment that sees the packages of the environment running the tests."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def site(self) -> Path:
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        return Path(self.run(code, cwd=self.folder).strip())

    def run(self, code: str, cwd: Path, *options: str) -> str:
        """Runs code in this environment and returns what it printed; a failure fails the test."""
        done = subprocess.run(
            [self.python, *options, "-c", code],
            cwd=cwd,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def install(self, *arguments: str | Path) -> None:
        """Installs into this environment: nothing else, nothing built elsewhere, nothing downloaded."""
        command = [
            *(sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet", "--no-deps"),
            *("--no-index", "--no-build-isolation", "--no-compile", "--ignore-installed", *arguments),
        ]
        done = subprocess.run(
            command, env=clean_environment(), cwd=self.folder, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a commit of the working tree would hold, so that no build output helps or harms."""
    target = tmp_path_factory.mktemp("tree") / "checkout"
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
        ).stdout.decode()
        names = [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    except (OSError, subprocess.CalledProcessError):  # an unpacked sdist
        skip = {"build", "dist", ".venv", "__pycache__", "loraloop.egg-info"}
        paths = [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file()]
        names = [str(path) for path in paths if not skip & set(path.parts)]
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target / name)
    return target


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """A fresh environment with the tests' own site-packages behind its own."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    made = Environment(folder)
    ours = sysconfig.get_path("purelib")
    # A .pth file inside that folder, such as our own editable install's, is not read from there.
    (made.site / "behind.pth").write_text(f"{ours}\n")
    return made
