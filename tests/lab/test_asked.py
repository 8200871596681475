"""A request as `trace` and `get` take it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import lab.cli.tracing  # noqa: F401 it adds commands
from lab.asking import full_url
from lab.cli import asked
from lab.cli.app import app
from lab.driver import LabError


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ("app.example.com", "https://app.example.com/"),
        ("app.example.com:8443/x?y=1", "https://app.example.com:8443/x?y=1"),
        ("http://app.example.com", "http://app.example.com/"),
    ],
)
def test_what_need_not_be_said_of_a_url(given: str, whole: str) -> None:
    assert full_url(given) == whole


@pytest.mark.parametrize(
    "text", ["", "https:///x", "ftp://a", "https://[::1", "a:99999", "a:b", "a:0", "a:-1"]
)
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(LabError, match="is no URL"):
        full_url(text)


@pytest.mark.parametrize("command", ["trace", "get"])
@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--timeout", "0"], "--timeout: found 0,"),
        (["--timeout", "nan"], "--timeout: found nan,"),
        (["-X", "G T"], "-X: found 'G T',"),
        (["--world", "any.yaml"], "--world: the running lab has a world"),
    ],
)
def test_what_is_wrong_is_said_before_a_lab_is_looked_for(
    command: str, more: list[str], named: str
) -> None:
    done = CliRunner().invoke(app, [command, "https://a.example/", "--from", "tokyo", *more])
    assert isinstance(done.exception, LabError)
    assert str(done.exception).startswith(named)


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
