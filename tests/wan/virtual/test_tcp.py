"""Streams against what TCP would do: round trips, windows, losses, ends."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from wan.changes import Wish, grant

if TYPE_CHECKING:
    from tests.wan.virtual.conftest import Rig

RTT = 0.1
MSS = 1448


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def sends(size: int) -> Callable[..., object]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(size))
        await writer.drain()
        writer.close()

    return serve


async def fetch(rig: Rig, node: str = "A", port: int = 80) -> tuple[int, float]:
    """Bytes until the end, and how long after the connection was there."""
    reader, writer = await asyncio.open_connection(rig.address(node), port)
    begin = rig.loop.time()
    size = 0
    while data := await reader.read(1 << 20):
        size += len(data)
    took = rig.loop.time() - begin
    writer.close()
    return size, took


def set_links(rig: Rig, **fields: object) -> None:
    wishes = [Wish("A", "v", fields), Wish("v", "A", fields)]
    grant(rig.fabric, "test", wishes, rig.loop.now)


def test_a_handshake_takes_one_round_trip_and_an_echo_another(rig: Rig) -> None:
    rig.serve("A", echo)

    async def client() -> tuple[float, float]:
        begin = rig.loop.time()
        reader, writer = await asyncio.open_connection(rig.address("A"), 80)
        connected = rig.loop.time() - begin
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        return connected, rig.loop.time() - begin

    connected, answered = rig.run("v", client())
    assert connected == pytest.approx(RTT)
    assert answered == pytest.approx(2 * RTT)


@pytest.mark.parametrize(
    ("segments", "rounds"),
    # Initial window 10, doubled each round: 10, 20, 40, 80 (RFC 6928, RFC 5681 section 3.1).
    [(1, 0), (10, 0), (11, 1), (30, 1), (31, 2), (70, 2), (71, 3), (150, 3)],
)
def test_slow_start_doubles_from_ten(rig: Rig, segments: int, rounds: int) -> None:
    rig.serve("A", sends(segments * MSS))
    size, took = rig.run("v", fetch(rig))
    assert size == segments * MSS
    # The server learns of the connection half a round trip after the client, and its first bytes take another half.
    assert took == pytest.approx(RTT * (1 + rounds), abs=0.041)


def test_a_rate_bounds_what_comes_through(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("rate_mbit: 10, queue_ms: 200")
    rig.serve("A", sends(5_000_000))
    size, took = rig.run("v", fetch(rig))
    goodput = size * 8 / took
    assert 0.85 * 10e6 < goodput < 10e6 * MSS / 1500


def test_everything_arrives_in_order_whatever_the_links_do(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("loss_pct: 3, jitter_ms: 5, reorder_pct: 5, duplicate_pct: 5")
    rig.serve("A", echo)
    sent = b"".join(number.to_bytes(4) for number in range(50_000))

    async def client() -> bytes:
        reader, writer = await asyncio.open_connection(rig.address("A"), 80)
        writer.write(sent)
        writer.write_eof()
        received = await reader.read()
        writer.close()
        return received

    assert rig.run("v", client()) == sent


def test_random_loss_costs_what_reno_pays(make_rig: Callable[..., Rig]) -> None:
    """Mathis et al. 1997: goodput about MSS/RTT * sqrt(3/2)/sqrt(p). A band of two, for one transfer has its luck."""
    rig = make_rig("loss_pct: 1")
    rig.serve("A", sends(8_000_000))
    size, took = rig.run("v", fetch(rig))
    expected = MSS / RTT * (1.5 / 0.01) ** 0.5
    assert expected / 2 < size / took < expected * 2


def test_a_lost_tail_is_found_by_a_probe(rig: Rig) -> None:
    """The queue takes the end of the flight; a timeout would come after 0.3 s and send one segment a round trip."""
    rig.serve("A", sends(10 * MSS))
    _, undisturbed = rig.run("v", fetch(rig))
    set_links(rig, rate_bps=10e6, queue_s=0.005)
    size, took = rig.run("v", fetch(rig))
    assert size == 10 * MSS
    assert rig.fabric.link("A", "v").drops["queue"] > 1
    # Two round trips until the probe, one for it, one for what it tells of.
    assert undisturbed + 3 * RTT < took < undisturbed + 5 * RTT


def test_a_cut_is_survived_by_retransmission(rig: Rig) -> None:
    rig.serve("A", echo)

    async def client() -> float:
        reader, writer = await asyncio.open_connection(rig.address("A"), 80)
        set_links(rig, down=True)
        begin = rig.loop.time()
        writer.write(b"x")
        rig.loop.call_later(1.0, lambda: set_links(rig, down=False))
        await reader.readexactly(1)
        writer.close()
        return rig.loop.time() - begin

    # The timeout after the handshake's sample is 0.3 s, doubled each time: tries at 0.3 (less for the probe), 0.9, 2.1.
    assert 1.0 < rig.run("v", client()) < 2.7


def test_a_vanished_peer_is_given_up_after_a_quarter_of_an_hour(rig: Rig) -> None:
    rig.serve("A", echo)

    async def client() -> float:
        reader, writer = await asyncio.open_connection(rig.address("A"), 80)
        rig.fabric.vanish("A", True, rig.loop.now)
        begin = rig.loop.time()
        writer.write(b"x")
        with pytest.raises(TimeoutError):
            await reader.read()
        return rig.loop.time() - begin

    assert 600 < rig.run("v", client()) < 1800


def test_nobody_listens(rig: Rig) -> None:
    async def client() -> float:
        begin = rig.loop.time()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(rig.address("A"), 81)
        return rig.loop.time() - begin

    assert rig.run("v", client()) == pytest.approx(RTT)


def test_nobody_answers(rig: Rig) -> None:
    rig.fabric.vanish("A", True, 0.0)

    async def client() -> float:
        with pytest.raises(TimeoutError):
            await asyncio.open_connection(rig.address("A"), 80)
        return rig.loop.time()

    # 1 + 2 + 4 + 8 + 16 + 32 + 64, as net.ipv4.tcp_syn_retries = 6 has it.
    assert rig.run("v", client()) == pytest.approx(127)


def test_no_route_is_told_at_once(rig: Rig) -> None:
    async def client() -> float:
        with pytest.raises(OSError, match="unreachable") as caught:
            await asyncio.open_connection("203.0.113.1", 80)
        assert caught.value.errno == errno.ENETUNREACH
        return rig.loop.time()

    assert rig.run("v", client()) == 0


def test_a_killed_program_says_goodbye_to_nobody_but_its_kernel_does(rig: Rig) -> None:
    """FIN to whoever was connected, RST to what comes after, refused to those who dial."""
    said: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            said.append("finally")

    rig.serve("A", serve)

    async def client() -> None:
        reader, writer = await asyncio.open_connection(rig.address("A"), 80)
        await asyncio.sleep(1)
        rig.program("A").kill()
        begin = rig.loop.time()
        assert await reader.read() == b""
        assert rig.loop.time() - begin == pytest.approx(RTT / 2)
        writer.write(b"still there?")
        await asyncio.sleep(1)
        with pytest.raises(ConnectionResetError):
            await writer.drain()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(rig.address("A"), 80)

    rig.run("v", client())
    assert said == []


def test_a_paused_program_finds_everything_when_it_goes_on(rig: Rig) -> None:
    rig.serve("A", echo)

    async def client() -> float:
        reader, writer = await asyncio.open_connection(rig.address("A"), 80)
        await asyncio.sleep(1)
        rig.program("A").pause()
        writer.write(b"hello")
        # Its kernel takes new connections too.
        late_reader, late_writer = await asyncio.open_connection(rig.address("A"), 80)
        late_writer.write(b"late")
        begin = rig.loop.time()
        rig.loop.call_later(10, rig.program("A").resume)
        assert await reader.readexactly(5) == b"hello"
        assert await late_reader.readexactly(4) == b"late"
        writer.close()
        late_writer.close()
        return rig.loop.time() - begin

    assert rig.run("v", client()) == pytest.approx(10 + RTT / 2)


def test_a_reader_that_stops_stops_its_writer(rig: Rig) -> None:
    """The receive buffer fills, the window closes, the writer is told to pause; reading on opens all of it again."""
    progress: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(200):
            writer.write(bytes(65536))
            await writer.drain()
            progress.append(len(progress))
        writer.close()

    rig.serve("A", serve)

    async def client() -> int:
        reader, writer = await asyncio.open_connection(rig.address("A"), 80, limit=65536)
        await asyncio.sleep(120)
        stalled = len(progress)
        await asyncio.sleep(120)
        assert len(progress) == stalled < 150
        size = 0
        while data := await reader.read(1 << 20):
            size += len(data)
        writer.close()
        return size

    assert rig.run("v", client()) == 200 * 65536
    assert len(progress) == 200


def test_half_a_connection_goes_on(rig: Rig) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        everything = await reader.read()
        writer.write(everything[::-1])
        writer.close()

    rig.serve("A", serve)

    async def client() -> bytes:
        reader, writer = await asyncio.open_connection(rig.address("A"), 80)
        writer.write(b"abc")
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer

    assert rig.run("v", client()) == b"cba"


def test_connections_leave_nothing_behind(rig: Rig) -> None:
    rig.serve("A", echo)

    async def client() -> None:
        for _ in range(10):
            reader, writer = await asyncio.open_connection(rig.address("A"), 80)
            writer.write(b"x")
            writer.write_eof()
            await reader.read()
            writer.close()
            await writer.wait_closed()

    rig.run("v", client())
    rig.advance(5)
    assert not rig.network.hosts["A"].connections
    assert not rig.network.hosts["v"].connections


def test_a_narrow_path_makes_small_segments(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("mtu: 576")
    rig.serve("A", sends(100_000))
    assert rig.run("v", fetch(rig))[0] == 100_000
    link = rig.fabric.link("A", "v")
    assert link.packets >= 100_000 // (576 - 52)
    assert not link.drops


def test_the_same_seed_has_the_same_luck(make_rig: Callable[..., Rig]) -> None:
    def times(seed: int) -> list[float]:
        rig = make_rig("loss_pct: 2, jitter_ms: 3", seed)
        rig.serve("A", sends(200_000))
        return [rig.run("v", fetch(rig))[1] for _ in range(3)]

    assert times(1) == times(1) != times(2)
