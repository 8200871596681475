"""What becomes of packets: hops, errors, private nodes, anycast, access lines. No device, no clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wan import changes, packet
from wan.changes import Wish
from wan.fabric import Fabric
from wan.packet import Header
from wan.router import HOPS


def icmp(data: bytes) -> tuple[int, int]:
    assert data[9] == packet.ICMP
    return data[20], data[21]


def shape(fabric: Fabric, source: str, destination: str, **fields: object) -> None:
    changes.grant(fabric, "test", [Wish(source, destination, fields)], 0.0)


def counted(fabric: Fabric, source: str, destination: str) -> dict[str, int]:
    return fabric.link(source, destination).drops


def test_a_packet_arrives_after_the_delay_two_hops_older(bench) -> None:  # type: ignore[no-untyped-def]
    sent = bench.udp("tokyo", "NRT")
    bench.send("tokyo", sent, 5.0)
    bench.send("tokyo", sent, 6.0)
    (at, node, data), (again, _, same) = bench.arrivals()
    assert (at, node) == (pytest.approx(5.002), "NRT")
    assert again == pytest.approx(6.002)
    assert data == same == bytes(packet.forward(sent, HOPS))


def test_ties_keep_the_order_of_sending(bench) -> None:  # type: ignore[no-untyped-def]
    for port in range(40000, 40020):
        bench.send("tokyo", bench.udp("tokyo", "NRT", (port, 53)))
    ports = [int.from_bytes(data[20:22]) for _, _, data in bench.arrivals()]
    assert ports == list(range(40000, 40020))


@pytest.mark.parametrize(("ttl", "router", "at"), [(1, "tokyo", 0.0), (2, "LHR", 0.25)])
def test_traceroute_sees_the_router_of_either_end(bench, ttl: int, router: str, at: float) -> None:  # type: ignore[no-untyped-def]
    sent = bench.udp("tokyo", "LHR", ttl=ttl)
    bench.send("tokyo", sent)
    ((arrived, node, data),) = bench.arrivals()
    assert (arrived, node, icmp(data)) == (pytest.approx(at), "tokyo", (11, 0))
    assert data[12:16] == bench.fabric.doors[router].router
    assert data[28:] == sent[: len(data) - 28]


def test_three_hops_reach_the_node(bench) -> None:  # type: ignore[no-untyped-def]
    bench.send("tokyo", bench.udp("tokyo", "LHR", ttl=3))
    ((_, node, data),) = bench.arrivals()
    assert (node, data[8]) == ("LHR", 1)


def test_expired_errors_are_not_answered(bench) -> None:  # type: ignore[no-untyped-def]
    error = packet.unreachable(
        bench.fabric.doors["tokyo"].address, bench.udp("LHR", "tokyo"), packet.HOST_UNREACHABLE
    )
    bench.send("tokyo", error[:8] + b"\1" + error[9:])
    assert bench.arrivals() == []


def test_routers_answer_pings(bench) -> None:  # type: ignore[no-untyped-def]
    for name, delay in (("LHR", 0.25), ("tokyo", 0.0)):
        router = packet.show_address(bench.fabric.doors[name].router)
        bench.send("tokyo", bench.echo("tokyo", router))
        ((at, node, data),) = bench.arrivals()
        assert (at, node, icmp(data)) == (pytest.approx(delay), "tokyo", (0, 0))


def test_nobody_there_is_unreachable_and_other_peoples_addresses_are_not_forwarded(bench) -> None:  # type: ignore[no-untyped-def]
    bench.send("tokyo", bench.udp("tokyo", "192.0.2.1"))
    ((_, node, data),) = bench.arrivals()
    assert (node, icmp(data)) == ("tokyo", (3, 0))
    bench.send("tokyo", bench.udp("london", "NRT"))
    assert bench.arrivals() == []
    assert bench.fabric.doors["tokyo"].drops == {"no-route": 1, "spoofed": 1}


def test_too_big_says_so_or_is_cut_up(bench) -> None:  # type: ignore[no-untyped-def]
    shape(bench.fabric, "tokyo", "NRT", mtu=1000)
    bench.send("tokyo", bench.udp("tokyo", "NRT", size=1400))
    ((_, node, data),) = bench.arrivals()
    assert (node, icmp(data), int.from_bytes(data[26:28])) == ("tokyo", (3, 4), 1000)
    assert counted(bench.fabric, "tokyo", "NRT") == {"mtu": 1}
    bench.send("tokyo", bench.udp("tokyo", "NRT", size=1400, flags=0))
    pieces = [data for _, node, data in bench.arrivals() if node == "NRT"]
    assert sum(len(data) - 20 for data in pieces) == 1380
    assert max(map(len, pieces)) <= 1000
    bench.send("tokyo", bench.udp("tokyo", "NRT", size=1000))
    assert len(bench.arrivals()) == 1


class TestPrivate:
    def test_strangers_are_dropped_and_counted(self, bench) -> None:  # type: ignore[no-untyped-def]
        for data in (
            bench.tcp("NRT", "dublin"),
            bench.udp("NRT", "dublin"),
            bench.echo("NRT", "dublin"),
        ):
            bench.send("NRT", data)
        assert bench.arrivals() == []
        assert counted(bench.fabric, "NRT", "dublin") == {"unsolicited": 3}

    def test_what_it_opened_is_answered_and_nothing_else(self, bench) -> None:  # type: ignore[no-untyped-def]
        bench.send("dublin", bench.tcp("dublin", "NRT", (40000, 7844)))
        bench.send("NRT", bench.tcp("NRT", "dublin", (7844, 40000)), 1.0)
        bench.send("NRT", bench.tcp("NRT", "dublin", (7844, 40000)), 1.1)
        bench.send("NRT", bench.tcp("NRT", "dublin", (7844, 40001)), 1.0)
        bench.send("NRT", bench.udp("NRT", "dublin", (7844, 40000)), 1.0)
        bench.send("SIN", bench.tcp("SIN", "dublin", (7844, 40000)), 1.0)
        assert [node for _, node, _ in bench.arrivals()] == ["NRT", "dublin", "dublin"]

    def test_pings_out_but_not_in(self, bench) -> None:  # type: ignore[no-untyped-def]
        bench.send("dublin", bench.echo("dublin", "NRT", 5))
        bench.send("NRT", bench.echo("NRT", "dublin", 5, kind=0))
        bench.send("NRT", bench.echo("NRT", "dublin", 5, kind=8))
        bench.send("NRT", bench.echo("NRT", "dublin", 6, kind=0))
        assert sorted(node for _, node, _ in bench.arrivals()) == ["NRT", "dublin"]
        assert counted(bench.fabric, "NRT", "dublin") == {"unsolicited": 2}

    def test_a_hole_closes_when_idle_and_stays_open_while_used(self, bench) -> None:  # type: ignore[no-untyped-def]
        bench.send("dublin", bench.udp("dublin", "NRT"), 0.0)
        answer = bench.udp("NRT", "dublin", (53, 40000))
        for now in (200.0, 400.0, 600.0):
            bench.send("NRT", answer, now)
        bench.send("NRT", answer, 1000.0)
        assert [node for _, node, _ in bench.arrivals()].count("dublin") == 3
        assert counted(bench.fabric, "NRT", "dublin") == {"unsolicited": 1}

    def test_errors_about_its_own_flows_get_in(self, bench) -> None:  # type: ignore[no-untyped-def]
        query = bench.udp("dublin", "NRT")
        bench.send("dublin", query)
        bench.arrivals()
        address = bench.fabric.doors["NRT"].address
        bench.send("NRT", packet.unreachable(address, query, 3))
        bench.send("NRT", packet.unreachable(address, bench.udp("dublin", "NRT", (40001, 53)), 3))
        assert [node for _, node, _ in bench.arrivals()] == ["dublin"]

    def test_pieces_of_an_answer_get_in(self, bench) -> None:  # type: ignore[no-untyped-def]
        bench.send("dublin", bench.udp("dublin", "NRT"))
        bench.arrivals()
        answer = bench.udp("NRT", "dublin", (53, 40000), size=3000, flags=0)
        for piece in packet.fragments(answer, 1500):
            bench.send("NRT", bytes(piece))
            bench.send(
                "SIN",
                bytes(piece).replace(
                    bench.fabric.doors["NRT"].address, bench.fabric.doors["SIN"].address
                ),
            )
        assert [node for _, node, _ in bench.arrivals()] == ["dublin"] * 3

    def test_traceroute_towards_it_ends_at_its_router_and_opens_nothing(self, bench) -> None:  # type: ignore[no-untyped-def]
        bench.send("tokyo", bench.udp("tokyo", "dublin", ttl=2))
        ((at, node, data),) = bench.arrivals()
        assert (node, icmp(data), data[12:16]) == (
            "tokyo",
            (11, 0),
            bench.fabric.doors["dublin"].router,
        )
        assert at == pytest.approx(0.26)
        bench.send("tokyo", bench.udp("tokyo", "dublin", ttl=64))
        bench.send("tokyo", bench.udp("tokyo", "dublin", ttl=3))
        assert bench.arrivals() == []

    def test_it_gets_the_errors_of_routers(self, bench) -> None:  # type: ignore[no-untyped-def]
        bench.send("dublin", bench.udp("dublin", "NRT", ttl=2))
        ((_, node, data),) = bench.arrivals()
        assert (node, icmp(data)) == ("dublin", (11, 0))

    def test_nobody_poses_as_a_router(self, bench) -> None:  # type: ignore[no-untyped-def]
        router = packet.show_address(bench.fabric.doors["NRT"].router)
        bench.send("NRT", bench.udp(router, "dublin"))
        assert bench.arrivals() == []


class TestAnycast:
    def landing(
        self, bench, now: float, source: str = "tokyo", address: str = "198.18.0.1"
    ) -> str | None:  # type: ignore[no-untyped-def]
        bench.fabric.settle(now)
        bench.send(source, bench.tcp(source, address), now)
        arrivals = [node for _, node, data in bench.arrivals() if node != source]
        return arrivals[0] if arrivals else None

    def test_each_lands_at_its_nearest(self, bench) -> None:  # type: ignore[no-untyped-def]
        assert self.landing(bench, 0.0) == "NRT"
        assert self.landing(bench, 0.0, "london") == "LHR"
        assert self.landing(bench, 0.0, "tokyo", "198.18.1.1") == "SIN"

    def test_the_answer_comes_from_the_anycast_address(self, bench) -> None:  # type: ignore[no-untyped-def]
        bench.send("NRT", bench.tcp("198.18.0.1", "tokyo", (443, 40000)))
        assert [node for _, node, _ in bench.arrivals()] == ["tokyo"]
        bench.send("NRT", bench.tcp("198.18.1.1", "tokyo", (443, 40000)))
        assert bench.arrivals() == []

    def test_a_withdrawn_pop_is_left_after_convergence(self, bench) -> None:  # type: ignore[no-untyped-def]
        assert self.landing(bench, 9.0) == "NRT"
        bench.fabric.announce("NRT", False, 10.0)
        assert self.landing(bench, 12.9) == "NRT"
        assert self.landing(bench, 13.0) == "SIN"
        bench.fabric.announce("NRT", True, 14.0)
        assert self.landing(bench, 14.0) == "NRT"

    def test_a_detached_pop_is_left_after_convergence(self, bench) -> None:  # type: ignore[no-untyped-def]
        bench.fabric.detach("NRT", 10.0)
        assert self.landing(bench, 12.9) == "NRT"
        assert bench.fabric.doors["NRT"].fd == -1
        assert self.landing(bench, 13.0) == "SIN"

    def test_a_vanished_pop_is_silent_both_ways_and_left_after_convergence(self, bench) -> None:  # type: ignore[no-untyped-def]
        bench.fabric.vanish("NRT", True, 10.0)
        assert self.landing(bench, 12.9) is None
        assert counted(bench.fabric, "tokyo", "NRT") == {"vanished": 1}
        bench.send("NRT", bench.udp("NRT", "tokyo"), 12.0)
        assert bench.arrivals() == []
        assert self.landing(bench, 13.0) == "SIN"
        bench.fabric.vanish("NRT", False, 14.0)
        assert self.landing(bench, 14.0) == "NRT"

    def test_packets_on_their_way_keep_their_fate(self, bench) -> None:  # type: ignore[no-untyped-def]
        bench.send("tokyo", bench.tcp("tokyo", "198.18.0.1"), 0.0)
        bench.fabric.pin("tokyo", "LHR")
        bench.send("tokyo", bench.tcp("tokyo", "198.18.0.1"), 0.0)
        assert [node for _, node, _ in bench.arrivals()] == ["NRT", "LHR"]

    def test_a_cut_or_a_partition_moves_those_behind_it(self, bench) -> None:  # type: ignore[no-untyped-def]
        shape(bench.fabric, "NRT", "tokyo", down=True)
        assert self.landing(bench, 2.9) == "NRT"
        assert self.landing(bench, 3.0) == "SIN"
        bench.fabric.partition([["SIN"], ["tokyo", "LHR"]], 4.0)
        assert self.landing(bench, 6.9) is None
        assert self.landing(bench, 7.0) == "LHR"
        bench.fabric.partition([], 8.0)
        assert self.landing(bench, 8.0) == "SIN"

    def test_no_pop_left_is_no_route(self, bench) -> None:  # type: ignore[no-untyped-def]
        for name in ("LHR", "NRT", "SIN"):
            bench.fabric.announce(name, False, 0.0)
        bench.fabric.settle(3.0)
        bench.send("tokyo", bench.tcp("tokyo", "198.18.0.1"), 3.0)
        ((_, node, data),) = bench.arrivals()
        assert (node, icmp(data)) == ("tokyo", (3, 0))


class TestPartition:
    def test_groups_cannot_reach_each_other_and_others_reach_all(self, bench) -> None:  # type: ignore[no-untyped-def]
        bench.fabric.partition([["NRT"], ["LHR", "london"]], 0.0)
        ways = [
            ("NRT", "LHR"),
            ("london", "NRT"),
            ("LHR", "london"),
            ("tokyo", "NRT"),
            ("SIN", "LHR"),
        ]
        for source, destination in ways:
            bench.send(source, bench.udp(source, destination))
        assert sorted(node for _, node, _ in bench.arrivals()) == ["LHR", "NRT", "london"]
        assert counted(bench.fabric, "NRT", "LHR") == {"partition": 1}

    def test_the_end_of_it(self, bench) -> None:  # type: ignore[no-untyped-def]
        bench.fabric.partition([["NRT"], ["LHR"]], 0.0)
        bench.fabric.partition([], 1.0)
        bench.send("NRT", bench.udp("NRT", "LHR"))
        assert len(bench.arrivals()) == 1


class TestAccess:
    def test_it_is_passed_once_by_what_is_sent_and_once_by_what_is_received(self, bench) -> None:  # type: ignore[no-untyped-def]
        for way in (Wish("tokyo", "", {"one_way_s": 0.5}), Wish("", "NRT", {"one_way_s": 0.25})):
            changes.grant(bench.fabric, "test", [way], 0.0)
        bench.send("tokyo", bench.udp("tokyo", "NRT"))
        bench.send("NRT", bench.udp("NRT", "tokyo", (53, 40000)))
        arrivals = {node: at for at, node, _ in bench.arrivals()}
        assert arrivals == {"NRT": pytest.approx(0.752), "tokyo": pytest.approx(0.002)}
        assert bench.fabric.rtt("tokyo", "NRT") == pytest.approx(0.754)

    def test_the_receivers_queue_is_that_of_arrival_not_of_sending(self, bench) -> None:  # type: ignore[no-untyped-def]
        """A packet from afar, sent first, must not make one from nearby wait for it."""
        changes.grant(
            bench.fabric, "test", [Wish("", "NRT", {"rate_bps": 8e5, "queue_s": 1.0})], 0.0
        )
        bench.send("LHR", bench.udp("LHR", "NRT", size=1000))
        bench.send("tokyo", bench.udp("tokyo", "NRT", size=1000))
        assert [at for at, _, _ in bench.arrivals()] == [pytest.approx(0.012), pytest.approx(0.13)]

    def test_two_senders_share_the_line(self, bench) -> None:  # type: ignore[no-untyped-def]
        changes.grant(
            bench.fabric, "test", [Wish("", "NRT", {"rate_bps": 8e5, "queue_s": 0.015})], 0.0
        )
        for source in ("tokyo", "tokyo", "tokyo", "tokyo"):
            bench.send(source, bench.udp(source, "NRT", size=1000))
        assert [at for at, _, _ in bench.arrivals()] == [pytest.approx(0.012), pytest.approx(0.022)]
        assert bench.fabric.access("NRT")[1].drops == {"queue": 2}

    def test_declared_access_counts(self, bench_of: Callable[..., object]) -> None:
        internet = {"rtt_ms": {"tokyo": {"NRT": 4}}, "access": {"tokyo": {"one_way_ms": 10}}}
        bench = bench_of(internet=internet)
        bench.send("tokyo", bench.udp("tokyo", "NRT"))  # type: ignore[attr-defined]
        ((at, _, _),) = bench.arrivals()  # type: ignore[attr-defined]
        assert at == pytest.approx(0.012)


def test_duplicates_come_out_twice(bench) -> None:  # type: ignore[no-untyped-def]
    shape(bench.fabric, "tokyo", "NRT", duplicate=1.0)
    for _ in range(2):
        bench.send("tokyo", bench.udp("tokyo", "NRT"))
    assert len(bench.arrivals()) == 4


class TestFate:
    def arrived(self, bench, ports: list[int], strangers: bool = False) -> list[int]:  # type: ignore[no-untyped-def]
        shape(bench.fabric, "tokyo", "NRT", loss=0.3)
        for number, port in enumerate(ports):
            for _ in range(20):
                if strangers:
                    bench.send("tokyo", bench.echo("tokyo", "NRT", number))
                bench.send("tokyo", bench.udp("tokyo", "NRT", (port, 53)))
        arrived = [int.from_bytes(data[20:22]) for _, _, data in bench.arrivals() if data[9] == 17]
        return [arrived.count(port) for port in ports]

    def test_same_seed_same_flow_same_fate_whatever_the_ephemeral_ports(self, bench_of) -> None:  # type: ignore[no-untyped-def]
        first = self.arrived(bench_of(), [40000, 40001, 40002, 40003])
        assert first == self.arrived(bench_of(), [51000, 33000, 60999, 45555], strangers=True)
        assert len(set(first)) > 1

    def test_another_seed_another_fate(self, bench_of) -> None:  # type: ignore[no-untyped-def]
        ports = list(range(40000, 40010))
        assert self.arrived(bench_of(), ports) != self.arrived(bench_of(seed=8), ports)

    def test_both_directions_know_which_flow_they_are(self, bench) -> None:  # type: ignore[no-untyped-def]
        doors = bench.fabric.doors
        for port in (40000, 50000):
            bench.send("tokyo", bench.tcp("tokyo", "NRT", (port, 443)))
        for port in (50000, 40000):
            bench.send("NRT", bench.tcp("NRT", "tokyo", (443, port)))
        there = [flow.fate for flow in doors["tokyo"].flows.values()]
        back = [flow.fate for flow in doors["NRT"].flows.values()]
        assert [fate[-2:] for fate in there] == [(443, 0), (443, 1)]
        assert [fate[-2:] for fate in back] == [(443, 1), (443, 0)]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_packet_breaks_the_router(bench, data: st.DataObject) -> None:  # type: ignore[no-untyped-def]
    names = [
        *bench.plan.nodes,
        "198.18.0.1",
        "198.19.0.1",
        "192.0.2.1",
        "224.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
    ]
    body = data.draw(st.binary(max_size=120))
    sent = bench.ip(
        data.draw(st.sampled_from(names)),
        data.draw(st.sampled_from(names)),
        data.draw(st.sampled_from([1, 6, 17, 47])),
        body,
        ttl=data.draw(st.integers(0, 5)),
        flags=data.draw(st.sampled_from([0, 0x4000, 0x2000, 1, 0x2001])),
    )
    if data.draw(st.booleans()):
        sent = sent[: data.draw(st.integers(0, len(sent)))]
    source = data.draw(st.sampled_from(list(bench.plan.nodes)))
    bench.send(source, sent)
    for _, _, arrived in bench.arrivals():
        assert isinstance(packet.parse(arrived), Header)
