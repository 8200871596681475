"""TLS contexts of every door, and the only place where ssl's errors are met.

server_context     visitors (ALPN h2, http/1.1) and connectors (who offer no ALPN at all)
overlay_context    PoP to PoP, TLS 1.3, both ends show a certificate of the lab's overlay CA
connector_context  a connector towards the edge: server name h2.cftunnel.com, no ALPN, as cloudflared does
origin_context     a connector towards an https origin
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from os import PathLike
from typing import Literal, cast

_ASKED = "popnet_asked_name"
CONNECTOR_SERVER_NAME = "h2.cftunnel.com"
ALPN_VISITORS = ("h2", "http/1.1")
ALPN_OVERLAY = ("h2",)

Path = str | PathLike[str]


class TlsError(Exception):
    """A certificate or key cannot be used; the text names the file."""


def server_context(
    certificate: Path, alpn: Sequence[str] = ALPN_VISITORS, *, client_ca: Path | None = None
) -> ssl.SSLContext:
    """For accepting. `certificate` is one PEM file with the chain and its key. Without ALPN none is demanded.

    With `client_ca` a client may show a certificate of that authority; one of another's ends the handshake.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, certificate)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        _trust(context, client_ca)
    # The ssl module tells the name a client asked for only in passing.
    context.sni_callback = _remember_name
    return context


def overlay_context(
    certificate: Path, ca: Path, role: Literal["client", "server"]
) -> ssl.SSLContext:
    """Mutual TLS between PoPs. The dialler checks the PoP's name, the acceptor that the CA knows the peer."""
    if role == "server":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(list(ALPN_OVERLAY))
    _load(context, certificate)
    _trust(context, ca)
    return context


def connector_context(ca: Path | None = None) -> ssl.SSLContext:
    """For dialling the edge. With `ca` only that file is trusted, otherwise what the system trusts."""
    context = (
        ssl.create_default_context() if ca is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    )
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is not None:
        _trust(context, ca)
    return context


def origin_context(
    ca: Path | None = None, *, verify: bool = True, http2: bool = False
) -> ssl.SSLContext:
    """For dialling an https origin; `verify=False` is the operator's noTLSVerify."""
    context = connector_context(ca)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
    return context


def _remember_name(ssl_object: object, name: str | None, _context: ssl.SSLContext) -> None:
    vars(ssl_object)[_ASKED] = (name or "").lower()


def asked_name(ssl_object: object) -> str:
    """The server name that the peer of an accepted connection asked for, lower case, or ""."""
    return str(getattr(ssl_object, _ASKED, ""))


def peer_name(ssl_object: object) -> str | None:
    """The first DNS name of the peer's verified certificate: which PoP dialled us."""
    if not isinstance(ssl_object, ssl.SSLObject | ssl.SSLSocket):
        return None
    certificate = ssl_object.getpeercert()
    if not certificate:
        return None
    names = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()))
    return next((value for kind, value in names if kind == "DNS"), None)


def explain(error: BaseException) -> str:
    """One line for a failed dial or handshake, without OpenSSL's source positions."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or str(error)).replace('_', ' ').lower()}"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error) or type(error).__name__


def _load(context: ssl.SSLContext, certificate: Path) -> None:
    try:
        context.load_cert_chain(certificate)
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"{certificate}: no usable certificate and key: {explain(error)}") from error


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"{ca}: no usable CA certificate: {explain(error)}") from error
