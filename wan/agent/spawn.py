"""How an agent starts a program: in a session of its own, dying with the agent, without any capability."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping

from wan.agent import linux
from wan.agent.config import Program

_CANNOT_START = 127
_RESET = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE)


def spawn(program: Program, environment: Mapping[str, str], release: Callable[[], None]) -> int:
    """Start the program and return its pid. `release` closes, in the child, what only the agent may hold."""
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
        os.execvp(program.arguments[0], program.arguments)  # noqa: S606 no shell on purpose
    module, _, function = program.entry.partition(":")
    linux.set_name(f"{os.environ.get('POPNET_NODE', '')} {program.name}".strip())
    sys.argv = [program.name, *program.arguments]
    gc.enable()
    result = getattr(importlib.import_module(module), function)()
    return result if isinstance(result, int) else 0
