"""A visitor as the gateway uses it: sockets of its network, and names as it would resolve them.

The agent of a node makes a socket inside the node's network and passes it (SCM_RIGHTS); connecting and all that
follows is done here, so no agent ever waits. A socket keeps its network alive, even when the node is gone: the end of
the agent's connection therefore ends every connection that was made through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import secrets
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path

from lab.gateway.handshake import Why
from wire.dns import Answer, DnsError, Question, make_query, parse_response

DNS_ADDRESS = "198.18.0.53"
_DNS_PORT = 53
_DNS_TRIES_S = (1.0, 1.0, 2.0)
_ANSWER_WITHIN_S = 5.0
_CONNECT_WITHIN_S = 30.0
_RECEIVE_BYTES = 65536
_MOST_DESCRIPTORS = 16


class DialError(Exception):
    """No connection; `why` says it to programs, the text to people."""

    def __init__(self, why: Why, text: str) -> None:
        super().__init__(text)
        self.why = why


class VisitorNetwork:
    """One visitor. `on_gone` is called when its agent has ended: connections made by its sockets are to be cut."""

    def __init__(self, name: str, agent: Path, on_gone: Callable[[str], None]) -> None:
        self.name = name
        self._path = agent
        self._on_gone = on_gone
        self._agent: socket.socket | None = None
        self._waiting: deque[asyncio.Future[socket.socket]] = deque()
        self._line = b""
        self._given: deque[int] = deque()

    async def connect(self, host: str, port: int) -> socket.socket:
        """A connected TCP socket of this visitor. Raises DialError."""
        addresses = await self.resolve(host)
        failure: DialError | None = None
        for address in addresses:
            try:
                return await self._connect(host, address, port)
            except DialError as error:
                failure = failure or error
        raise failure or DialError(Why.NAME, f"{host} has no address")

    async def resolve(self, host: str) -> list[str]:
        """Addresses of a name, asked of the lab's DNS from this visitor's network: anycast decides who answers."""
        with contextlib.suppress(ValueError):
            return [str(ipaddress.ip_address(host))]
        try:
            answer = await self._ask_dns(Question(host.rstrip(".").lower(), "A"))
        except DnsError as error:
            raise DialError(Why.NAME, f"{host}: {error}") from error
        if answer.rcode == "NXDOMAIN":
            raise DialError(Why.NAME, f"{host} does not exist in this lab")
        if answer.rcode != "NOERROR":
            raise DialError(Why.NAME, f"{host}: the lab's DNS says {answer.rcode}")
        return [record.data for record in answer.of("A")]

    def close(self) -> None:
        self._lost("the gateway is leaving")

    async def _connect(self, host: str, address: str, port: int) -> socket.socket:
        family = ipaddress.ip_address(address).version
        made = await self._socket("tcp", family)
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                await asyncio.get_running_loop().sock_connect(made, (address, port))
        except TimeoutError:
            made.close()
            text = f"{host} port {port} ({address}) did not answer {self.name}"
            raise DialError(Why.TIMEOUT, text) from None
        except ConnectionRefusedError:
            made.close()
            raise DialError(
                Why.REFUSED, f"{host} port {port} ({address}) refuses connections"
            ) from None
        except OSError as error:
            made.close()
            raise DialError(
                Why.UNREACHABLE, f"{host} port {port} ({address}): {error.strerror or error}"
            ) from error
        except BaseException:
            made.close()
            raise
        return made

    async def _ask_dns(self, question: Question) -> Answer:
        message_id = secrets.randbelow(1 << 16)
        query = make_query(question, message_id)
        with await self._socket("udp") as asking:
            loop = asyncio.get_running_loop()
            try:
                asking.connect((DNS_ADDRESS, _DNS_PORT))
                for patience in _DNS_TRIES_S:
                    try:
                        async with asyncio.timeout(patience):
                            await loop.sock_sendall(asking, query)
                            while True:
                                wire = await loop.sock_recv(asking, _RECEIVE_BYTES)
                                with contextlib.suppress(DnsError):
                                    return parse_response(wire, question, message_id)
                    except TimeoutError:
                        continue
            except OSError as error:
                raise DialError(
                    Why.UNREACHABLE, f"the lab's DNS: {error.strerror or error}"
                ) from error
        raise DialError(Why.TIMEOUT, f"the lab's DNS did not answer {self.name}")

    # Sockets by the agent

    async def _socket(self, kind: str, family: int = 4) -> socket.socket:
        """A fresh, non-blocking, unconnected socket of this visitor's network."""
        agent = self._agent or self._reach()
        future: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
        order = json.dumps({"op": "socket", "type": kind, "family": family}).encode() + b"\n"
        try:
            if agent.send(order) != len(order):
                raise BlockingIOError
        except OSError:
            raise DialError(Why.GONE, f"{self.name} takes no orders now") from None
        self._waiting.append(future)
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                return await asyncio.shield(future)
        except TimeoutError:
            future.add_done_callback(_close_late)
            raise DialError(Why.GONE, f"the agent of {self.name} does not answer") from None
        except asyncio.CancelledError:
            future.add_done_callback(_close_late)
            raise

    def _reach(self) -> socket.socket:
        agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            agent.connect(str(self._path))
        except OSError as error:
            agent.close()
            raise DialError(
                Why.GONE, f"{self.name} is not running ({error.strerror or error})"
            ) from error
        self._agent = agent
        asyncio.get_running_loop().add_reader(agent, self._readable)
        return agent

    def _readable(self) -> None:
        assert self._agent is not None
        try:
            data, descriptors, _, _ = socket.recv_fds(
                self._agent, _RECEIVE_BYTES, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        self._given.extend(descriptors)
        if not data:
            self._lost(f"{self.name} has ended")
            return
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._answered(json.loads(line))

    def _answered(self, answer: dict[str, object]) -> None:
        """Answers come in the order of the questions, and a descriptor with each that is `ok`."""
        future = self._waiting.popleft()
        if not answer.get("ok"):
            if not future.done():
                future.set_exception(DialError(Why.GONE, f"{self.name}: {answer.get('error')}"))
            return
        given = socket.socket(fileno=self._given.popleft())
        given.setblocking(False)
        if future.done():
            given.close()
        else:
            future.set_result(given)

    def _lost(self, why: str) -> None:
        if self._agent is not None:
            asyncio.get_running_loop().remove_reader(self._agent)
            self._agent.close()
            self._agent = None
        while self._given:
            socket.close(self._given.popleft())
        self._line = b""
        waiting, self._waiting = self._waiting, deque()
        for future in waiting:
            if not future.done():
                future.set_exception(DialError(Why.GONE, why))
        self._on_gone(self.name)


def _close_late(future: asyncio.Future[socket.socket]) -> None:
    """Nobody waits any more for what this future brings."""
    if not future.cancelled() and future.exception() is None:
        future.result().close()
