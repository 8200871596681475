"""The supervisor as a pure machine: inputs in, effects out, a clock made of numbers."""

from __future__ import annotations

import itertools
import random
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel_client.core import effects as do
from tunnel_client.core.connection import (
    TABLE,
    Connection,
    Heartbeat,
    IllegalInputError,
    Input,
    State,
)
from tunnel_client.core.effects import Effect
from tunnel_client.core.policy import Policy
from tunnel_client.core.supervisor import Supervisor
from wire.tunnel_rpc import ConnectionDetails, Refusal

ONE = [(f"198.18.1.{i}", 7844) for i in range(1, 11)]
TWO = [(f"198.18.2.{i}", 7844) for i in range(1, 11)]
DETAILS = ConnectionDetails(bytes(16), "LHR")
E = TypeVar("E", bound=Effect)


def only(found: list[Effect], kind: type[E]) -> list[E]:
    return [effect for effect in found if isinstance(effect, kind)]


class World:
    """A supervisor, its clock, and what it asked for so far."""

    def __init__(self, seed: int = 1, **policy: Any) -> None:
        self.policy = Policy(**policy)
        self.s = Supervisor(self.policy, random.Random(seed))
        self.now = 0.0
        self.dials: list[do.Dial] = []
        self.received: dict[int, int] = {}
        self.found: list[Effect] = []

    def take(self, found: list[Effect]) -> list[Effect]:
        self.found += found
        self.dials += only(found, do.Dial)
        return found

    def start(self) -> None:
        assert self.s.start(self.now) == [do.Discover()]
        self.take(self.s.discovered(self.now, [ONE, TWO]))

    def tick(self) -> list[Effect]:
        """Jump to the next timer."""
        due = self.s.next_timer()
        assert due is not None, "nothing is waited for"
        self.now = max(self.now, due)
        return self.take(self.s.handle_timer(self.now, self.received))

    def until_dial(self) -> do.Dial:
        while True:
            dials = only(self.tick(), do.Dial)
            if dials:
                return dials[0]

    def register(self, dial: do.Dial, location: str = "LHR") -> list[Effect]:
        assert self.take(self.s.dialled(self.now, dial.index, dial.attempt)) == []
        details = ConnectionDetails(bytes(16), location)
        return self.take(self.s.registered(self.now, dial.index, dial.attempt, details))

    def all_up(self) -> list[do.Dial]:
        self.start()
        self.register(self.dials[0])
        while len(self.dials) < 4:
            self.register(self.until_dial())
        assert self.s.ready == 4
        return self.dials[:4]


def test_the_first_connection_goes_alone_then_the_others_apart() -> None:
    world = World(start_interval_s=1.0)
    world.start()
    (first,) = world.dials
    assert (first.index, first.attempt, first.previous) == (0, 1, 0)
    world.now = 0.1
    found = world.register(first)
    assert only(found, do.Ready) == [do.Ready()]
    assert only(found, do.ReportConfiguration) == [do.ReportConfiguration(0, 1)]
    times = [(world.until_dial().index, world.now) for _ in range(3)]
    assert times == [(1, 0.1), (2, 1.1), (3, 2.1)]
    assert sorted(d.address.region for d in world.dials) == [1, 1, 2, 2]


def test_a_remotely_managed_tunnel_reports_nothing_and_ready_comes_once() -> None:
    world = World()
    world.start()
    world.s.dialled(0.0, 0, 1)
    managed = ConnectionDetails(bytes(16), "LHR", remotely_managed=True)
    found = world.take(world.s.registered(0.0, 0, 1, managed))
    assert only(found, do.ReportConfiguration) == []
    world.register(world.until_dial())
    assert len(only(world.found, do.Ready)) == 1


