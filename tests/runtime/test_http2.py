"""The HTTP/2 driver: streams, back-pressure, limits, ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runtime.http2 import ErrorCode, Http2Settings
from runtime.streams import HIGH_WATER, LOW_WATER, Headers

REQUEST: Headers = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"app.example.com"),
    (b":path", b"/"),
]
POST: Headers = [(b":method", b"POST"), *REQUEST[1:]]
OK: Headers = [(b":status", b"200")]
WINDOW = Http2Settings().stream_window


async def settle() -> None:
    """Let everything happen that happens without time passing (and a virtual millisecond)."""
    await asyncio.sleep(0.001)


def test_an_exchange(run: Any, http2_pair: Any, engine: str) -> None:
    async def main(loop: Any) -> None:
        pair = http2_pair(loop, client={"engine": engine}, server={"engine": engine})
        stream, user = pair.request(POST, end=False)
        stream.send_data(b"question", end=True)
        await settle()
        exchange = pair.site.last
        assert exchange.events == [("headers", b"/", False), "end"]
        assert exchange.body == b"question"
        exchange.stream.send_headers([(b":status", b"103")])
        exchange.stream.send_headers(OK)
        exchange.stream.send_data(b"answer")
        exchange.stream.send_trailers([(b"grpc-status", b"0")])
        await settle()
        assert user.events == [
            ("headers", b"103", False),
            ("headers", b"200", False),
            ("trailers", [(b"grpc-status", b"0")]),
        ]
        assert user.body == b"answer"
        assert pair.client.streams == pair.server.streams == 0
        assert stream.lost
        assert exchange.stream.lost

    run(main)


def test_what_happens_in_one_turn_leaves_in_one_write(run: Any, http2_pair: Any) -> None:
    async def main(loop: Any) -> None:
        pair = http2_pair(loop)
        await settle()
        before = len(pair.near.chunks)
        for _ in range(20):
            pair.request()
        await settle()
        assert len(pair.near.chunks) == before + 1
        assert len(pair.site.exchanges) == 20

    run(main)


def test_a_slow_reader_fills_the_backlog_and_drains_it(
    run: Any, http2_pair: Any, engine: str
) -> None:
    async def main(loop: Any) -> None:
        pair = http2_pair(loop, client={"engine": engine}, server={"engine": engine})
        _, user = pair.request(stingy=True)
        await settle()
        exchange = pair.site.last
        exchange.stream.send_headers(OK)
        exchange.stream.send_data(b"x" * (WINDOW + HIGH_WATER + 1000))
        await settle()
        assert len(user.body) == WINDOW
        assert exchange.stream.backlog == HIGH_WATER + 1000
        assert "drained" not in exchange.events
        user.pay()
        await settle()
        assert exchange.stream.backlog < LOW_WATER
        assert exchange.events.count("drained") == 1

    run(main)


def test_drained_comes_only_to_who_was_above_the_mark(run: Any, http2_pair: Any) -> None:
    async def main(loop: Any) -> None:
        pair = http2_pair(loop)
        pair.request()
        await settle()
        exchange = pair.site.last
        exchange.stream.send_headers(OK)
        exchange.stream.send_data(b"x" * (HIGH_WATER - 1))
        await settle()
        assert "drained" not in exchange.events
        exchange.stream.send_data(b"x" * (HIGH_WATER + 1))
        await settle()
        assert exchange.events.count("drained") == 1

    run(main)


def test_a_full_transport_keeps_bodies_in_their_streams(
    run: Any, http2_pair: Any, engine: str
) -> None:
    async def main(loop: Any) -> None:
        pair = http2_pair(loop, client={"engine": engine}, server={"engine": engine})
        _, user = pair.request()
        await settle()
        exchange = pair.site.last
        pair.near.pause_reading()  # the client's kernel takes nothing more
        exchange.stream.send_headers(OK)
        exchange.stream.send_data(b"x" * 800_000)
        await settle()
        in_transport = pair.far.get_write_buffer_size()
        assert in_transport < 256 * 1024
        assert exchange.stream.backlog > 800_000 - 256 * 1024
        pair.near.resume_reading()
        await settle()
        assert exchange.stream.backlog == 0
        assert len(user.body) == 800_000
        assert exchange.events.count("drained") == 1

    run(main)


def test_64_stalled_downloads_do_not_slow_the_65th(run: Any, http2_pair: Any, engine: str) -> None:
    async def main(loop: Any) -> None:
        window = WINDOW // 4
        settings = Http2Settings(stream_window=window)
        options = {"engine": engine, "settings": settings}
        pair = http2_pair(loop, client=options, server=options)
        stalled = [pair.request(stingy=True)[1] for _ in range(64)]
        await settle()
        for exchange in pair.site.exchanges:
            exchange.stream.send_headers(OK)
            exchange.stream.send_data(b"x" * (window + 500_000))
        await settle()
        assert {len(user.body) for user in stalled} == {window}
        _, user = pair.request()
        await settle()
        exchange = pair.site.last
        exchange.stream.send_headers(OK)
        exchange.stream.send_data(b"y" * (window * 3), end=True)
        await settle()
        assert len(user.body) == window * 3
        assert user.events[-1] == "end"

    run(main)


def test_streams_that_were_dropped_give_their_window_back(run: Any, http2_pair: Any) -> None:
    """More than the whole connection window through streams whose users never gave credit."""

    async def main(loop: Any) -> None:
        pair = http2_pair(loop)
        chunk = b"x" * (WINDOW // 2)
        for _ in range(50):
            stream, _ = pair.request(stingy=True)
            await settle()
            pair.site.last.stream.send_headers(OK)
            pair.site.last.stream.send_data(chunk)
            await settle()
            stream.reset(ErrorCode.CANCEL)
            await settle()
        _, user = pair.request()
        await settle()
        pair.site.last.stream.send_headers(OK)
        pair.site.last.stream.send_data(b"y" * (WINDOW * 4), end=True)
        await settle()
        assert user.events[-1] == "end"
        assert pair.client.streams == pair.server.streams == 0

    run(main)


def test_more_streams_than_the_peer_takes_wait_their_turn(
    run: Any, http2_pair: Any, engine: str
) -> None:
    async def main(loop: Any) -> None:
        settings = Http2Settings(max_concurrent_streams=3)
        pair = http2_pair(
            loop, client={"engine": engine}, server={"engine": engine, "settings": settings}
        )
        await settle()
        assert pair.client.available == 3
        users = []
        for number in range(5):
            stream, user = pair.request(POST, end=False)
            stream.send_data(b"%d" % number, end=True)
            users.append(user)
        await settle()
        assert pair.client.available == 0
        assert [bytes(exchange.body) for exchange in pair.site.exchanges] == [b"0", b"1", b"2"]
        assert "+2 waiting" in str(pair.client.snapshot())
        pair.site.exchanges[1].stream.send_headers(OK, end=True)
        await settle()
        assert bytes(pair.site.last.body) == b"3"
        for exchange in pair.site.exchanges:
            exchange.stream.send_headers(OK, end=True)
        await settle()
        pair.site.last.stream.send_headers(OK, end=True)
        await settle()
        assert [user.events for user in users] == [[("headers", b"200", True)]] * 5
        assert pair.client.available == 3

    run(main)


def test_a_peer_without_a_limit_gets_ours(run: Any, http2_pair: Any) -> None:
    async def main(loop: Any) -> None:
        pair = http2_pair(
            loop,
            server={"settings": Http2Settings(max_concurrent_streams=4000, stream_window=65_535)},
        )
        await settle()
        assert pair.client._engine.peer_max_streams == 4000
        assert pair.client.peer_max_streams == 1024

    run(main)


def test_a_waiting_stream_may_be_given_up(run: Any, http2_pair: Any) -> None:
    async def main(loop: Any) -> None:
        pair = http2_pair(loop, server={"settings": Http2Settings(max_concurrent_streams=1)})
        await settle()
        pair.request()
        waiting, user = pair.request()
        waiting.reset(ErrorCode.CANCEL)
        pair.request()
        await settle()
        pair.site.last.stream.send_headers(OK, end=True)
        await settle()
        assert len(pair.site.exchanges) == 2
        assert user.events == []

    run(main)


def test_too_many_waiting_are_refused(run: Any, http2_pair: Any) -> None:
    async def main(loop: Any) -> None:
        settings = Http2Settings(max_concurrent_streams=1)
        pair = http2_pair(loop, client={"max_waiting": 1}, server={"settings": settings})
        await settle()
        users = [pair.request()[1] for _ in range(3)]
        await settle()
        assert [user.events for user in users] == [[], [], [("lost", ErrorCode.REFUSED_STREAM)]]

    run(main)


def test_a_head_too_large_is_answered_431(run: Any, http2_pair: Any) -> None:
    async def main(loop: Any) -> None:
        pair = http2_pair(loop, server={"settings": Http2Settings(max_header_list_size=4096)})
        await settle()
        _, user = pair.request([*REQUEST, (b"x-large", b"x" * 5000)])
        pair.request([*REQUEST, (b"x-large", b"x" * 3000)])
        await settle()
        assert user.events == [("headers", b"431", True)]
        assert len(pair.site.exchanges) == 1
        assert pair.lost == []

    run(main)


def test_losing_the_connection_loses_every_stream_once(
    run: Any, http2_pair: Any, engine: str
) -> None:
    async def main(loop: Any) -> None:
        pair = http2_pair(loop, client={"engine": engine}, server={"engine": engine})
        stream, user = pair.request()
        await settle()
        exchange = pair.site.last
        pair.server.abort()
        await settle()
        assert user.events == [("lost", ErrorCode.INTERNAL_ERROR)]
        assert exchange.events[-1] == ("lost", ErrorCode.INTERNAL_ERROR)
        assert sorted(pair.lost) == [("client", "reset by peer"), ("server", "closed")]
        for each in (stream, exchange.stream):
            each.send_data(b"late", end=True)
            each.send_trailers([])
            each.credit(5)
            each.reset(ErrorCode.CANCEL)
            assert each.backlog == 0
        assert len(user.events) == 1

    run(main)


def test_opening_on_a_dead_connection_is_refused_later(run: Any, http2_pair: Any) -> None:
    async def main(loop: Any) -> None:
        pair = http2_pair(loop)
        pair.far.abort()
        await settle()
        _, user = pair.request()
        assert user.events == []
        await settle()
        assert user.events == [("lost", ErrorCode.REFUSED_STREAM)]

    run(main)


def test_a_reset_is_heard_by_the_other_side_only(run: Any, http2_pair: Any) -> None:
    async def main(loop: Any) -> None:
        pair = http2_pair(loop)
        stream, user = pair.request()
        await settle()
        stream.reset(ErrorCode.CANCEL)
        await settle()
        assert user.events == []
        assert pair.site.last.events[-1] == ("lost", ErrorCode.CANCEL)

    run(main)


def test_an_early_answer_arrives_whole_and_stops_the_request(
    run: Any, http2_pair: Any, engine: str
) -> None:
    async def main(loop: Any) -> None:
        pair = http2_pair(loop, client={"engine": engine}, server={"engine": engine})
        stream, user = pair.request(POST, end=False, stingy=True)
        stream.send_data(b"x" * 100)
        await settle()
        exchange = pair.site.last
        body = b"y" * (WINDOW + 300_000)
        exchange.stream.send_headers([(b":status", b"413")])
        exchange.stream.send_data(body, end=True)
        exchange.stream.reset(ErrorCode.NO_ERROR)
        await settle()
        assert len(user.body) == WINDOW
        assert ("lost", 0) not in user.events
        user.pay()
        await settle()
        assert len(user.body) == len(body)
        assert user.events[-2:] == ["end", ("lost", ErrorCode.NO_ERROR)]
        stream.send_data(b"nobody reads this")

    run(main)


def test_a_server_drains_gracefully(run: Any, http2_pair: Any, engine: str) -> None:
    """A request that crosses the notice is served, later ones are refused, then the connection ends."""

    async def main(loop: Any) -> None:
        pair = http2_pair(loop, delay=0.05, client={"engine": engine}, server={"engine": engine})
        await asyncio.sleep(1)
        _, first = pair.request()
        await asyncio.sleep(1)
        pair.server.drain()
        _, crossing = pair.request()
        await asyncio.sleep(1)
        assert len(pair.site.exchanges) == 2
        assert pair.client.available == 0
        _, late = pair.request()
        await asyncio.sleep(1)
        assert late.events == [("lost", ErrorCode.REFUSED_STREAM)]
        assert pair.lost == []
        for exchange in pair.site.exchanges:
            exchange.stream.send_headers(OK, end=True)
        await asyncio.sleep(1)
        assert first.events == crossing.events == [("headers", b"200", True)]
        assert sorted(who for who, _ in pair.lost) == ["client", "server"]

    run(main)


def test_a_client_drains_gracefully(run: Any, http2_pair: Any, engine: str) -> None:
    async def main(loop: Any) -> None:
        pair = http2_pair(loop, client={"engine": engine}, server={"engine": engine})
        _, user = pair.request()
        await settle()
        pair.client.drain()
        await settle()
        assert pair.lost == []
        pair.site.last.stream.send_headers(OK, end=True)
        await settle()
        assert user.events == [("headers", b"200", True)]
        assert len(pair.lost) == 2

    run(main)


def test_goaway_is_told(run: Any, http2_pair: Any) -> None:
    async def main(loop: Any) -> None:
        told: list[int] = []
        pair = http2_pair(loop, client={"on_goaway": told.append})
        pair.request()
        await settle()
        pair.server.goaway()
        await settle()
        assert told == [ErrorCode.NO_ERROR]
        assert pair.client.available == 0
        assert pair.lost == []

    run(main)


def test_pings_measure_the_round_trip(run: Any, http2_pair: Any, engine: str) -> None:
    async def main(loop: Any) -> None:
        acks: list[tuple[bytes, float]] = []
        pair = http2_pair(
            loop,
            delay=0.04,
            client={
                "engine": engine,
                "on_ping_ack": lambda payload, rtt: acks.append((payload, rtt)),
            },
            server={"engine": engine},
        )
        await asyncio.sleep(1)
        pair.client.ping(b"12345678")
        await asyncio.sleep(1)
        [(payload, rtt)] = acks
        assert payload == b"12345678"
        assert rtt == pytest.approx(0.08)
        assert pair.client.rtt == rtt
        assert "rtt 80.0 ms" in str(pair.client.snapshot())

    run(main)


def test_no_settings_no_connection(run: Any) -> None:
    from runtime.http2 import Http2Connection

    async def main(loop: Any) -> None:
        lost: list[str] = []
        connection = Http2Connection("server", on_lost=lost.append, settings_timeout_s=2.0)
        loop.join(asyncio.Protocol(), connection)
        await asyncio.sleep(1.9)
        assert lost == []
        await asyncio.sleep(0.2)
        assert len(lost) == 1
        assert "SETTINGS_TIMEOUT" in lost[0]

    run(main)


def test_idle_connections_end_and_busy_ones_do_not(run: Any, http2_pair: Any) -> None:
    async def main(loop: Any) -> None:
        pair = http2_pair(loop, server={"idle_timeout_s": 10.0})
        pair.request()
        await asyncio.sleep(100)
        assert pair.lost == []
        pair.site.last.stream.send_headers(OK, end=True)
        await asyncio.sleep(8)
        pair.request()
        await settle()
        pair.site.last.stream.send_headers(OK, end=True)
        await asyncio.sleep(9)
        assert pair.lost == []
        await asyncio.sleep(12)
        assert len(pair.lost) == 2

    run(main)


def test_garbage_ends_the_connection_with_a_reason(run: Any, engine: str) -> None:
    from runtime.http2 import Http2Connection

    async def main(loop: Any) -> None:
        lost: list[str] = []
        connection = Http2Connection("server", engine=engine, on_lost=lost.append)  # type: ignore[arg-type]
        near, _ = loop.join(asyncio.Protocol(), connection)
        near.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(0.1)  # its GOAWAY has a moment to arrive
        assert len(lost) == 1
        assert "PROTOCOL_ERROR" in lost[0]

    run(main)


def test_unsafe_fields_never_leave(run: Any, http2_pair: Any) -> None:
    async def main(loop: Any) -> None:
        pair = http2_pair(loop)
        pair.request(
            [
                *REQUEST,
                (b"X-Upper", b"kept"),
                (b"connection", b"close"),
                (b"x-split", b"a\r\nx-forged: 1"),
                (b"bad name", b"1"),
                (b"te", b"trailers"),
            ]
        )
        await settle()
        assert pair.site.last.headers == [*REQUEST, (b"x-upper", b"kept"), (b"te", b"trailers")]
        _, user = pair.request([*REQUEST[:3], (b":path", b"/a\r\nb")])
        await settle()
        assert user.events == [("lost", ErrorCode.INTERNAL_ERROR)]
        assert pair.lost == []

    run(main)


def test_a_bug_in_one_exchange_stays_there(run: Any, http2_pair: Any) -> None:
    async def main(loop: Any) -> None:
        pair = http2_pair(loop)
        _, other = pair.request()
        await settle()

        def broken(exchange: Any, headers: Any, end: bool) -> None:
            raise ZeroDivisionError

        pair.site.handler = broken
        _, user = pair.request()
        await settle()
        assert user.events == [("lost", ErrorCode.INTERNAL_ERROR)]
        assert [str(failure["message"]) for failure in loop.failures] == ["a stream's user failed"]
        loop.failures.clear()
        pair.site.exchanges[0].stream.send_headers(OK, end=True)
        await settle()
        assert other.events == [("headers", b"200", True)]

    run(main)


def test_close_tells_the_code(run: Any, http2_pair: Any) -> None:
    async def main(loop: Any) -> None:
        pair = http2_pair(loop)
        _, user = pair.request()
        await settle()
        pair.server.close(ErrorCode.ENHANCE_YOUR_CALM)
        await settle()
        assert pair.client.closed
        assert any("ENHANCE_YOUR_CALM" in reason for who, reason in pair.lost if who == "client")
        assert user.events[-1][0] == "lost"

    run(main)
