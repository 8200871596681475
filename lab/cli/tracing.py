"""`popnet trace`: the journey of one request, hop by hop, network and programs apart."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from lab.cli.app import (
    Code,
    Format,
    FormatOption,
    NameOption,
    app,
    open_lab,
    put,
    put_json,
    put_table,
    say,
)
from lab.cli.asked import CertificateOption, HeaderOption, fields
from lab.driver import Lab, LabError, known
from lab.journey import Journey, journey
from lab.policy_live import access
from lab.policy_live import certificate as certificate_file
from lab.rtts import current_rtts
from lab.sites import site_that_answered
from lab.visited import visited
from topology.plan import Plan


class TraceBy(enum.StrEnum):
    lab = "lab"
    virtual = "virtual"


@app.command()
def trace(
    url: Annotated[str, typer.Argument(help="Such as https://app.example.com/", metavar="URL")],
    visitor: Annotated[str, typer.Option("--from", help="The city that asks.", metavar="VISITOR")],
    name: NameOption = None,
    output: FormatOption = Format.table,
    method: Annotated[str, typer.Option("-X", "--request", help="The HTTP method.")] = "GET",
    header: HeaderOption = None,
    certificate: CertificateOption = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds for each phase.")] = 20.0,
    driver: Annotated[
        TraceBy, typer.Option(help="lab: the running one. virtual: none, the request is played.")
    ] = TraceBy.lab,
    world: Annotated[
        Path | None, typer.Option(help="World file of the virtual driver.", metavar="FILE")
    ] = None,
) -> int:
    """Send one request and show its journey.

    Each phase is split into what the links declare (EMULATED, there and back) and the rest, which is the work of the
    programs and of this machine (PROCESSING). Exit code 1 when no response came.
    """
    # Before a lab is looked for: what is wrong with it is wrong anywhere.
    headers = fields(header)
    if driver is TraceBy.virtual:
        told = _virtually(world, visitor, url, method, timeout_s, headers, certificate)
    else:
        lab = open_lab(name)
        told = send(
            lab,
            lab.visitor(visitor),
            url,
            method=method,
            timeout_s=timeout_s,
            headers=headers,
            certificate=certificate,
        )
    if isinstance(told, str):
        if output is Format.json:
            put_json({"url": url, "visitor": visitor, "status": None, "error": told})
        say(f"popnet: no response: {told}")
        return Code.CHECK_FAILED
    if output is Format.json:
        put_json(told.to_dict())
    else:
        show(told)
    return Code.OK


def _virtually(
    file: Path | None,
    visitor: str,
    url: str,
    method: str,
    timeout_s: float,
    headers: Mapping[str, str],
    certificate: str | None,
) -> Journey | str:
    from lab.drivers import virtual_trace
    from lab.drivers.virtual import VirtualWorld
    from lab.worlds import DEFAULT_WORLD, load_world

    with VirtualWorld(Plan.of(load_world(file or DEFAULT_WORLD))) as world:
        world.start()
        return virtual_trace.send(
            world,
            visitor,
            url,
            method=method,
            timeout_s=timeout_s,
            headers=headers,
            certificate=certificate,
        )


def send(
    lab: Lab,
    visitor: str,
    url: str,
    *,
    method: str = "GET",
    timeout_s: float = 20.0,
    headers: Mapping[str, str] | None = None,
    certificate: str | None = None,
) -> Journey | str:
    """Trace one request; a text instead of a journey says why there was no response."""
    parts = urlsplit(url if "//" in url else f"https://{url}/")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LabError(f"{url!r} is no URL; allowed: https://HOST/PATH or http://HOST/PATH")
    if certificate is not None:
        certificate = known(certificate, access(lab).certificates, "client certificate")
    visit = visited(
        lab,
        visitor,
        parts.geturl(),
        method=method,
        headers={"user-agent": "popnet-trace", "accept": "*/*", **(headers or {})},
        timeout_s=timeout_s,
        certificate=certificate_file(lab, certificate) if certificate is not None else None,
    )
    if visit["error"] is not None:
        return str(visit["error"])
    lands = next(row["lands"] for row in lab.wan("catchment")["rows"] if row["visitor"] == visitor)
    if lands is None:
        return "no PoP announces the anycast address"
    rtts = current_rtts(lab)
    site = site_that_answered(lab.plan, parts.hostname, [(n, v) for n, v in visit["headers"]])
    return journey(parts.geturl(), visitor, lands, site, visit, rtts)


def show(told: Journey) -> None:
    stops = [told.visitor, *told.path]
    if told.reached is not None:
        stops.append(told.reached)
    line = f"{told.status}  {' > '.join(stops)}   {told.total_s * 1e3:.1f} ms   ray {told.ray}"
    # A policy that has nothing to say of a request is not worth a word.
    rule = told.headers.get("popnet-security", "no rule")
    put(line + (f"   security: {rule}" if rule != "no rule" else ""))
    problem = told.headers.get("popnet-problem")
    if problem is not None:
        put(problem)
    rows = [
        (
            phase.name,
            "-" if phase.emulated_s is None else f"{phase.emulated_s * 1e3:.1f}",
            f"{phase.processing_s * 1e3:.1f}",
            phase.note,
        )
        for phase in told.phases
    ]
    rest = told.total_s - told.emulated_s
    rows.append(("total", f"{told.emulated_s * 1e3:.1f}", f"{rest * 1e3:.1f}", ""))
    put_table(("PHASE", "EMULATED", "PROCESSING", "ms"), rows, "lrrl")