def test_without_the_edges_addresses_it_asks_again_and_again() -> None:
    world = World()
    world.s.start(0.0)
    for _ in range(5):
        (told,) = world.s.discovery_failed(world.now, "no such name")
        assert isinstance(told, do.Announce)
        assert told.fields["reason"] == "no such name"
        assert world.tick() == [do.Discover()]
    world.take(world.s.discovered(world.now, [ONE, TWO]))
    assert len(world.dials) == 1


def test_a_lost_connection_keeps_its_address_and_comes_back_at_once() -> None:
    world = World(seed=3)
    dials = world.all_up()
    world.now += 100.0
    found = world.take(world.s.lost(world.now, 2, dials[2].attempt, "closed by peer"))
    lost, retry = only(found, do.Announce)
    assert lost.event == "tunnel_lost"
    assert retry.event == "tunnel_reconnecting"
    assert world.s.ready == 3
    began = world.now
    again = world.until_dial()
    assert world.now - began <= world.policy.backoff_base_s
    assert (again.index, again.address, again.previous) == (2, dials[2].address, 1)


def test_a_failed_dial_moves_on() -> None:
    world = World()
    world.start()
    seen = {world.dials[0].address}
    for _ in range(6):
        world.take(world.s.failed(world.now, 0, world.dials[-1].attempt, "refused"))
        seen.add(world.until_dial().address)
    assert len(seen) > 1
    for before, after in itertools.pairwise(d.address for d in world.dials):
        assert before != after


def test_waits_grow_and_stop_growing() -> None:
    world = World(retries=3)
    world.start()
    waits: list[float] = []
    for _ in range(60):
        began = world.now
        world.take(world.s.failed(world.now, 0, world.dials[-1].attempt, "refused"))
        if only(world.found, do.Discover):
            world.s.discovered(world.now, [ONE, TWO])
        world.until_dial()
        waits.append(world.now - began)
    base = world.policy.backoff_base_s
    assert all(wait <= 8 * base for wait in waits)
    assert max(waits[:3]) <= 4 * base
    assert max(waits[20:]) > 4 * base


def test_after_many_failed_dials_the_edge_is_looked_up_again() -> None:
    world = World(max_edge_addr_retries=3)
    world.start()
    for _ in range(3):
        assert only(world.found, do.Discover) == []
        world.take(world.s.failed(world.now, 0, world.dials[-1].attempt, "refused"))
        if len(world.dials) < 3:
            world.until_dial()
    assert only(world.found, do.Discover) == [do.Discover()]
    world.s.discovered(world.now, [[("198.18.9.1", 1)], [("198.18.9.2", 1)]])
    assert world.until_dial().address.host.startswith("198.18.9.")


def test_a_connection_that_only_flashes_does_not_reset_its_backoff() -> None:
    world = World(retries=4)
    world.all_up()
    waits = []
    for _ in range(12):
        attempt = world.s._connections[1].attempt
        world.take(world.s.lost(world.now, 1, attempt, "closed"))
        began = world.now
        dial = world.until_dial()
        waits.append(world.now - began)
        world.register(dial)
    assert max(waits) > 2.0


def test_silence_ends_a_connection_and_one_byte_saves_it() -> None:
    world = World(heartbeat_interval_s=3.0, heartbeat_count=3)
    dials = world.all_up()
    world.received = dict.fromkeys(range(4), 100)
    began = world.now
    while not only(world.found, do.HangUp):
        world.tick()
        for i in (0, 1, 3):
            world.received[i] += 1
    (hang_up,) = only(world.found, do.HangUp)
    assert hang_up == do.HangUp(2, dials[2].attempt, politely=False)
    # The first tick saw the last byte, three more saw nothing.
    assert 9.0 <= world.now - began <= 12.5
    assert world.s.ready == 3


def test_a_stopped_process_gives_waiting_bytes_a_chance() -> None:
    world = World(heartbeat_interval_s=3.0, heartbeat_count=3)
    world.all_up()
    world.received = dict.fromkeys(range(4), 100)
    world.tick()
    world.now += 600.0
    found = world.take(world.s.handle_timer(world.now, world.received))
    assert only(found, do.HangUp) == []
    assert len(only(found, do.Ping)) == 4


