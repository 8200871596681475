"""The HTTP/1.1 server driver, in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runtime.http1.server import Http1ServerProtocol, Http1Timeouts
from runtime.http2 import ErrorCode
from runtime.streams import HIGH_WATER, Headers
from wire.http1 import Http1Limits

OK: Headers = [(b":status", b"200")]
GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.example\r\n"


class Raw(asyncio.Protocol):
    """A client that is only bytes."""

    def __init__(self) -> None:
        self.got = b""
        self.ended = False
        self.lost = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data

    def eof_received(self) -> bool:
        self.ended = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    def take(self) -> bytes:
        got, self.got = self.got, b""
        return got


async def settle() -> None:
    await asyncio.sleep(0.001)


def connected(loop: Any, site: Any, **options: Any) -> tuple[Raw, Http1ServerProtocol]:
    raw = Raw()
    server = Http1ServerProtocol(on_request=site.take, **options)
    loop.join(raw, server)
    return raw, server


def say(stream: Any, body: bytes = b"", *more: tuple[bytes, bytes]) -> None:
    stream.send_headers([*OK, (b"content-length", b"%d" % len(body)), *more])
    stream.send_data(body, end=True)


def test_an_exchange_is_one_write_and_the_connection_stays(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        raw, server = connected(loop, site)
        for path in (b"/1", b"/2"):
            raw.transport.write(GET.replace(b"/", path, 1) + b"\r\n")
            await settle()
            assert site.last.events == [("headers", path, True)]
            before = len(loop.pipes[0][1].chunks)
            say(site.last.stream, b"hi")
            await settle()
            assert raw.take() == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
            assert len(loop.pipes[0][1].chunks) == before + 1
        assert server.requests == 2
        assert not raw.ended

    run(main)


def test_a_head_without_body_does_not_wait_for_one(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        raw, _ = connected(loop, site)
        raw.transport.write(GET + b"\r\n")
        await settle()
        site.last.stream.send_headers([*OK, (b"content-type", b"text/event-stream")])
        await settle()
        assert raw.take() == (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        site.last.stream.send_data(b"data: 1\n\n")
        await settle()
        assert raw.take() == b"9\r\ndata: 1\n\n\r\n"
        site.last.stream.send_trailers([(b"x-sum", b"1")])
        await settle()
        assert raw.take() == b"0\r\nx-sum: 1\r\n\r\n"

    run(main)


@pytest.mark.parametrize("size", [10, 100_000])
def test_chunks_of_any_size(run: Any, site: Any, size: int) -> None:
    async def main(loop: Any) -> None:
        raw, _ = connected(loop, site)
        raw.transport.write(GET + b"\r\n")
        await settle()
        site.last.stream.send_headers(OK)
        site.last.stream.send_data(b"x" * size, end=True)
        await settle()
        _, _, body = raw.take().partition(b"\r\n\r\n")
        assert body == b"%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n"

    run(main)


@pytest.mark.parametrize(
    ("request_head", "status", "expected"),
    [
        (GET.replace(b"GET", b"HEAD"), b"200", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"),
        (GET, b"304", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\n"),
    ],
)
def test_answers_without_body(
    run: Any, site: Any, request_head: bytes, status: bytes, expected: bytes
) -> None:
    async def main(loop: Any) -> None:
        raw, _ = connected(loop, site)
        raw.transport.write(request_head + b"\r\n")
        await settle()
        site.last.stream.send_headers([(b":status", status), (b"content-length", b"2")])
        site.last.stream.send_data(b"hi", end=True)
        await settle()
        assert raw.take() == expected

    run(main)


def test_pipelined_requests_are_answered_in_order(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        raw, _ = connected(loop, site)
        raw.transport.write(
            b"".join(GET.replace(b"/", b"/%d" % i, 1) + b"\r\n" for i in range(500))
        )
        for number in range(500):
            await settle()
            assert len(site.exchanges) == number + 1
            say(site.last.stream, b"%d" % number)
        await settle()
        bodies = [
            part.partition(b"\r\n\r\n")[2] for part in raw.take().split(b"HTTP/1.1 200 OK\r\n")
        ]
        assert bodies[1:] == [b"%d" % number for number in range(500)]

    run(main)


def test_requests_answered_at_once_are_all_answered(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        site.handler = lambda exchange, headers, end: say(exchange.stream, b"x")
        raw, _ = connected(loop, site)
        raw.transport.write((GET + b"\r\n") * 2000)
        await settle()
        assert raw.take().count(b"HTTP/1.1 200 OK\r\n") == 2000

    run(main)


def test_connection_close_is_obeyed(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        raw, _ = connected(loop, site)
        raw.transport.write(GET + b"Connection: close\r\n\r\n")
        await settle()
        say(site.last.stream)
        await settle()
        assert b"\r\nconnection: close\r\n" in raw.take()
        assert raw.ended

    run(main)


def test_http10(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        raw, _ = connected(loop, site)
        raw.transport.write(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        await settle()
        say(site.last.stream, b"x")
        await settle()
        assert b"\r\nconnection: keep-alive\r\n" in raw.take()
        raw.transport.write(b"GET / HTTP/1.0\r\n\r\n")
        await settle()
        site.last.stream.send_headers(OK)
        site.last.stream.send_data(b"until the end", end=True)
        await settle()
        assert raw.take() == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end"
        assert raw.ended

    run(main)


def test_100_continue_is_said_when_the_head_was_taken(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        raw, _ = connected(loop, site)
        raw.transport.write(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        await settle()
        assert raw.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.transport.write(b"ab")
        await settle()
        assert site.last.body == b"ab"
        say(site.last.stream)
        await settle()
        site.handler = lambda exchange, headers, end: exchange.stream.send_headers(
            [(b":status", b"417")], end=True
        )
        raw.take()
        raw.transport.write(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        await settle()
        assert raw.take().startswith(b"HTTP/1.1 417 ")

    run(main)


def test_informational_answers_pass(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        raw, _ = connected(loop, site)
        raw.transport.write(GET + b"\r\n")
        await settle()
        site.last.stream.send_headers([(b":status", b"103"), (b"link", b"</a>")])
        say(site.last.stream)
        await settle()
        assert raw.take().startswith(
            b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"
        )

    run(main)


def test_an_upgrade_is_raw_both_ways(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        raw, _ = connected(loop, site)
        raw.transport.write(GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
        await settle()
        exchange = site.last
        assert exchange.events == [("headers", b"/", False)]
        assert (b"upgrade", b"websocket") in exchange.headers
        exchange.stream.send_headers([(b":status", b"101"), (b"upgrade", b"websocket")])
        exchange.stream.send_data(b"down")
        await settle()
        assert raw.take() == (
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\ndown"
        )
        raw.transport.write(b" up")
        await settle()
        assert exchange.body == b"early up"
        raw.transport.write_eof()
        await settle()
        assert exchange.events[-1] == "end"
        exchange.stream.send_data(b"bye", end=True)
        await settle()
        assert raw.take() == b"bye"
        assert raw.ended

    run(main)


def test_an_upgrade_refused_is_an_ordinary_request(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        raw, _ = connected(loop, site)
        raw.transport.write(
            GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + GET + b"\r\n"
        )
        await settle()
        first = site.last
        say(first.stream, b"no")
        await settle()
        assert first.events[-1] == "end"
        assert len(site.exchanges) == 2
        say(site.last.stream, b"yes")
        await settle()
        assert raw.take().endswith(b"\r\n\r\nyes")

    run(main)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (GET + b"X: " + b"a" * 5000 + b"\r\n\r\n", b"431"),
        (GET + b"X: a\r\n b\r\n\r\n", b"400"),
        (GET + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
        (b"\x16\x03\x01", b"400"),
    ],
)
def test_refusals_say_why_and_hang_up(run: Any, site: Any, data: bytes, status: bytes) -> None:
    async def main(loop: Any) -> None:
        refused: list[int] = []
        raw, _ = connected(
            loop,
            site,
            limits=Http1Limits(max_head_size=4096),
            on_refused=lambda peer, error: refused.append(error.status),
        )
        raw.transport.write(data)
        await asyncio.sleep(3)
        assert raw.got.startswith(b"HTTP/1.1 " + status)
        assert raw.ended
        assert refused == [int(status)]
        assert site.exchanges == []

    run(main)


def test_a_body_that_breaks_off_loses_the_exchange(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        raw, _ = connected(loop, site)
        raw.transport.write(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\nZZ")
        await settle()
        assert site.last.events[-1] == ("lost", ErrorCode.PROTOCOL_ERROR)
        assert raw.got.startswith(b"HTTP/1.1 400")

    run(main)


def test_slow_heads_and_idle_connections_end(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        timeouts = Http1Timeouts(head_s=10, idle_s=75)
        silent, _ = connected(loop, site, timeouts=timeouts)
        slow, _ = connected(loop, site, timeouts=timeouts)
        good, _ = connected(loop, site, timeouts=timeouts)
        good.transport.write(GET + b"\r\n")
        for _ in range(9):
            slow.transport.write(b"X")
            await asyncio.sleep(1)
        assert not silent.ended
        await asyncio.sleep(1.5)
        assert silent.ended
        assert silent.got == b""
        assert slow.got.startswith(b"HTTP/1.1 4")
        await asyncio.sleep(200)  # a slow answer is nobody's fault
        assert not good.ended
        say(site.last.stream)
        await asyncio.sleep(70)
        assert not good.ended
        good.take()
        good.transport.write(GET)  # begins a head and never ends it
        await asyncio.sleep(9)
        assert not good.ended
        await asyncio.sleep(2)
        assert good.got.startswith(b"HTTP/1.1 408")

    run(main)


def test_a_client_that_goes_away_loses_its_exchange(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        lost: list[str] = []
        raw, _ = connected(loop, site, on_lost=lost.append)
        raw.transport.write(GET + b"\r\n")
        await settle()
        raw.transport.close()
        await settle()
        stream = site.last.stream
        assert site.last.events[-1] == ("lost", ErrorCode.CANCEL)
        assert lost == ["closed"]
        stream.send_headers(OK)
        stream.send_data(b"x", end=True)
        stream.reset(ErrorCode.CANCEL)
        stream.credit(1)
        assert stream.backlog == 0

    run(main)


def test_a_stalled_reader_fills_the_backlog(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        raw, _ = connected(loop, site)
        raw.transport.write(GET + b"\r\n")
        await settle()
        raw.transport.pause_reading()
        stream = site.last.stream
        stream.send_headers([*OK, (b"content-length", b"1000000")])
        stream.send_data(b"x" * (HIGH_WATER + 1))
        await settle()
        assert stream.backlog > HIGH_WATER
        assert "drained" not in site.last.events
        raw.transport.resume_reading()
        await settle()
        assert stream.backlog == 0
        assert site.last.events[-1] == "drained"

    run(main)


def test_credit_withheld_stops_the_sender(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        site.stingy = True
        raw, _ = connected(loop, site)
        raw.transport.write(POST + b"Content-Length: 10000000\r\n\r\n")
        for _ in range(100):
            raw.transport.write(b"x" * 100_000)
        await settle()
        assert len(site.last.body) < HIGH_WATER + 200_000
        while len(site.last.body) < 10_000_000:
            before = len(site.last.body)
            site.last.pay()
            await settle()
            assert len(site.last.body) > before
        assert site.last.events[-1] == "end"

    run(main)


def test_an_early_answer_is_delivered_before_the_connection_ends(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        raw, _ = connected(loop, site)
        raw.transport.write(POST + b"Content-Length: 1000\r\n\r\nabc")
        await settle()
        stream = site.last.stream
        stream.send_headers([(b":status", b"413"), (b"content-length", b"3")])
        stream.send_data(b"big", end=True)
        stream.reset(ErrorCode.NO_ERROR)
        raw.transport.write(b"x" * 500)
        await settle()
        assert raw.got.endswith(b"\r\n\r\nbig")
        assert raw.ended
        await asyncio.sleep(3)
        assert site.last.events == [("headers", b"/", False)]

    run(main)


@pytest.mark.parametrize("body", [b"too short", b"far too long for what was said"])
def test_a_body_of_another_length_than_said_breaks_the_connection(
    run: Any, site: Any, body: bytes
) -> None:
    """Otherwise the next answer would be read as the rest of this one, or this one's rest as the next."""

    async def main(loop: Any) -> None:
        raw, _ = connected(loop, site)
        raw.transport.write(GET + b"\r\n")
        await settle()
        site.last.stream.send_headers([*OK, (b"content-length", b"15")])
        site.last.stream.send_data(body, end=True)
        await settle()
        assert raw.lost
        assert site.last.events[-1] == ("lost", ErrorCode.INTERNAL_ERROR)

    run(main)


