"""Who a request says it comes from, and whether that is proven: service tokens, JWTs, client certificates.

Keys are read and signatures checked by PyJWT (over `cryptography`), imported only when a policy names an issuer; its
`decode` would read the same head again for every token, a fifth of the work. Only asymmetric algorithms: with a
shared secret, whoever can check a token can make one (RFC 8725 section 2.1).
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from pops.core.rules import Issuer, PolicyError, ServiceToken

if TYPE_CHECKING:
    import jwt

Headers = list[tuple[bytes, bytes]]
# None: proven. Otherwise why not, in words.
Check = Callable[[Headers, str, float], str | None]

TOKEN_ID, TOKEN_SECRET = b"cf-access-client-id", b"cf-access-client-secret"
ASSERTION = b"cf-access-jwt-assertion"
_BEARER: Final = b"bearer "
_ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA"]
# Clocks of issuer and edge differ a little.
LEEWAY_S: Final = 5.0
LONGEST_TOKEN: Final = 8192
_PROVEN: Final = 512


def service_token(tokens: Mapping[str, ServiceToken], of: Iterable[str]) -> Check:
    """One of `tokens`, by the fields CF-Access-Client-Id and CF-Access-Client-Secret."""
    wanted = set(of) or set(tokens)
    known = {
        t.id.encode(): bytes.fromhex(t.secret_sha256) for n, t in tokens.items() if n in wanted
    }
    nobody = bytes(32)

    def check(headers: Headers, certificate: str, now: float) -> str | None:
        name = secret = None
        for field, value in headers:
            if field == TOKEN_ID:
                name = value
            elif field == TOKEN_SECRET:
                secret = value
        if name is None or secret is None:
            return "a service token is needed"
        # The same work for an id that does not exist, so that nobody can list ids by asking.
        right = hmac.compare_digest(known.get(name, nobody), sha256(secret).digest())
        return None if right and name in known else "the service token is not accepted"

    return check


def client_certificate(of: Iterable[str]) -> Check:
    """A certificate that TLS has verified, with one of these names (none given: any)."""
    wanted = {name.lower() for name in of}

    def check(headers: Headers, certificate: str, now: float) -> str | None:
        if not certificate:
            return "a client certificate is needed"
        if wanted and certificate.lower() not in wanted:
            return "the client certificate is not accepted"
        return None

    return check


def json_web_token(issuers: Mapping[str, Issuer], of: Iterable[str]) -> Check:
    """A token of one of `issuers`, in CF-Access-JWT-Assertion or as Bearer (RFC 6750 section 2.1).

    `now` is wall-clock time: exp and nbf are times of day. Raises PolicyError for keys that cannot be read.
    """
    wanted = list(of) or list(issuers)
    keys: dict[tuple[str | None, str], list[tuple[Issuer, jwt.PyJWK]]] = {}
    for name in wanted:
        for key in _keys(name, issuers[name]):
            named = (key.key_id, key.algorithm_name)
            keys.setdefault(named, []).append((issuers[name], key))

    # A browser sends the same token with every request, and a signature that was right stays right: only the times
    # in the token are looked at again. What is not proven is not kept, so that strangers cannot fill this.
    @lru_cache(maxsize=_PROVEN)
    def proven(token: str) -> tuple[Mapping[str, Any], tuple[Issuer, ...]]:
        signed, _, signature = token.rpartition(".")
        head, _, body = signed.partition(".")
        known = keys.get(_head(head), ())
        if not known:
            raise _UnprovenError("the token is signed by nobody known here")
        try:
            raw = _decoded(signature)
            signers = tuple(i for i, k in known if k.Algorithm.verify(signed.encode(), k.key, raw))
            claims = json.loads(_decoded(body)) if signers else None
        except (ValueError, RecursionError):
            signers, claims = (), None
        if not signers:
            raise _UnprovenError("the token's signature is wrong")
        if not isinstance(claims, dict):
            raise _UnprovenError("the token says nothing")
        return claims, signers

    def check(headers: Headers, certificate: str, now: float) -> str | None:
        token = _token(headers)
        if token is None:
            return "a token is needed"
        if len(token) > LONGEST_TOKEN:
            return "the token is too long"
        try:
            claims, signers = proven(token)
        except _UnprovenError as unproven:
            return str(unproven)
        problems = [_claims(claims, issuer, now) for issuer in signers]
        return None if None in problems else problems[-1]

    return check


class _UnprovenError(Exception):
    """Why nobody believes a token."""


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


@lru_cache(maxsize=256)
def _head(part: str) -> tuple[str | None, str]:
    """Key id and algorithm, as the first part of a token names them. One issuer writes the same part over and over.

    The algorithm has to be that of the key (RFC 8725 section 3.1), and what a token calls critical we do not know
    (RFC 7515 section 4.1.11).
    """
    try:
        said = json.loads(_decoded(part))
        kid, algorithm = said.get("kid"), said.get("alg")
    except (ValueError, AttributeError, RecursionError):
        return None, ""
    if "crit" in said or not isinstance(algorithm, str):
        return None, ""
    return (kid if isinstance(kid, str) else None), algorithm


def _keys(name: str, issuer: Issuer) -> list[jwt.PyJWK]:
    import jwt

    try:
        found = jwt.PyJWKSet.from_dict(issuer.jwks).keys
    except (jwt.PyJWTError, TypeError, AttributeError) as error:
        raise PolicyError(f"issuers.{name}.jwks", str(error), "a JWKS with public keys") from None
    usable = [key for key in found if key.algorithm_name in _ALGORITHMS]
    if not usable:
        allowed = "at least one key for " + ", ".join(_ALGORITHMS)
        raise PolicyError(f"issuers.{name}.jwks", "no usable key", allowed)
    return usable


def _token(headers: Headers) -> str | None:
    bearer = None
    for field, value in headers:
        if field == ASSERTION:
            return value.decode("latin-1")
        if field == b"authorization" and value[:7].lower() == _BEARER:
            bearer = value[7:].strip().decode("latin-1")
    return bearer


def _claims(claims: Mapping[str, Any], issuer: Issuer, now: float) -> str | None:
    """What is wrong with what the token says (RFC 7519 section 4.1). A token without an end is refused."""
    end, start = claims.get("exp"), claims.get("nbf", 0)
    if not isinstance(end, int | float) or not isinstance(start, int | float):
        return "the token has no time at which it expires"
    if now >= end + LEEWAY_S:
        return "the token has expired"
    if now < start - LEEWAY_S:
        return "the token is not valid yet"
    if issuer.issuer is not None and claims.get("iss") != issuer.issuer:
        return "the token is of another issuer"
    if issuer.audience is not None:
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if issuer.audience not in audiences:
            return "the token is for another audience"
    return None
