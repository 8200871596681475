"""What a command line is made into before it runs again inside a lab of containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.cli import elsewhere
from lab.cli.app import Code, main
from lab.cli.elsewhere import _take
from lab.driver import LabError
from lab.rundir import BASE_VARIABLE, RUN_VARIABLE

NAME = ("-n", "--name")


@pytest.mark.parametrize(
    ("arguments", "name", "rest"),
    [
        (["status"], None, ["status"]),
        (["status", "-n", "a", "-o", "json"], "a", ["status", "-o", "json"]),
        (["status", "--name=a"], "a", ["status"]),
        (["link", "set", "A", "B", "--rtt", "4ms", "-n", "a"], "a", ["link", "set", "A", "B", "--rtt", "4ms"]),
        # What follows a node is the program's own.
        (["exec", "-n", "a", "tokyo", "--", "head", "-n", "3"], "a", ["exec", "tokyo", "--", "head", "-n", "3"]),
        (["exec", "tokyo", "head", "-n", "3"], None, ["exec", "tokyo", "head", "-n", "3"]),
        (
            ["curl", "--from", "tokyo", "-n", "a", "https://x/", "-n"],
            "a",
            ["curl", "--from", "tokyo", "https://x/", "-n"],
        ),
    ],
)  # fmt: skip
def test_the_name_is_ours_and_the_rest_goes_along(
    arguments: list[str], name: str | None, rest: list[str]
) -> None:
    assert _take(arguments, NAME) == (name, rest)


def test_what_cannot_be_written_is_said_before_a_container_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(RUN_VARIABLE, raising=False)
    monkeypatch.setattr(elsewhere, "_found", lambda name: ("container", "default"))
    with pytest.raises(LabError, match=r"-w: found '/nowhere/x\.pcap': No such file or directory"):
        elsewhere.run(["capture", "NRT", "-w", "/nowhere/x.pcap"], print)


def test_what_is_wrong_with_a_command_elsewhere_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv(RUN_VARIABLE, raising=False)
    monkeypatch.setenv(BASE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(elsewhere, "_found", lambda name: ("container", "default"))
    monkeypatch.setattr("sys.argv", ["popnet", "capture", "NRT", "-w", "/nowhere/x.pcap"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == Code.BAD_INPUT
    assert capsys.readouterr().err.startswith("popnet: -w: found '/nowhere/x.pcap': ")
