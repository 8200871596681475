"""TLS on a virtual loop: the real one and its stand-in cost the same round trips and tell programs the same."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.drivers import virtual_pki
from runtime.tls import asked_name, overlay_context, peer_name, server_context
from wan.virtual.flights import Flights

if TYPE_CHECKING:
    from tests.wan.virtual.conftest import Rig

RTT = 0.1


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    virtual_pki.write(directory, ["app.example.com"], ["A", "v"])
    return directory


@pytest.fixture(params=["flights", "real"])
def secure_rig(request: pytest.FixtureRequest, make_rig: Callable[..., Rig]) -> Rig:
    rig = make_rig()
    rig.network.flights = Flights() if request.param == "flights" else None
    return rig


def listen(rig: Rig, context: ssl.SSLContext, seen: list[Any]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("ssl_object"))
        writer.write(await reader.readexactly(5))
        writer.close()

    async def main() -> None:
        await asyncio.start_server(serve, rig.address("A"), 443, ssl=context)

    rig.run("A", main())


async def talk(rig: Rig, context: ssl.SSLContext, name: str) -> tuple[float, Any, bytes]:
    begin = rig.loop.time()
    reader, writer = await asyncio.open_connection(
        rig.address("A"), 443, ssl=context, server_hostname=name
    )
    took = rig.loop.time() - begin
    writer.write(b"hello")
    answer = await reader.readexactly(5)
    ssl_object = writer.get_extra_info("ssl_object")
    writer.close()
    return took, ssl_object, answer


def test_both_ends_know_each_other_after_two_round_trips(secure_rig: Rig, pki: Path) -> None:
    rig, seen = secure_rig, []
    listen(rig, overlay_context(pki / "overlay-A.pem", pki / "ca.pem", "server"), seen)
    client = overlay_context(pki / "overlay-v.pem", pki / "ca.pem", "client")
    took, ours, answer = rig.run("v", talk(rig, client, "A"))
    assert took == pytest.approx(2 * RTT, abs=1e-3)
    assert answer == b"hello"
    assert (peer_name(ours), peer_name(seen[0])) == ("A", "v")
    assert ours.selected_alpn_protocol() == seen[0].selected_alpn_protocol() == "h2"
    rig.advance(60)


def test_the_name_that_was_asked_for_is_told(secure_rig: Rig, pki: Path) -> None:
    rig, seen = secure_rig, []
    listen(rig, server_context(pki / "visitor.pem"), seen)
    client = ssl.create_default_context(cafile=pki / "ca.pem")
    rig.run("v", talk(rig, client, "app.example.com"))
    assert asked_name(seen[0]) == "app.example.com"
    rig.advance(60)


def test_a_wrong_name_is_refused(secure_rig: Rig, pki: Path) -> None:
    rig, seen = secure_rig, []
    listen(rig, server_context(pki / "visitor.pem"), seen)
    client = ssl.create_default_context(cafile=pki / "ca.pem")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        rig.run("v", talk(rig, client, "app.example.org"))
    assert seen == []
    rig.advance(60)


def test_a_stranger_without_a_certificate_gets_no_word(secure_rig: Rig, pki: Path) -> None:
    """In TLS 1.3 the dialler believes itself connected, and hears of the refusal as it reads."""
    rig, seen = secure_rig, []
    listen(rig, overlay_context(pki / "overlay-A.pem", pki / "ca.pem", "server"), seen)
    client = ssl.create_default_context(cafile=pki / "ca.pem")
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        rig.run("v", talk(rig, client, "A"))
    assert seen == []
    rig.advance(60)
    rig.problems.clear()


def test_start_tls_in_the_middle(secure_rig: Rig, pki: Path) -> None:
    rig, seen = secure_rig, []
    listen(rig, server_context(pki / "visitor.pem"), seen)
    client = ssl.create_default_context(cafile=pki / "ca.pem")

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection(rig.address("A"), 443)
        await writer.start_tls(client, server_hostname="app.example.com")
        writer.write(b"hello")
        answer = await reader.readexactly(5)
        writer.close()
        return answer

    assert rig.run("v", main()) == b"hello"
    rig.advance(60)
