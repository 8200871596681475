"""Where `popnet capture` writes to, here and in a lab of containers."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import BinaryIO

from lab.driver import LabError

STDOUT = "-"


@contextlib.contextmanager
def opened(write: str | None) -> Iterator[BinaryIO]:
    """The file of -w, emptied. Raises LabError when it cannot be written."""
    if write in (None, STDOUT):
        yield sys.stdout.buffer
        return
    try:
        file = open(str(write), "wb", buffering=0)  # noqa: SIM115 it is closed below
    except OSError as error:
        problem = f"-w: found {write!r}: {error.strerror}; allowed: a file to write, or {STDOUT}"
        raise LabError(problem) from None
    with file:
        yield file
