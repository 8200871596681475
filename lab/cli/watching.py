"""`popnet events`, `logs`, `capture`, `metrics`: what a running lab says of itself."""

from __future__ import annotations

import http.server
import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from math import inf
from pathlib import Path
from typing import Annotated, Any

import typer

from lab import metrics as merging
from lab import quantities
from lab.cli.app import Code, Format, FormatOption, NameOption, app, open_lab, put, say
from lab.cli.pcap import opened
from lab.driver import Lab, LabError
from lab.happened import Teller

FollowOption = Annotated[bool, typer.Option("-f", "--follow", help="Go on with what happens next.")]

_LOOK_S = 0.05
_LAST = 20


@app.command()
def events(
    follow: FollowOption = False,
    name: NameOption = None,
    output: FormatOption = Format.table,
    node: Annotated[str | None, typer.Option(help="Of this node only.")] = None,
    tail: Annotated[
        str | None,
        typer.Option(
            metavar="N|all",
            help=f"Only the last N; {_LAST} without --since, in JSON without -f all.",
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only of the last such as 30s, 5m.")
    ] = None,
) -> None:
    """Show the last of what has happened: tunnels, links, routes, nodes. With -f also all that comes.

    `NRT-IAD rtt 158 > 400 ms`: a link, both ways; NRT>IAD: one way. `app FRA>LHR to FRA`: the route of a tunnel.
    What is no news, such as a route that keeps its path, stands only in JSON, which has every event, one a line.
    """
    lab = open_lab(name)
    wanted = lab.node(node) if node is not None and node not in ("lab", "wan") else node
    if tail is None and since is None and (follow or output is Format.table):
        tail = str(_LAST)
    most = None if tail in (None, "all") else _count(tail)
    begin = -inf if since is None else time.time() - quantities.duration("--since", since)
    lines = _Lines(lab, wanted, output)
    past = list(lab.events())
    found = [line for one in past if (line := lines.of(one)) and float(one.get("t", 0.0)) >= begin]
    left_out = 0 if most is None else max(0, len(found) - most)
    if left_out:
        say(f"popnet: {left_out} earlier ones; --tail all shows them, --since 30s the latest")
    if not found and not follow:
        say("popnet: nothing of that has happened")
    for line in found[left_out:]:
        put(line)
    if follow:
        for event in islice(lab.events(follow=True), len(past), None):
            if line := lines.of(event):
                put(line)


def _count(text: str | None) -> int:
    if text is None or not text.isdecimal():
        raise LabError(f"--tail: found {text!r}, allowed: a whole number, or all")
    return int(text)


class _Lines:
    """Every event in order, also those that are not shown: a link's change is told by what it was before."""

    def __init__(self, lab: Lab, node: str | None, output: Format) -> None:
        self._node, self._output = node, output
        self._teller = Teller(lab.plan)

    def of(self, event: dict[str, Any]) -> str | None:
        """None when there is nothing to show."""
        rest = self._teller.tell(event)
        if self._node not in (None, event.get("node")):
            return None
        if self._output is Format.json:
            return json.dumps(event)
        if rest is None:
            return None
        moment = float(event.get("t", 0.0))
        clock = time.strftime("%H:%M:%S", time.localtime(moment)) + f".{int(moment % 1 * 1000):03d}"
        node, name = str(event.get("node", "-")), str(event.get("event", "-"))
        return f"{clock}  {node:13}  {name:20}  {rest}".rstrip()


@app.command()
def logs(
    node: Annotated[
        str | None, typer.Argument(help="A node; without: everything of the lab.", metavar="[NODE]")
    ] = None,
    follow: FollowOption = False,
    name: NameOption = None,
) -> None:
    """Print what the programs wrote to their standard output and error, each line with its origin.

    Most write only what went wrong; `popnet events` shows what they did.
    """
    lab = open_lab(name)
    positions: dict[Path, int] = {}
    lines = 0
    for lines, line in enumerate(_log_lines(lab, node, positions), 1):  # noqa: B007
        put(line)
    if not lines and not follow:
        say(f"popnet: the programs of {node or 'this lab'} wrote nothing")
    while follow:
        time.sleep(_LOOK_S)
        if not lab.dir.path.exists():
            return
        for line in _log_lines(lab, node, positions):
            put(line)


def _log_lines(lab: Lab, node: str | None, positions: dict[Path, int]) -> Iterator[str]:
    """What is new in every log since the position that is kept for it; whole lines only."""
    nodes = [lab.node(node)] if node is not None else list(lab.plan.nodes)
    files = {
        path: f"{one} {path.stem}"
        for one in nodes
        for path in sorted(lab.dir.node(one).glob("*.log"))
    }
    if node is None:
        files |= {path: path.stem for path in sorted(lab.dir.path.glob("*.log"))}
    for path, origin in files.items():
        with open(path, "rb") as file:
            file.seek(positions.get(path, 0))
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        positions[path] = positions.get(path, 0) + len(whole)
        for line in whole.decode(errors="replace").splitlines():
            yield f"{origin:20}| {line}"


@app.command()
def capture(
    target: Annotated[
        str,
        typer.Argument(metavar="NODE|A:B", help="A node's packets, or those of a link both ways."),
    ],
    write: Annotated[
        str | None,
        typer.Option("-w", "--write", help="A pcap file; - for stdout.", metavar="FILE|-"),
    ] = None,
    name: NameOption = None,
) -> None:
    """Write the packets of a node or of a link as pcap, until Ctrl-C.

    Without -w they go to stdout, as with -w -: binary data for a file or a program, refused on a terminal.
    To look on while it happens: popnet capture tokyo | wireshark -k -i -
    """
    lab = open_lab(name)
    ends = [lab.node(part) for part in target.split(":")]
    if len(ends) > 2:
        raise LabError(f"{target!r} is neither a node nor A:B")
    if write is None and sys.stdout.isatty():
        raise LabError("a terminal shows no pcap: give -w FILE, or pipe it into a program (-w -)")
    with lab.wan_connection() as wan, opened(write) as file:
        wan.ask({"op": "capture", **({"node": ends[0]} if len(ends) == 1 else {"pair": ends})})
        say(f"capturing {target}; Ctrl-C ends it")
        try:
            while data := wan.read():
                view = memoryview(data)
                while view:
                    view = view[os.write(file.fileno(), view) :]
        except KeyboardInterrupt:
            return
        raise LabError("the wan process ended the capture")


@app.command()
def metrics(
    node: Annotated[
        str | None, typer.Argument(help="One node; without: all.", metavar="[NODE]")
    ] = None,
    serve: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="Serve them on this port of localhost instead."),
    ] = None,
    name: NameOption = None,
) -> None:
    """Print the metrics of every process, in Prometheus' text format, each sample with its node.

    With --serve PORT they stand at http://127.0.0.1:PORT/metrics, collected afresh for every scrape.
    """
    lab = open_lab(name)
    if node is not None:
        node = lab.node(node)
    if serve is None:
        sys.stdout.write(merging.collect(lab, node))
        return
    _serve(lab, node, serve)


def _serve(lab: Lab, node: str | None, port: int) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] not in ("/", "/metrics"):
                self.send_error(404)
                return
            body = merging.collect(lab, node).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """A scrape every few seconds is no news."""

    try:
        server = http.server.HTTPServer(("127.0.0.1", port), Handler)
    except OverflowError:
        raise LabError(
            f"--serve: found {port}, allowed: a port up to 65535, or 0 for any"
        ) from None
    except OSError as error:
        say(f"popnet: port {port}: {error.strerror}")
        raise typer.Exit(Code.BAD_INPUT) from None
    say(f"http://127.0.0.1:{server.server_address[1]}/metrics; Ctrl-C ends it")
    with server:
        server.serve_forever()
