"""Who may ask for what: `security`, rules at the ingress PoP, and `access`, the credentials that they may require."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from topology.model_types import RATE_BY_PATTERN, Name, Positive, one_or_many

RULE_ACTIONS = ("allow", "block", "challenge", "require", "rate_limit", "log")

_By = Annotated[
    str,
    Meta(
        pattern=RATE_BY_PATTERN,
        description="What has a budget of its own: address, country, host, all or header:name.",
    ),
]


class RateLimit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most this many requests a second for each visitor address (or what `by` says); more gets 429."""

    per_s: Positive
    burst: Annotated[int, Meta(ge=1, description="So many at once.")] = 1
    by: _By = "address"


class SecurityRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to match (nothing: everything) and one action. The first match wins."""

    path: Annotated[
        Annotated[str, Meta(pattern="^[/*]")] | None,
        Meta(
            description="/admin/* matches all below /admin/, and not /admin itself. "
            "Escapes and dots in a request are resolved."
        ),
    ] = None
    host: Annotated[str | None, Meta(description="A name; * stands for any text.")] = None
    method: Annotated[tuple[str, ...] | None, one_or_many("GET, POST ...")] = None
    country: Annotated[tuple[str, ...] | None, one_or_many("Of the visitor: JP, BR ...")] = None
    visitor: Annotated[tuple[Name, ...] | None, one_or_many("Names in `visitors`.")] = None
    address: Annotated[
        tuple[str, ...] | None, one_or_many("Addresses or prefixes: 100.64.0.0/10.")
    ] = None
    header: Annotated[
        dict[str, str] | None, Meta(description="Field names and their values; * for any text.")
    ] = None
    allow: Literal["all"] | None = None
    block: Annotated[bool | int | None, Meta(description="true, or the status to answer.")] = None
    challenge: Annotated[
        bool | None, Meta(description="403 with a page that asks to show that one may.")
    ] = None
    require: Annotated[
        Literal["service_token", "jwt", "mtls"] | None, Meta(description="A credential, else 403.")
    ] = None
    of: Annotated[
        tuple[Name, ...] | None, one_or_many("Which of `access` count; left out: all of that kind.")
    ] = None
    rate_limit: Annotated[
        RateLimit | None, Meta(description="Matches only what is beyond the rate.")
    ] = None
    log: Annotated[bool | None, Meta(description="Count it, and go on.")] = None
    note: Annotated[
        str, Meta(max_length=60, description="How trace, logs and metrics call this rule.")
    ] = ""


class Issuer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who signs JSON Web Tokens."""

    jwks: Annotated[
        str,
        Meta(description="Its public keys (RFC 7517): a file beside this one, or the JSON itself."),
    ]
    audience: Annotated[str | None, Meta(description="What `aud` must contain.")] = None
    issuer: Annotated[str | None, Meta(description="What `iss` must be.")] = None


class Access(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Credentials that rules may require."""

    service_tokens: Annotated[
        tuple[Name, ...],
        one_or_many("Their secrets follow from the seed: `popnet policy token NAME`."),
    ] = ("lab",)
    certificates: Annotated[
        tuple[Name, ...],
        one_or_many(
            "Client certificates that the lab's CA makes: `popnet policy certificate NAME`."
        ),
    ] = ()
    jwt: Annotated[dict[Name, Issuer], Meta(description="Issuers, by name.")] = field(
        default_factory=dict
    )
