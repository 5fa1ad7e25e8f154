"""A checkpoint's values before quantization, read one by one: what LoftQ starts from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from loraloop.tool_schemas.errors import InputError


class Originals(Mapping[str, Tensor]):
    """Tensors of a Hugging Face folder by their names, read when they are asked for.

    Args:
        base: What the recipe calls the base.

    Raises:
        InputError: it is no such folder.
    """

    def __init__(self, base: str) -> None:
        from loraloop.adapters.base.loading.hf_source import HFSource

        folder = Path(base).expanduser()
        if not (folder / "config.json").is_file():
            raise InputError(
                f"loftq starts from what quantization lost, and {base} is no Hugging Face folder, which holds the "
                "values before: give method.checkpoint, such a folder or a GGUF file of the unquantized model"
            )
        self._source = HFSource(folder)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self:
            raise KeyError(name)
        return self._source.tensor(name)

    def __contains__(self, name: object) -> bool:
        return name in self._source._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._source._files)

    def __len__(self) -> int:
        return len(self._source._files)
