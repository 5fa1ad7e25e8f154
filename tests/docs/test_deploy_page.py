"""Deploying, on the page of the server: container file and unit start a command that exists, with extras that exist."""

from __future__ import annotations

import configparser
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from loraloop.adapters.skill.registry import known_skills
from loraloop.adapters.skill.skill import Skill
from loraloop.agent.engine.remote.connect import SERVED
from loraloop.cli.main import app
from loraloop.scale import replicas
from loraloop.tool_schemas.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
CONTAINER = ROOT / "examples" / "deploy" / "Containerfile"
MANIFEST = ROOT / "examples" / "many_machines" / "kubernetes.yaml"
VLLM_MANIFEST = ROOT / "examples" / "many_machines" / "vllm.yaml"
RAY_MANIFEST = ROOT / "examples" / "many_machines" / "rayservice.yaml"
UNIT = ROOT / "examples" / "deploy" / "loraloop.service"

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


def check_command(words: list[str]) -> None:
    """The command line is one that `loraloop serve` or `loraloop skills export` takes."""
    program, *rest = words
    group: Any = typer.main.get_command(app)
    while rest[0] in getattr(group, "commands", ()):
        group, rest = group.commands[rest[0]], rest[1:]
    assert Path(program).name == "loraloop" and group.name in ("serve", "export")
    group.make_context(group.name, list(rest))


def test_the_containers_command_and_extras_exist() -> None:
    lines = CONTAINER.read_text(encoding="utf-8").splitlines()
    kinds = {line.partition(" ")[0] for line in lines if line and not line.startswith("#")}
    assert kinds <= {"FROM", "RUN", "COPY", "ARG", "USER", "ENV", "EXPOSE", "VOLUME", "HEALTHCHECK", "CMD"}
    check_command(json.loads(lines[-1].removeprefix("CMD ")))
    for file in (CONTAINER.read_text(encoding="utf-8"), PAGE):
        named = re.findall(r"(?:loraloop\[|EXTRAS=)([\w,-]+)", file)
        assert named and {name for each in named for name in each.split(",")} <= EXTRAS.keys()


HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed")
def test_the_container_file_is_linted() -> None:
    command = [str(HADOLINT), "--failure-threshold", "info", str(CONTAINER)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_units_command_exists_and_systemd_accepts_it(tmp_path: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT, encoding="utf-8")
    check_command(shlex.split(unit["Service"]["ExecStart"]))
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/loraloop/bin/loraloop", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True)
    assert done.returncode == 0 and UNIT.name not in done.stderr, done.stderr


def test_the_manifest_is_valid_and_its_command_exists() -> None:
    deployment, service = yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8"))
    for document in (deployment, service):
        kubernetes_validate.validate(document, "1.37", strict=True)  # an unknown field is an error too
    template = deployment["spec"]["template"]
    (container,) = template["spec"]["containers"]
    check_command(container["args"])
    chosen = deployment["spec"]["selector"]["matchLabels"]
    assert chosen == service["spec"]["selector"] == template["metadata"]["labels"]
    assert f"--allow-host={service['metadata']['name']}" in container["args"]
    probes = [container[name]["httpGet"] for name in container if name.endswith("Probe")]
    asked = [header for probe in probes for header in probe["httpHeaders"]]
    assert asked == [{"name": "Host", "value": "localhost"}] * 3, "the server refuses the pod's address"


def test_the_manifest_of_vllm_serves_the_skills_that_the_first_container_writes() -> None:
    deployment, service = yaml.safe_load_all(VLLM_MANIFEST.read_text(encoding="utf-8"))
    for document in (deployment, service):
        kubernetes_validate.validate(document, "1.37", strict=True)
    pod = deployment["spec"]["template"]["spec"]
    (first,), (server,) = pod["initContainers"], pod["containers"]
    check_command(first["args"])
    options = dict(each.split("=", 1) for each in first["args"] if each.startswith("--"))
    names = [each for each in first["args"][3:] if not each.startswith("--")]
    known = known_skills(options["--base"])
    assert options["--for"] == "vllm" and set(names) <= known.keys() & SERVED.keys()
    ranks = [Skill.load(known[name]).card.rank for name in names]
    (command,) = server["args"]
    words = shlex.split(command)
    assert max(ranks) <= int(words[words.index("--max-lora-rank") + 1]) and "--enable-lora" in words
    assert len(names) <= int(words[words.index("--max-loras") + 1])
    assert words[words.index("--served-model-name") + 1] == options["--base"]
    assert json.loads(words[words.index("--structured-outputs-config") + 1])["disable_any_whitespace"]
    places = {
        mount["mountPath"] for each in (first, server) for mount in each["volumeMounts"] if mount["name"] == "skills"
    }
    assert places == {options["--out"]} and f"{options['--out']}/" in command
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]


def test_the_manifest_of_kuberay_names_an_application_that_its_options_make(monkeypatch: pytest.MonkeyPatch) -> None:
    text = RAY_MANIFEST.read_text(encoding="utf-8")
    spec = yaml.safe_load(text)["spec"]
    (described,) = yaml.safe_load(spec["serveConfigV2"])["applications"]
    module, _, name = described["import_path"].partition(":")
    made = SimpleNamespace()
    monkeypatch.setattr(replicas, "application", lambda build, settings: vars(made).update(settings=settings) or made)
    monkeypatch.setenv("LORALOOP_KEYS", "0123456789")
    build = getattr(importlib.import_module(module), name)
    assert build(described["args"]) is made
    assert made.settings.keys == {"0123456789"} and made.settings.sessions.startswith("postgresql://")
    service = f"{yaml.safe_load(text)['metadata']['name']}-serve-svc"
    assert made.settings.knows_host(f"{service}:8000") and f"http://{service}:8000" in text
    with pytest.raises(InputError, match=r"--port=9.*num_replicas"):
        build({"options": ["--port=9", *described["args"]["options"]]})

    cluster = spec["rayClusterConfig"]
    (workers,) = cluster["workerGroupSpecs"]
    for template in (cluster["headGroupSpec"]["template"], workers["template"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, **template}
        kubernetes_validate.validate(pod, "1.37", strict=True)
        (container,) = template["spec"]["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "loraloop"}}], "where the application is built, too"
    (deployment,) = described["deployments"]
    assert deployment["num_replicas"] == workers["replicas"] == workers["maxReplicas"]
    assert deployment["graceful_shutdown_timeout_s"] <= workers["template"]["spec"]["terminationGracePeriodSeconds"]
    least = next(each for each in EXTRAS["ray"] if each.startswith("ray[serve]>="))
    assert cluster["rayVersion"] == f"{least.partition('>=')[2]}.0"


def test_the_metrics_that_are_worth_an_alarm_exist() -> None:
    found = importlib.util.find_spec("loraloop.server")
    assert found is not None and found.submodule_search_locations
    (folder,) = found.submodule_search_locations
    code = "".join(file.read_text(encoding="utf-8") for file in Path(folder).glob("*.py"))
    named = re.findall(r"`(loraloop_\w+)", PAGE)
    assert named and all(name.removesuffix("_total") in code for name in named)
