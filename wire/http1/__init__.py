"""HTTP/1.1 (RFC 9112) without I/O: bytes in, callbacks out, heads and chunks to bytes.

llhttp (through httptools) does the parsing, strictly: obs-fold, bare CR or LF, NUL, a space before the colon, two
lengths, a length together with a transfer coding, all are refused (the tests hold it to that, since most of request
smuggling lives there). Here is what llhttp leaves open: limits, the translation to and from HTTP/2's form of a head,
one message at a time, HEAD, upgrades, and messages that end with their connection.

Hop-by-hop fields, and those that `Connection` names, end here (RFC 9110 section 7.6.1). One stays: `upgrade`, in the
head of a request or of a 101 answer, says that raw bytes may follow, or do. In the other direction the encoders add
`Connection: upgrade` to a head that has it.

    parsing.py   what requests and responses have in common, limits, `MessageSink`, `Http1Error`
    requests.py  a server's half
    responses.py a client's half
    writing.py   heads, chunks and trailers to bytes
"""

from __future__ import annotations

from wire.http1.parsing import Http1Error, Http1Limits, MessageSink
from wire.http1.requests import RequestParser, RequestTraits
from wire.http1.responses import ResponseParser
from wire.http1.writing import (
    chunk,
    content_length,
    has_no_body,
    last_chunk,
    request_head,
    response_head,
)

__all__ = [
    "Http1Error",
    "Http1Limits",
    "MessageSink",
    "RequestParser",
    "RequestTraits",
    "ResponseParser",
    "chunk",
    "content_length",
    "has_no_body",
    "last_chunk",
    "request_head",
    "response_head",
]
