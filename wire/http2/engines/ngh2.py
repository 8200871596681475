"""libnghttp2 as an engine, through the ngh2 package (0.3.0, pinned: it calls itself alpha).

ngh2 checks what comes in, and by itself ends rapid resets, CONTINUATION, PING, SETTINGS, empty-DATA and PRIORITY
floods. It does not check what goes out; `fields.safe` does.

The connection's window. `acknowledge_received_data` gives credit to the stream and to the connection at once, so
bytes that a stalled stream withholds are withheld from the connection too. We want only the former. So the
connection's window is the largest there is, 2^31-1, and can never be what stops a peer: a peer can hold back at
most max_concurrent_streams x stream_window bytes (256 x 1 MiB = 256 MiB), and nghttp2 sends a connection
WINDOW_UPDATE when half of the window, 1 GiB, was acknowledged; 1 GiB + 256 MiB < 2 GiB, so the window never
reaches zero as long as streams x window stays under 1 GiB. `Http2Settings` sees to that. What bounds memory
is then the sum over the streams alone, which is the rule: each stream pays for itself.
A stream that ends with bytes unacknowledged would leak them from the connection's window for ever; the driver
acknowledges the rest when a stream closes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ngh2
from ngh2 import (
    ConnectionClosed,
    DataReceived,
    GoAwayReceived,
    InformationalResponseReceived,
    NGH2Error,
    PingAcknowledged,
    PingReceived,
    RequestReceived,
    ResponseReceived,
    SettingsReceived,
    StreamClosed,
    TrailersReceived,
    WindowUpdated,
)

from wire.http2.engine import ErrorCode, Headers, Http2Error, Http2Settings, Role, Sink, StreamSink

_MAX_WINDOW = 2**31 - 1
_MAX_STREAMS_UNTIL_TOLD = 100


# A read that brings so many events is worth a look before anybody works on them.
_SUSPICIOUS = 16


class Ngh2Engine:
    """See `wire.http2.engine.Engine`."""

    def __init__(
        self, role: Role, settings: Http2Settings, sink: Sink, streams: StreamSink
    ) -> None:
        self._settings = settings
        self._sink = sink
        self._stream_sink = streams
        self._role = role
        burst = settings.flood_burst
        self._connection = ngh2.Connection(
            ngh2.Role.CLIENT if role is Role.CLIENT else ngh2.Role.SERVER,
            ngh2.Configuration(
                auto_window_update=False,
                peer_max_concurrent_streams=_MAX_STREAMS_UNTIL_TOLD,
                max_inbound_header_list_size=settings.max_header_list_size * 4,
                max_inbound_header_count=settings.max_header_count * 4,
                max_send_header_block_length=max(65_536, settings.max_header_list_size * 4),
                max_continuations=8 + settings.max_header_list_size * 4 // 16_384,
                max_outbound_ack=burst,
                stream_reset_rate_limit=(settings.reset_burst, max(1, settings.reset_burst // 30)),
            ),
        )
        self.peer_max_streams = _MAX_STREAMS_UNTIL_TOLD
        self._told = False
        self._dispatching = False
        # Bound once: these are what every request goes through.
        self._drain = self._connection.data_to_send
        self._events = self._connection.events
        self.backlog = self._connection.queued_body_size

    def start(self) -> None:
        ours = self._settings
        values = {
            ngh2.Setting.INITIAL_WINDOW_SIZE: ours.stream_window,
            ngh2.Setting.MAX_FRAME_SIZE: ours.max_frame_size,
            ngh2.Setting.MAX_HEADER_LIST_SIZE: ours.max_header_list_size,
        }
        if self._role is Role.CLIENT:
            values[ngh2.Setting.ENABLE_PUSH] = 0
        else:
            values[ngh2.Setting.MAX_CONCURRENT_STREAMS] = ours.max_concurrent_streams
            values[ngh2.Setting.NO_RFC7540_PRIORITIES] = 1
            if ours.enable_connect_protocol:
                values[ngh2.Setting.ENABLE_CONNECT_PROTOCOL] = 1
        self._connection.initiate_connection(values)
        self._connection.set_local_window_size(_MAX_WINDOW)

    def receive(self, data: bytes | memoryview) -> None:
        try:
            self._connection.receive_data(data)
        except ngh2.DenialOfServiceError as error:
            self._dispatch()
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, str(error)) from error
        except NGH2Error as error:
            self._dispatch()
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, str(error)) from error
        if not self._dispatching:
            events = self._events()
            if events:
                self._tell(events)

    def data_to_send(self, limit: int) -> bytes:
        try:
            data = self._drain(limit)
        except ngh2.ConnectionStateError:
            return b""
        except NGH2Error as error:
            raise Http2Error(ErrorCode.INTERNAL_ERROR, str(error)) from error
        if not self._dispatching:
            events = self._events()
            if events:
                self._tell(events)
        return data

    @property
    def want_write(self) -> bool:
        try:
            return self._connection.want_write
        except NGH2Error:
            return False

    def _dispatch(self) -> None:
        if not self._dispatching:
            self._tell(self._events())

    def _tell(self, events: Sequence[ngh2.Event]) -> None:
        # Never nested: a callback that makes us write (a ping, say) would otherwise get to see the end of a stream
        # whose last bytes the outer loop still holds.
        self._dispatching = True
        streams = self._stream_sink
        try:
            while events:
                if len(events) > _SUSPICIOUS and self._role is Role.SERVER:
                    events = self._without_stillborn(events)
                for event in events:
                    if isinstance(event, DataReceived):
                        streams.body_received(event.stream_id, event.data, event.end_stream)
                    elif isinstance(event, PingAcknowledged):
                        self._sink.ping_acknowledged(event.opaque_data)
                    elif isinstance(event, PingReceived):
                        continue
                    elif isinstance(event, StreamClosed):
                        streams.stream_closed(event.stream_id, event.error_code)
                    elif isinstance(event, ResponseReceived):
                        headers = list(event.headers)
                        streams.response_received(event.stream_id, headers, event.end_stream)
                    elif isinstance(event, RequestReceived):
                        headers = list(event.headers)
                        streams.request_received(event.stream_id, headers, event.end_stream)
                    elif isinstance(event, WindowUpdated):
                        streams.window_opened(event.stream_id)
                    else:
                        self._dispatch_rare(event)
                events = self._events()
        finally:
            self._dispatching = False

    def _without_stillborn(self, events: Sequence[ngh2.Event]) -> list[ngh2.Event]:
        """Without streams that were opened and reset in one read, DATA of no bytes, and windows opened twice.

        A rapid reset is so cheap for its sender because a server has already passed the request on when it learns that
        nobody wants the answer. Where both came in the same bytes, nothing need be passed on.
        """
        over = {e.stream_id for e in events if isinstance(e, StreamClosed) and e.error_code}
        stillborn = {e.stream_id for e in events if isinstance(e, RequestReceived)} & over
        kept: list[ngh2.Event] = []
        opened: set[int] = set()
        for event in events:
            if isinstance(event, DataReceived):
                if event.stream_id in stillborn:
                    self.acknowledge(event.stream_id, len(event.data))
                    continue
                if not event.data and not event.end_stream:
                    continue
            elif isinstance(event, WindowUpdated):
                # That a window has opened need be told once.
                if event.stream_id in opened:
                    continue
                opened.add(event.stream_id)
            elif getattr(event, "stream_id", 0) in stillborn:
                continue
            kept.append(event)
        return kept

    def _dispatch_rare(self, event: ngh2.Event) -> None:
        match event:
            case TrailersReceived(stream_id, trailers):
                self._stream_sink.trailers_received(stream_id, list(trailers))
            case InformationalResponseReceived(stream_id, headers):
                self._stream_sink.response_received(stream_id, list(headers), False)
            case SettingsReceived(settings):
                self._take_settings(settings)
            case GoAwayReceived(last_stream_id, code, debug):
                self._sink.goaway_received(last_stream_id, code, debug)
            case ConnectionClosed(code, debug):
                self._sink.connection_closed(code, debug)
            case _:
                pass  # acknowledgements, resets (their StreamClosed follows), extensions that ask nothing of us

    def _take_settings(self, settings: Mapping[int, int]) -> None:
        limit = settings.get(ngh2.Setting.MAX_CONCURRENT_STREAMS)
        if limit is not None:
            self.peer_max_streams = limit
        elif not self._told:
            # A peer that says nothing about it sets no limit (RFC 9113 section 6.5.2).
            self.peer_max_streams = 2**31 - 1
        self._told = True
        self._sink.settings_received()

    def send_request(self, headers: Headers, end: bool) -> int:
        try:
            return self._connection.send_request(headers, end_stream=end)
        except NGH2Error:
            return 0

    def send_response(self, stream_id: int, headers: Headers, end: bool) -> None:
        try:
            self._connection.send_response(stream_id, headers, end_stream=end)
        except NGH2Error:
            return

    def send_informational(self, stream_id: int, headers: Headers) -> None:
        try:
            self._connection.send_informational_response(stream_id, headers)
        except NGH2Error:
            return

    def send_data(self, stream_id: int, data: bytes, end: bool) -> None:
        try:
            self._connection.send_data(stream_id, data, end_stream=end)
        except NGH2Error:
            return

    def send_trailers(self, stream_id: int, headers: Headers) -> None:
        try:
            self._connection.send_trailers(stream_id, headers)
        except NGH2Error:
            return

    def reset(self, stream_id: int, code: int) -> None:
        try:
            self._connection.reset_stream(stream_id, code)
        except NGH2Error:
            return

    def acknowledge(self, stream_id: int, size: int) -> None:
        try:
            self._connection.acknowledge_received_data(size, stream_id)
        except NGH2Error:
            return

    def ping(self, payload: bytes) -> None:
        try:
            self._connection.ping(payload)
        except NGH2Error:
            return

    def shutdown_notice(self) -> None:
        try:
            self._connection.send_shutdown_notice()
        except NGH2Error:
            return

    def goaway(self, code: int, debug: bytes = b"") -> None:
        try:
            self._connection.send_goaway(code, debug_data=debug)
        except NGH2Error:
            return

    def terminate(self, code: int) -> None:
        try:
            self._connection.terminate_connection(code)
        except NGH2Error:
            return

    @property
    def can_open(self) -> bool:
        try:
            return self._connection.can_send_request
        except NGH2Error:
            return False
