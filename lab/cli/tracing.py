"""`popnet trace`: the journey of one request, hop by hop, network and programs apart. `popnet get`: what came of it."""

from __future__ import annotations

from typing import Any, Unpack
from urllib.parse import urlsplit

from lab.asking import TIMEOUT_S, How, full_url
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
from lab.cli.asked import (
    CertificateOption,
    FromOption,
    HeaderOption,
    MethodOption,
    TimeoutOption,
    UrlArgument,
    request,
)
from lab.cli.played import By, DriverOption, WorldOption, file_of, in_virtual_time
from lab.driver import Lab, known
from lab.journey import Journey, journey
from lab.policy_live import access
from lab.policy_live import certificate as certificate_file
from lab.rtts import current_rtts
from lab.sites import site_that_answered
from lab.visited import visited


@app.command()
def trace(
    url: UrlArgument,
    visitor: FromOption,
    name: NameOption = None,
    output: FormatOption = Format.table,
    method: MethodOption = "GET",
    header: HeaderOption = None,
    certificate: CertificateOption = None,
    timeout_s: TimeoutOption = TIMEOUT_S,
    driver: DriverOption = By.lab,
    world: WorldOption = None,
) -> int:
    """Send one request and show its journey.

    Each phase is split into what the links declare (EMULATED, there and back) and the rest, which is the work of the
    programs and of this machine (PROCESSING). Exit code 1 when no response came.
    """
    url = full_url(url)
    asked = request(method, header, certificate, timeout_s)
    if (file := file_of(driver, world)) is not None:
        from lab.drivers import virtual_trace

        with in_virtual_time(file) as played:
            told = virtual_trace.send(played, visitor, url, **asked)
    else:
        told = send(open_lab(name), visitor, url, **asked)
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


@app.command()
def get(
    url: UrlArgument,
    visitor: FromOption,
    name: NameOption = None,
    output: FormatOption = Format.table,
    method: MethodOption = "GET",
    header: HeaderOption = None,
    certificate: CertificateOption = None,
    timeout_s: TimeoutOption = TIMEOUT_S,
    driver: DriverOption = By.lab,
    world: WorldOption = None,
) -> int:
    """Ask for a URL as a visitor would, and print the head of the response.

    It needs no curl and, in virtual time, no lab. Exit code 1 when no response came.
    """
    url = full_url(url)
    asked = request(method, header, certificate, timeout_s)
    if (file := file_of(driver, world)) is not None:
        from lab.drivers import virtual_trace

        with in_virtual_time(file) as played:
            answer = virtual_trace.ask(played, visitor, url, **asked)
    else:
        lab = open_lab(name)
        answer = ask(lab, visitor, url, **asked)
    failed = answer["error"] is not None
    if output is Format.json:
        told = ("url", "visitor", "status", "headers", "bytes", "error")
        put_json({key: answer.get(key) for key in told})
    elif not failed:
        put(f"HTTP/1.1 {answer['status']}")
        for key, value in answer["headers"]:
            put(f"{key}: {value}")
    if failed:
        say(f"popnet: no response: {answer['error']}")
    return Code.CHECK_FAILED if failed else Code.OK


def ask(lab: Lab, visitor: str, url: str, **how: Unpack[How]) -> dict[str, Any]:
    """What came of it, as the probe `lab.probes.visit` says it, and the URL and the visitor in full."""
    certificate = how.get("certificate")
    if certificate is not None:
        certificate = known(certificate, access(lab).certificates, "client certificate")
    url, visitor = full_url(url), lab.visitor(visitor)
    answer = visited(
        lab,
        visitor,
        url,
        method=how.get("method", "GET"),
        headers={"user-agent": "popnet", "accept": "*/*", **how.get("headers", {})},
        timeout_s=how.get("timeout_s", TIMEOUT_S),
        certificate=certificate_file(lab, certificate) if certificate is not None else None,
    )
    return {"url": url, "visitor": visitor, **answer}


def send(lab: Lab, visitor: str, url: str, **how: Unpack[How]) -> Journey | str:
    """Trace one request; a text instead of a journey says why there was no response."""
    answer = ask(lab, visitor, url, **how)
    if answer["error"] is not None:
        return str(answer["error"])
    url, visitor = answer["url"], answer["visitor"]
    lands = next(row["lands"] for row in lab.wan("catchment")["rows"] if row["visitor"] == visitor)
    if lands is None:
        return "no PoP announces the anycast address"
    rtts = current_rtts(lab)
    site = site_that_answered(lab.plan, urlsplit(url).hostname, answer["headers"])
    return journey(url, visitor, lands, site, answer, rtts)


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