def test_a_reset_answer_cannot_be_taken_for_whole(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        raw, _ = connected(loop, site)
        raw.transport.write(GET + b"\r\n")
        await settle()
        site.last.stream.send_headers(OK)
        site.last.stream.send_data(b"half")
        site.last.stream.reset(ErrorCode.INTERNAL_ERROR)
        await settle()
        assert raw.lost
        assert not raw.got.endswith(b"0\r\n\r\n")
        assert loop.pipes[0][1].aborted

    run(main)


def test_draining_finishes_what_runs(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        idle, idle_server = connected(loop, site)
        busy, busy_server = connected(loop, site)
        busy.transport.write(GET + b"\r\n")
        await settle()
        idle_server.drain()
        busy_server.drain()
        await settle()
        assert idle.ended
        assert not busy.ended
        say(site.last.stream, b"done")
        await settle()
        assert b"connection: close" in busy.got
        assert busy.got.endswith(b"done")
        assert busy.ended

    run(main)


def test_a_bug_in_an_exchange_ends_its_connection(run: Any, site: Any) -> None:
    async def main(loop: Any) -> None:
        def broken(exchange: Any, headers: Any, end: bool) -> None:
            raise ZeroDivisionError

        site.handler = broken
        raw, _ = connected(loop, site)
        raw.transport.write(GET + b"\r\n")
        await settle()
        assert raw.lost
        assert len(loop.failures) == 1
        loop.failures.clear()

    run(main)
