"""Cap'n Proto on a tunnel's control stream, both ends of it: the edge hears connectors, a connector hears an edge."""

from __future__ import annotations

from wire.errors import RpcError
from wire.tunnel_rpc import (
    ClientInfo,
    ConnectionDetails,
    Refusal,
    RegisterConnection,
    Registration,
    RegistrationClient,
    RegistrationServer,
)

_REQUEST = Registration(
    "acc", b"s" * 32, b"i" * 16, 1, ClientInfo(b"c" * 16, ("a", "b"), "1", "x"), b"\x7f\0\0\1", True
)


def _seeds() -> tuple[bytes, ...]:
    client, server = RegistrationClient(), RegistrationServer()
    client.register(_REQUEST)
    said = [client.data_to_send()]
    server.receive(said[0])
    server.answer(1, ConnectionDetails(b"d" * 16, "LHR", True))
    said.append(server.data_to_send())
    client.receive(said[1])
    client.update_local_configuration(b"{}")
    client.unregister()
    said.append(client.data_to_send())
    other = RegistrationServer()
    other.answer(1, Refusal("no", 1.0, True))
    other.fail(0, "no such thing")
    said.append(other.data_to_send())
    return tuple(said)


SEEDS = _seeds()


def one(data: bytes) -> None:
    server = RegistrationServer()
    try:
        for event in server.receive(data):
            if isinstance(event, RegisterConnection):
                assert len(event.request.tunnel_id) == 16
                server.answer(event.question, ConnectionDetails(b"d" * 16, "LHR"))
    except RpcError:
        pass
    assert len(server.data_to_send()) < 1_000_000
    client = RegistrationClient()
    client.register(_REQUEST)
    try:
        client.receive(data)
    except RpcError:
        return
