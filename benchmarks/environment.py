"""The environment of every benchmark. Torch and the hub's client read it, so this module is imported before them.

`GOMP_SPINCOUNT` is what loraloop sets as well, which is imported after torch in most benchmarks.
"""

from __future__ import annotations

import os

for name, value in {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "GOMP_SPINCOUNT": "1000"}.items():
    os.environ.setdefault(name, value)
