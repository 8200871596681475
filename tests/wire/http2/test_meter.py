"""Frames judged by their heads: what a flood may send, what honest clients send, and where the turns are."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.http2.engine import ErrorCode, Http2Error
from wire.http2.meter import COSTS, FrameMeter, income

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, _, PING, GOAWAY, WINDOW, CONTINUATION = range(10)


def frame(kind: int, stream: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack("!L", len(payload))[1:] + struct.pack("!BBL", kind, flags, stream) + payload


class Judge(FrameMeter):
    def __init__(self, burst: int, engine: str) -> None:
        self.earned = 0.0
        super().__init__(burst, 100, COSTS[engine], lambda: self.earned)


def meter(burst: int = 1000, engine: str = "ngh2") -> Judge:
    found = Judge(burst, engine)
    found.read(PREFACE + frame(SETTINGS), 0)
    return found


def survives(data: bytes, *, pieces: int = 1, streams: int = 0) -> bool:
    judge = meter()
    size = -(-len(data) // pieces)
    try:
        for at in range(0, len(data), size):
            judge.read(data[at : at + size], streams)
    except Http2Error as error:
        return error.code != ErrorCode.ENHANCE_YOUR_CALM
    return True


FLOODS = {
    "PING": (frame(PING, payload=bytes(8)), 199),
    "SETTINGS": (frame(SETTINGS), 199),
    "PRIORITY": (frame(PRIORITY, 1, bytes(5)), 497),
    "WINDOW_UPDATE": (frame(WINDOW, 0, b"\0\0\0\1"), 995),
    "credit of nothing": (frame(WINDOW, 0, bytes(4)), 49),
    "GOAWAY": (frame(GOAWAY, payload=bytes(8)), 19),
    "empty DATA": (frame(DATA, 1), 199),
    "DATA of a byte": (frame(DATA, 1, b"x"), 1990),
    "empty CONTINUATION": (frame(CONTINUATION, 1), 39),
    "an unknown kind": (frame(0x42), 199),
    "RST_STREAM": (frame(RST, 0, bytes(4)), 995),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_where_it_is_written(name: str) -> None:
    data, most = FLOODS[name]
    # A payload that comes in two reads is not looked at.
    for pieces in (1,) if name == "credit of nothing" else (1, 7):
        assert survives(data * most, pieces=pieces)
        assert not survives(data * (most + 1), pieces=pieces)


def test_requests_taken_back_at_once() -> None:
    both = [frame(HEADERS, n, b"x" * 60) + frame(RST, n, bytes(4)) for n in range(1, 999, 2)]
    assert survives(b"".join(both[:99]))
    assert not survives(b"".join(both[:180]))
    # Taken back later, as when a page is left, it counts as one.
    judge = meter()
    for opened in range(1, 160, 2):
        judge.read(frame(HEADERS, opened, b"x" * 60), 0)
    judge.read(b"".join(frame(RST, n, bytes(4)) for n in range(1, 160, 2)), 80)


def test_more_streams_than_allowed() -> None:
    heads = [frame(HEADERS, n, b"x" * 60) for n in range(1, 999, 2)]
    assert survives(b"".join(heads[:100]))
    assert survives(b"".join(heads[:120]))
    assert not survives(b"".join(heads[:200]))
    assert not survives(b"".join(heads[:100]), streams=100)


def begun(*numbers: int) -> bytes:
    return b"".join(frame(HEADERS, n, b"x" * 60) for n in numbers)


def test_streams_above_those_allowed_are_counted() -> None:
    judge = meter()
    judge.read(begun(*range(1, 205, 2)), 0)
    assert judge.above == 2
    # Room for one, and for another when one is reset in the same read; not for that before it.
    judge.read(begun(205, 207) + frame(RST, 1, bytes(4)) + begun(209, 211), 99)
    assert judge.above == 4
    # Trailers begin no stream; how many are open is for the engine to say, in every read anew.
    judge.read(begun(211), 100)
    judge.read(begun(213), 0)
    assert judge.above == 4
    # The one for which the bucket runs dry counts as well; at the rest of its read nobody looks.
    judge = meter()
    with pytest.raises(Http2Error):
        judge.read(begun(*range(1, 2000, 2)), 100)
    assert judge.above == 91


def test_what_we_send_and_time_pay_for_more() -> None:
    judge = meter()
    # A download of 100 MB, each frame of 16 KB acknowledged twice.
    for _ in range(6400):
        judge.earned += income(0, 1000, 0, 1, 16_384)
        judge.read(frame(WINDOW, 0, b"\0\0\x40\0") + frame(WINDOW, 1, b"\0\0\x40\0"), 1)
    # A message each way, every one acknowledged and answered.
    for _ in range(5000):
        judge.earned += income(0, 1000, 0, 1, 14)
        judge.read(frame(DATA, 1, b"hello") + frame(WINDOW, 1, b"\0\0\0\5") * 2, 1)
    # PING every second for ever.
    for _ in range(5000):
        judge.earned += income(1, 1000, 0, 0, 0)
        judge.read(frame(PING, payload=bytes(8)), 0)
    # Requests as fast as they are answered, however small the answers.
    for number in range(5000):
        judge.read(frame(HEADERS, 2 * number + 3, b"x" * 30, 5), 1)
        judge.earned += income(0, 1000, 1, 0, 0)
    # But nothing is saved up beyond a bucket.
    with pytest.raises(Http2Error):
        judge.read(frame(PING, payload=bytes(8)) * 400, 0)


def test_an_upload_pays_nothing() -> None:
    assert survives(frame(DATA, 1, bytes(16_384)) * 200, pieces=200)
    assert survives(frame(DATA, 1, bytes(64)) * 20_000)


def test_turns_end_between_frames() -> None:
    request = frame(HEADERS, 1, b"x" * 60)
    ends = meter().read(request * 40, 0)
    assert ends == [16 * len(request), 32 * len(request), 40 * len(request)]
    assert meter(engine="h2").read(request * 8, 0) == [4 * len(request), 8 * len(request)]
    assert meter().read(request, 0) is None


@given(
    st.lists(
        st.tuples(st.sampled_from([DATA, HEADERS, PRIORITY, 0x42]), st.integers(0, 200)),
        max_size=30,
    ),
    st.lists(st.integers(0, 4000), max_size=12),
)
def test_pieces_change_nothing(frames: list[tuple[int, int]], cuts: list[int]) -> None:
    """However the bytes come, every frame is seen once, and turns end at frames or with the read."""
    data = b"".join(frame(kind, 1, bytes(size)) for kind, size in frames)
    borders, at = {0}, 0
    for _, size in frames:
        at += 9 + size
        borders.add(at)
    whole, parts = meter(10_000), meter(10_000)
    whole.read(data, 0)
    at = 0
    for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        ends = parts.read(data[at:cut], 0) or [cut - at]
        assert ends[-1] == cut - at
        assert ends == sorted(ends)
        assert all(at + end in borders for end in ends[:-1])
        at = cut
    for judge in (whole, parts):
        with pytest.raises(Http2Error):
            judge.read(frame(PING, payload=bytes(8)) * 2001, 0)
