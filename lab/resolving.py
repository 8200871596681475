"""A stub resolver that asks the lab's own DNS over the loop's datagrams: `runtime.resolver.Resolver` without a thread.

Asks one server, waits a second, asks again, three times in all, as the nodes' resolv.conf has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from runtime.errors import ResolveError
from runtime.resolver import literal
from wire.dns import Answer, DnsError, Question, make_query, parse_response
from wire.srv import SrvRecord

SERVER = "198.18.0.53"
_TRIES, _TIMEOUT_S = 3, 1.0


class LabResolver:
    """Raises ResolveError, and nothing else."""

    def __init__(self, server: str = SERVER, port: int = 53) -> None:
        self._server = (server, port)
        self._next_id = 0

    async def srv(self, name: str) -> list[SrvRecord]:
        answer = await self._ask(Question(name, "SRV"))
        records = []
        for record in answer.of("SRV"):
            priority, weight, port, target = record.data.split()
            records.append(
                SrvRecord(int(priority), int(weight), int(port), target.rstrip(".").lower())
            )
        if not records:
            raise ResolveError(name, f"no SRV records ({answer.rcode})", missing=True)
        return records

    async def addresses(self, name: str) -> list[str]:
        known = literal(name)
        if known is not None:
            return known
        answer = await self._ask(Question(name, "A"))
        found = [record.data for record in answer.of("A")]
        if not found:
            raise ResolveError(name, f"no addresses ({answer.rcode})", missing=True)
        return found

    async def close(self) -> None:
        """Nothing stays open between questions."""

    async def _ask(self, question: Question) -> Answer:
        try:
            for _ in range(_TRIES):
                answer = await self._once(question)
                if answer is not None:
                    return answer
        except (OSError, DnsError) as error:
            raise ResolveError(question.name, str(error)) from None
        raise ResolveError(question.name, "no answer in time")

    async def _once(self, question: Question) -> Answer | None:
        loop = asyncio.get_running_loop()
        self._next_id = (self._next_id + 1) & 0xFFFF
        number = self._next_id
        answered: asyncio.Future[Answer] = loop.create_future()

        def received(data: bytes) -> None:
            if not answered.done():
                try:
                    answered.set_result(parse_response(data, question, number))
                except DnsError as error:
                    answered.set_exception(error)

        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Asking(make_query(question, number), received), remote_addr=self._server
        )
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await answered
        except TimeoutError:
            return None
        finally:
            transport.close()


class _Asking(asyncio.DatagramProtocol):
    def __init__(self, query: bytes, received: Callable[[bytes], None]) -> None:
        self._query = query
        self._received = received

    def connection_made(self, transport: Any) -> None:
        cast(asyncio.DatagramTransport, transport).sendto(self._query)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._received(data)

    def error_received(self, exc: Exception) -> None:
        """An ICMP error: the next try may fare better."""
