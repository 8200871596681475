"""From the world file's `security` and `access` to the policy that PoPs read, and to the credentials that pass it.

Secrets follow from the seed, as those of tunnels do: they guard nothing beyond an emulated network.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import msgspec

from pops.core.rules import ACTIONS, Action, Issuer, Policy, RateLimit, Rule, ServiceToken
from topology.model_security import Access, SecurityRule
from topology.plan import Plan


def of_plan(plan: Plan, *, version: int = 1) -> Policy:
    """The policy of the world file."""
    return build(plan, plan.world.security, plan.world.access, version)


def build(plan: Plan, rules: tuple[SecurityRule, ...], access: Access, version: int) -> Policy:
    return Policy(
        rules=tuple(_rule(plan, rule) for rule in rules),
        service_tokens={
            name: ServiceToken(
                id=token_id(name),
                secret_sha256=digest(token_secret(plan, name)),
            )
            for name in access.service_tokens
        },
        issuers={
            name: Issuer(
                jwks=json.loads(issuer.jwks), audience=issuer.audience, issuer=issuer.issuer
            )
            for name, issuer in access.jwt.items()
        },
        version=version,
    )


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def token_id(name: str) -> str:
    return f"{name}.popnet"


def token_secret(plan: Plan, name: str) -> str:
    text = f"{plan.seed}/{plan.name}/{name}/service token"
    return hashlib.sha256(text.encode()).hexdigest()


def _rule(plan: Plan, rule: SecurityRule) -> Rule:
    action: Action = next(name for name in ACTIONS if getattr(rule, name) is not None)
    limit = rule.rate_limit
    # A visitor is its address; beside `address` either of them counts.
    addresses = [plan.nodes[name].address for name in rule.visitor or ()]
    return Rule(
        action=action,
        host=rule.host,
        path=rule.path,
        method=rule.method or (),
        address=(*(rule.address or ()), *addresses),
        country=rule.country or (),
        header=rule.header or {},
        status=None if isinstance(rule.block, bool) else rule.block,
        require=rule.require,
        of=rule.of or (),
        rate=None
        if limit is None
        else RateLimit(per_s=limit.per_s, burst=limit.burst, by=limit.by),
        note=rule.note,
    )


def write(path: Path, policy: Policy) -> None:
    write_whole(path, msgspec.json.encode(policy))


def write_whole(path: Path, content: bytes) -> None:
    """Whole or not at all: a PoP may start at this moment."""
    beside = path.with_suffix(".new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    beside.replace(path)
