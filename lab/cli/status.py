"""`popnet status` and `popnet down`: how a lab is, and its end."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lab.cli import elsewhere
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
from lab.connectors import connectors
from lab.driver import choose
from lab.drivers import base
from lab.drivers.local import LocalDriver
from lab.gateway import ports
from lab.standing import standing


@app.command()
def status(
    name: NameOption = None,
    output: FormatOption = Format.table,
    nodes: Annotated[bool, typer.Option("--nodes", help="Every node with its programs.")] = False,
) -> None:
    """Say how the lab is: PoPs, tunnel connections, and which nodes are in trouble.

    A node is ready, or one of: dead, paused, stopping, starting, vanished, detached, gone.
    """
    lab = open_lab(name)
    state = standing(lab)
    found = connectors(lab)
    where = ports.read(lab.dir.path)
    if output is Format.json:
        doors = {"page": None, "proxy": None, **state.get("gateway", {})}
        if where is not None:
            doors |= {"page": where.page, "proxy": where.proxy(), "notes": where.notes}
        kept = {key: value for key, value in state.items() if key != "ok"}
        put_json({**kept, "gateway": doors, "connectors": found})
        return
    put(headline(state, found, where))
    if where is not None and where.socks is not None:
        put(f"proxy {where.proxy()}")
    if not state["wan"]["ready"]:
        put("the wan process is not there: no packet passes")
    rows = [_row(node) for node in state["nodes"] if nodes or not node["ready"]]
    if rows:
        put_table(("NODE", "KIND", "ADDRESS", "STATE", "PROGRAMS"), rows)


def headline(
    status: dict[str, Any], connectors: list[dict[str, Any]], where: ports.Where | None
) -> str:
    """The lab in one line."""
    pops = status["summary"].get("pop", {"ready": 0, "all": 0})
    parts = [status["name"], status["phase"], f"{pops['ready']}/{pops['all']} PoPs"]
    if connectors:
        up_now = sum(one["ready"] for one in connectors)
        wanted = sum(one["wanted"] for one in connectors)
        places: dict[str, int] = {}
        for one in connectors:
            for pop in one["pops"]:
                places[pop] = places.get(pop, 0) + 1
        spread = ", ".join(f"{pop} {count}" for pop, count in places.items())
        parts.append(f"{up_now}/{wanted} tunnel connections" + (f" ({spread})" if spread else ""))
    if where is not None and where.page is not None:
        parts.append(where.page)
    return "  ".join(parts)


def _row(node: dict[str, Any]) -> tuple[str, ...]:
    programs = [
        f"{one['name']} {one['state']}" + (f" ({one['ended']})" if one["ended"] else "")
        for one in node["programs"]
    ]
    if node["ended"]:
        programs = [f"agent ended ({node['ended']})"]
    state = node["state"]
    return node["name"], node["kind"], node["address"], state, ", ".join(programs) or "-"


@app.command()
def down(
    name: NameOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Every lab of this user.")] = False,
) -> None:
    """End a lab and whatever is left of it: processes, namespaces, devices, sockets, files.

    Also after a crash: leftovers are found by the mark that every process of a lab carries.
    """
    local = LocalDriver()
    docker = elsewhere.driver()
    drivers: list[base.Driver] = [local, *([docker] if docker is not None else [])]
    if everything:
        for driver in drivers:
            for one in driver.names():
                driver.down(one)
                say(f"{one} is down")
        return
    name = name or choose()
    for driver in drivers:
        if (leftovers := driver.down(name)) is None:
            continue
        ended = f" ({len(leftovers)} leftover processes ended)" if leftovers else ""
        say(f"{name} is down{ended}")
        return
    others = [one for driver in drivers for one in driver.names()]
    hint = f"; there are: {', '.join(others)}; say which by -n" if others else ""
    say(f"popnet: no lab named {name}{hint}")
    raise typer.Exit(Code.NO_LAB)
