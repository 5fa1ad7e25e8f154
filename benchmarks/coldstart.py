"""Cold start: from the start of a process to the first generated token, with a warm cache folder.

    python benchmarks/coldstart.py --json benchmarks/results/coldstart.json

Each run is a fresh Python process. `base` generates one token with the base alone; `agent` loads runtime, skills and
router and takes the first token of an agent's run. The peer loads the same weights with transformers.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

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
IMPORT = "import loraloop"


def seconds(program: str) -> float:
    """Wall time of a fresh process from its start to its first line, which ends its work."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    from transformers_peer import save_for_transformers

    from loraloop.adapters.base import Base

    given = options(__doc__.splitlines()[0], limit=5).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        save_for_transformers(Base.load(), Path(folder))
        programs = {
            "import": IMPORT, "base": BASE, "agent": AGENT, "peer": PEER.format(folder=folder, prompt=PROMPT)
        }  # fmt: skip
        for program in programs.values():
            seconds(program)
        times: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(given.limit):
            for name, program in programs.items():
                times[name].append(seconds(program))
    metrics: dict[str, float] = {}
    for name in ("import", "base", "agent"):
        metrics |= spread(f"{name}_s", times[name])
    peer = spread("base_s", times["peer"])
    ratio = peer["base_s_median"] / metrics["base_s_median"]
    finish(
        BenchmarkReport("coldstart", given.limit, metrics, {"transformers": peer}, {"base": ratio}),
        given.json,
    )


if __name__ == "__main__":
    main()
