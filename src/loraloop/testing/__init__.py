"""For tests of programs that embed loraloop: a scripted model and router, assertions on runs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
