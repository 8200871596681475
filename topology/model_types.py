"""Small types that the sections of a world file share, each with its bounds and its description."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

# A name is a DNS label: `NRT`, `tokyo` and `dublin` resolve inside the lab, and stand in socket paths.
NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?$"
# A tunnel, or its connectors at one site.
MEMBER_PATTERN = NAME_PATTERN.replace("$", r"(@[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?)?$")
DURATION_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*(us|ms|s|m|h)\s*$"
DURATION_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
# What was measured, a comparison, a number with its unit.
ASSERTION_PATTERN = r"^\s*[a-z].*?(<=|>=|<|>|==|\swithin\s)\s*[0-9.]+\s*[a-z%]*\s*$"
METHOD_PATTERN = "^[A-Z]+$"
# What has a budget of its own.
RATE_BY_PATTERN = r"^(address|country|host|all|header:[a-z0-9!#$%&'*+.^_`|~-]+)$"

# In words, for messages.
PATTERNS = {
    NAME_PATTERN: "a name of letters, digits and hyphens, 32 at most",
    MEMBER_PATTERN: "the name of a tunnel, or TUNNEL@SITE for its connectors there",
    ASSERTION_PATTERN: "one comparison a line, such as 'availability >= 99.9%'",
    METHOD_PATTERN: "an HTTP method in capitals, such as GET or POST",
    RATE_BY_PATTERN: "address, country, host, all or header:name in small letters",
    "^[A-Za-z0-9_-]{1,40}$": "a name of letters, digits, - and _, 40 at most",
    "^[/*]": "a path that begins with / or *",
    "^[1-5]([0-9][0-9]|xx)$": "a status such as 200 or 2xx",
    "^/": "a path that begins with /",
    "^https?://": "a URL that begins with http:// or https://",
    "^[a-z][a-z0-9_]*$": "a name such as cubic, reno or bbr",
}

Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Share = Annotated[float, Meta(ge=0, le=1)]
NotNegative = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
# In Mbit/s; both ends stay what they are when they become bit/s.
Megabits = Annotated[float, Meta(ge=1e-6, le=1e9)]

# Read as seconds; a file may also say `250ms`, `3s`, `1m`.
Duration = Annotated[float, Meta(ge=0, extra={"sugar": "duration"})]
Period = Annotated[float, Meta(gt=0, extra={"sugar": "duration"})]


def mapping_or_list(description: str) -> Meta:
    """Marks a mapping that a file may also write as a list of its names."""
    return Meta(description=description, extra={"sugar": "names"})


def one_or_many(description: str) -> Meta:
    """Marks a list that a file may also write as its only member."""
    return Meta(description=description, extra={"sugar": "one"})
