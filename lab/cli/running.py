"""`popnet up`: bring a world up, and say how to come in and what to try."""

from __future__ import annotations

import enum
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lab import launch
from lab.cli import bringing, elsewhere, tracing
from lab.cli.app import Code, NameOption, app, say
from lab.cli.status import headline
from lab.connectors import connectors
from lab.driver import Lab, LabError
from lab.drivers import base
from lab.drivers.local import LocalDriver
from lab.gateway import ports
from lab.rundir import serving
from lab.standing import standing


class Driver(enum.StrEnum):
    auto = "auto"
    local = "local"
    docker = "docker"


class _Progress:
    """One line on a terminal that keeps being replaced; plain lines elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._started = time.monotonic()

    def __call__(self, text: str) -> None:
        elapsed = f"{time.monotonic() - self._started:5.1f} s  "
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K{elapsed}{text} ...")
            sys.stderr.flush()
        else:
            say(elapsed + text)

    def done(self, text: str) -> None:
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
        say(f"{time.monotonic() - self._started:5.1f} s  {text}")


@app.command()
def up(
    file: Annotated[
        Path | None,
        typer.Argument(help="World file; without one, the default world.", metavar="[FILE]"),
    ] = None,
    driver: Annotated[
        Driver,
        typer.Option(
            help="local: network namespaces on this machine. docker: containers. auto: what it can do."
        ),
    ] = Driver.auto,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach", "-d", help="Return when the lab is ready; end it by `popnet down`."
        ),
    ] = False,
    algorithm: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Instead of the file's own: a name, or a Python file (docs/routing).",
        ),
    ] = None,
    name: NameOption = None,
    first_request: Annotated[
        str | None,
        typer.Option(
            metavar="VISITOR", help="Send a first request from this visitor and show its journey."
        ),
    ] = None,
    web_port: Annotated[
        str, typer.Option(help="Port of the web page: a number, auto, off.", metavar="PORT")
    ] = "auto",
    socks_port: Annotated[
        str,
        typer.Option(help="Port of the proxy into the world: a number, auto, off.", metavar="PORT"),
    ] = "auto",
    city: Annotated[
        str | None,
        typer.Option(help="Visitor that a proxy user is who names none.", metavar="VISITOR"),
    ] = None,
) -> None:
    """Bring a world up and stay until Ctrl-C.

    All or nothing: either every PoP serves and every tunnel is connected, or nothing is left behind.
    An ordinary user needs no rights beyond user namespaces and an openable /dev/net/tun (`popnet doctor`).
    """
    from lab.worlds import DEFAULT_WORLD

    # `kill PID` and a closed terminal end the lab as orderly as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    progress = _Progress()
    try:
        gateway = {
            "web": ports.check("--web-port", web_port),
            "socks": ports.check("--socks-port", socks_port),
            "city": city,
        }
    except ports.PortError as error:
        raise LabError(str(error)) from None
    chosen = _driver(driver, gateway)
    try:
        running = chosen.up(
            file or DEFAULT_WORLD, name, detach=detach, progress=progress, algorithm=algorithm
        )
    except launch.UpError as error:
        progress.done(f"failed: {error.why}")
        bringing.tell_the_rest(error)
        raise typer.Exit(error.code) from None
    failed = None
    try:
        if isinstance(running, launch.Launch):
            lab = Lab(running.run)
            where = ports.read(lab.dir.path)
            progress.done(headline(standing(lab), connectors(lab), where))
            _say_doors(where)
            if first_request is not None:
                _first_request(lab, lab.visitor(first_request))
        else:
            progress.done(f"{running.name} is up")
            elsewhere.after_up(running.name, first_request)
        if not detach:
            say("Ctrl-C ends the lab.")
            failed = running.wait()
    except BaseException as error:
        # A second Ctrl-C shall not interrupt the clearing up.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if isinstance(error, KeyboardInterrupt):
            say("ending the lab")
        running.end()
        raise
    if detach:
        running.let_go()
        return
    if failed is not None:
        say(f"the lab ended: {failed}")
        raise typer.Exit(Code.ABORTED)
    say("the lab has ended")


def _driver(wanted: Driver, gateway: dict[str, str | None]) -> base.Driver:
    """Another system than Linux has no network namespaces: there, a lab is containers."""
    if wanted is Driver.docker or (wanted is Driver.auto and sys.platform != "linux"):
        # The SDK costs a fifth of a second that no other command should pay.
        from lab.drivers.docker import DockerDriver

        return DockerDriver(gateway)
    return LocalDriver(gateway)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _first_request(lab: Lab, visitor: str) -> None:
    """Show the journey of one request, and what to try next. A world that does not answer is no lab."""
    world = lab.plan.world
    host = next((name for name, entry in world.dns.items() if entry.tunnel is not None), None)
    if host is None:
        say("the world has no host name with a tunnel: no first request")
        return
    address = f"https://{host}/"
    told = tracing.send(lab, visitor, address)
    if isinstance(told, str):
        raise LabError(f"the first request had no response: {told}")
    tracing.show(told)
    say(_what_next(lab, visitor, address, told.path))


@app.command(name="first-request", hidden=True)
def first_request(
    visitor: Annotated[str, typer.Option("--from", help="The visitor that asks.")],
    name: NameOption = None,
) -> None:
    """What `popnet up --first-request` shows in the end."""
    lab = Lab.open(name)
    _first_request(lab, lab.visitor(visitor))


def _what_next(lab: Lab, visitor: str, address: str, path: Sequence[str]) -> str:
    command = "popnet" if shutil.which("popnet") else os.path.relpath(sys.argv[0])
    if len(serving()) > 1:
        command += f" -n {lab.name}"
    other = next((name for name in lab.plan.world.visitors if name != visitor), visitor)
    here, there = path[0], path[-1]
    # Two PoPs of the journey, so that the next trace shows the difference.
    near, far = path[:2] if len(path) > 1 else lab.plan.pops[:2]
    tries = (
        (
            "curl --from " + f"{other} {address}",
            "the same request from elsewhere, by the real curl",
        ),
        (f"exec {visitor} -- ping -c3 {here}", "any program runs inside any node"),
        (f"link set {near} {far} --rtt 400ms", "make a link of the journey slow, then trace again"),
        (f"trace --from {visitor} {address}", "where the time goes, hop by hop"),
        (f"kill {there}", "and watch who takes over: " + f"{command} events -f"),
    )
    width = max(len(text) for text, _ in tries)
    lines = [f"  {command} {text:{width}}   {why}" for text, why in tries]
    return "\n".join(["", "In a second terminal:", *lines, ""])


def _say_doors(where: ports.Where | None) -> None:
    """How to come in from this machine."""
    if where is None:
        return
    for note in where.notes:
        say(f"note: {note}")
    if where.page is not None:
        say(f"page   {where.page}")
    if where.socks is not None:
        say(f"proxy  {where.proxy()}  (user = city; SOCKS5 and HTTP)")
