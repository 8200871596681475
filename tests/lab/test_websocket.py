"""WebSocket frames against the examples of RFC 6455 section 5.7, and in any chunks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import websocket
from lab.websocket import Frames


def masked(opcode: int, payload: bytes, mask: bytes = b"\x37\xfa\x21\x3d") -> bytes:
    plain = websocket.frame(opcode, payload)
    head = len(plain) - len(payload)
    size = bytes([plain[0], plain[1] | 0x80]) + plain[2:head]
    return size + mask + websocket.unmask(payload, mask)


def test_the_masked_hello_of_the_rfc() -> None:
    data = bytes.fromhex("818537fa213d7f9f4d5158")
    assert list(Frames().feed(data)) == [(websocket.TEXT, b"Hello")]


def test_an_unmasked_frame_of_a_client_is_an_error() -> None:
    with pytest.raises(websocket.FrameError):
        list(Frames().feed(bytes.fromhex("810548656c6c6f")))


def test_a_ping_is_answered_by_a_pong_with_its_payload() -> None:
    assert websocket.answer(websocket.PING, b"Hello") == bytes.fromhex("8a0548656c6c6f")
    assert websocket.answer(websocket.PONG, b"Hello") is None


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=70_000)), max_size=4),
    st.integers(1, 5000),
)
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    frames: list[tuple[int, bytes]], size: int
) -> None:
    data = b"".join(masked(opcode, payload) for opcode, payload in frames)
    parser = Frames()
    found = [
        frame
        for start in range(0, len(data), size)
        for frame in parser.feed(data[start : start + size])
    ]
    assert found == frames
