"""The router: trunk features to screen and choice, calibrated, abstaining to none."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
