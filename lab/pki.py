"""The lab's own certificate authority: everything a lab trusts, made fresh for each run by trustme.

ca.pem             what nodes trust besides the system's own authorities
visitor.pem        chain and key of the PoPs towards visitors: all host names of the world, and those beside them
tunnel.pem         chain and key of the PoPs towards connectors: the names that they ask for
overlay-NAME.pem   chain and key of one PoP towards other PoPs, in its name
client-NAME.pem    chain and key of a visitor, for rules that require one
ca-key.pem         the authority's own key: a policy that is replaced may name visitors that were not there before

Keys are on the P-256 curve: a handshake costs a tenth of one with RSA.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import trustme

# What tunnel clients ask for by SNI, the last one before they connect (see the notes in wire/tunnel_rpc.py).
TUNNEL_NAMES = ("h2.cftunnel.com", "quic.cftunnel.com", "probe.cftunnel.com")

# Shown where a world has no host names: a certificate needs one.
_NOBODY = "popnet.invalid"


def write(
    directory: Path, hosts: Iterable[str], pops: Iterable[str], clients: Iterable[str] = ()
) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    authority = trustme.CA(
        organization_name="popnet", organization_unit_name="lab CA", key_type=trustme.KeyType.ECDSA
    )
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    _private(directory / "ca-key.pem", authority.private_key_pem.bytes())
    _issue(authority, directory / "visitor.pem", visitor_names(hosts))
    _issue(authority, directory / "tunnel.pem", TUNNEL_NAMES)
    for pop in pops:
        _issue(authority, directory / f"overlay-{pop}.pem", [pop])
    for client in clients:
        _issue(authority, directory / f"client-{client}.pem", [client])


def issue_client(directory: Path, client: str) -> None:
    """One more visitor's certificate, by the authority of this lab. Raises OSError."""
    authority = trustme.CA.from_pem(
        (directory / "ca.pem").read_bytes(), (directory / "ca-key.pem").read_bytes()
    )
    _issue(authority, directory / f"client-{client}.pem", [client])


def visitor_names(hosts: Iterable[str]) -> list[str]:
    """What visitors may ask PoPs for. With *.example.com beside app.example.com, since names are added at any time."""
    names = sorted(hosts)
    return [*names, *sorted({"*." + name.partition(".")[2] for name in names})] or [_NOBODY]


def _issue(authority: trustme.CA, path: Path, names: Iterable[str]) -> None:
    certificate = authority.issue_cert(*names, key_type=trustme.KeyType.ECDSA)
    _private(path, certificate.private_key_and_cert_chain_pem.bytes())


def _private(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
