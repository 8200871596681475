from __future__ import annotations

import socket
from pathlib import Path

from runtime.notify import Notifier


def test_states_arrive_and_ready_is_said_once(tmp_path: Path) -> None:
    path = str(tmp_path / "n.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        receiver.setblocking(False)
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": path})
        notifier.ready()
        notifier.ready()
        notifier.status("2/4\nconnections")
        notifier.stopping()
        said = [receiver.recv(200) for _ in range(3)]
    assert said == [b"READY=1", b"STATUS=2/4 connections", b"STOPPING=1"]


def test_nobody_listening_is_fine(tmp_path: Path) -> None:
    Notifier.from_environment({}).ready()
    Notifier(str(tmp_path / "gone.sock")).ready()
    Notifier("@popnet-test-nobody").stopping()
