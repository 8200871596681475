"""Where airports and cities are.

The table is airportsdata's; it is read as text by one regular expression, in a fifth of the time its
own loader takes, once a process, and only by who loads a world file: a plan carries coordinates.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib.util import find_spec
from itertools import permutations
from pathlib import Path
from string import ascii_uppercase, digits

from msgspec import Struct

from topology.cities import CITIES
from topology.geo import great_circle_m
from topology.problems import near_miss, shown

# Airports of one city lie within this distance; further apart, they are of cities that share a name.
SAME_CITY_M = 150_000

# "icao","iata","name","city","subd","country",elevation,lat,lon,...
_ROW = re.compile(
    r'^"[^"\n]*","([A-Z0-9]{3})","([^"\n]*)","([^"\n]*)","[^"\n]*","([A-Z]*)",[^,\n]*,([^,\n]+),([^,\n]+),',
    re.MULTILINE,
)


class Place(Struct, frozen=True):
    """A spot on the globe. `country` is ISO 3166-1 alpha-2."""

    lat: float
    lon: float
    country: str = ""
    city: str = ""
    airport: str = ""


class Ambiguous(Struct, frozen=True):
    """Several cities bear that name; `names` tell them apart."""

    names: tuple[str, ...]


@cache
def airports() -> dict[str, Place]:
    """IATA code -> place, sorted by code."""
    spec = find_spec("airportsdata")
    assert spec is not None
    assert spec.origin is not None
    text = Path(spec.origin).with_name("airports.csv").read_text("utf-8")
    found = {
        code: Place(float(lat), float(lon), country, city, name)
        for code, name, city, country, lat, lon in _ROW.findall(text)
    }
    return dict(sorted(found.items()))


def airport(code: str) -> Place | None:
    """By IATA code, in capitals as codes are written."""
    return airports().get(code)


def city(name: str) -> Place | Ambiguous | None:
    """By name (`sao-paulo`, `São Paulo`), or name and country (`london-ca`)."""
    slug = slugged(name)
    if slug in CITIES:
        lat, lon, country = CITIES[slug]
        return Place(lat, lon, country, _title(slug))
    by_city = _by_city()
    if slug in by_city:
        return _one(slug, by_city[slug])
    base, _, country = slug.rpartition("-")
    if base in CITIES and CITIES[base][2].lower() == country:
        return city(base)
    return _one(base, [p for p in by_city.get(base, ()) if p.country.lower() == country])


@cache
def city_names() -> tuple[str, ...]:
    """Every name that `city` knows, for near misses."""
    return tuple(sorted({*CITIES, *_by_city()}))


def near_city(wrong: str) -> str:
    """Which city may have been meant. Only those that begin or end alike: to compare all takes 15 ms a name."""
    slug = slugged(wrong)
    alike = {*_by_ends().get(slug[:2] + "-", ()), *_by_ends().get("-" + slug[-2:], ())}
    return near_miss(slug, sorted(alike))


@cache
def _by_ends() -> dict[str, list[str]]:
    """`to-` and `-yo` -> tokyo and others."""
    found: dict[str, list[str]] = {}
    for name in city_names():
        found.setdefault(name[:2] + "-", []).append(name)
        found.setdefault("-" + name[-2:], []).append(name)
    return found


def slugged(name: str) -> str:
    """`São Paulo` -> `sao-paulo`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


@cache
def _by_city() -> dict[str, list[Place]]:
    found: dict[str, list[Place]] = {}
    for place in airports().values():
        slug = slugged(place.city)
        if slug:
            found.setdefault(slug, []).append(place)
    return found


def _one(slug: str, places: list[Place]) -> Place | Ambiguous | None:
    """The city's main airport, or what tells the cities apart."""
    if not places:
        return None
    first = min(places, key=lambda place: "International" not in place.airport)
    if all(
        great_circle_m(first.lat, first.lon, place.lat, place.lon) < SAME_CITY_M for place in places
    ):
        return first
    countries = sorted({place.country.lower() for place in places})
    return Ambiguous(
        tuple(f"{slug}-{country}" for country in countries) if len(countries) > 1 else ()
    )


def _title(slug: str) -> str:
    return " ".join(word if word == "de" else word.capitalize() for word in slug.split("-"))


def near_airport(wrong: str) -> str:
    """What somebody who wrote this for an IATA code may have meant."""
    code = wrong.upper()
    if code in airports():
        return f"did you mean '{code}'?"
    of_city = _codes_by_city().get(slugged(wrong))
    if of_city:
        return f"airports of {shown(wrong)}: {', '.join(of_city)}"
    close = sorted(_close(code) & airports().keys())
    return f"did you mean '{min(close, key=lambda known: _unlike(known, code))}'?" if close else ""


def _close(code: str) -> set[str]:
    """The same letters in another order; one letter wrong, or missing, or too many at the end."""
    letters = ascii_uppercase + digits
    match len(code):
        case 2:
            return {code + letter for letter in letters}
        case 3:
            wrong = {code[:i] + x + code[i + 1 :] for i in range(3) for x in letters}
            return wrong | {"".join(letters) for letters in permutations(code)}
        case 4:
            return {code[:3]}
    return set()


@cache
def _codes_by_city() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for code, place in airports().items():
        slug = slugged(place.city)
        if slug:
            found.setdefault(slug, []).append(code)
    return found


def _unlike(known: str, code: str) -> tuple[int, int, bool, bool, bool]:
    """Swapped letters first, then one wrong letter, rather the last; of those, large airports first."""
    swapped = sorted(known) == sorted(code)
    wrong = sum(a != b for a, b in zip(known, code, strict=False)) + abs(len(known) - len(code))
    place = airports()[known]
    small = slugged(place.city) not in CITIES
    minor = "International" not in place.airport
    return (0 if swapped else 1, wrong, small, known[:2] != code[:2], minor)
