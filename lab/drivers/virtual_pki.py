"""Certificates for worlds in virtual time: the names of `lab.pki`, and always the same sizes.

An ECDSA signature is now 70, now 72 bytes long, and the handshake with it: on a link with a rate, times would
differ from run to run. Ed25519 signatures have one size and cost little. One key, made anew by each process, serves
all certificates, serial numbers follow from the names, and validity does not follow the clock. They guard nothing:
every connection of a virtual world stays within its process.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from lab.pki import TUNNEL_NAMES, visitor_names

_BEGIN = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_END = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)
_ISSUER = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "popnet lab CA")])


@cache
def _key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def write(
    directory: Path, hosts: Iterable[str], pops: Iterable[str], clients: Iterable[str] = ()
) -> None:
    """The files that `lab.pki.write` makes, but for the key of the authority: nobody is added later."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = _authority()
    (directory / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    _issue(authority, directory / "visitor.pem", visitor_names(hosts))
    _issue(authority, directory / "tunnel.pem", TUNNEL_NAMES)
    for pop in pops:
        _issue(authority, directory / f"overlay-{pop}.pem", [pop])
    for client in clients:
        _issue(authority, directory / f"client-{client}.pem", [client])


@cache
def _authority() -> x509.Certificate:
    return (
        _builder(_ISSUER, "authority")
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(_key().public_key()), False)
        .sign(_key(), None)
    )


def _issue(authority: x509.Certificate, path: Path, names: Iterable[str]) -> None:
    listed = list(names)
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    certificate = (
        _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "popnet")]), *listed)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in listed]), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier.value), False
        )
        .sign(_key(), None)
    )
    path.write_bytes(_private() + certificate.public_bytes(serialization.Encoding.PEM))


@cache
def _private() -> bytes:
    return _key().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _builder(subject: x509.Name, *names: str) -> x509.CertificateBuilder:
    digest = hashlib.sha256("/".join(names).encode()).digest()
    # Its first bits are 01: positive, and of one length whatever the names are.
    serial = (int.from_bytes(digest[:16]) & (1 << 126) - 1) | 1 << 126
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(_ISSUER)
        .public_key(_key().public_key())
        .serial_number(serial)
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
    )
