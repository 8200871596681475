"""The `popnet` command. One module per group of commands; stdout is data, stderr is talk.

app.py       the typer application, its exit codes, what all commands share
help.py      the list of commands, by what one wants to do
elsewhere.py the same command inside a lab of containers
asked.py     a request as it is asked for; played.py: of the running lab, or of a world in virtual time
bringing.py  labs that a command brings up for itself

running.py   up; status.py: status, down
inside.py    exec, curl
tracing.py   trace, get
why.py       why; routes.py: routes, graph, lsdb
nodes.py     kill, vanish, start, pause, resume, drain
links.py     link set, link show, link reset, catchment
policy.py    policy; dns.py: dns; pools.py: pools
watching.py  events, logs, capture, metrics
checking.py  validate, doctor; composing.py: compose; fidelity.py: fidelity
run.py       run, load; chaos.py: chaos
compare.py   compare; plot.py: plot; replay.py: replay
recovery.py  recovery; parity.py: parity
"""

from __future__ import annotations

from lab.cli.app import main

__all__ = ["main"]
