"""Programs that somebody runs in a node from elsewhere, by way of the agent's socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import lab.inside

_AGENT = """
import os, sys
from wan.agent.config import AgentConfig
from wan.agent.driver import AgentDriver
config = AgentConfig(node="here", address="100.64.0.1", wan=sys.argv[1] + "/none", directory=sys.argv[1])
AgentDriver(config, os.open(os.devnull, os.O_RDWR), listening=lambda: print("up", flush=True)).run()
"""


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An agent without any network: what it runs needs none. No guest may leave it the worse for the next."""
    directory = tmp_path_factory.mktemp("agent")
    with subprocess.Popen(
        [sys.executable, "-c", _AGENT, str(directory)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield str(directory / "agent.sock")
        process.terminate()
        process.communicate(timeout=20)


def helper(agent: str, *command: str, environment: str = "{}") -> list[str]:
    return [
        sys.executable,
        "-S",
        "-E",
        "-P",
        lab.inside.__file__,
        agent,
        environment,
        "--",
        *command,
    ]


def test_streams_and_exit_code(agent: str) -> None:
    done = subprocess.run(
        helper(agent, "sh", "-c", "sort -r; echo oh >&2; exit 7"),
        input=b"a\nb\n",
        capture_output=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, b"b\na\n", b"oh\n")


def test_a_megabyte_passes(agent: str) -> None:
    data = os.urandom(1 << 20)
    done = subprocess.run(helper(agent, "cat"), input=data, capture_output=True, timeout=20)
    assert done.stdout == data


def test_its_environment(agent: str) -> None:
    command = helper(agent, "sh", "-c", "echo $POPNET_NODE $X", environment='{"X": "1 2"}')
    assert subprocess.run(command, capture_output=True, timeout=20).stdout == b"here 1 2\n"


def test_no_such_program(agent: str) -> None:
    done = subprocess.run(helper(agent, "no-such"), capture_output=True, timeout=20)
    assert done.returncode == 127
    assert b"no-such: No such file" in done.stderr


def test_no_agent(tmp_path: Path) -> None:
    done = subprocess.run(helper(str(tmp_path / "none"), "true"), capture_output=True, timeout=20)
    assert done.returncode == 125


def test_it_ends_with_whoever_asked(agent: str) -> None:
    reading, writing = os.pipe()
    with subprocess.Popen(
        helper(agent, "sh", "-c", "echo on; sleep 60"), stdout=writing
    ) as process:
        os.close(writing)
        with open(reading, "rb") as output:
            assert output.readline() == b"on\n"
            process.kill()
            assert output.read() == b"", "the end of its output is its end"


def test_a_signal_is_passed_on(agent: str) -> None:
    script = "trap 'echo told; exit 3' INT; echo on; while :; do read x; done"
    with subprocess.Popen(
        helper(agent, "bash", "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"told\n"
        assert process.wait(20) == 3


def test_many_at_once(agent: str) -> None:
    codes: dict[int, int] = {}

    def one(number: int) -> None:
        done = subprocess.run(helper(agent, "sh", "-c", f"exit {number}"), timeout=30)
        codes[number] = done.returncode

    threads = [threading.Thread(target=one, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == {number: number for number in range(10)}


def test_requests_that_make_no_sense(agent: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(agent)
        with connection.makefile("rw") as lines:
            for request in (
                '{"op": "exec"}',
                '{"op": "exec", "arguments": []}',
                '{"op": "exec", "arguments": ["true"]}',
                '{"op": "signal", "number": 9}',
            ):
                lines.write(request + "\n")
                lines.flush()
                assert '"ok": false' in lines.readline(), request
