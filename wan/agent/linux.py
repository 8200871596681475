"""The few system calls of Linux that Python has no name for (3.11): namespaces, mounts, prctl, capabilities.

Everything here acts on the calling process, takes and returns plain values and raises OSError.
`unshare(CLONE_NEWUSER)` and `setns(..., CLONE_NEWUSER)` need a process with one thread: call them in a
freshly forked child or before anything that starts threads (numpy's BLAS does so on import).
See capabilities(7), namespaces(7), prctl(2).
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import signal

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_SECUREBITS = 28
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

# SECBIT_NOROOT and its lock: being user 0 gives no capability back at the next exec.
_SECBIT_NOROOT_LOCKED = 0b11

_CAPABILITY_VERSION_3 = 0x20080522


@functools.cache
def _libc() -> ctypes.CDLL:
    # Not at import: elsewhere there is none, and there too commands that only look are to work.
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    _checked(_libc().unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, kind: int) -> None:
    _checked(_libc().setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")


def sethostname(name: str) -> None:
    raw = name.encode()[:64]
    _checked(_libc().sethostname(ctypes.c_char_p(raw), ctypes.c_size_t(len(raw))), "sethostname")


def mount(source: str, target: str, flags: int, kind: str | None = None) -> None:
    _checked(
        _libc().mount(
            ctypes.c_char_p(source.encode()),
            ctypes.c_char_p(target.encode()),
            ctypes.c_char_p(kind.encode() if kind is not None else None),
            ctypes.c_ulong(flags),
            None,
        ),
        f"mount {source} on {target}",
    )


def bind_mount(source: str, target: str) -> None:
    mount(source, target, MS_BIND)


def _prctl(option: int, *arguments: int) -> int:
    padded = [*arguments, 0, 0, 0, 0][:4]
    return int(_libc().prctl(ctypes.c_int(option), *(ctypes.c_ulong(value) for value in padded)))


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill us when the parent ends; `parent` is its pid, read before the fork.

    The kernel forgets the wish on fork and whenever the process gains privileges (entering a user
    namespace is such a gain), so this is called last, and then the parent may already be gone.
    """
    _checked(_prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL)), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def set_name(name: str) -> None:
    """The name `ps -o comm` and `top` show; the kernel keeps 15 bytes of it."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    _libc().prctl(ctypes.c_int(_PR_SET_NAME), buffer, 0, 0, 0)


def adopt_orphans() -> None:
    """Orphans below this process become its children instead of those of init (subreaper)."""
    _checked(_prctl(_PR_SET_CHILD_SUBREAPER, 1), "prctl(PR_SET_CHILD_SUBREAPER)")


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def drop_capabilities() -> None:
    """Give up every capability, for this process and for whatever it executes.

    no_new_privs keeps it so, for user 0 as well. The bounding set stays: where it is empty the kernel refuses
    to execute what carries capabilities in its file, such as ping, which works without them here.
    """
    _prctl(_PR_SET_SECUREBITS, _SECBIT_NOROOT_LOCKED)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    empty = (_CapabilityData * 2)()
    _checked(_libc().capset(ctypes.byref(header), ctypes.byref(empty)), "capset")
    _checked(_prctl(_PR_SET_NO_NEW_PRIVS, 1), "prctl(PR_SET_NO_NEW_PRIVS)")


def is_no_such_process(error: OSError) -> bool:
    return error.errno == errno.ESRCH