def test_deadlines_of_dial_and_registration() -> None:
    world = World(dial_timeout_s=5.0, register_timeout_s=7.0)
    world.start()
    found = world.tick()
    assert world.now == 5.0
    assert only(found, do.HangUp) == [do.HangUp(0, 1)]
    dial = world.until_dial()
    assert dial.address != world.dials[0].address
    world.s.dialled(world.now, 0, 2)
    began = world.now
    world.received = {0: 1}
    while not only(world.found[1:], do.HangUp)[1:]:
        world.received[0] += 1
        world.tick()
    assert world.now == began + 7.0
    assert only(world.found, do.Announce)[-1].fields["reason"] == "not registered in time"


@pytest.mark.parametrize(
    ("refusal", "first", "stops", "moves"),
    [
        (Refusal("EDUPCONN"), True, False, True),
        (Refusal("EDUPCONN"), False, False, True),
        (Refusal("Unauthorized: tunnel not found"), True, False, False),
        (Refusal("busy", should_retry=True), True, False, False),
        (Refusal("gone"), True, True, False),
        (Refusal("gone"), False, False, False),
    ],
)
def test_refusals(refusal: Refusal, first: bool, stops: bool, moves: bool) -> None:
    world = World()
    world.start()
    dial = world.dials[0]
    if not first:
        world.register(dial)
        dial = world.until_dial()
    world.s.dialled(world.now, dial.index, dial.attempt)
    found = world.take(world.s.refused(world.now, dial.index, dial.attempt, refusal))
    assert only(found, do.HangUp) == [do.HangUp(dial.index, dial.attempt)]
    if stops:
        assert only(found, do.Stop) == [do.Stop(1, f"registration refused: {refusal.cause}")]
        return
    assert only(found, do.Stop) == []
    again = next(d for d in iter(world.until_dial, None) if d.index == dial.index)
    assert (again.address != dial.address) is moves


def test_retry_after_is_obeyed() -> None:
    world = World()
    world.start()
    world.s.dialled(0.0, 0, 1)
    world.take(world.s.refused(0.0, 0, 1, Refusal("busy", 60.0, should_retry=True)))
    world.until_dial()
    assert world.now == 60.0


def test_reports_of_attempts_that_were_given_up_are_ignored() -> None:
    world = World()
    world.start()
    world.take(world.s.failed(0.0, 0, 1, "refused"))
    world.until_dial()
    assert world.s.dialled(world.now, 0, 1) == [do.HangUp(0, 1)]
    assert world.s.registered(world.now, 0, 1, DETAILS) == []
    assert world.s.refused(world.now, 0, 1, Refusal("x")) == []
    assert world.s.lost(world.now, 0, 1, "x") == []
    assert world.s.failed(world.now, 0, 1, "x") == []
    assert world.s.unregistered(world.now, 7, 1) == []


# Leaving


def test_drain() -> None:
    world = World()
    dials = world.all_up()
    world.take(world.s.lost(world.now, 3, dials[3].attempt, "closed"))
    found = world.take(world.s.drain(world.now))
    assert only(found, do.Unregister) == [do.Unregister(i, 1) for i in range(3)]
    assert world.s.ready == 0
    assert world.s.unregistered(world.now, 0, 1) == [do.Finish(0, 1)]
    # No answer to the second; the third is closed by the edge at once.
    assert world.s.lost(world.now, 2, 1, "closed") == []
    world.received = {0: 1, 1: 1}
    while only(world.found, do.Finish) != [do.Finish(1, 1)]:
        world.received = {k: v + 1 for k, v in world.received.items()}
        world.tick()
    assert world.s.lost(world.now, 1, 1, "closed") == []
    assert world.s.lost(world.now, 0, 1, "closed") == [do.Stop(0, "drained")]


