"""Who may register, and which connection a request gets."""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass

import pytest

from pops.config import Tunnel
from pops.core.places import Place, place_id
from pops.core.registry import Connection, Registry
from wire.tunnel_rpc import ClientInfo, Refusal, Registration

TUNNEL = uuid.UUID("11111111-2222-4333-8444-555555555555")
SECRET = b"s" * 32
CLIENT = uuid.UUID(int=7)
DECLARED = Tunnel(
    name="app", id=str(TUNNEL), account_tag="acc", secret=base64.b64encode(SECRET).decode()
)


@dataclass
class Carrier:
    streams: int = 0

    def silent(self) -> None: ...

    def spoilt(self) -> None: ...


def request(
    index: int = 0,
    *,
    account: str = "acc",
    secret: bytes = SECRET,
    tunnel: uuid.UUID = TUNNEL,
    client: bytes = CLIENT.bytes,
    replace: bool = False,
) -> Registration:
    return Registration(
        account, secret, tunnel.bytes, index, ClientInfo(client), replace_existing=replace
    )


@pytest.fixture
def registry() -> Registry:
    return Registry([DECLARED], most=4)


def add(registry: Registry, index: int, *, rtt_s: float = 0.01, streams: int = 0) -> Connection:
    result = registry.register(request(index), Carrier(streams), 0.0, rtt_s)
    assert not isinstance(result, Refusal)
    return result[0]


def test_the_right_secret_registers(registry: Registry) -> None:
    connection = add(registry, 2)
    assert (connection.tunnel_name, connection.index) == ("app", 2)
    assert connection.name == f"{CLIENT}.2"
    assert registry.count == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret": b"t" * 32},
        {"secret": b""},
        {"account": "other"},
        {"tunnel": uuid.UUID(int=1)},
        {"tunnel": uuid.UUID(int=1), "secret": b"\0" * 32, "account": ""},
    ],
)
def test_anything_else_is_unauthorized(registry: Registry, wrong: dict[str, object]) -> None:
    result = registry.register(request(**wrong), Carrier(), 0.0)  # type: ignore[arg-type]
    assert isinstance(result, Refusal)
    assert "Unauthorized" in result.cause
    assert registry.count == 0


def test_the_same_index_twice_is_a_duplicate(registry: Registry) -> None:
    add(registry, 0)
    result = registry.register(request(0), Carrier(), 0.0)
    assert isinstance(result, Refusal)
    assert result.cause == "EDUPCONN"


def test_unless_it_asks_to_replace_the_older_one(registry: Registry) -> None:
    older = add(registry, 0)
    result = registry.register(request(0, replace=True), Carrier(), 1.0)
    assert not isinstance(result, Refusal)
    assert result[1] is older
    assert list(registry) == [result[0]]
    registry.remove(older)
    assert list(registry) == [result[0]]


def test_no_more_than_the_limit(registry: Registry) -> None:
    for index in range(4):
        add(registry, index)
    result = registry.register(request(4), Carrier(), 0.0)
    assert isinstance(result, Refusal)
    assert result.should_retry


def test_a_client_without_a_uuid_is_refused(registry: Registry) -> None:
    assert isinstance(registry.register(request(client=b"x"), Carrier(), 0.0), Refusal)


def test_the_fewest_streams_among_the_equally_near(registry: Registry) -> None:
    near = add(registry, 0, rtt_s=0.010, streams=3)
    add(registry, 1, rtt_s=0.050, streams=0)
    idle = add(registry, 2, rtt_s=0.011, streams=1)
    assert registry.choose(str(TUNNEL), near.name) is idle
    assert registry.choose(str(TUNNEL), "gone.9") is idle


def test_draining_ones_only_when_nothing_else_is_left(registry: Registry) -> None:
    first, second = add(registry, 0), add(registry, 1, streams=9)
    first.draining = True
    assert registry.choose(str(TUNNEL), first.name) is second
    second.draining = True
    assert registry.choose(str(TUNNEL), first.name) is first
    registry.remove(first)
    registry.remove(second)
    assert registry.choose(str(TUNNEL), first.name) is None


