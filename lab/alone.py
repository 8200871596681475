"""One change at a time, whoever makes it: a lock that ends with the process that holds it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock of this file, made if it is missing; whoever else wants it waits."""
    # A lab of real packets is Linux's; what looks at files and virtual time runs where there is no fcntl.
    import fcntl

    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
