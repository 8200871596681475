"""Header fields as `trace` and `get` take them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.cli import asked
from lab.driver import LabError


def test_fields_of_options_and_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("CF-Access-Client-Id: lab.popnet\nCF-Access-Client-Secret: a:b\n\n")
    assert asked.fields(["X-One:  1 ", f"@{file}", "x-empty:"]) == {
        "x-one": "1",
        "cf-access-client-id": "lab.popnet",
        "cf-access-client-secret": "a:b",
        "x-empty": "",
    }
    assert asked.fields(None) == {}


@pytest.mark.parametrize(
    "text", ["no colon", ": value", "na me: x", "x: a\r\ny: b", "x: \u20ac", "n\u00e4me: x", ""]
)
def test_what_is_no_header(text: str) -> None:
    with pytest.raises(LabError, match="is no header; allowed: 'name: value'"):
        asked.fields([text])


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "connection"])
def test_what_the_request_says_itself(name: str) -> None:
    with pytest.raises(LabError, match=name.lower()):
        asked.fields([f"{name}: x"])


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(LabError, match=r"/nowhere/token: No such file"):
        asked.fields(["@/nowhere/token"])


def test_a_command_that_runs_in_a_container_takes_the_lines_along(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("a: 1\nb: 2\n")
    given = ["trace", "URL", "-H", f"@{file}", f"-H@{file}", f"--header=@{file}", "-H", "c: 3"]
    lines = ["-H", "a: 1", "-H", "b: 2"]
    assert asked.opened([*given, "--from", "@x"]) == [
        *["trace", "URL", *lines, *lines, *lines, "-H", "c: 3", "--from", "@x"]
    ]
