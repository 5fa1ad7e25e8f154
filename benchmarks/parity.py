"""How close the served forms of a base come to transformers in fp32 on the same GGUF file.

    python benchmarks/parity.py --base qwen2.5-coder-1.5b --json benchmarks/results/parity.json

Transformers answers each prompt greedily. Every form then reads prompt and answer: at each token of the answer, is the
likeliest next token the same, and how far are the distributions apart (KL divergence, nats)? And does the form,
answering by itself, write the same? Transformers in bf16 shows what rounding activations alone costs. Where ids differ
between the tokenizers, the run stops. Memory: the fp32 reference may take four bytes a parameter.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from report import Report, finish, options

PROMPTS = (
    "Write a Python function that returns the n-th Fibonacci number, without recursion.",
    "What is the capital of Australia, and why is it not Sydney?",
    "Übersetze ins Deutsche: The weather is nice today, and the café is open until 22:30.",
    'Reply with JSON only: {"city": string, "celsius": integer} for "It is 31 degrees in Lagos".',
    "Explain in two sentences what a mutex is.",
    "List three prime numbers above 100 and say why each is prime.",
    "Fix this code:\n```python\nfor i in range(10)\n    print(i\n```",
    "Summarise: The trunk is computed once by the base. A branch runs a skill and is then cut off again.",
)


def main() -> None:
    parser = options(__doc__.splitlines()[0], limit=len(PROMPTS))
    parser.add_argument("--base", default="qwen2.5-coder-1.5b")
    parser.add_argument("--forms", nargs="+", default=["int4", "int8", "bf16"])
    parser.add_argument("--tokens", type=int, default=48, help="of each answer")
    parser.add_argument("--no-bf16-peer", action="store_true", help="leave out transformers in bf16")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    prompts = PROMPTS[: given.limit]
    texts, expected, answers = reference(given.base, prompts, given.tokens)
    metrics: dict[str, float] = {}
    peers: dict[str, dict[str, float]] = {}
    if not given.no_bf16_peer:
        model, _ = theirs(given.base, torch.bfloat16)
        logits = [forced(model, ids, len(answer)) for ids, answer in zip(texts, answers, strict=True)]
        written = [generated(model, ids[: -len(a)], len(a)) for ids, a in zip(texts, answers, strict=True)]
        found = compared(expected, logits, answers, written)
        peers["transformers"] = {f"bf16/{name}": value for name, value in found.items()}
        del model
        gc.collect()
    for form in given.forms:
        logits, written = served(given.base, form, texts, answers)
        metrics.update({f"{form}/{k}": v for k, v in compared(expected, logits, answers, written).items()})
    details = {"base": given.base, "tokens": sum(map(len, answers))}
    finish(Report("parity", len(prompts), metrics, peers, details=details), given.json)


def theirs(base: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """Transformers' model and tokenizer of the base's GGUF file."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from loraloop.adapters.base.loading.fetch import gguf_file

    path = gguf_file(base)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype).eval()
    return model, AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


def reference(
    base: str, prompts: tuple[str, ...], count: int
) -> tuple[list[list[int]], list[torch.Tensor], list[list[int]]]:
    """Prompt and answer of each, the answer's logits, and the answers, by transformers in fp32."""
    from loraloop.adapters.base import Base, Message

    ours = Base.load(base, device="cpu")
    model, tokenizer = theirs(base, torch.float32)
    texts, expected, answers = [], [], []
    for prompt in prompts:
        ids = ours.chat.render([Message("user", prompt)]) + list(ours.chat.generation_prompt)
        conversation = [{"role": "user", "content": prompt}]
        same = tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=True)["input_ids"]
        if ids != list(same):
            raise SystemExit(f"the tokenizers differ on {prompt!r}: {ids} and {same}")
        answer = generated(model, ids, count)
        texts.append(ids + answer)
        answers.append(answer)
        expected.append(forced(model, ids + answer, len(answer)))
    return texts, expected, answers


@torch.inference_mode()
def generated(model: Any, ids: list[int], count: int) -> list[int]:
    """`count` tokens of greedy decoding, or fewer up to an end token."""
    out = model.generate(
        torch.tensor([ids]), max_new_tokens=count, do_sample=False, repetition_penalty=1.0, temperature=None,
        top_p=None, top_k=None, pad_token_id=0, attention_mask=torch.ones(1, len(ids), dtype=torch.long),
    )  # fmt: skip
    return list(map(int, out[0, len(ids) :]))


@torch.inference_mode()
def forced(model: Any, ids: list[int], count: int) -> torch.Tensor:
    """The logits [count, V] from which the last `count` tokens would have been chosen."""
    return model(torch.tensor([ids]), logits_to_keep=count + 1).logits[0, :-1].float()


def served(
    base: str, form: str, texts: list[list[int]], answers: list[list[int]]
) -> tuple[list[torch.Tensor], list[list[int]]]:
    """The same two things of one of our forms."""
    from loraloop.adapters.base import Base, Row

    model = Base.load(base, quantize=form, device="cpu")
    logits, written = [], []
    for ids, answer in zip(texts, answers, strict=True):
        cache = model.new_cache()
        start = len(ids) - len(answer)
        hidden = model.forward([Row(ids[:-1], cache)]).hidden[start - 1 :]
        logits.append(model.logits(hidden))
        cache.truncate(start - 1)
        token, tokens = ids[start - 1], []
        while len(tokens) < len(answer):
            token = int(model.logits(model.forward([Row([token], cache)]).hidden).argmax())
            tokens.append(token)
        written.append(tokens)
    return logits, written


def compared(
    expected: list[torch.Tensor], found: list[torch.Tensor], answers: list[list[int]], written: list[list[int]]
) -> dict[str, float]:
    """Agreement over all answers' tokens."""
    ours, reference_logits = torch.cat(found), torch.cat(expected)
    size = min(ours.shape[1], reference_logits.shape[1])
    p, q = (x[:, :size].log_softmax(-1) for x in (reference_logits, ours))
    divergence = (p.exp() * (p - q)).sum(-1)
    alike = [_common(a, b) for a, b in zip(answers, written, strict=True)]
    return {
        "top1": float((ours.argmax(-1) == reference_logits.argmax(-1)).float().mean()),
        "kl_mean_nats": float(divergence.mean()),
        "kl_p95_nats": float(divergence.quantile(0.95)),
        "greedy_same_tokens": sum(alike) / sum(map(len, answers)),
        "greedy_same_answers": sum(n == len(a) for n, a in zip(alike, answers, strict=True)) / len(answers),
    }


def _common(a: list[int], b: list[int]) -> int:
    """Length of the common beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


if __name__ == "__main__":
    main()
