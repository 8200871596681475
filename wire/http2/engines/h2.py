"""The h2 package as an engine: pure Python, some fifteen times the CPU of libnghttp2, and a second opinion in tests.

h2 keeps no bodies: they are queued here, behind both flow-control windows, and framed in turns. What else h2 does not
do is done on the frames before it sees them, since all of it is in the nine bytes of a frame's head:

    GOAWAY   h2 takes it for the end of everything and refuses the frames of streams that are still open; so it never
             sees one, neither the peer's nor ours
    floods   h2 takes any number of PING, SETTINGS, empty DATA and RST_STREAM frames; here they are counted and cut.
             Without a clock: acknowledgements owed may not pile up between two writes, and resets may not outnumber
             completed streams, each by more than `flood_burst`. (CONTINUATION floods h2 stops by itself.)
"""

from __future__ import annotations

import re
import struct
from collections import deque
from contextlib import suppress

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from wire.http2.engine import ErrorCode, Headers, Http2Error, Http2Settings, Role, Sink, StreamSink
from wire.http2.engines.fields import FieldDecoder, FieldEncoder, fit_for_a_request_line

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0x0, 0x3, 0x4, 0x6, 0x7
_ACK = _END_STREAM = 0x1
_SUSPICIOUS = 16
_CONNECTION_WINDOW = 16 * 1024 * 1024
_is_status = re.compile(rb"[1-9][0-9][0-9]").fullmatch
_GONE = (h2.exceptions.ProtocolError, KeyError)


class _Stream:
    """What we know of a stream that h2 does not tell."""

    __slots__ = ("chunks", "done", "ended", "offset", "owed", "peer_ended", "queued", "trailers")

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.offset = 0
        self.queued = 0
        self.trailers: Headers | None = None
        # Our direction: nothing more will be queued.
        self.ended = False
        # ... and all of it was framed.
        self.done = False
        self.peer_ended = False
        # Credit the user gave back that was not worth a frame yet.
        self.owed = 0


