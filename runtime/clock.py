"""What time it is, as something handed in.

`Clock` is any callable that gives seconds which never go back. Real programs use `monotonic`:
uvloop's `loop.time()` has whole milliseconds only, too coarse to measure a round trip on one
machine. A virtual loop hands in its own `loop.time`. Readings of two processes are never compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]

monotonic: Clock = time.monotonic
# Only for what people read (the event log); nothing is ever decided by it.
wall: Clock = time.time
