"""Cold start: from the start of a process to the first generated token, with a warm cache folder; and its memory.

    python benchmarks/coldstart.py --json benchmarks/results/coldstart.json

Each run is a fresh Python process. `base` generates one token with the base alone; `agent` loads runtime, skills and
router and takes the first token of an agent's run. The peer loads the same weights with transformers. `peak_mb` is the
largest resident size of the process, pages of mapped files included (10^6 bytes).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent))
from report import BenchmarkReport, finish, options, spread

PROMPT = "What is the capital of France?"
BASE = f"""
from loraloop.adapters.base import Base, Message, Row
base = Base.load()
ids = base.chat.render([Message("user", {PROMPT!r})]) + list(base.chat.generation_prompt)
out = base.forward([Row(ids, base.new_cache())])
print(int(base.logits(out.hidden[-1:]).argmax()))
"""
AGENT = f"""
from loraloop import Agent, Runtime
for event in Agent(Runtime.load()).stream({PROMPT!r}):
    if type(event).__name__ == "TokenGenerated":
        print(event)
        break
"""
PEER = """
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({folder!r})
model = AutoModelForCausalLM.from_pretrained({folder!r}, dtype=torch.bfloat16)
ids = tokenizer.apply_chat_template(
    [{{"role": "user", "content": {prompt!r}}}], add_generation_prompt=True, return_tensors="pt", return_dict=True
)
print(model.generate(**ids, max_new_tokens=1, do_sample=False))
"""
IMPORT = "import loraloop\n"


def cost(program: str) -> tuple[float, float]:
    """Seconds of a fresh process from its start to its end, and its largest resident size in MB."""
    start = time.perf_counter()
    command = [sys.executable, "-c", program + "print(open('/proc/self/status').read())"]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return time.perf_counter() - start, int(told.rpartition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def main() -> None:
    from transformers_peer import save_for_transformers

    from loraloop.adapters.base import Base

    given = options(__doc__.splitlines()[0], limit=5).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        save_for_transformers(Base.load(), model := Path(folder) / "model")
        programs = {
            "import": IMPORT, "base": BASE, "agent": AGENT, "peer": PEER.format(folder=str(model), prompt=PROMPT)
        }  # fmt: skip
        costs: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
        for turn in range(given.limit + 1):
            for name, program in programs.items():
                found = cost(program)
                if turn:
                    costs[name].append(found)
    figures: dict[str, dict[str, float]] = {"loraloop": {}, "transformers": {}}
    for name, found in costs.items():
        system, stage = ("transformers", "base") if name == "peer" else ("loraloop", name)
        figures[system] |= spread(f"{stage}_s", [seconds for seconds, _ in found])
        figures[system][f"{stage}_peak_mb"] = median(size for _, size in found)
    metrics = figures.pop("loraloop")
    ratios = {name: figures["transformers"][name] / metrics[name] for name in ("base_s_median", "base_peak_mb")}
    finish(BenchmarkReport("coldstart", given.limit, metrics, figures, ratios), given.json)


if __name__ == "__main__":
    main()
