"""Learning on policy: agents are run, judged, corrected where they first went wrong, and trained on that."""