class H2Engine:
    """See `wire.http2.engine.Engine`."""

    def __init__(
        self, role: Role, settings: Http2Settings, sink: Sink, streams: StreamSink
    ) -> None:
        self._settings = settings
        self._sink = sink
        self._stream_sink = streams
        self._role = role
        self._connection = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=role is Role.CLIENT,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._connection.encoder = FieldEncoder()
        self._connection.decoder = FieldDecoder(settings.max_header_count * 4)
        self._streams: dict[int, _Stream] = {}
        # Streams with something to send that the windows may allow, in turn.
        self._sendable: dict[int, _Stream] = {}
        # Ends the sink has not heard of.
        self._closed: list[tuple[int, int]] = []
        self._out = bytearray()
        self._in = bytearray()
        self._preface_missing = role is Role.SERVER
        self._connection_owed = 0
        self._unanswered = 0
        self._resets = 0
        self._last_peer_stream = 0
        self._highest = 0  # of the streams that we opened
        self._peer_goaway = False
        self._our_goaway = False
        self._over = False
        self._reported_over = False
        self._dispatching = False
        self.peer_max_streams = 100

    def start(self) -> None:
        ours = self._settings
        codes = h2.settings.SettingCodes
        values: dict[h2.settings.SettingCodes, int] = {
            codes.HEADER_TABLE_SIZE: 4096,
            codes.INITIAL_WINDOW_SIZE: ours.stream_window,
            codes.MAX_FRAME_SIZE: ours.max_frame_size,
            codes.MAX_HEADER_LIST_SIZE: ours.max_header_list_size,
            codes.ENABLE_PUSH: 0,
        }
        if self._role is Role.SERVER:
            values[codes.MAX_CONCURRENT_STREAMS] = ours.max_concurrent_streams
            if ours.enable_connect_protocol:
                values[codes.ENABLE_CONNECT_PROTOCOL] = 1
        self._connection.local_settings = h2.settings.Settings(
            client=self._role is Role.CLIENT, initial_values=values
        )
        # Enforced above what is advertised, so that the driver can answer 431 to what lies between.
        self._connection.decoder.max_header_list_size = ours.max_header_list_size * 4
        self._connection.initiate_connection()
        self._connection.increment_flow_control_window(_CONNECTION_WINDOW - 65_535)

    # What comes in

    def receive(self, data: bytes | memoryview) -> None:
        if self._over:
            return
        self._in += data
        try:
            self._take_frames()
        except h2.exceptions.ProtocolError as error:
            if isinstance(error, _Cut):
                self._say_goaway(self._last_peer_stream, int(error.error_code), b"")
            else:
                self._out += self._connection.data_to_send()  # h2 has said it already
            self._over = True
            self._sendable.clear()
            self._dispatch_closed()
            raise Http2Error(int(error.error_code), str(error) or type(error).__name__) from error
        self._dispatch_closed()

    def _take_frames(self) -> None:
        """Feed h2 what is complete, less what it must not see."""
        buffer, start, position = self._in, 0, 0
        if self._preface_missing:
            if not _PREFACE.startswith(bytes(buffer[: len(_PREFACE)])):
                raise _Cut("this is not HTTP/2")
            if len(buffer) < len(_PREFACE):
                return
            position = len(_PREFACE)
            self._preface_missing = False
        while len(buffer) - position >= 9:
            length = int.from_bytes(buffer[position : position + 3], "big")
            kind, flags = buffer[position + 3], buffer[position + 4]
            end = position + 9 + length
            if length > self._settings.max_frame_size:
                # Here and not in h2, which waits for all of it before it looks.
                raise _Cut("the frame is too large", ErrorCode.FRAME_SIZE_ERROR)
            if len(buffer) < end:
                break
            self._count(kind, flags, length)
            if kind in (_GOAWAY, _RST_STREAM):
                self._check_stream(kind, int.from_bytes(buffer[position + 5 : position + 9], "big"))
            if kind == _GOAWAY and length >= 8:
                self._feed(bytes(buffer[start:position]))
                self._goaway_received(bytes(buffer[position + 9 : end]))
                start = end
            position = end
        rest = bytes(buffer[start:position])
        del buffer[:position]
        self._feed(rest)

    def _feed(self, data: bytes) -> None:
        if not data:
            return
        events = self._connection.receive_data(data)
        over: set[int | None] = set()
        if len(events) > _SUSPICIOUS and self._role is Role.SERVER:
            over = {e.stream_id for e in events if isinstance(e, h2.events.StreamReset)}
        for event in events:
            if isinstance(event, h2.events.RequestReceived) and event.stream_id in over:
                # Asked and taken back in one read: see `_without_stillborn` of the other engine.
                assert event.stream_id is not None
                self._last_peer_stream = event.stream_id
            else:
                self._handle(event)

    def _count(self, kind: int, flags: int, length: int) -> None:
        suspicious = (
            (kind in (_PING, _SETTINGS) and not flags & _ACK)
            or (kind == _DATA and not length and not flags & _END_STREAM)
            or kind == 0x2
            or kind > 0x9  # unknown: ignored, at fifteen times what libnghttp2 needs for that
        )
        if suspicious:
            self._unanswered += 1
        elif kind == _RST_STREAM:
            self._resets += 1
        ours = self._settings
        if self._unanswered > ours.flood_burst or self._resets > ours.reset_burst:
            raise _Cut("frames that cost nothing come too often", ErrorCode.ENHANCE_YOUR_CALM)

    def _check_stream(self, kind: int, stream_id: int) -> None:
        """What h2 lets pass: a GOAWAY of a stream, and the end of a stream that we have not opened."""
        stream_id &= 2**31 - 1
        if kind == _GOAWAY and stream_id:
            raise _Cut("a GOAWAY on a stream")
        ours = self._role is Role.CLIENT
        if kind == _RST_STREAM and ours and (stream_id > self._highest or not stream_id % 2):
            raise _Cut("RST_STREAM on an idle stream")

    def _handle(self, event: h2.events.Event) -> None:
        streams = self._stream_sink
        match event:
            case h2.events.DataReceived():
                self._data_received(event)
            case h2.events.RequestReceived():
                self._request_received(event)
            case h2.events.InformationalResponseReceived():
                assert event.stream_id is not None
                assert event.headers is not None
                streams.response_received(event.stream_id, _plain(event.headers), False)
            case h2.events.ResponseReceived():
                assert event.stream_id is not None
                assert event.headers is not None
                end = event.stream_ended is not None
                headers = _plain(event.headers)
                if not any(name == b":status" and _is_status(value) for name, value in headers):
                    self.reset(event.stream_id, ErrorCode.PROTOCOL_ERROR)
                    return
                self._peer_ended(event.stream_id, end)
                streams.response_received(event.stream_id, headers, end)
            case h2.events.TrailersReceived():
                assert event.stream_id is not None
                assert event.headers is not None
                self._peer_ended(event.stream_id, True)
                streams.trailers_received(event.stream_id, _plain(event.headers))
            case h2.events.StreamEnded():
                assert event.stream_id is not None
                self._close_if_done(event.stream_id)
            case h2.events.StreamReset():
                assert event.stream_id is not None
                self._gone(event.stream_id, int(event.error_code or 0))
                self._dispatch_closed()
            case h2.events.WindowUpdated():
                self._window_opened(event.stream_id or 0)
            case h2.events.RemoteSettingsChanged():
                self.peer_max_streams = self._connection.remote_settings.max_concurrent_streams
                self._window_opened(0)
                self._sink.settings_received()
            case h2.events.PingAckReceived():
                assert event.ping_data is not None
                self._sink.ping_acknowledged(event.ping_data)
            case _:
                pass

    def _request_received(self, event: h2.events.RequestReceived) -> None:
        assert event.stream_id is not None
        assert event.headers is not None
        if self._role is Role.CLIENT:
            # RFC 9113, section 5.1.1: a server opens no stream but by a promise. h2 takes one for a request.
            raise _Cut("a request from a server")
        self._last_peer_stream = event.stream_id
        stream = self._streams[event.stream_id] = _Stream()
        if self._our_goaway:
            self.reset(event.stream_id, ErrorCode.REFUSED_STREAM)
            return
        stream.peer_ended = event.stream_ended is not None
        headers = _plain(event.headers)
        if not fit_for_a_request_line(headers):
            self.reset(event.stream_id, ErrorCode.PROTOCOL_ERROR)
            return
        self._stream_sink.request_received(event.stream_id, headers, stream.peer_ended)

    def _data_received(self, event: h2.events.DataReceived) -> None:
        assert event.stream_id is not None
        size, padded = len(event.data or b""), event.flow_controlled_length or 0
        # The connection's credit at once, whoever stalls; and padding is nobody's to give back.
        self._connection_owed += padded
        if self._connection_owed > _CONNECTION_WINDOW // 2:
            self._connection.increment_flow_control_window(self._connection_owed)
            self._connection_owed = 0
        if padded > size:
            self.acknowledge(event.stream_id, padded - size)
        if size:
            self._unanswered = 0
        end = event.stream_ended is not None
        self._peer_ended(event.stream_id, end)
        if size or end:
            self._stream_sink.body_received(event.stream_id, event.data or b"", end)

    def _goaway_received(self, payload: bytes) -> None:
        last, code = struct.unpack_from("!LL", payload)
        last &= 2**31 - 1
        self._peer_goaway = True
        if self._role is Role.CLIENT:
            for stream_id in sorted(self._streams):
                if stream_id > last:
                    self._gone(stream_id, ErrorCode.REFUSED_STREAM)
        self._dispatch_closed()
        self._sink.goaway_received(last, code, payload[8:])
        if code != ErrorCode.NO_ERROR:
            self._report_over(code, payload[8:])

    def _peer_ended(self, stream_id: int, end: bool) -> None:
        stream = self._streams.get(stream_id)
        if end and stream is not None:
            stream.peer_ended = True

    def _window_opened(self, stream_id: int) -> None:
        if stream_id:
            stream = self._streams.get(stream_id)
            if stream is not None and stream.queued:
                self._sendable[stream_id] = stream
        else:
            for each, stream in self._streams.items():
                if stream.queued:
                    self._sendable[each] = stream
        self._stream_sink.window_opened(stream_id)

    # What goes out

    @property
    def want_write(self) -> bool:
        return True

    def data_to_send(self, limit: int) -> bytes:
        if not self._over:
            self._out += self._connection.data_to_send()
        while len(self._out) < limit and self._sendable:
            for stream_id, stream in list(self._sendable.items()):
                if not self._send_some(stream_id, stream):
                    self._sendable.pop(stream_id, None)
            self._out += self._connection.data_to_send()
        self._unanswered = 0
        data = bytes(self._out[:limit])
        del self._out[:limit]
        self._dispatch_closed()
        return data

    def _send_some(self, stream_id: int, stream: _Stream) -> bool:
        """One frame of a stream's body, or its end. False when there is no more to do for now."""
        connection = self._connection
        try:
            if stream.queued:
                window = connection.local_flow_control_window(stream_id)
                room = min(window, connection.max_outbound_frame_size)
                if room <= 0:
                    return False
                chunk = self._take(stream, room)
                last = stream.ended and not stream.queued and stream.trailers is None
                connection.send_data(stream_id, chunk, end_stream=last)
                if not last:
                    return bool(stream.queued or stream.ended)
            elif stream.ended and stream.trailers is not None:
                connection.send_headers(stream_id, stream.trailers, end_stream=True)
            elif stream.ended:
                connection.end_stream(stream_id)
        except _GONE:
            return False
        if stream.ended:
            self._local_done(stream_id, stream)
        return False

    @staticmethod
    def _take(stream: _Stream, room: int) -> bytes:
        chunk = stream.chunks[0]
        piece = chunk[stream.offset : stream.offset + room]
        stream.offset += len(piece)
        stream.queued -= len(piece)
        if stream.offset == len(chunk):
            stream.chunks.popleft()
            stream.offset = 0
        return piece

    def send_request(self, headers: Headers, end: bool) -> int:
        if not self.can_open:
            return 0
        try:
            stream_id = self._connection.get_next_available_stream_id()
            self._connection.send_headers(stream_id, headers, end_stream=end)
        except h2.exceptions.ProtocolError:
            return 0
        stream = self._streams[stream_id] = _Stream()
        self._highest = stream_id
        if end:
            self._local_done(stream_id, stream)
        return stream_id

    def send_response(self, stream_id: int, headers: Headers, end: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        with suppress(*_GONE):
            self._connection.send_headers(stream_id, headers, end_stream=end)
            if end:
                self._local_done(stream_id, stream)

    def send_informational(self, stream_id: int, headers: Headers) -> None:
        with suppress(*_GONE):
            self._connection.send_headers(stream_id, headers)

    def send_data(self, stream_id: int, data: bytes, end: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if data:
            stream.chunks.append(data)
            stream.queued += len(data)
        stream.ended = end
        self._sendable[stream_id] = stream

    def send_trailers(self, stream_id: int, headers: Headers) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream.trailers = headers
        stream.ended = True
        self._sendable[stream_id] = stream

    def reset(self, stream_id: int, code: int) -> None:
        if stream_id not in self._streams:
            return
        with suppress(*_GONE):
            self._connection.reset_stream(stream_id, code)
        self._gone(stream_id, code)

    def backlog(self, stream_id: int) -> int:
        stream = self._streams.get(stream_id)
        return stream.queued if stream is not None else 0

    def acknowledge(self, stream_id: int, size: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or stream.peer_ended:
            return
        stream.owed += size
        # Half a window at a time, as libnghttp2 does: a frame per chunk would be a frame for every frame.
        if stream.owed >= self._settings.stream_window // 2:
            with suppress(*_GONE):
                self._connection.increment_flow_control_window(stream.owed, stream_id)
            stream.owed = 0

    def ping(self, payload: bytes) -> None:
        with suppress(*_GONE):
            self._connection.ping(payload)

    def shutdown_notice(self) -> None:
        self._say_goaway(2**31 - 1, ErrorCode.NO_ERROR, b"")

    def goaway(self, code: int, debug: bytes = b"") -> None:
        self._our_goaway = True
        self._say_goaway(self._last_peer_stream, code, debug)

    def terminate(self, code: int) -> None:
        if not self._over:
            self.goaway(code)
        self._over = True
        self._sendable.clear()

    def _say_goaway(self, last_stream_id: int, code: int, debug: bytes) -> None:
        if self._over:
            return
        # Whole frames only are in what h2 gives, so a frame of our own may follow.
        self._out += self._connection.data_to_send()
        head = (8 + len(debug)).to_bytes(3, "big") + bytes((_GOAWAY, 0, 0, 0, 0, 0))
        self._out += head + struct.pack("!LL", last_stream_id, code) + debug

    @property
    def can_open(self) -> bool:
        return not self._peer_goaway and not self._our_goaway and not self._over

    # Ends

    def _local_done(self, stream_id: int, stream: _Stream) -> None:
        stream.done = True
        self._close_if_done(stream_id)

    def _close_if_done(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None and stream.done and stream.peer_ended:
            self._resets = max(0, self._resets - 1)
            self._gone(stream_id, ErrorCode.NO_ERROR)

    def _gone(self, stream_id: int, code: int) -> None:
        if self._streams.pop(stream_id, None) is not None:
            self._sendable.pop(stream_id, None)
            self._closed.append((stream_id, code))

    def _report_over(self, code: int, debug: bytes) -> None:
        if not self._reported_over:
            self._reported_over = True
            self._sink.connection_closed(code, debug)

    def _dispatch_closed(self) -> None:
        if self._dispatching:
            return
        self._dispatching = True
        try:
            while self._closed:
                closed, self._closed = self._closed, []
                for stream_id, code in closed:
                    self._stream_sink.stream_closed(stream_id, code)
        finally:
            self._dispatching = False


class _Cut(h2.exceptions.ProtocolError):
    """What we refuse before h2 has seen it."""

    def __init__(self, reason: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:
        super().__init__(reason)
        self.error_code = h2.errors.ErrorCodes(code)


def _plain(headers: object) -> Headers:
    return list(headers)  # type: ignore[call-overload, no-any-return]
