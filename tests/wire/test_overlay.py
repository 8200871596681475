"""The fields PoPs add to each other's requests and responses: strict in, exact out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.overlay import (
    Fault,
    FaultCode,
    LoopError,
    OverlayError,
    SourceRoute,
    add_timing,
    advance_route,
    encode_route,
    encode_timings,
    parse_exit,
    parse_fault,
    parse_route,
    parse_timings,
)

TUNNEL = "11111111-2222-4333-8444-555555555555"
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,10}", fullmatch=True)


@st.composite
def routes(draw: st.DrawFn) -> SourceRoute:
    path = tuple(draw(st.lists(NAMES, min_size=2, max_size=16, unique=True)))
    return SourceRoute(
        path,
        draw(st.integers(1, len(path) - 1)),
        draw(st.integers(0, 255)),
        str(draw(st.uuids())),
        draw(st.from_regex(r"[A-Za-z0-9.\-]{1,40}", fullmatch=True)),
    )


@given(routes())
def test_a_route_is_read_as_it_was_written(route: SourceRoute) -> None:
    assert parse_route(route.encode(), route.path[route.position]) == route


@given(routes())
def test_a_route_is_refused_by_everyone_else(route: SourceRoute) -> None:
    for at, name in enumerate(route.path):
        if at != route.position:
            with pytest.raises(OverlayError):
                parse_route(route.encode(), name)


@given(routes())
def test_following_a_route_ends_at_the_egress_or_when_hops_are_used_up(route: SourceRoute) -> None:
    left = route.hops_left
    while not route.at_egress and left:
        here = route.next_hop
        route = parse_route(advance_route(route)[1], here)
        left -= 1
        assert route.hops_left == left
    if not route.at_egress:
        with pytest.raises(LoopError):
            advance_route(route)


def test_a_way_begins_at_the_second_pop() -> None:
    name, value = encode_route(("A", "B", "C"), 7, TUNNEL, "c.0")
    assert name == b"popnet-route"
    assert parse_route(value, "B") == SourceRoute(("A", "B", "C"), 1, 7, TUNNEL, "c.0")


def test_a_path_that_returns_is_a_loop() -> None:
    value = f"1;1;8;A>B>A;{TUNNEL};c.0".encode()
    with pytest.raises(LoopError):
        parse_route(value, "B")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"2;1;8;A>B;%s;c.0",
        b"1;0;8;A>B;%s;c.0",
        b"1;2;8;A>B;%s;c.0",
        b"1;-1;8;A>B;%s;c.0",
        b"1;1;256;A>B;%s;c.0",
        b"1;1;8;B;%s;c.0",
        b"1;1;8;A>B;x;c.0",
        b"1;1;8;A>B;%s;",
        b"1;1;8;A>B;%s;c.0\n",
        b"1;1;8;A>B;%s;c.0;x;",
        b"1;1;8;" + b">".join(b"%d" % n for n in range(17)) + b";%s;c",
    ],
)
def test_what_is_no_route_is_refused(value: bytes) -> None:
    with pytest.raises(OverlayError):
        parse_route(value.replace(b"%s", TUNNEL.encode()), "B")


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parsers(value: bytes) -> None:
    for parse in (lambda v: parse_route(v, "A"), parse_timings, parse_fault, parse_exit):
        try:
            parse(value)
        except OverlayError:
            continue


@given(st.lists(st.tuples(NAMES, st.integers(0, 10**11)), max_size=17))
def test_timings_come_back_to_the_microsecond(records: list[tuple[str, int]]) -> None:
    timings = tuple((who, micros / 1e6) for who, micros in records)
    value = b""
    for who, seconds in timings:
        value = add_timing(value, who, seconds)
    assert value == encode_timings(timings)
    assert parse_timings(value) == timings


def test_more_timings_than_a_path_can_have_are_refused() -> None:
    with pytest.raises(OverlayError):
        parse_timings(b",".join([b"A=1"] * 18))


@given(st.sampled_from(FaultCode), NAMES, st.text(max_size=300))
def test_a_fault_survives_whatever_its_detail(code: FaultCode, pop: str, detail: str) -> None:
    fault = parse_fault(Fault(code, pop, detail).encode())
    assert (fault.code, fault.pop) == (code, pop)
    if detail.isascii() and detail.isprintable() and len(detail) <= 200:
        assert fault.detail == detail


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(OverlayError):
        parse_fault(b"sunspots;LHR;")
