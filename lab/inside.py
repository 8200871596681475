"""Run a program inside a node by way of its agent: this process lends its standard streams and has its exit code.

    python lab/inside.py RUN/nodes/tokyo/agent.sock '{"NAME": "value"}' -- ping -c1 NRT

For labs whose nodes are containers: no namespace can be entered there, but descriptors pass through a Unix socket.
A terminal is replaced by one of the node's own, so that Ctrl-C, job control and the size of the window work.
Only the standard library is imported, and little of it: `popnet` starts it for every program it runs in a node.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence

_NO_AGENT = 125
_BYTES = 65536


def run(path: str, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Returns the program's exit code; 125 when there is no agent, 128 + N after signal N."""
    try:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(path)
    except OSError as error:
        return _fail(f"{path}: {error.strerror}")
    with connection:
        if os.isatty(0) and os.isatty(1):
            return _with_terminal(connection, arguments, environment)
        return _plainly(connection, arguments, environment)


def _plainly(
    connection: socket.socket, arguments: Sequence[str], environment: Mapping[str, str]
) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda number, _: _say(connection, op="signal", number=int(number)))
    lines = _start(connection, arguments, environment, (0, 1, 2))
    # Whoever reads our output must see its end when the program ends, not when we do: lent, not shared.
    with open(os.devnull, "r+b", buffering=0) as nothing:
        for fd in (0, 1):
            os.dup2(nothing.fileno(), fd)
    return _code(lines)


def _with_terminal(
    connection: socket.socket, arguments: Sequence[str], environment: Mapping[str, str]
) -> int:
    import fcntl
    import termios
    import tty

    ours, theirs = os.openpty()

    def resize(*_: object) -> None:
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)
            fcntl.ioctl(ours, termios.TIOCSWINSZ, size)

    resize()
    signal.signal(signal.SIGWINCH, resize)
    before = termios.tcgetattr(0)
    lines = _start(connection, arguments, environment, (theirs, theirs, theirs))
    os.close(theirs)
    tty.setraw(0)
    try:
        _shuttle(ours)
        return _code(lines)
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _shuttle(ours: int) -> None:
    """Both ways until the program's side of the terminal is closed (EIO)."""
    sources = {0: ours, ours: 1}
    while True:
        readable, _, _ = select.select(list(sources), (), ())
        for source in readable:
            try:
                data = os.read(source, _BYTES)
            except OSError:
                data = b""
            if data:
                os.write(sources[source], data)
            elif source == ours:
                return
            else:
                del sources[0]


def _start(
    connection: socket.socket,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    streams: Sequence[int],
) -> Iterator[str]:
    message = {"op": "exec", "arguments": list(arguments), "environment": dict(environment)}
    line = json.dumps(message).encode() + b"\n"
    sent = socket.send_fds(connection, [line], list(streams))
    connection.sendall(line[sent:])
    return _lines(connection)


def _say(connection: socket.socket, **message: object) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(message).encode() + b"\n")


def _code(lines: Iterator[str]) -> int:
    for line in lines:
        answer = json.loads(line)
        if "ended" in answer:
            return int(answer["code"])
        if not answer["ok"]:
            return _fail(answer["error"])
    return _fail("the agent ended")


def _lines(connection: socket.socket) -> Iterator[str]:
    with connection.makefile("r", encoding="utf-8") as reader:
        yield from reader


def _fail(why: str) -> int:
    print(f"popnet: {why}", file=sys.stderr)  # noqa: T201
    return _NO_AGENT


def main() -> int:
    path, environment, dashes, *arguments = sys.argv[1:]
    if dashes != "--" or not arguments:
        return _fail("inside.py SOCKET ENVIRONMENT -- PROGRAM ...")
    return run(path, arguments, json.loads(environment))


if __name__ == "__main__":
    sys.exit(main())
