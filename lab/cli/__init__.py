"""The `popnet` command. One module per group of commands; stdout is data, stderr is talk.

app.py       the typer application, its exit codes, what all commands share
help.py      the list of commands, by what one wants to do
running.py   up; status.py: status, down
inside.py    exec, curl
nodes.py     kill, vanish, start, pause, resume, drain
links.py     link set, link show, link reset, catchment
watching.py  events, logs, capture, metrics
checking.py  validate, doctor
run.py       run, load; run_virtual.py: get; bringing.py: labs that a command brings up for itself
recovery.py  recovery
parity.py    parity
"""

from __future__ import annotations

from lab.cli.app import main

__all__ = ["main"]
