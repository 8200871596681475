"""The errors of this package: what arrived is not what the protocol allows.

All of them mean that the peer (or a file) is wrong, never that this program is. Whoever reads from
a socket catches `WireError` and gives up that stream or connection.
"""

from __future__ import annotations

import msgspec

# All that msgspec raises about JSON from a stranger: what is no JSON or not of the type asked for, text that is not
# UTF-8, and what nests deeper than a stack bears.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class WireError(Exception):
    """Root of everything `wire` raises about its input."""


class HeaderError(WireError):
    """A header, or a header that carries headers, is malformed."""


class RpcError(WireError):
    """A control stream carries something that is not the tunnel's Cap'n Proto RPC."""
