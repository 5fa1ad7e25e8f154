"""The shared base: load, quantize, decoder forward, key-value cache, chat format."""

from loraloop.adapters.base.base import Base
from loraloop.adapters.base.decoder.cache import BranchCache, Cache, KVCache
from loraloop.adapters.base.decoder.decoder import Attached, Forward, Row, Virtual
from loraloop.adapters.base.decoder.native_cache import NativeCache
from loraloop.adapters.base.loading.config import ModelConfig
from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.random_base import random_base
from loraloop.adapters.payload.sites import GROUPS
from loraloop.kernels.reference import Blend, Choice, Segments

AnyCache = KVCache | NativeCache

__all__ = [
    "GROUPS", "AnyCache", "Attached", "Base", "Blend", "BranchCache", "Cache", "Choice", "Forward", "KVCache",
    "Message", "ModelConfig", "NativeCache", "Row", "Segments", "Virtual", "random_base",
]  # fmt: skip
