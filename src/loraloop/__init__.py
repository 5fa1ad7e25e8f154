"""loraloop: an agent runtime in which every step runs on the right LoRA skill.

The public names are listed in ``__init__.pyi``. They are imported on first use, so that ``import loraloop`` itself is
quick and needs neither torch nor a model. Importing it sets how OpenMP's threads wait, as the commands do.
"""

import os as _os

import lazy_loader

# Where other programs keep the cores busy, libgomp's default, by which threads spin for each other for long, makes two
# threads far slower than one. libgomp reads this when it is loaded: whoever imports torch before loraloop sets it.
if "OMP_WAIT_POLICY" not in _os.environ:
    _os.environ.setdefault("GOMP_SPINCOUNT", "1000")
__version__ = "0.5.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
