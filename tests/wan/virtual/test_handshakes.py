"""Handshakes that are put together from others are those that a real one would have been."""

from __future__ import annotations

import ssl
from contextlib import suppress
from itertools import permutations
from pathlib import Path

import pytest

from lab.drivers import virtual_pki
from runtime.tls import asked_name, overlay_context, peer_name, server_context
from wan.virtual.handshakes import CLIENT, SERVER, Meeting, Meetings

NAMES = ["AAA", "BBB", "CCC", "DDDD"]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    virtual_pki.write(directory, ["app.example.com"], NAMES)
    return directory


class Pops:
    def __init__(self, pki: Path, names: list[str]) -> None:
        self.pki = pki
        self.client = {name: self.context(name, "client") for name in names}
        self.server = {name: self.context(name, "server") for name in names}

    def context(self, name: str, role: str) -> ssl.SSLContext:
        ca = self.pki / "ca.pem"
        return overlay_context(self.pki / f"overlay-{name}.pem", ca, role)  # type: ignore[arg-type]


def told(meeting: Meeting) -> list[object]:
    client, server = meeting.objects
    return [
        meeting.flights,
        meeting.connected,
        [(side, flight, str(error)) for side, flight, error in _errors(meeting)],
        *[
            (one.getpeercert(), one.getpeercert(True), one.selected_alpn_protocol(), one.cipher())
            for one in (client, server)
            if meeting.well
        ],
        asked_name(server),
    ]


def _errors(meeting: Meeting) -> list[tuple[int, int, ssl.SSLError]]:
    return [(side, *found) for side, found in enumerate(meeting.errors) if found is not None]


def test_each_pair_is_told_what_a_real_handshake_tells(pki: Path) -> None:
    pops, meetings = Pops(pki, NAMES), Meetings()
    for one, other in permutations(NAMES, 2):
        client, server = pops.client[one], pops.server[other]
        found = meetings.of(client, server, other)
        assert told(found) == told(Meeting.made(client, server, other)), (one, other)
        assert peer_name(found.objects[SERVER]) == one
        assert peer_name(found.objects[CLIENT]) == other
    assert meetings.made < 12


def test_few_are_really_made(pki: Path) -> None:
    names = NAMES[:3]
    pops, meetings = Pops(pki, names), Meetings()
    for one, other in permutations(names, 2):
        meetings.of(pops.client[one], pops.server[other], other)
    # Each client shows itself once and each server once.
    assert meetings.made <= 4


def _acquainted(pki: Path) -> tuple[Pops, Meetings]:
    """Everybody knows somebody, so that all that is alike is put together."""
    pops, meetings = Pops(pki, NAMES[:3]), Meetings()
    for one, other in permutations(NAMES[:3], 2):
        meetings.of(pops.client[one], pops.server[other], other)
    return pops, meetings


def test_another_name_is_asked_of_the_certificate(pki: Path) -> None:
    pops, meetings = _acquainted(pki)
    for _ in range(2):
        for one in ("AAA", "CCC"):
            found = meetings.of(pops.client[one], pops.server["BBB"], "XXX")
            assert "Hostname mismatch" in str(found.errors[CLIENT])


def test_a_stranger_is_still_one(pki: Path, tmp_path: Path) -> None:
    pops, meetings = _acquainted(pki)
    _another_authority(tmp_path)
    # One shows what another authority signed, the other trusts another one.
    shows = overlay_context(tmp_path / "overlay-AAA.pem", pki / "ca.pem", "client")
    trusts = overlay_context(pki / "overlay-AAA.pem", tmp_path / "ca.pem", "client")
    assert meetings.of(shows, pops.server["BBB"], "BBB").errors[SERVER] is not None
    assert meetings.of(trusts, pops.server["BBB"], "BBB").errors[CLIENT] is not None


def test_what_a_client_offers_is_part_of_it(pki: Path) -> None:
    meetings = Meetings()
    certificate, ca = pki / "visitor.pem", pki / "ca.pem"
    servers = [server_context(certificate) for _ in range(2)]
    name = "app.example.com"
    for offers in (["h2", "http/1.1"], ["http/1.1", "h2"], ["http/1.1"], []):
        for _ in range(2):
            client = ssl.create_default_context(cafile=ca)
            if offers:
                client.set_alpn_protocols(offers)
            for server in servers:
                found = meetings.of(client, server, name)
                assert told(found) == told(Meeting.made(client, server, name)), offers
    # Of each kind, only the second client's second meeting had nothing new in it.
    assert meetings.made == 12


def test_what_a_server_demands_is_part_of_it(pki: Path) -> None:
    pops, meetings = _acquainted(pki)
    open_to_all = pops.context("BBB", "server")
    open_to_all.verify_mode = ssl.CERT_NONE
    for one in ("AAA", "CCC"):
        found = meetings.of(pops.client[one], open_to_all, "BBB")
        assert not found.objects[SERVER].getpeercert()


def _another_authority(directory: Path) -> None:
    """The same names, signed by a key of today."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "another")])
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC)

    def signed(subject: x509.Name, *, ca: bool) -> bytes:
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("AAA")]), critical=False)
            .sign(key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "AAA")])
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (directory / "ca.pem").write_bytes(signed(name, ca=True))
    (directory / "overlay-AAA.pem").write_bytes(signed(subject, ca=False) + private)


def test_chance_has_no_part_in_how_long_flights_are(pki: Path) -> None:
    # A ticket holds a random number, and every hundredth is a block shorter.
    pops = Pops(pki, NAMES[:2])
    found = {
        tuple(Meeting.made(pops.client["AAA"], pops.server["BBB"], "BBB").flights)
        for _ in range(200)
    }
    assert len(found) == 1


@pytest.mark.parametrize("length", [1, 8, 15, 16, 17, 30])
@pytest.mark.parametrize("shown", [True, False])
def test_tickets_are_as_long_as_real_ones_to_a_block(
    tmp_path: Path, length: int, shown: bool
) -> None:
    name = "A" * length
    virtual_pki.write(tmp_path / "pki", [f"{name}.example"], [name])
    pops = Pops(tmp_path / "pki", [name])
    client, server = pops.client[name], pops.server[name]
    if not shown:
        name += ".example"
        client = ssl.create_default_context(cafile=str(tmp_path / "pki" / "ca.pem"))
        server = server_context(tmp_path / "pki" / "visitor.pem", ("h2",))
    modelled = Meeting.made(client, server, name)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname=name)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (one, other, one, other):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert modelled.well
    assert abs(to_client.pending - modelled.size(3)) <= 2 * 16
