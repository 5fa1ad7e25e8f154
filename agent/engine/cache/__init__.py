"""KV caches of a run: which skill each span is valid for, and beginnings that runs share."""
