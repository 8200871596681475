from __future__ import annotations

import json
from pathlib import Path

from runtime.events import EventLog


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_processes_append_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    one = EventLog(str(path), "NRT", clock=lambda: 12.5)
    other = EventLog(str(path), "dublin", clock=lambda: 13.0)
    one.emit("listening", port=443)
    other.emit("tunnel_connected", connIndex=0, location="LHR")
    one.emit("bye")
    assert lines(path) == [
        {"t": 12.5, "node": "NRT", "event": "listening", "port": 443},
        {
            "t": 13.0,
            "node": "dublin",
            "event": "tunnel_connected",
            "connIndex": 0,
            "location": "LHR",
        },
        {"t": 12.5, "node": "NRT", "event": "bye"},
    ]
    one.close()
    other.close()


def test_line_breaks_in_values_stay_inside_the_line(tmp_path: Path) -> None:
    path = tmp_path / "e"
    log = EventLog(str(path), "x", clock=lambda: 0.0)
    log.emit("odd", text="a\nb")
    log.close()
    assert lines(path)[0]["text"] == "a\nb"


def test_no_path_is_off_and_a_bad_path_does_no_harm(tmp_path: Path) -> None:
    off = EventLog(None, "x")
    off.emit("nothing")
    assert not off.on
    assert off.dropped == 0
    lost = EventLog(str(tmp_path / "no" / "dir"), "x")
    lost.emit("nothing")
    assert not lost.on
    assert lost.dropped == 1
    lost.close()
