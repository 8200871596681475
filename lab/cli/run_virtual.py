"""`popnet get`: one request, by any driver."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from lab.cli.app import (
    Code,
    NameOption,
    app,
    open_lab,
    put,
    say,
)
from lab.cli.asked import CertificateOption, HeaderOption, fields
from lab.cli.run import FileArgument
from lab.worlds import DEFAULT_WORLD, load_world
from topology.plan import Plan


class By(enum.StrEnum):
    lab = "lab"
    virtual = "virtual"


@app.command()
def get(
    url: Annotated[str, typer.Argument(help="Such as https://app.example.com/", metavar="URL")],
    file: FileArgument = None,
    visitor: Annotated[str | None, typer.Option("--from", metavar="VISITOR")] = None,
    header: HeaderOption = None,
    certificate: CertificateOption = None,
    driver: Annotated[
        By, typer.Option(help="lab: the running one. virtual: none, the request is played here.")
    ] = By.lab,
    name: NameOption = None,
) -> int:
    """Ask for a URL as a visitor would, and print the answer's head; FILE is the world of the virtual driver."""
    from lab.drivers import virtual_trace

    headers = fields(header)
    if driver is By.lab:
        from lab.cli import tracing

        lab = open_lab(name)
        asking = visitor or next(iter(lab.plan.world.visitors))
        told = tracing.send(lab, lab.visitor(asking), url, headers=headers, certificate=certificate)
        if isinstance(told, str):
            say(f"popnet: no response: {told}")
            return Code.CHECK_FAILED
        put(f"HTTP/1.1 {told.status}")
        for key, value in told.headers.items():
            put(f"{key}: {value}")
        return Code.OK
    plan = Plan.of(load_world(file or DEFAULT_WORLD))
    visit = virtual_trace.once(
        plan,
        visitor or next(iter(plan.world.visitors)),
        url,
        headers=headers,
        certificate=certificate,
    )
    if visit.error:
        say(f"popnet: no response: {visit.error}")
        return Code.CHECK_FAILED
    put(f"HTTP/1.1 {visit.status}")
    for key, value in visit.headers:
        put(f"{key}: {value}")
    return Code.OK
