"""The systems that the training benchmark compares, each asked for the same steps on the same weights and data."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from own_process import die_with_parent
from training_memory import Allocations, Resident

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.methods.lora import Lora
    from loraloop.adapters.training.data.encode import Encoded

IGNORED = -100  # a label without a loss
BETAS, CLIP = (0.9, 0.99), 1.0
CACHE_GB = 16.0  # more than any point's trunks take


@dataclass(frozen=True, slots=True)
class Job:
    """What one process measures.

    Attributes:
        system: a key of `SYSTEMS`.
        base: what `Base.load` is asked for; `form` is its quantization, empty for the default.
        folder: holds the prepared model, the start of both adapters, and what is written on the way.
        context: tokens of a trunk.
        completion: tokens of a branch.
        count: examples; an epoch of them goes before the steps that are timed, and fills caches.
        steps: timed ones; one more is profiled for its allocations.
    """

    system: str
    base: str
    form: str
    folder: str
    context: int
    completion: int
    batch: int
    rank: int
    count: int
    steps: int
    rate: float
    seed: int
    threads: int

    @property
    def warm(self) -> int:
        return -(-self.count // self.batch)

    @property
    def total(self) -> int:
        return self.warm + self.steps + 1

    @property
    def point(self) -> str:
        return f"{self.context}+{self.completion}"

    @property
    def place(self) -> Path:
        return Path(self.folder)

    @property
    def method(self) -> Lora:
        from loraloop.adapters.methods.lora import Lora

        return Lora(self.rank, 2 * self.rank)

    def load(self) -> Base:
        from loraloop.adapters.base import Base

        return Base.load(self.base, quantize=self.form or None, device="cpu")

    def examples(self, base: Base) -> list[Encoded]:
        from training_data import examples

        return examples(base, self.count, self.context, self.completion, self.seed)


class Watch:
    """Times steps, profiles the last one, and keeps the losses."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.seconds: list[float] = []
        self.processor: list[float] = []
        self.losses: list[float] = []
        self._allocations = Allocations()
        self._resident: Resident | None = None
        self._rss, self._started, self._used = 0, 0.0, 0.0

    def begin(self) -> None:
        """Before a step."""
        if self._resident is None:
            self._resident = Resident()
        if len(self.seconds) == self.job.total - 1:
            self._rss = self._resident.peak
            self._allocations.start()
        self._started, self._used = perf_counter(), process_time()

    def end(self, loss: float | None = None, seconds: float | None = None) -> None:
        """After a step; `seconds` where the system itself says what it took."""
        self.seconds.append(perf_counter() - self._started if seconds is None else seconds)
        self.processor.append(process_time() - self._used)
        if loss is not None:
            self.losses.append(loss)
        self._allocations.stop()

    def found(self) -> dict[str, Any]:
        timed = slice(self.job.warm, self.job.warm + self.job.steps)
        return {
            "seconds": self.seconds[timed],
            "processor": self.processor[timed],
            "losses": self.losses,
            "activation_bytes": self._allocations.peak,
            "rss_bytes": self._rss,
        }


def plan_of(job: Job) -> dict[str, Any]:
    """The order of the examples and the learning rate of each step, as our trainer went through them."""
    plan: dict[str, Any] = json.loads((job.place / f"plan-{job.point}.json").read_text(encoding="utf-8"))
    return plan


def ours(job: Job, watch: Watch, **settings: Any) -> None:
    """Our trainer; what it does in which order is written down for the peers."""
    from loraloop.adapters.training.trainer.trainer import Progress, TrainConfig, Trainer

    rates: list[float] = []

    def told(progress: Progress) -> None:
        rates.append(progress.lr)
        watch.end(progress.loss, progress.seconds)
        watch.begin()

    base = job.load()
    data = job.examples(base)
    config = TrainConfig(
        job.total, job.batch, job.rate, clip=CLIP, validate_every=job.total, seed=job.seed, **settings
    )  # fmt: skip
    run = job.place / f"run-{job.system}-{job.point}"
    trainer = Trainer(base, job.method, data, data[:1], config, run, progress=told)
    watch.begin()
    trainer.run()
    if job.system == "ours":
        numbers = {example: number for number, example in enumerate(data)}
        order = [[numbers[example] for example in batch] for batch in islice(trainer.batches(), job.total)]
        plan = {"order": order, "rates": rates, "examples": [[e.trunk, e.branch, e.start] for e in data]}
        (job.place / f"plan-{job.point}.json").write_text(json.dumps(plan), encoding="utf-8")


def cached(job: Job, watch: Watch) -> None:
    """Our trainer with every trunk read back from disk after the first epoch."""
    ours(job, watch, trunk_cache_gb=CACHE_GB)


def ours_fp32(job: Job, watch: Watch) -> None:
    """Our trainer on the same values in fp32, which some processors multiply faster."""
    ours(job, watch, precision="fp32")


def served(job: Job, watch: Watch) -> None:
    """The same with contexts by the C decoder, as the skill will stand on them."""
    ours(job, watch, precision="fp32", trunks="served")


