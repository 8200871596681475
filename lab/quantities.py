"""Quantities as people type them on a command line, in the units of the code: seconds, shares, bits per second."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lab.driver import LabError

_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-zµ%]*)")
_TIMES = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_RATES = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_SHARES = {"": 0.01, "%": 0.01}


def duration(option: str, text: str) -> float:
    """Seconds. A unit is required: nobody shall guess whether 400 was meant as milliseconds."""
    return _quantity(option, text, _TIMES, "400ms")


def rate(option: str, text: str) -> float:
    """Bits per second."""
    return _quantity(option, text, _RATES, "10mbit")


def share(option: str, text: str) -> float:
    """0 to 1, from per cent."""
    found = _quantity(option, text, _SHARES, "2%")
    if found > 1:
        raise LabError(f"{option}: found {text!r}, allowed: 0% to 100%")
    return found


def _quantity(option: str, text: str, units: Mapping[str, float], example: str) -> float:
    if text.strip().startswith("-"):
        raise LabError(f"{option}: found {text!r}, allowed: 0 or more, such as {example}")
    match = _NUMBER.fullmatch(text.strip())
    factor = units.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise LabError(
            f"{option}: found {text!r}, allowed: a number with its unit, such as {example}"
        )
    return round(float(match[1]) * factor, 12)
