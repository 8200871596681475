"""One request in virtual time, seen as `popnet trace` sees it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from lab.driver import LabError, known
from lab.drivers.virtual import Tls, VirtualWorld
from lab.journey import Journey, journey
from lab.load_client import Visit
from lab.sites import site_that_answered
from topology.plan import Plan


def full_url(url: str) -> str:
    parts = urlsplit(url if "//" in url else f"https://{url}/")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LabError(f"{url!r} is no URL; allowed: https://HOST/PATH or http://HOST/PATH")
    return parts.geturl()


def send(
    world: VirtualWorld,
    visitor: str,
    url: str,
    *,
    method: str = "GET",
    timeout_s: float = 20.0,
    headers: Mapping[str, str] | None = None,
    certificate: str | None = None,
) -> Journey | str:
    """As `lab.cli.tracing.send`: a text says why there was no response."""
    url = full_url(url)
    visitor = known(visitor, world.plan.world.visitors, "visitor")
    visit = world.get(
        visitor,
        url,
        method=method,
        headers={"user-agent": "popnet-trace", "accept": "*/*", **(headers or {})},
        timeout_s=timeout_s,
        certificate=_certificate(world, certificate),
    )
    if visit.error:
        return visit.error
    lands = world.lands(visitor)
    if lands is None:
        return "no PoP announces the anycast address"
    site = site_that_answered(world.plan, urlsplit(url).hostname, visit.headers)
    return journey(url, visitor, lands, site, visit.task_answer(), world.rtt_s)


def _certificate(world: VirtualWorld, name: str | None) -> str:
    """The file, of what access.certificates names."""
    if name is None:
        return ""
    name = known(name, world.plan.world.access.certificates, "client certificate")
    return str(world.dir.pki / f"client-{name}.pem")


def once(
    plan: Plan,
    visitor: str,
    url: str,
    *,
    tls: Tls = "flights",
    headers: Mapping[str, str] | None = None,
    certificate: str | None = None,
) -> Visit:
    """Bring a world up for one request."""
    visitor = known(visitor, plan.world.visitors, "visitor")
    with VirtualWorld(plan, tls=tls) as world:
        world.start()
        return world.get(
            visitor,
            full_url(url),
            headers=dict(headers or {}),
            certificate=_certificate(world, certificate),
        )
