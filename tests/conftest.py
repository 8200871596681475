"""What keeps the suite from depending on luck, and on who started it.

Properties are tried with the same examples in every run, without a watch on how long each takes. Who wants to search
for new ones runs `pytest --hypothesis-profile search`; the parsers have harnesses of their own for that (fuzz/).
"""

from __future__ import annotations

import gc
import signal
from functools import cache

import typer.testing
from hypothesis import HealthCheck, settings
from typer.main import get_command

settings.register_profile(
    "suite",
    derandomize=True,
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("suite")

# What `nohup` or a shell's `&` makes this process ignore, every program would ignore that it starts, also Ctrl-C. A
# signal with a handler is given to them as they expect it, and a handler that does nothing ignores it as well.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)


# Of all that collecting makes, next to nothing is garbage: to look for it takes a quarter of the time.
gc.disable()


def pytest_collection_finish() -> None:
    """Thousands of tests are there to stay: nobody need look through them for garbage again."""
    gc.collect()
    gc.freeze()
    gc.enable()


# A parser of every command there is takes 40 ms, and a hundred calls by the tests' runner would each build one.
typer.testing._get_command = cache(get_command)
