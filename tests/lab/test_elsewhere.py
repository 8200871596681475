"""What a command line is made into before it runs again inside a lab of containers."""

from __future__ import annotations

import pytest

from lab.cli.elsewhere import _take

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
