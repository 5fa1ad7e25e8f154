"""NF4 against bitsandbytes' own quantization, and the byte permutes against the levels, on the CPU."""

from __future__ import annotations

import re

import pytest
import torch

pytest.importorskip("bitsandbytes", reason="bitsandbytes is installed on Linux only")

from loraloop.kernels import reference
from loraloop.kernels.nf4 import Nf4Weight


@pytest.mark.parametrize("shape", [(48, 128), (3, 64), (300, 576)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_definition_has_bitsandbytes_values(shape: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight = Nf4Weight.quantize(torch.randn(shape) * torch.rand(shape[0], 1) * 3, dtype)
    assert torch.equal(weight.quant_state.code.cpu(), torch.tensor(reference.LEVELS)), "bitsandbytes has other levels"
    ours = reference.nf4_dequantize(*weight.tensors, *shape, dtype)
    # bitsandbytes' vectorized CPU kernel cuts its fp32 scale times its level to `dtype` in its own order
    torch.testing.assert_close(ours, weight.dequantize(), rtol=2**-7 if dtype is torch.bfloat16 else 1e-3, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 96), (6, 32), (2, 80)], ids=str)
def test_blocks_that_run_over_row_ends(shape: tuple[int, int]) -> None:
    """Each value lies within half a step of what was quantized, which bitsandbytes' CPU kernel does not reach here."""
    torch.manual_seed(0)
    values = torch.randn(shape)
    weight = Nf4Weight.quantize(values, torch.float32)
    blocks = torch.nn.functional.pad(values.view(-1), (0, -values.numel() % 64)).view(-1, 64)
    absmax = blocks.abs().amax(1).repeat_interleave(64)[: values.numel()].view(shape)
    step = torch.tensor(reference.LEVELS).diff().max()
    assert ((weight.dequantize() - values).abs() <= absmax * (step / 2 + 0.01)).all()


def test_restores_what_it_stored() -> None:
    weight = Nf4Weight.quantize(torch.randn(8, 64))
    again = Nf4Weight.restore(weight.state())
    assert all(torch.equal(left, right) for left, right in zip(weight.tensors, again.tensors, strict=True))


def test_other_forms_are_refused() -> None:
    from bitsandbytes import functional

    codes, state = functional.quantize_4bit(torch.randn(8, 128), blocksize=128, quant_type="nf4")
    with pytest.raises(ValueError, match="in blocks of 64 with nested"):
        Nf4Weight(codes, state)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_the_permutes_give_each_code_its_level(dtype: torch.dtype) -> None:
    """The PTX, run by a few lines of Python: every byte, at every place of a word."""
    pytest.importorskip("triton", reason="triton is installed on Linux only")
    from loraloop.kernels.gpu.triton_nf4_codes import permute_code

    levels = torch.tensor(reference.LEVELS).to(dtype)
    for byte in range(256):
        packed = [byte, (byte * 7 + 3) % 256, 255 - byte, (byte * 31) % 256]
        out = run(permute_code(dtype), sum(value << 8 * place for place, value in enumerate(packed)))
        for registers, shift in ((("$0", "$1"), 4), (("$2", "$3"), 0)):
            words = [out[name] for name in registers]
            bits = [word >> side & 0xFFFF for word in words for side in (0, 16)]
            values = torch.tensor(bits, dtype=torch.int32).to(torch.int16).view(dtype)
            assert torch.equal(values, levels[[value >> shift & 15 for value in packed]])


def run(code: str, word: int) -> dict[str, int]:
    """Executes the instructions that `permute_code` uses (PTX ISA: prmt in its default mode)."""
    registers = {"$4": word}

    def value(operand: str) -> int:
        return int(operand, 0) if operand[0].isdigit() else registers[operand]

    for name, target, operands in re.findall(r"(and|or|shr|prmt)\.b32 (\S+), (.*?);", code):
        first, second, *rest = (value(operand.strip()) for operand in operands.split(","))
        if name == "prmt":
            source, picked = (second << 32 | first).to_bytes(8, "little"), []
            for place in range(4):
                pick = rest[0] >> 4 * place & 15
                picked.append(source[pick & 7] if pick < 8 else 255 * (source[pick & 7] >> 7))
            registers[target] = int.from_bytes(bytes(picked), "little")
        else:
            registers[target] = {"and": first & second, "or": first | second, "shr": first >> second}[name]
    return registers
