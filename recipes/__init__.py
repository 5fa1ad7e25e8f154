"""The recipes of the shipped skills and routers, and the frozen data that they learn from."""
