"""Text of the files that a world file names: matrices, key sets, algorithms."""

from __future__ import annotations

import errno
from pathlib import Path
from stat import S_ISREG

# A matrix of 490 nodes is 2 MB.
MOST_BYTES = 64 * 2**20


def read(path: Path, encoding: str = "utf-8") -> str:
    """The whole text. A device or a pipe would never end. Raises OSError, ValueError."""
    status = path.stat()
    if not S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "no regular file")
    if status.st_size > MOST_BYTES:
        raise OSError(errno.EFBIG, f"more than {MOST_BYTES // 2**20} MiB")
    return path.read_text(encoding)
