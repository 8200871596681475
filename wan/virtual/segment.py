"""What connections send each other: segments carry their bytes, and cost what they would on the wire."""

from __future__ import annotations

RECEIVE_BUFFER = 3 * 1024 * 1024


class Segment:
    """`key` names the flow as its sender does. `number`: all before it has arrived at the sender."""

    HEADER = 52  # IPv4, TCP, timestamps
    OPENING = 60  # with the options of a SYN
    # Defaults of the class: most segments set three or four of these.
    seq = 0
    data = b""
    fin = opens = reset = probe = False
    # One look for what is no part of an open conversation.
    rare = False
    # None only in a SYN that answers nothing.
    number: int | None = None
    window = RECEIVE_BUFFER
    reports: tuple[int, ...] = ()

    def __init__(self, key: bytes) -> None:
        self.key = key