def test_drain_ends_with_the_grace_period() -> None:
    world = World(grace_period_s=30.0)
    world.all_up()
    began = world.now
    world.take(world.s.drain(world.now))
    beats = itertools.count()
    while not only(world.found, do.Stop):
        world.received = {i: next(beats) for i in range(4)}
        world.tick()
    assert world.now == began + 30.0
    assert only(world.found, do.Stop) == [do.Stop(0, "grace period over")]
    assert len(only(world.found, do.HangUp)) == 4
    assert world.s.next_timer() is None


def test_draining_twice_stops_at_once_and_before_the_start_too() -> None:
    world = World()
    world.all_up()
    world.s.drain(world.now)
    found = world.s.drain(world.now)
    assert len(only(found, do.HangUp)) == 4
    assert only(found, do.Stop)[0].code == 1
    fresh = Supervisor(Policy(), random.Random(0))
    fresh.start(0.0)
    assert fresh.drain(0.0) == [do.Stop(0, "drained")]
    assert fresh.discovered(0.0, [ONE, TWO]) == []
    assert fresh.discovery_failed(0.0, "late") == []


def test_a_dial_under_way_is_given_up_when_leaving() -> None:
    world = World()
    world.start()
    assert world.s.drain(world.now) == [do.HangUp(0, 1), do.Stop(0, "drained")]
    assert world.s.dialled(world.now, 0, 1) == [do.HangUp(0, 1)]


def test_it_can_be_seen() -> None:
    world = World()
    world.all_up()
    line = str(world.s.snapshot(world.now)[0])
    assert line.startswith("connection 0 serving LHR 198.18.")


# The table, and any order of inputs


def test_every_pair_lands_somewhere_or_is_a_bug() -> None:
    for state, given_input in itertools.product(State, Input):
        connection = Connection(0, Heartbeat(1.0, 1), state=state)
        if (state, given_input) in TABLE:
            assert connection.move(given_input) is TABLE[state, given_input]
        else:
            with pytest.raises(IllegalInputError):
                connection.move(given_input)


def test_done_is_final_and_every_state_can_leave() -> None:
    assert not any(state is State.DONE for state, _ in TABLE)
    reachable = {State.WAITING}
    while True:
        more = reachable | {after for (before, _), after in TABLE.items() if before in reachable}
        if more == reachable:
            break
        reachable = more
    assert reachable == set(State)


steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["tick", "dialled", "registered", "refused", "failed", "lost", "unregistered", "drain"]
        ),
        st.integers(0, 3),
        st.integers(0, 1),
    ),
    max_size=60,
)


@given(steps, st.integers(0, 5))
def test_no_order_of_reports_breaks_it(given_steps: list[tuple[str, int, int]], seed: int) -> None:
    """Whatever the world reports, in whatever order, nothing raises and its promises hold."""
    world = World(seed=seed)
    world.start()
    attempts = {0: 1}
    drains = 0
    for step, index, older in given_steps:
        attempt = max(1, attempts.get(index, 1) - older)
        s, now = world.s, world.now
        if step == "tick":
            if s.next_timer() is None:
                continue
            found = world.tick()
        elif step == "drain":
            drains += 1
            found = s.drain(now)
        elif step == "registered":
            found = s.registered(now, index, attempt, DETAILS)
        elif step == "refused":
            found = s.refused(now, index, attempt, Refusal("x", should_retry=bool(older)))
        elif step in ("failed", "lost"):
            found = getattr(s, step)(now, index, attempt, "x")
        else:
            found = getattr(s, step)(now, index, attempt)
        for dial in only(found, do.Dial):
            assert drains == 0
            assert dial.attempt == attempts.get(dial.index, 0) + 1
            attempts[dial.index] = dial.attempt
        world.found += found
        held = [c.address for c in s.snapshot(now) if c.state not in ("waiting", "done")]
        assert len(set(held)) == len(held), "one address serves one connection at a time"
        if only(world.found, do.Stop):
            assert s.next_timer() is None
        assert 0 <= s.ready <= 4
