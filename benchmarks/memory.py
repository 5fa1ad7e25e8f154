"""Memory of a process that answers one request: base, skills and router loaded, a few tokens generated.

    python benchmarks/memory.py --llama-python PYTHON --json benchmarks/results/memory.json

Every system runs in a process of its own that reports on itself when it has answered: `base` with the base alone,
`skills` with the four shipped skills resident (loraloop: runtime, bank and router, through an agent; transformers: as
PEFT's adapters; llama.cpp: as GGUF adapters), `import` after the imports. Resident memory (`rss`) counts
pages of mapped files, which the system drops when it needs room; `private` is what no other process shares;
`anonymous` is what no file backs; `peak` is the largest resident size so far.

On disk: the converted base of loraloop, the file it was made from, and a folder for transformers in bf16. Keys and
values are counted for 1 000 tokens of context.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as loraloop sets it, which is imported after torch here
sys.path.insert(0, str(Path(__file__).resolve().parent))

from llama_peer import Llama, add_option, interpreter, write_lora
from report import BenchmarkReport, finish, options

if TYPE_CHECKING:
    from loraloop.adapters.base import Base

MB = 1e6
PROMPT, TOKENS = "What is the capital of France?", 32
KINDS = {"rss": ("Rss",), "private": ("Private_Clean", "Private_Dirty"), "anonymous": ("Anonymous",)}
LAST = """
import sys
sys.path.insert(0, {folder!r})
from memory import used
print(used("self"))
"""
OURS = {
    "import": "import loraloop.agent, loraloop.adapters.bank.bank, loraloop.adapters.base",
    "base": """
from loraloop.adapters.base import Base, Row
base = Base.load()
cache = base.new_cache()
tokens = {ids}
for _ in range({count}):
    out = base.forward([Row(tokens, cache)])
    tokens = [int(base.logits(out.hidden[-1:]).argmax())]
""",
    "skills": """
from loraloop import Agent, Runtime
runtime = Runtime.load()
for name in runtime.bank.names:
    if name != "none":
        runtime.bank.slot(name)
print(Agent(runtime).run_sync({prompt!r}).output, file=__import__("sys").stderr)
""",
}
THEIRS = {
    "import": "import peft, transformers, torch; from transformers import AutoModelForCausalLM",
    "base": """
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({folder!r})
model = AutoModelForCausalLM.from_pretrained({folder!r}, dtype=torch.bfloat16)
model.generate(torch.tensor([{ids}]), max_new_tokens={count}, do_sample=False)
""",
    "skills": """
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({folder!r})
model = AutoModelForCausalLM.from_pretrained({folder!r}, dtype=torch.bfloat16)
first, *others = {adapters}
model = PeftModel.from_pretrained(model, first, adapter_name=first.rsplit("/", 1)[1])
for other in others:
    model.load_adapter(other, adapter_name=other.rsplit("/", 1)[1])
model.eval().generate(input_ids=torch.tensor([{ids}]), max_new_tokens={count}, do_sample=False)
""",
}


def used(process: str | int) -> str:
    """A process's memory as JSON, in bytes, by the kinds of `KINDS` and `peak`."""
    rollup = _fields(Path(f"/proc/{process}/smaps_rollup"))
    found = {kind: sum(rollup[name] for name in names) for kind, names in KINDS.items()}
    return json.dumps({**found, "peak": _fields(Path(f"/proc/{process}/status"))["VmHWM"]})


def _fields(path: Path) -> dict[str, int]:
    lines = re.findall(r"^(\w+):\s+(\d+) kB$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: int(size) * 1024 for name, size in lines}


def of_program(program: str) -> dict[str, int]:
    """Memory of a fresh Python process when it has run `program`."""
    whole = program + LAST.format(folder=str(Path(__file__).resolve().parent))
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"a measured process failed:\n{done.stderr[-2_000:]}")
    found: dict[str, int] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def of_llama(python: str, gguf: Path, threads: int, prompt: int, *loras: Path) -> dict[str, int]:
    """Memory of a llama.cpp process that has read a prompt and generated."""
    process = Llama(python, gguf, threads, *loras)
    try:
        process.ask("decode", context=prompt, flash=True, skill=bool(loras), steps=TOKENS)
        found: dict[str, int] = json.loads(used(process.pid))
    finally:
        process.close()
    return found


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def metrics_of(runs: dict[str, list[dict[str, int]]]) -> dict[str, float]:
    """Medians in MB (10^6 bytes) by stage and kind."""
    return {
        f"{stage}_{kind}_mb": median(run[kind] for run in found) / MB
        for stage, found in runs.items()
        for kind in (*KINDS, "peak")
    }


