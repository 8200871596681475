"""`python -m lab.hangup MARK NUMBER`: pass a signal on to a command that runs in this container for somebody outside.

`docker exec` takes a program's input and output along, but no signals: who presses Ctrl-C would leave the command
running. `popnet` therefore marks what it starts (POPNET_CALL=MARK in its environment), and this finds it again.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Final

CALL_VARIABLE: Final = "POPNET_CALL"


def pass_on(mark: str, number: int) -> int:
    """How many processes got the signal."""
    wanted = f"{CALL_VARIABLE}={mark}".encode()
    told = 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        # Others' processes cannot be read, and some end while we look.
        with contextlib.suppress(OSError):
            if wanted in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                os.kill(int(entry), number)
                told += 1
    return told


if __name__ == "__main__":
    pass_on(sys.argv[1], int(sys.argv[2]))