def full(job: Job, watch: Watch) -> None:
    """Our trainer with the adapter active on the whole context."""
    ours(job, watch, mode="full")


def peft(job: Job, watch: Watch, activation: str = "full", dtype: str = "auto") -> None:
    """PEFT in the loop that its documentation shows."""
    model = _peft_model(job, activation, dtype)
    plan = plan_of(job)
    optimizer = _optimizer(model, job.rate)
    for numbers, rate in zip(plan["order"], plan["rates"], strict=True):
        rows = [_labelled(plan["examples"][number]) for number in numbers]
        ids, labels = (torch.tensor([row[which] for row in rows]) for which in (0, 1))
        watch.begin()
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        del loss
        watch.end(value)


def alora(job: Job, watch: Watch) -> None:
    """PEFT's activated LoRA in the same loop."""
    peft(job, watch, "branch")


def peft_fp32(job: Job, watch: Watch) -> None:
    """PEFT on the same values in fp32."""
    peft(job, watch, dtype="float32")


def alora_fp32(job: Job, watch: Watch) -> None:
    """PEFT's activated LoRA on the same values in fp32."""
    peft(job, watch, "branch", "float32")


def trl(job: Job, watch: Watch) -> None:
    """TRL's SFTTrainer on a PEFT model, in our order and at our rates, without gradient checkpointing."""
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Steps(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            watch.begin()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            watch.end()

    model = _peft_model(job, "full")
    plan = plan_of(job)
    rows = [_labelled(plan["examples"][number]) for numbers in plan["order"] for number in numbers]
    optimizer = _optimizer(model, job.rate)
    rates = [*plan["rates"], 0.0]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rates[min(step, job.total)] / job.rate)
    config = SFTConfig(
        output_dir=str(job.place / f"run-trl-{job.point}"), max_steps=job.total, max_length=None,
        per_device_train_batch_size=job.batch, train_sampling_strategy="sequential", max_grad_norm=CLIP,
        gradient_checkpointing=False, use_cpu=True, bf16=model.dtype == torch.bfloat16, logging_steps=1,
        save_strategy="no", report_to=[], disable_tqdm=True, seed=job.seed,
    )  # fmt: skip
    trainer = SFTTrainer(
        model, config, train_dataset=Dataset.from_list([{"input_ids": ids, "labels": labels} for ids, labels in rows]),
        processing_class=AutoTokenizer.from_pretrained(job.place / "model"), callbacks=[Steps()],
        optimizers=(optimizer, schedule),
    )  # fmt: skip
    trainer.train()
    watch.losses += [line["loss"] for line in trainer.state.log_history if "loss" in line]


SYSTEMS: dict[str, Callable[[Job, Watch], None]] = {
    "ours": ours, "ours_fp32": ours_fp32, "served": served, "cached": cached, "full": full, "peft": peft,
    "peft_fp32": peft_fp32, "peft_alora": alora, "peft_alora_fp32": alora_fp32, "trl": trl,
}  # fmt: skip


def prepare(job: Job) -> None:
    """Writes what the peers start from: the served values as a transformers folder, and both adapters untrained."""
    from transformers_peer import save_for_peft, transformers_model, transformers_tokenizer

    from loraloop.adapters.methods.context import ConfigContext
    from loraloop.adapters.skill.card import Card
    from loraloop.adapters.skill.skill import Skill

    base, method = job.load(), job.method
    transformers_model(base, base.dtype).save_pretrained(job.place / "model")
    transformers_tokenizer(base).save_pretrained(job.place / "model")
    fields = {
        "name": "start", "description": "untrained", "method": method.name, "rank": job.rank, "alpha": method.alpha,
        "targets": method.targets, "invocation": base.chat.generation_prompt, "base": base.name,
        "fingerprints": {"architecture": base.fingerprints.architecture, "weights": base.fingerprints.weights},
    }  # fmt: skip
    start = Skill(
        Card.checked(fields), {n: t.detach() for n, t in method.init(ConfigContext(base.config), job.seed).items()}
    )
    for activation in ("branch", "full"):
        save_for_peft(start, job.place / f"start-{activation}", activation)


def _peft_model(job: Job, activation: str, dtype: str = "auto") -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(job.place / "model", dtype=dtype)
    return PeftModel.from_pretrained(model, str(job.place / f"start-{activation}"), is_trainable=True).train()


def _optimizer(model: Any, rate: float) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=rate, betas=BETAS, weight_decay=0.0)


def _labelled(example: Sequence[Any]) -> tuple[list[int], list[int]]:
    """Ids of a whole example, and its labels: the completion and the token that ends the turn."""
    trunk, branch, start = example
    return [*trunk, *branch], [IGNORED] * (len(trunk) + start) + list(branch[start:])


def measure(job: Job) -> dict[str, Any]:
    """Measures one job in this process; the system "prepare" writes what the peers need."""
    torch.set_num_threads(job.threads)
    if job.system == "prepare":
        prepare(job)
        return {}
    watch = Watch(job)
    SYSTEMS[job.system](job, watch)
    return watch.found()


if __name__ == "__main__":
    die_with_parent()
    print(json.dumps(measure(Job(**json.loads(sys.argv[1])))))
