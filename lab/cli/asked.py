"""A request, as `popnet trace` and `popnet get` are told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lab.asking import How
from lab.driver import LabError
from wire.headers import HOP_BY_HOP, valid_name, valid_value

UrlArgument = Annotated[str, typer.Argument(help="Such as https://app.example.com/", metavar="URL")]
FromOption = Annotated[str, typer.Option("--from", help="The city that asks.", metavar="VISITOR")]
MethodOption = Annotated[str, typer.Option("-X", "--request", help="The HTTP method.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", help="Seconds for each phase.")]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option(
        "-H",
        "--header",
        help="'name: value', or @FILE with one in each line; several are allowed.",
    ),
]
CertificateOption = Annotated[
    str | None,
    typer.Option(help="The name in the visitor's client certificate, of access.certificates."),
]
_LONGEST_S = 3600.0
# They frame the request or are of the connection; the program that asks says them itself.
_ITS_OWN = HOP_BY_HOP | {b"content-length", b"host"}


def request(
    method: str, header: Sequence[str] | None, certificate: str | None, timeout_s: float
) -> How:
    """Before a lab is looked for: what is wrong with it is wrong anywhere. Raises LabError."""
    # A method and a name are both tokens (RFC 9110, section 5.6.2), but a name's case does not count.
    if not valid_name(method.lower().encode(errors="replace")):
        raise LabError(f"-X: found {method!r}, allowed: a method such as GET or POST")
    if not 0 < timeout_s <= _LONGEST_S:
        raise LabError(
            f"--timeout: found {timeout_s:g}, allowed: more than 0, at most {_LONGEST_S:g} seconds"
        )
    return {
        "method": method,
        "headers": fields(header),
        "certificate": certificate,
        "timeout_s": timeout_s,
    }


def fields(given: Sequence[str] | None) -> dict[str, str]:
    """Raises LabError for what is no header field."""
    found: dict[str, str] = {}
    for one in given or ():
        for line in _lines(Path(one[1:])) if one.startswith("@") else [one]:
            name, colon, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            try:
                right = valid_name(name.encode()) and valid_value(value.encode("latin-1"))
            except UnicodeEncodeError:
                right = False
            if not colon or not right:
                raise LabError(f"{line!r} is no header; allowed: 'name: value'")
            if name.encode() in _ITS_OWN:
                raise LabError(
                    f"the header {name!r} cannot be set; allowed: what the URL does not say"
                )
            found[name] = value
    return found


def opened(arguments: Sequence[str]) -> list[str]:
    """The same arguments with the lines of each @FILE, for a program that does not have our files."""
    found: list[str] = []
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        if word in ("-H", "--header"):
            value = next(words, "")
        elif word.startswith("-H"):
            value = word[2:]
        elif not (option == "--header" and equals):
            found.append(word)
            continue
        for one in _lines(Path(value[1:])) if value.startswith("@") else [value]:
            found += ["-H", one]
    return found


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{file}: {getattr(error, 'strerror', None) or error}") from None
