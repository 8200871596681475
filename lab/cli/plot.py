"""`popnet plot`: the figures of an experiment, drawn again from what it left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lab.cli.app import Code, app, put
from lab.driver import LabError


@app.command()
def plot(
    directory: Annotated[
        Path, typer.Argument(help="What `popnet compare --out DIR` left.", metavar="DIR")
    ],
) -> int:
    """Draw the figures of an experiment again: DIR/figures/*.png and *.pdf.

    Only samples.csv and the summary are read, so results of another machine can be drawn here. Needs matplotlib, the
    extra `plot`.
    """
    from lab.experiment import figures

    try:
        written = figures.draw(directory)
    except figures.NoPlotError as error:
        raise LabError(str(error)) from None
    for path in written:
        put(str(path))
    return Code.OK
