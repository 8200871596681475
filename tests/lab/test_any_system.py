"""Virtual time asks for nothing that only Linux has: commands where modules and signals of Unix are missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ELSEWHERE = """
import ctypes, os, signal, sys

for name in ("fcntl", "termios", "tty", "pwd", "grp", "resource", "uvloop"):
    sys.modules[name] = None
for name in ("SIGHUP", "SIGQUIT", "SIGKILL", "SIGCHLD", "SIGPIPE", "SIGUSR1", "SIGSTOP", "SIGCONT"):
    delattr(signal, name)
for name in ("geteuid", "getegid", "getuid", "getgid", "fork", "mkfifo", "killpg"):
    delattr(os, name)
real = ctypes.CDLL
def library(name, *rest, **options):
    if name is None:
        raise TypeError("no library without a name")
    return real(name, *rest, **options)
ctypes.CDLL = library

from lab.cli.app import main

for arguments in (
    ["validate", "topology.yaml"],
    ["get", "https://app.example.com/", "--driver", "virtual", "--from", "tokyo"],
    ["trace", "https://app.example.com/", "--driver", "virtual", "--from", "tokyo"],
    ["run", "examples/short-outage.yaml", "--until", "1s", "-o", "json"],
):
    sys.argv = ["popnet", *arguments]
    try:
        main()
    except SystemExit as end:
        print(arguments[0], "ended with", end.code or 0)
"""


def test_the_first_minutes_need_no_unix() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ended = [line for line in done.stdout.splitlines() if " ended with " in line]
    # What `run` asserts needs more than a second of a world's life.
    assert [line.rpartition(" ")[0] for line in ended] == [
        f"{name} ended with" for name in ("validate", "get", "trace", "run")
    ]
    assert [line.rpartition(" ")[2] for line in ended[:3]] == ["0", "0", "0"], done.stderr
    assert "NRT" in done.stdout
    assert '"event_log_sha256"' in done.stdout
