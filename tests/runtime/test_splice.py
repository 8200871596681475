"""Two streams coupled: bytes, back-pressure, ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runtime.http2 import ErrorCode, Http2Settings
from runtime.splice import Splice, answer
from runtime.streams import HIGH_WATER, Headers
from runtime.transports import Discard

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
    await asyncio.sleep(0.001)


class Chain:
    """visitor -- relay -- origin: two HTTP/2 pairs with a splice in between."""

    def __init__(self, loop: Any, pair: Any) -> None:
        self.front = pair(loop, take=self.take)
        self.back = pair(loop)
        self.ended: list[int | None] = []
        self.splices: list[Splice] = []
        self.answer_failures = False
        self.keep = 0

    def take(self, left: Any) -> Any:
        chain = self

        class Forward(Discard):
            def headers_received(self, headers: Headers, end: bool) -> None:
                right = chain.back.client.open(Discard())
                splice = Splice(
                    left,
                    right,
                    on_head=chain.on_head,
                    on_end=chain.on_end,
                    request_ended=end,
                    keep=chain.keep,
                )
                chain.splices.append(splice)
                right.send_headers(headers, end=end)

        return Forward()

    def on_head(self, headers: Headers) -> Headers | None:
        return [*headers, (b"via", b"relay")]

    def on_end(self, splice: Splice, code: int | None) -> None:
        self.ended.append(code)
        if code is not None and not splice.answered and not splice.left_lost:
            answer(splice.left, [(b":status", b"502")], b"bad gateway")

    @property
    def origin(self) -> Any:
        return self.back.site.last


@pytest.fixture
def chained(run: Any, http2_pair: Any) -> Any:
    def runner(body: Any) -> None:
        async def main(loop: Any) -> None:
            await body(Chain(loop, http2_pair))

        run(main)

    return runner


def test_everything_passes(chained: Any) -> None:
    async def body(chain: Chain) -> None:
        stream, user = chain.front.request(POST, end=False)
        stream.send_data(b"up")
        stream.send_trailers([(b"x-up", b"1")])
        await settle()
        assert chain.origin.body == b"up"
        assert chain.origin.events[-1] == ("trailers", [(b"x-up", b"1")])
        chain.origin.stream.send_headers([(b":status", b"103")])
        chain.origin.stream.send_headers(OK)
        chain.origin.stream.send_data(b"down")
        chain.origin.stream.send_trailers([(b"grpc-status", b"0")])
        await settle()
        assert user.events == [
            ("headers", b"103", False),
            ("headers", b"200", False),
            ("trailers", [(b"grpc-status", b"0")]),
        ]
        assert (b"via", b"relay") in user.headers
        assert user.body == b"down"
        assert chain.ended == [None]
        [splice] = chain.splices
        assert (splice.bytes_up, splice.bytes_down, splice.answered) == (2, 4, True)

    chained(body)


def test_a_stalled_visitor_costs_a_window_and_a_little(chained: Any) -> None:
    async def body(chain: Chain) -> None:
        _, user = chain.front.request(stingy=True)
        await settle()
        chain.origin.stream.send_headers(OK)
        chain.origin.stream.send_data(b"x" * 20_000_000)
        await settle()
        taken = 20_000_000 - chain.origin.stream.backlog
        in_relay = taken - len(user.body)
        assert len(user.body) == WINDOW
        assert in_relay <= WINDOW + HIGH_WATER + 65_536
        while len(user.body) < 20_000_000:
            before = len(user.body)
            user.pay()
            await settle()
            assert len(user.body) > before

    chained(body)


def test_a_stalled_origin_stops_the_visitor(chained: Any) -> None:
    async def body(chain: Chain) -> None:
        chain.back.site.stingy = True
        stream, _ = chain.front.request(POST, end=False)
        stream.send_data(b"x" * 20_000_000, end=True)
        await settle()
        in_relay = 20_000_000 - stream.backlog - len(chain.origin.body)
        assert len(chain.origin.body) == WINDOW
        assert in_relay <= WINDOW + HIGH_WATER + 65_536
        while len(chain.origin.body) < 20_000_000:
            before = len(chain.origin.body)
            chain.origin.pay()
            await settle()
            assert len(chain.origin.body) > before

    chained(body)


def test_64_stalled_visitors_and_a_quick_one(chained: Any) -> None:
    async def body(chain: Chain) -> None:
        for _ in range(64):
            chain.front.request(stingy=True)
        await settle()
        for exchange in chain.back.site.exchanges:
            exchange.stream.send_headers(OK)
            exchange.stream.send_data(b"x" * 3_000_000)
        await settle()
        _, user = chain.front.request()
        await settle()
        chain.origin.stream.send_headers(OK)
        chain.origin.stream.send_data(b"y" * 3_000_000, end=True)
        await settle()
        assert user.events[-1] == "end"

    chained(body)


def test_a_visitor_that_leaves_takes_the_request_along(chained: Any) -> None:
    async def body(chain: Chain) -> None:
        stream, user = chain.front.request()
        await settle()
        stream.reset(ErrorCode.CANCEL)
        await settle()
        assert chain.origin.events[-1] == ("lost", ErrorCode.CANCEL)
        assert chain.ended == [ErrorCode.CANCEL]
        assert user.events == []

    chained(body)


def test_an_origin_lost_before_its_head_is_the_owners_to_explain(chained: Any) -> None:
    async def body(chain: Chain) -> None:
        stream, user = chain.front.request(POST, end=False)
        stream.send_data(b"x" * 100)
        await settle()
        chain.origin.stream.reset(ErrorCode.REFUSED_STREAM)
        await settle()
        assert chain.ended == [ErrorCode.REFUSED_STREAM]
        assert user.body == b"bad gateway"
        assert user.events == [("headers", b"502", False), "end", ("lost", ErrorCode.NO_ERROR)]

    chained(body)


def test_an_origin_lost_after_its_head_cannot_be_hidden(chained: Any) -> None:
    async def body(chain: Chain) -> None:
        _, user = chain.front.request()
        await settle()
        chain.origin.stream.send_headers(OK)
        chain.origin.stream.send_data(b"half")
        await settle()
        chain.back.server.abort()
        await settle()
        assert user.events == [("headers", b"200", False), ("lost", ErrorCode.INTERNAL_ERROR)]
        assert chain.ended == [ErrorCode.INTERNAL_ERROR]

    chained(body)


def test_an_early_answer_is_whole_and_stops_the_upload(chained: Any) -> None:
    async def body(chain: Chain) -> None:
        stream, user = chain.front.request(POST, end=False)
        stream.send_data(b"x" * 100)
        await settle()
        chain.origin.stream.send_headers([(b":status", b"413")])
        chain.origin.stream.send_data(b"y" * 500_000, end=True)
        chain.origin.stream.reset(ErrorCode.NO_ERROR)
        await settle()
        assert len(user.body) == 500_000
        assert user.events[-2:] == ["end", ("lost", ErrorCode.NO_ERROR)]
        assert chain.ended == [None]

    chained(body)


def test_the_whole_tunnel_gone_ends_every_exchange_once(chained: Any) -> None:
    async def body(chain: Chain) -> None:
        users = [chain.front.request()[1] for _ in range(10)]
        await settle()
        chain.back.server.abort()
        await settle()
        assert chain.ended == [ErrorCode.INTERNAL_ERROR] * 10
        assert all(user.body == b"bad gateway" for user in users)
        assert chain.front.server.streams == 0

    chained(body)


def test_giving_up_answers_the_visitor(chained: Any) -> None:
    async def body(chain: Chain) -> None:
        _, user = chain.front.request()
        await settle()
        chain.splices[0].abandon(ErrorCode.CANCEL)
        await settle()
        assert chain.origin.events[-1] == ("lost", ErrorCode.CANCEL)
        assert user.events[0] == ("headers", b"502", False)
        assert chain.ended == [ErrorCode.CANCEL]

    chained(body)


def test_nothing_of_an_exchange_stays_behind(chained: Any) -> None:
    import gc
    import weakref

    async def body(chain: Chain) -> None:
        class Mark:
            pass

        marks = []
        for _ in range(3):
            chain.front.request()
            await settle()
            mark = Mark()
            marks.append(weakref.ref(mark))
            chain.splices[-1].on_head = lambda headers, mark=mark: headers
            del mark
            chain.origin.stream.send_headers(OK, end=True)
            await settle()
        gc.disable()
        try:
            chain.splices.clear()
            assert [mark() for mark in marks] == [None] * 3
        finally:
            gc.enable()

    chained(body)


def test_the_beginning_of_a_body_is_kept_while_all_of_it_fits(chained: Any) -> None:
    async def body(chain: Chain) -> None:
        chain.keep = 10
        stream, _ = chain.front.request(POST, end=False)
        await settle()
        [splice] = chain.splices
        assert splice.kept == ()
        for data in (b"abcd", b"efgh"):
            stream.send_data(data)
            await settle()
        assert splice.kept == (b"abcd", b"efgh")
        stream.send_data(b"ijk")
        await settle()
        assert splice.kept is None
        assert chain.origin.body == b"abcdefghijk"

    chained(body)


@pytest.mark.parametrize("what", ["many pieces", "trailers", "an answer"])
def test_what_is_kept_can_be_sent_again_or_is_not_there(chained: Any, what: str) -> None:
    async def body(chain: Chain) -> None:
        chain.keep = 1000
        stream, _ = chain.front.request(POST, end=False)
        await settle()
        [splice] = chain.splices
        stream.send_data(b"a")
        await settle()
        assert splice.kept == (b"a",)
        match what:
            case "many pieces":
                for _ in range(64):
                    stream.send_data(b"a")
                    await settle()
            case "trailers":
                stream.send_trailers([(b"x-up", b"1")])
            case "an answer":
                chain.origin.stream.send_headers(OK)
        await settle()
        assert splice.kept is None

    chained(body)


@pytest.mark.parametrize("ended", [True, False])
def test_a_body_is_sent_again_and_goes_on(chained: Any, ended: bool) -> None:
    async def body(chain: Chain) -> None:
        chain.keep = 1000
        stream, user = chain.front.request(POST, end=False)
        stream.send_data(b"first ")
        await settle()
        first = chain.splices[0]

        def on_end(splice: Splice, code: int | None) -> None:
            right = chain.back.client.open(Discard())
            again = Splice(
                splice.left, right, on_end=chain.on_end, request_ended=splice.up_complete, keep=1000
            )
            chain.splices.append(again)
            assert splice.kept is not None
            right.send_headers(POST)
            again.send_again(splice.kept)

        first.on_end = on_end
        if ended:
            stream.send_data(b"last", end=True)
        await settle()
        chain.origin.stream.reset(ErrorCode.INTERNAL_ERROR)
        await settle()
        if not ended:
            stream.send_data(b"last", end=True)
            await settle()
        assert len(chain.back.site.exchanges) == 2
        assert chain.origin.body == b"first last"
        assert chain.splices[1].bytes_up == 10
        chain.origin.stream.send_headers(OK, end=True)
        await settle()
        assert user.events == [("headers", b"200", True)]
        assert chain.ended == [None]

    chained(body)
