"""HTTP/2 frames into either engine, as a server that visitors reach and as the client of a connector."""

from __future__ import annotations

import struct
from itertools import pairwise

from wire.http2.engine import Engine, Headers, Http2Error, Http2Settings, Role
from wire.http2.engines import create
from wire.http2.meter import COSTS, FrameMeter

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD = b"\x82\x84\x87\x41\x01a"


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack("!BBL", kind, flags, stream) + payload


_SETTINGS = _frame(4, 0, 0)
SEEDS = (
    _SETTINGS + _frame(1, 5, 1, _HEAD) + _frame(3, 0, 1, b"\0\0\0\x08"),
    _SETTINGS + _frame(1, 4, 1, _HEAD) + _frame(0, 0, 1, b"hello") + _frame(0, 9, 1, b"\1x\0"),
    _SETTINGS + _frame(1, 1, 1, _HEAD[:2]) + _frame(9, 4, 1, _HEAD[2:]),
    _SETTINGS + _frame(6, 0, 0, b"12345678") + _frame(4, 1, 0) + _frame(8, 0, 0, b"\0\0\1\0"),
    _frame(4, 0, 0, b"\0\4\0\0\xff\xff\0\3\0\0\0\1") + _frame(7, 0, 0, b"\0" * 8 + b"bye"),
    _SETTINGS + _frame(2, 0, 1, b"\0\0\0\0\x10") + _frame(1, 0x25, 3, b"\0\0\0\0\x10" + _HEAD),
    _SETTINGS + _frame(1, 4, 1, b"\x88") + _frame(0, 1, 1, b"ok"),
)


class _Sink:
    """Answers every request, credits every byte."""

    engine: Engine

    def __init__(self) -> None:
        self.open: set[int] = set()

    def request_received(self, stream_id: int, headers: Headers, end: bool) -> None:
        assert stream_id % 2 == 1
        assert headers[0][0][:1] == b":"
        for name, value in headers:
            assert not {10, 13, 0} & set(value), "a line break came through"
            assert name == name.lower()
        self.open.add(stream_id)
        self.engine.send_response(stream_id, [(b":status", b"200")], False)
        self.engine.send_data(stream_id, b"x" * 100, True)

    def response_received(self, stream_id: int, headers: Headers, end: bool) -> None: ...

    def body_received(self, stream_id: int, data: bytes, end: bool) -> None:
        self.engine.acknowledge(stream_id, len(data))

    def trailers_received(self, stream_id: int, headers: Headers) -> None: ...

    def stream_closed(self, stream_id: int, code: int) -> None:
        self.open.discard(stream_id)

    def window_opened(self, stream_id: int) -> None: ...

    def settings_received(self) -> None: ...

    def ping_acknowledged(self, payload: bytes) -> None: ...

    def goaway_received(self, last_stream_id: int, code: int, debug: bytes) -> None: ...

    def connection_closed(self, code: int, debug: bytes) -> None: ...


def _pieces(data: bytes) -> list[bytes]:
    """As a socket may cut them."""
    step = data[-1] % 64 if data else 0
    return [data[at : at + step] for at in range(0, len(data), step)] if step else [data]


def _turns(meter: FrameMeter, data: bytes, opened: int) -> list[bytes]:
    """What a server gives its engine at a time."""
    ends = meter.read(data, opened)
    if ends is None:
        return [data]
    assert ends[-1] == len(data)
    turns = [data[a:b] for a, b in pairwise([0, *ends])]
    assert all(turns), "a turn in which nothing is done"
    return turns


def one(data: bytes) -> None:
    for name in ("ngh2", "h2"):
        for role in Role:
            sink = _Sink()
            engine = create(name, role, Http2Settings(max_header_list_size=4096), sink, sink)
            sink.engine = engine
            engine.start()
            try:
                if role is Role.SERVER:
                    meter = FrameMeter(100, 4, COSTS[name], lambda: 0.0)
                    for piece in _pieces(_PREFACE + data):
                        for turn in _turns(meter, piece, len(sink.open)):
                            engine.receive(turn)
                else:
                    engine.send_request(
                        [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/")], False
                    )
                    engine.data_to_send(65536)
                    engine.receive(data)
                while engine.data_to_send(65536):
                    pass
            except Http2Error:
                continue
