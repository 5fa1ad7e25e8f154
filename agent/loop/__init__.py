"""The loop of one run: route, branch, write, judge, act, commit."""
