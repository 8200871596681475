"""What a request says beside its URL, as `popnet trace` and `popnet get` are told: header fields and a certificate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lab.driver import LabError
from wire.headers import HOP_BY_HOP, valid_name, valid_value

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
# They frame the request or are of the connection; the program that asks says them itself.
_ITS_OWN = HOP_BY_HOP | {b"content-length", b"host"}


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
