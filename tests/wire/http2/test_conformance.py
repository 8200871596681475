"""What every engine must do, run on every pairing of engines."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from wire.http2.engine import Engine, ErrorCode, Headers, Http2Error, Http2Settings

# The helpers live in conftest.py, which pytest imports by path.
REQUEST: Headers = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"app.example.com"),
    (b":path", b"/"),
]
POST: Headers = [(b":method", b"POST"), *REQUEST[1:]]
OK: Headers = [(b":status", b"200")]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return (
        len(payload).to_bytes(3, "big")
        + bytes((kind, flags))
        + stream_id.to_bytes(4, "big")
        + payload
    )


def frame_kinds(data: bytes) -> list[int]:
    kinds = []
    while data:
        kinds.append(data[3])
        data = data[9 + int.from_bytes(data[:3], "big") :]
    return kinds


SETTINGS = frame(4, 0, 0)
SETTINGS_ACK = frame(4, 1, 0)
# :method GET, :scheme https, :path / from the static table, :authority as a literal without indexing.
HEAD_BLOCK = b"\x82\x87\x84\x01\x0fapp.example.com"


def rest_after(engine: Engine, data: bytes) -> Http2Error | None:
    """Feed bytes; the error, if they were the end of it."""
    try:
        engine.receive(data)
        engine.data_to_send(1 << 20)
    except Http2Error as error:
        return error
    return None


def test_both_sides_learn_of_the_settings(pair: Any) -> None:
    assert pair.client_sink.events[0] == ("settings",)
    assert pair.server_sink.events[0] == ("settings",)
    assert pair.client.peer_max_streams == Http2Settings().max_concurrent_streams
    assert pair.server.peer_max_streams >= 2**31 - 1


def test_an_exchange_without_bodies_closes_once_on_both_sides(pair: Any) -> None:
    stream_id = pair.request()
    assert pair.server_sink.of("request") == [("request", stream_id, REQUEST, True)]
    pair.server.send_response(stream_id, OK, True)
    pair.pump()
    assert pair.client_sink.of("response", "closed") == [
        ("response", stream_id, OK, True),
        ("closed", stream_id, ErrorCode.NO_ERROR),
    ]
    assert pair.server_sink.of("closed") == [("closed", stream_id, ErrorCode.NO_ERROR)]


def test_bodies_and_trailers_both_ways(pair: Any) -> None:
    up, down = b"u" * 200_000, b"d" * 300_000
    stream_id = pair.client.send_request(POST, False)
    pair.client.send_data(stream_id, up[:1], False)
    pair.client.send_data(stream_id, up[1:], False)
    pair.client.send_trailers(stream_id, [(b"x-sum", b"1")])
    pair.pump()
    pair.server.send_response(stream_id, OK, False)
    pair.server.send_data(stream_id, down, False)
    pair.server.send_trailers(stream_id, [(b"grpc-status", b"0")])
    pair.pump()
    assert pair.server_sink.bodies[stream_id] == up
    assert pair.client_sink.bodies[stream_id] == down
    assert pair.server_sink.of("trailers") == [("trailers", stream_id, [(b"x-sum", b"1")])]
    assert pair.client_sink.of("trailers") == [("trailers", stream_id, [(b"grpc-status", b"0")])]
    assert pair.client_sink.of("closed") == [("closed", stream_id, ErrorCode.NO_ERROR)]


def test_the_end_may_come_alone(pair: Any) -> None:
    stream_id = pair.request(POST, end=False)
    pair.client.send_data(stream_id, b"", True)
    pair.pump()
    assert pair.server_sink.of("body ended") == [("body ended", stream_id, 0)]


def test_informational_answers_come_first(pair: Any) -> None:
    stream_id = pair.request()
    early: Headers = [(b":status", b"103"), (b"link", b"</a>")]
    pair.server.send_informational(stream_id, early)
    pair.server.send_response(stream_id, OK, True)
    pair.pump()
    assert pair.client_sink.of("response") == [
        ("response", stream_id, early, False),
        ("response", stream_id, OK, True),
    ]


@pytest.mark.parametrize("by", ["client", "server"])
def test_a_reset_reaches_the_other_side_with_its_code(pair: Any, by: str) -> None:
    stream_id = pair.request(POST, end=False)
    getattr(pair, by).reset(stream_id, ErrorCode.CANCEL)
    pair.pump()
    assert pair.client_sink.of("closed") == [("closed", stream_id, ErrorCode.CANCEL)]
    assert pair.server_sink.of("closed") == [("closed", stream_id, ErrorCode.CANCEL)]


def test_an_early_answer_then_reset_without_error_is_delivered_whole(pair: Any) -> None:
    stream_id = pair.request(POST, end=False)
    pair.server.send_response(stream_id, OK, False)
    pair.server.send_data(stream_id, b"enough", True)
    pair.pump()
    pair.server.reset(stream_id, ErrorCode.NO_ERROR)
    pair.pump()
    assert pair.client_sink.bodies[stream_id] == b"enough"
    assert pair.client_sink.of("body ended", "closed") == [
        ("body ended", stream_id, 6),
        ("closed", stream_id, ErrorCode.NO_ERROR),
    ]


def test_calls_for_a_stream_that_is_gone_are_ignored(pair: Any) -> None:
    stream_id = pair.request()
    pair.server.reset(stream_id, ErrorCode.CANCEL)
    pair.pump()
    for engine in (pair.client, pair.server):
        engine.send_data(stream_id, b"late", False)
        engine.send_trailers(stream_id, [(b"late", b"1")])
        engine.reset(stream_id, ErrorCode.CANCEL)
        assert engine.backlog(stream_id) == 0
    pair.server.send_response(stream_id, OK, False)
    pair.server.send_informational(stream_id, [(b":status", b"103")])
    pair.pump()
    assert pair.request() > stream_id


def test_a_stalled_stream_stops_at_its_window(pair: Any) -> None:
    pair.client_sink.stingy = True
    stream_id = pair.request()
    pair.server.send_response(stream_id, OK, False)
    pair.server.send_data(stream_id, b"x" * 3_000_000, False)
    pair.pump()
    window = Http2Settings().stream_window
    assert len(pair.client_sink.bodies[stream_id]) == window
    assert pair.server.backlog(stream_id) == 3_000_000 - window
    pair.client.acknowledge(stream_id, window)
    pair.pump()
    assert len(pair.client_sink.bodies[stream_id]) == 2 * window


def test_stalled_streams_do_not_stop_the_connection(pair: Any) -> None:
    """64 windows of withheld credit, and the 65th stream gets all it wants."""
    pair.client_sink.stingy = True
    body = b"x" * Http2Settings().stream_window
    for _ in range(64):
        stream_id = pair.request()
        pair.server.send_response(stream_id, OK, False)
        pair.server.send_data(stream_id, body, False)
        pair.pump()
    assert sum(pair.client_sink.unacknowledged.values()) == 64 * len(body)
    pair.client_sink.stingy = False
    stream_id = pair.request()
    pair.server.send_response(stream_id, OK, False)
    pair.server.send_data(stream_id, body * 3, True)
    pair.pump()
    assert pair.client_sink.of("body ended") == [("body ended", stream_id, 3 * len(body))]


def test_abandoned_streams_do_not_leak_the_connections_window(pair: Any) -> None:
    """More than 2 GB through streams that end with their bytes never credited by the user of a stream."""
    pair.client_sink.stingy = True
    window = Http2Settings().stream_window
    rounds = 40
    for _ in range(rounds):
        stream_id = pair.request()
        pair.server.send_response(stream_id, OK, False)
        pair.server.send_data(stream_id, b"x" * (window // 2), False)
        pair.pump()
        pair.client.acknowledge(stream_id, pair.client_sink.unacknowledged.pop(stream_id))
        pair.client.reset(stream_id, ErrorCode.CANCEL)
        pair.pump()
    pair.client_sink.stingy = False
    stream_id = pair.request()
    pair.server.send_response(stream_id, OK, False)
    pair.server.send_data(stream_id, b"y" * 17_000_000, True)
    pair.pump()
    assert pair.client_sink.of("body ended") == [("body ended", stream_id, 17_000_000)]


def test_what_is_asked_for_is_what_is_given(pair: Any) -> None:
    stream_id = pair.request()
    pair.server.send_response(stream_id, OK, False)
    pair.server.send_data(stream_id, b"x" * 100_000, True)
    first = pair.server.data_to_send(1000)
    assert len(first) == 1000
    pair.client.receive(first)
    pair.pump()
    assert pair.client_sink.of("body ended") == [("body ended", stream_id, 100_000)]


def test_pings_come_back(pair: Any) -> None:
    pair.client.ping(b"12345678")
    pair.server.ping(b"abcdefgh")
    pair.pump()
    assert ("pong", b"12345678") in pair.client_sink.events
    assert ("pong", b"abcdefgh") in pair.server_sink.events


def test_goaway_lets_open_streams_finish_and_forbids_new_ones(pair: Any) -> None:
    stream_id = pair.request()
    pair.server.goaway(ErrorCode.NO_ERROR, b"restart")
    pair.pump()
    assert ("goaway", stream_id, ErrorCode.NO_ERROR, b"restart") in pair.client_sink.events
    assert not pair.client.can_open
    assert pair.client.send_request(REQUEST, True) == 0
    pair.server.send_response(stream_id, OK, False)
    pair.server.send_data(stream_id, b"still here", True)
    pair.pump()
    assert pair.client_sink.bodies[stream_id] == b"still here"


def test_a_shutdown_notice_still_serves_what_is_on_its_way(pair: Any) -> None:
    pair.server.shutdown_notice()
    stream_id = pair.client.send_request(REQUEST, True)  # crosses the notice
    pair.pump()
    assert pair.server_sink.of("request") == [("request", stream_id, REQUEST, True)]
    assert not pair.client.can_open
    pair.server.goaway(ErrorCode.NO_ERROR)
    pair.server.send_response(stream_id, OK, True)
    pair.pump()
    assert pair.client_sink.of("response") == [("response", stream_id, OK, True)]


def test_streams_above_the_goaway_are_refused(engines: Any, pair: Any) -> None:
    first = pair.request()
    second = pair.client.send_request(REQUEST, True)
    third = pair.client.send_request(REQUEST, True)
    pair.client.data_to_send(1 << 20)  # lost on the way
    pair.client.receive(frame(7, 0, 0, struct.pack("!LL", first, 0)))
    assert sorted(e for e in pair.client_sink.of("closed") if e[1] in (second, third)) == [
        ("closed", second, ErrorCode.REFUSED_STREAM),
        ("closed", third, ErrorCode.REFUSED_STREAM),
    ]


def test_terminate_says_its_code(pair: Any) -> None:
    pair.server.terminate(ErrorCode.ENHANCE_YOUR_CALM)
    pair.pump()
    assert any(event[2] == ErrorCode.ENHANCE_YOUR_CALM for event in pair.client_sink.of("goaway"))


def test_nothing_is_heard_after_terminate(pair: Any) -> None:
    stream_id = pair.request()
    pair.server.terminate(ErrorCode.NO_ERROR)
    pair.server.data_to_send(1 << 20)
    pair.server.send_response(stream_id, OK, True)
    pair.server.send_data(stream_id, b"x", True)
    pair.server.ping(b"12345678")
    pair.server.reset(stream_id, ErrorCode.CANCEL)
    assert pair.server.data_to_send(1 << 20) == b""
    assert pair.server.send_request(REQUEST, True) == 0


# A peer that does not behave


def opened(lone: Any) -> Any:
    assert lone.feed(PREFACE + SETTINGS) is None
    return lone


def test_a_server_refuses_what_is_no_http2(lone_server: Any) -> None:
    assert lone_server.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") is not None


def test_a_client_refuses_what_is_no_http2(lone_client: Any) -> None:
    assert lone_client.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10) is not None


def test_bytes_may_come_one_by_one(lone_server: Any) -> None:
    for byte in PREFACE + SETTINGS + frame(1, 5, 1, HEAD_BLOCK):
        assert lone_server.feed(bytes((byte,))) is None
    [(_, stream_id, headers, end)] = lone_server.sink.of("request")
    assert (stream_id, sorted(headers), end) == (1, sorted(REQUEST), True)


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("ping", frame(6, 0, 0, b"12345678")),
        ("settings", SETTINGS),
        ("empty data", frame(0, 0, 1)),
        ("rapid reset", b""),
    ],
)
def test_floods_are_cut(lone_server: Any, name: str, frames: bytes) -> None:
    opened(lone_server)
    assert lone_server.feed(frame(1, 4, 1, HEAD_BLOCK)) is None
    if name == "rapid reset":
        flood = b"".join(
            frame(1, 5, 2 * i + 3, HEAD_BLOCK) + frame(3, 0, 2 * i + 3, b"\0\0\0\x08")
            for i in range(20_000)
        )
    else:
        flood = frames * 20_000
    cut = None
    while flood and cut is None:
        cut, flood = lone_server.feed(flood[:65_536]), flood[65_536:]
    # libnghttp2 answers rapid resets with a GOAWAY and ignores what comes after it.
    assert cut is not None or 7 in frame_kinds(lone_server.said)
    assert len(lone_server.sink.of("request")) < 2000


def test_requests_taken_back_in_one_read_are_nobodys_work(lone_server: Any) -> None:
    opened(lone_server)
    taken_back = b"".join(
        frame(1, 4, stream, HEAD_BLOCK)
        + frame(0, 0, stream, b"hello")
        + frame(3, 0, stream, b"\0\0\0\x08")
        for stream in range(1, 61, 2)
    )
    kept = frame(1, 5, 61, HEAD_BLOCK)
    assert lone_server.feed(taken_back + kept) is None
    assert len(lone_server.sink.of("request")) == 1
    # The next one, and the connection's window, are as before.
    assert lone_server.feed(frame(1, 5, 63, HEAD_BLOCK)) is None
    assert len(lone_server.sink.of("request")) == 2


def test_ordinary_pings_are_no_flood(lone_server: Any) -> None:
    opened(lone_server)
    for _ in range(2000):
        assert lone_server.feed(frame(6, 0, 0, b"12345678")) is None


def test_too_many_continuations_are_cut(lone_server: Any) -> None:
    opened(lone_server)
    flood = frame(1, 0, 1, HEAD_BLOCK) + frame(9, 0, 1) * 20_000
    assert lone_server.feed(flood) is not None


def test_a_frame_too_large_is_cut(lone_server: Any) -> None:
    opened(lone_server)
    error = lone_server.feed(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01")
    assert error is not None


def test_a_header_list_far_too_large_is_cut(lone_server: Any) -> None:
    """A few bytes that unfold into megabytes: one large entry put in the table, then named thousands of times."""
    opened(lone_server)
    entry = (
        b"\x40\x01a\x7f" + bytes((0x80 | ((4000 - 127) & 0x7F), (4000 - 127) >> 7)) + b"x" * 4000
    )
    block = HEAD_BLOCK + entry + b"\xbe" * 4000
    assert lone_server.feed(frame(1, 5, 1, block)) is not None


@pytest.mark.parametrize(
    "block",
    [
        HEAD_BLOCK + b"\x00\x01X\x01a",
        HEAD_BLOCK + b"\x00\x0aconnection\x05close",
        b"\x82\x87",
        HEAD_BLOCK + b"\x00\x01a\x03b\r\n",
    ],
    ids=["upper case", "connection", "no path", "line break"],
)
def test_malformed_heads_never_become_requests(lone_server: Any, block: bytes) -> None:
    opened(lone_server)
    lone_server.feed(frame(1, 5, 1, block))
    assert lone_server.sink.of("request") == []


def test_push_is_refused(lone_client: Any) -> None:
    lone_client.feed(SETTINGS + SETTINGS_ACK)
    lone_client.engine.send_request(REQUEST, True)
    lone_client.feed(b"")
    promise = frame(5, 4, 1, (2).to_bytes(4, "big") + HEAD_BLOCK)
    assert lone_client.feed(promise) is not None


@pytest.mark.parametrize("stream_id", [2, 3])
def test_a_server_asks_a_client_for_nothing(lone_client: Any, stream_id: int) -> None:
    lone_client.feed(SETTINGS + SETTINGS_ACK)
    lone_client.engine.send_request(REQUEST, True)
    assert lone_client.feed(frame(1, 5, stream_id, HEAD_BLOCK)) is not None
    assert lone_client.sink.of("request") == []


def test_a_peer_that_names_no_limit_has_none(lone_client: Any) -> None:
    lone_client.feed(SETTINGS)
    assert lone_client.engine.peer_max_streams >= 2**31 - 1


def test_a_peers_limit_is_known(lone_client: Any) -> None:
    lone_client.feed(frame(4, 0, 0, struct.pack("!HL", 3, 7)))
    assert lone_client.engine.peer_max_streams == 7


def test_small_windows_of_the_peer_are_obeyed(lone_client: Any) -> None:
    lone_client.feed(frame(4, 0, 0, struct.pack("!HL", 4, 10)))
    stream_id = lone_client.engine.send_request(POST, False)
    lone_client.engine.send_data(stream_id, b"x" * 25, True)
    lone_client.feed(b"")
    assert lone_client.engine.backlog(stream_id) == 15
    lone_client.feed(frame(8, 0, stream_id, struct.pack("!L", 100)))
    assert lone_client.engine.backlog(stream_id) == 0
    assert lone_client.said.endswith(frame(0, 1, stream_id, b"x" * 15))


def test_padding_costs_nobody_credit(lone_client: Any) -> None:
    lone_client.feed(SETTINGS)
    stream_id = lone_client.engine.send_request(REQUEST, True)
    lone_client.feed(b"")
    lone_client.feed(frame(1, 4, stream_id, b"\x88"))
    padded = frame(0, 8, stream_id, b"\xff" + b"d" + bytes(255))
    for _ in range(20_000):
        assert lone_client.feed(padded) is None
    assert len(lone_client.sink.bodies[stream_id]) == 20_000


def test_settings_that_could_stall_a_connection_are_refused() -> None:
    Http2Settings(max_concurrent_streams=1024, stream_window=2**20)
    for wrong in (
        {"max_concurrent_streams": 1025, "stream_window": 2**20},
        {"max_concurrent_streams": 0},
        {"stream_window": 100},
        {"max_frame_size": 100},
    ):
        with pytest.raises(ValueError):
            Http2Settings(**wrong)
