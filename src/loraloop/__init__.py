"""loraloop: an agent runtime in which every step runs on the right LoRA skill.

The public names are listed in ``__init__.pyi``. They are imported on first use, so that ``import loraloop`` itself is
quick and needs neither torch nor a model. Importing it sets how OpenMP's threads wait, as the commands do.
"""

import lazy_loader

from loraloop.threads import share_the_processor as _share_the_processor

_share_the_processor()
__version__ = "0.5.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
