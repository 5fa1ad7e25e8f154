"""``loraloop run``, ``demo`` and ``route``, and approval at a terminal."""
