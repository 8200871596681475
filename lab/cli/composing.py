"""`popnet compose`: the world as a compose file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lab import compose as composing
from lab.cli.app import Code, app, put, say
from lab.driver import LabError
from lab.worlds import DEFAULT_WORLD, load_world
from topology.plan import Plan

SOURCE = DEFAULT_WORLD.parent


@app.command()
def compose(
    file: Annotated[
        Path | None,
        typer.Argument(help="World file; without one, the default world.", metavar="[FILE]"),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", help="Where to write; - for stdout. Default: docker-compose.yml beside FILE."
        ),
    ] = None,
) -> None:
    """Write docker-compose.yml: the world of FILE, every node a container.

    Then: docker compose up -d --wait
    """
    world = file or DEFAULT_WORLD
    target = world.parent / "docker-compose.yml" if out in (None, "-") else Path(str(out))
    plan = Plan.of(load_world(world))
    try:
        text = composing.text(plan, world, target.parent, SOURCE)
    except composing.ComposeError as error:
        say(f"popnet: {error}")
        raise typer.Exit(Code.BAD_INPUT) from None
    if out == "-":
        put(text.rstrip("\n"))
        return
    try:
        target.write_text(text)
    except OSError as error:
        raise LabError(
            f"--out: found {str(target)!r}: {error.strerror}; allowed: a file to write, or -"
        ) from None
    say(
        f"{target}: {len(plan.nodes)} nodes; start them by `docker compose -f {target} up -d --wait`"
    )
