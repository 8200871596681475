"""Routing algorithms, one file each: a dict `PARAMS` and a function `decide(state) -> routes`."""
