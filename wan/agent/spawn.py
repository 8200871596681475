"""How an agent starts a program: in a session of its own, dying with the agent, without any capability."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import os
import signal
import sys
import termios
import traceback
from collections.abc import Callable, Mapping, Sequence

from wan.agent import linux
from wan.agent.config import Program

_CANNOT_EXECUTE = 126
_CANNOT_START = 127
_RESET = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE)


def spawn(
    program: Program,
    environment: Mapping[str, str],
    release: Callable[[], None],
    streams: Sequence[int] = (),
) -> int:
    """Start the program and return its pid. `release` closes, in the child, what only the agent may hold.

    `streams` become its standard input, output and errors, in a session of its own.
    """
    parent = os.getpid()
    # Blocked across the fork, so that no signal meets the agent's handlers in the child.
    before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid
    code = _CANNOT_START
    try:
        signal.set_wakeup_fd(-1)
        for number in _RESET:
            signal.signal(number, signal.SIG_DFL)
        if program.entry is not None:
            # As every Python program starts: a write to a closed socket is an error to handle, not a death.
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        release()
        if streams:
            _speak_through(streams)
        _settle(program, environment)
        linux.drop_capabilities()
        linux.die_with_parent(parent)
        code = _run(program)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)  # noqa: T201 what sys.exit("...") does
    except BaseException:  # noqa: BLE001 whatever it is, this child ends here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _speak_through(streams: Sequence[int]) -> None:
    os.setsid()
    for target, source in enumerate(streams):
        os.dup2(source, target)
    for source in streams:
        os.close(source)
    with contextlib.suppress(OSError):
        # A terminal becomes the session's own, so that Ctrl-C and job control work in it; all else is refused.
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _settle(program: Program, environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    os.environ.update(program.environment)
    if program.directory is not None:
        os.chdir(program.directory)
    if program.log is not None:
        os.setsid()
        silent = os.open(os.devnull, os.O_RDONLY)
        log = os.open(program.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(silent, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(silent)
        os.close(log)


def _run(program: Program) -> int:
    if program.entry is None:
        try:
            os.execvp(program.arguments[0], program.arguments)  # noqa: S606 no shell on purpose
        except OSError as error:
            # As shells say it: found but not executable, or not found.
            print(f"{program.arguments[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
            return _CANNOT_START if isinstance(error, FileNotFoundError) else _CANNOT_EXECUTE
    module, _, function = program.entry.partition(":")
    linux.set_name(f"{os.environ.get('POPNET_NODE', '')} {program.name}".strip())
    sys.argv = [program.name, *program.arguments]
    gc.enable()
    result = getattr(importlib.import_module(module), function)()
    return result if isinstance(result, int) else 0