def test_the_last_leg_is_told_when_it_changed_enough(registry: Registry) -> None:
    connection = add(registry, 0, rtt_s=0.010)
    assert not registry.measured(connection, 0.0102, 0.0)
    assert registry.exits()[0].rtt_us == 10_000
    assert any(registry.measured(connection, 0.050, 0.0) for _ in range(3))
    assert registry.exits()[0].rtt_us > 20_000


def test_a_silent_one_gets_nothing_until_it_gives_a_sign_of_life(registry: Registry) -> None:
    near, far = add(registry, 0, rtt_s=0.010), add(registry, 1, rtt_s=0.050)
    assert registry.silenced(near)
    assert not registry.silenced(near), "that is no news"
    assert registry.choose(str(TUNNEL), near.name) is far
    assert [leave.draining for leave in registry.exits()] == [True, False]
    assert registry.measured(near, 0.010, 1.0), "that is news"
    assert registry.choose(str(TUNNEL), near.name) is near


def test_a_draining_one_is_better_than_a_silent_one(registry: Registry) -> None:
    silent, draining = add(registry, 0, rtt_s=0.010), add(registry, 1, rtt_s=0.050)
    registry.silenced(silent)
    draining.draining = True
    assert registry.choose(str(TUNNEL), silent.name) is draining


def test_errors_in_a_row_cost_a_connection_its_requests_for_a_while(registry: Registry) -> None:
    bad, good = add(registry, 0), add(registry, 1, rtt_s=0.050)
    assert [registry.spoilt(bad, 1.0) for _ in range(6)] == [False] * 4 + [True, False]
    assert registry.choose(str(TUNNEL), bad.name) is good
    registry.measured(bad, 0.010, 10.9)
    assert registry.choose(str(TUNNEL), bad.name) is good
    assert registry.measured(bad, 0.010, 11.0)
    assert registry.choose(str(TUNNEL), bad.name) is bad
    assert registry.spoilt(bad, 11.1), "once more is enough"


def test_a_request_does_not_come_back_to_what_it_has_tried(registry: Registry) -> None:
    first, second = add(registry, 0), add(registry, 1)
    assert registry.choose(str(TUNNEL), first.name, (first,)) is second
    assert registry.choose(str(TUNNEL), first.name, (first, second)) is None


def test_the_load_is_told_in_powers_of_two_and_not_at_every_request(registry: Registry) -> None:
    connection = add(registry, 0)
    told = []
    for streams in (1, 2, 3, 2, 3, 4, 7, 5, 9, 8, 7, 5, 4, 3, 0):
        assert isinstance(connection.carrier, Carrier)
        connection.carrier.streams = streams
        if registry.measured(connection, 0.010, 0.0):
            told.append((streams, registry.exits()[0].load))
    assert told == [(2, 2.0), (4, 4.0), (9, 8.0), (4, 4.0), (0, 0.0)]


def test_connectors_at_one_site_are_a_destination_of_their_own() -> None:
    """One way to them, of the tunnel's; others tell of it beside the tunnel."""
    identity = place_id(str(TUNNEL), "dublin")
    place = Place(identity, str(TUNNEL), "app", "dublin")
    registry = Registry([DECLARED], most=4, places=[place])
    near, there = add(registry, 0, rtt_s=0.001), add(registry, 1, rtt_s=0.1)
    near.site, there.site = "boston", "dublin"
    assert registry.choose(str(TUNNEL), near.name) is near
    assert registry.choose(identity, near.name) is there
    assert registry.choose(identity, "", [there]) is None, "no other site's"
    told = [(one.tunnel, one.connection) for one in registry.exits()]
    assert sorted(told) == sorted(
        [(str(TUNNEL), near.name), (str(TUNNEL), there.name), (identity, there.name)]
    )
    assert told == sorted(told)


def test_a_site_without_a_name_is_the_whole_tunnel() -> None:
    assert place_id(str(TUNNEL), "") == str(TUNNEL)
    assert place_id(str(TUNNEL), "dublin") != place_id(str(TUNNEL), "boston")
