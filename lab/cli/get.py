"""`popnet get`: one request, by any driver."""

from __future__ import annotations

from lab.asking import TIMEOUT_S, full_url
from lab.cli import tracing
from lab.cli.app import (
    Code,
    Format,
    FormatOption,
    NameOption,
    app,
    open_lab,
    put,
    put_json,
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
        answer = tracing.ask(lab, visitor, url, **asked)
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
