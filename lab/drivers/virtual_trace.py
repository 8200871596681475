"""One request in virtual time, seen as `popnet trace` sees it."""

from __future__ import annotations

from typing import Any, Unpack
from urllib.parse import urlsplit

from lab.asking import TIMEOUT_S, How, full_url
from lab.driver import known
from lab.drivers.virtual import VirtualWorld
from lab.journey import Journey, journey
from lab.sites import site_that_answered


def ask(world: VirtualWorld, visitor: str, url: str, **how: Unpack[How]) -> dict[str, Any]:
    """What came of it, as the probe `lab.probes.visit` says it, and the URL and the visitor in full."""
    url, visitor = full_url(url), known(visitor, world.plan.world.visitors, "visitor")
    visit = world.get(
        visitor,
        url,
        method=how.get("method", "GET"),
        headers={"user-agent": "popnet", "accept": "*/*", **how.get("headers", {})},
        timeout_s=how.get("timeout_s", TIMEOUT_S),
        certificate=_certificate(world, how.get("certificate")),
    )
    return {"url": url, "visitor": visitor, **visit.task_answer()}


def send(world: VirtualWorld, visitor: str, url: str, **how: Unpack[How]) -> Journey | str:
    """As `lab.cli.tracing.send`: a text says why there was no response."""
    answer = ask(world, visitor, url, **how)
    if answer["error"] is not None:
        return str(answer["error"])
    url, visitor = answer["url"], answer["visitor"]
    lands = world.lands(visitor)
    if lands is None:
        return "no PoP announces the anycast address"
    site = site_that_answered(world.plan, urlsplit(url).hostname, answer["headers"])
    return journey(url, visitor, lands, site, answer, world.rtt_s)


def _certificate(world: VirtualWorld, name: str | None) -> str:
    """The file, of what access.certificates names."""
    if name is None:
        return ""
    name = known(name, world.plan.world.access.certificates, "client certificate")
    return str(world.dir.pki / f"client-{name}.pem")
