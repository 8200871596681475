"""Names to addresses, as something handed in.

`Resolver` is what programs know: SRV records and addresses, nothing cached. `SystemResolver` asks
the servers of /etc/resolv.conf (and /etc/hosts for addresses) through aiodns, the only module that
does. Make it after any fork and inside the running loop: its library starts a thread when
constructed. In a virtual world another class stands here that speaks DNS over the loop's datagrams.

What comes out are IP literals, for only those are ever dialled: a loop's own look-up would leave
the loop.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import Protocol

import aiodns
import aiodns.error
import pycares

from runtime.errors import ResolveError
from wire.srv import SrvRecord

_MISSING = (aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA)
_LOOPBACK = ("127.0.0.1", "::1")


class Resolver(Protocol):
    """Looks names up. Every method raises `ResolveError` and nothing else."""

    async def srv(self, name: str) -> list[SrvRecord]:
        """SRV records in the order of the answer, targets without a final dot."""

    async def addresses(self, name: str) -> list[str]:
        """IP literals of both families, best first. An IP literal is its own answer."""

    async def close(self) -> None: ...


def literal(name: str) -> list[str] | None:
    """The answer for names that need no look-up: IP literals, and localhost (RFC 6761 section 6.3)."""
    try:
        return [str(ipaddress.ip_address(name.strip("[]")))]
    except ValueError:
        pass
    host = name.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return list(_LOOPBACK)
    return None


class SystemResolver:
    """The machine's own name service, without its libc."""

    def __init__(
        self,
        *,
        servers: Sequence[str] | None = None,
        timeout_s: float = 2.0,
        tries: int = 3,
        deadline_s: float = 10.0,
    ) -> None:
        self._resolver = aiodns.DNSResolver(nameservers=servers, timeout=timeout_s, tries=tries)
        self._deadline_s = deadline_s

    async def srv(self, name: str) -> list[SrvRecord]:
        try:
            async with asyncio.timeout(self._deadline_s):
                result = await self._resolver.query_dns(name, "SRV")
        except aiodns.error.DNSError as error:
            raise _translate(name, error) from None
        except TimeoutError:
            raise ResolveError(name, "no answer in time") from None
        records = []
        for record in result.answer:
            data = record.data
            # An answer may hold CNAMEs too.
            if isinstance(data, pycares.SRVRecordData):
                target = data.target.rstrip(".").lower()
                records.append(SrvRecord(data.priority, data.weight, data.port, target))
        if not records:
            raise ResolveError(name, "no SRV records", missing=True)
        return records

    async def addresses(self, name: str) -> list[str]:
        known = literal(name)
        if known is not None:
            return known
        try:
            async with asyncio.timeout(self._deadline_s):
                result = await self._resolver.getaddrinfo(name, type=socket.SOCK_STREAM)
        except aiodns.error.DNSError as error:
            raise _translate(name, error) from None
        except TimeoutError:
            raise ResolveError(name, "no answer in time") from None
        found: list[str] = []
        for node in result.nodes:
            address = node.addr[0]
            text = address.decode() if isinstance(address, bytes) else str(address)
            if text not in found:
                found.append(text)
        if not found:
            raise ResolveError(name, "no addresses", missing=True)
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _translate(name: str, error: aiodns.error.DNSError) -> ResolveError:
    code = error.args[0] if error.args else None
    reason = str(error.args[1]) if len(error.args) > 1 else "look-up failed"
    return ResolveError(name, reason, missing=code in _MISSING)
