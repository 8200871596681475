"""Airports and cities: found by the names people use, never by luck."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology import places
from topology.cities import CITIES
from topology.document import parse
from topology.geo import great_circle_m
from topology.load import WorldError, parse_world
from topology.places import Ambiguous, Place


@pytest.mark.parametrize(
    ("name", "country", "lat", "lon"),
    [
        ("london", "GB", 51.5, -0.1),
        ("London", "GB", 51.5, -0.1),
        ("london-gb", "GB", 51.5, -0.1),
        ("london-ca", "CA", 43.0, -81.2),
        ("sydney", "AU", -33.9, 151.2),
        ("San Francisco", "US", 37.8, -122.4),
        ("são paulo", "BR", -23.5, -46.6),
        ("sao-paulo", "BR", -23.5, -46.6),
        ("Zürich", "CH", 47.4, 8.5),
        ("nice", "FR", 43.7, 7.2),
        ("Tromsø", "NO", 69.7, 18.9),
        ("dublin", "IE", 53.3, -6.3),
    ],
)
def test_cities(name: str, country: str, lat: float, lon: float) -> None:
    place = places.city(name)
    assert isinstance(place, Place)
    assert place.country == country
    assert great_circle_m(place.lat, place.lon, lat, lon) < 40_000


def test_ambiguous_and_unknown_cities() -> None:
    found = places.city("valencia")
    assert isinstance(found, Ambiguous)
    assert "valencia-es" in found.names
    assert isinstance(places.city("valencia-es"), Place)
    assert places.city("atlantis") is None
    assert places.city("") is None
    assert places.city("london-jp") is None


def test_our_own_cities_are_where_their_airports_are() -> None:
    """A swapped sign or a mistyped degree would put a city into the sea."""
    for slug, (lat, lon, country) in CITIES.items():
        assert any(
            place.country == country and great_circle_m(lat, lon, place.lat, place.lon) < 60_000
            for place in places.airports().values()
        ), slug


def test_airports() -> None:
    heathrow = places.airport("LHR")
    assert heathrow is not None
    assert (heathrow.country, heathrow.city) == ("GB", "London")
    assert places.airport("lhr") is None
    assert len(places.airports()) > 7000


@given(
    st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
    st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
)
def test_distance_is_symmetric_and_at_most_half_the_globe(
    a: tuple[float, float], b: tuple[float, float]
) -> None:
    there = great_circle_m(*a, *b)
    assert 0 <= there <= 20_015_200
    assert there == pytest.approx(great_circle_m(*b, *a), abs=1e-3)
    assert great_circle_m(*a, *a) < 1e-3


WORDS = [
    "popnet: 1",
    "pops",
    "visitors",
    "{",
    "}",
    "[",
    "]",
    ": ",
    "\n",
    "  ",
    "- ",
    "LHR",
    "at",
    "-3",
    "3s",
    "&a",
    "*a",
]


@given(st.lists(st.sampled_from(WORDS), max_size=25).map("".join))
def test_no_text_makes_the_loader_fail_otherwise_than_with_problems(text: str) -> None:
    try:
        parse_world(text)
    except WorldError as error:
        found = error.problems
        told = bool(found) and all(one.line >= 1 and one.column >= 1 for one in found)
    else:
        told = True
    assert told


def test_merge_keys_and_aliases() -> None:
    text = "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: *a\nd: [&t 5, *t]\n"
    document = parse(text, "f")
    assert document.data["b"] == {"x": 1, "y": 3}
    assert document.data["c"] == {"x": 1, "y": 2}
    assert document.data["d"] == [5, 5]
    assert document.problems == []
    assert document.spot(("b", "y")) == (4, 6)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1_000", 1000), ("0x10", 16), ("0o17", 15), ("007", 7), ("1e3", 1000.0), ("-.5", -0.5), ("no", "no"),
     (r'"\ud83d\ude00"', "\U0001f600"),
     ("TRUE", True), ("~", None), ("2020-01-01", "2020-01-01"), ("'3'", "3"), ("12:30", "12:30")],
)  # fmt: skip
def test_scalars(text: str, value: object) -> None:
    found = parse(f"a: {text}\n", "f").data["a"]
    assert found == value
    assert type(found) is type(value)