def on_disk(base: Base, gguf: Path, saved: Path) -> tuple[float, float]:
    """MB of our converted base, made anew to be alone in its folder, and of the folder for transformers."""
    from loraloop.adapters.base import Base as Loaded

    with tempfile.TemporaryDirectory() as folder:
        downloads = Path(folder) / "downloads"
        downloads.mkdir()
        (downloads / gguf.name).symlink_to(gguf)
        Loaded.load(cache_dir=folder, device="cpu")
        return folder_bytes(Path(folder) / "bases") / MB, folder_bytes(saved) / MB


def kv_mb(base: Base) -> tuple[float, float]:
    """MB of 1 000 tokens' keys and values: ours, and in 16 bits."""
    config, cache = base.config, base.new_cache(1_024)
    plain = 2 * 2 * config.layers * config.kv_heads * config.head_dim
    return 1_000 * cache.nbytes / cache.capacity / MB, 1_000 * plain / MB


def table(columns: dict[str, dict[str, float]]) -> dict[str, float]:
    """For the page: what is resident and what is anonymous, by system."""
    rows = {
        "base, resident": "base_rss_mb",
        "base, anonymous": "base_anonymous_mb",
        "with skills, resident": "skills_rss_mb",
        "with skills, anonymous": "skills_anonymous_mb",
        "with skills, peak": "skills_peak_mb",
        "imports alone, resident": "import_rss_mb",
        "on disk": "disk_mb",
        "1 000 tokens of context": "kv_1000_mb",
    }
    found = {
        f"{row}/{system}, MB": numbers.get(key) for row, key in rows.items() for system, numbers in columns.items()
    }
    return {name: round(value, 1) for name, value in found.items() if value is not None}


def main() -> None:
    from episode import shipped_skills
    from transformers_peer import save_for_peft, save_for_transformers

    from loraloop.adapters.base import Base, Message
    from loraloop.adapters.base.loading.fetch import gguf_file

    parser = options(__doc__.splitlines()[0], limit=3)
    parser.add_argument("--no-peers", action="store_true", help="measure loraloop alone")
    add_option(parser)
    given = parser.parse_args()
    base, gguf = Base.load(device="cpu"), gguf_file()
    skills = shipped_skills(base, ("tools", "code", "retrieval", "safety"), given.seed)
    ids = [*base.chat.render([Message("user", PROMPT)]), *base.chat.generation_prompt]
    runs: dict[str, dict[str, list[dict[str, int]]]] = {"loraloop": {stage: [] for stage in OURS}}
    python = None if given.no_peers else interpreter(given.llama_python)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        saved = folder / "model"
        facts: dict[str, Any] = {"ids": ids, "count": TOKENS, "prompt": PROMPT, "folder": str(saved)}
        save_for_transformers(base, saved)
        if not given.no_peers:
            facts["adapters"] = [str(save_for_peft(each, folder / each.card.name, "full")) for each in skills]
            runs["transformers"] = {stage: [] for stage in THEIRS}
        if python:
            loras = [write_lora(base, each, folder / f"{each.card.name}.gguf") for each in skills]
            runs["llama.cpp"] = {"base": [], "skills": []}
        for _ in range(given.limit):
            for system, programs in (("loraloop", OURS), ("transformers", THEIRS)):
                for stage in runs.get(system, ()):
                    runs[system][stage].append(of_program(programs[stage].format(**facts)))
            if python:
                threads = given.threads or os.cpu_count() or 1
                runs["llama.cpp"]["base"].append(of_llama(python, gguf, threads, len(ids)))
                runs["llama.cpp"]["skills"].append(of_llama(python, gguf, threads, len(ids), *loras))
        columns = {system: metrics_of(found) for system, found in runs.items()}
        ours, theirs = on_disk(base, gguf, saved)
    kv, plain = kv_mb(base)
    disk = {"loraloop": ours, "transformers": theirs, "llama.cpp": gguf.stat().st_size / MB}
    for system, numbers in columns.items():
        numbers |= {"disk_mb": disk[system], "kv_1000_mb": kv if system == "loraloop" else plain}
    metrics = columns.pop("loraloop")
    ratios = {
        f"{stage} {kind} {peer}": numbers[f"{stage}_{kind}_mb"] / metrics[f"{stage}_{kind}_mb"]
        for peer, numbers in columns.items()
        for stage in ("base", "skills")
        for kind in ("rss", "anonymous")
    }
    details = {"memory": table({"loraloop": metrics, **columns})}
    finish(BenchmarkReport("memory", given.limit, metrics, columns, ratios, details), given.json)


if __name__ == "__main__":
    main()
