"""The deprecated name of `loraloop.scale.replicas`, for one release."""

from __future__ import annotations

import warnings

from loraloop.scale.replicas import application as application

warnings.warn("loraloop.replicas is deprecated: use loraloop.scale.replicas", DeprecationWarning, stacklevel=2)
