"""The list of commands in `popnet --help`: by what one wants to do, a line each, none cut."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

SECTIONS = {
    "First steps": {
        "doctor": "Say what this machine can run, and how to mend the rest.",
        "up": "Bring a world up and stay until Ctrl-C.",
        "status": "Say how the lab is, and which nodes are in trouble.",
        "curl": "Run curl as a visitor.",
        "trace": "Send one request and show its journey, hop by hop.",
        "exec": "Run any program inside a node.",
        "down": "End a lab and whatever is left of it.",
    },
    "Looking": {
        "catchment": "Show at which PoP each visitor lands.",
        "why": "Say why requests take the route they take.",
        "routes": "Show the route of each PoP to each tunnel.",
        "graph": "Print the latency graph of the overlay.",
        "lsdb": "Show what a PoP knows of the links of all.",
        "events": "Show the last of what has happened.",
        "logs": "Print what the programs wrote.",
        "metrics": "Print the metrics of every process, or serve them.",
        "capture": "Write the packets of a node or a link as pcap.",
        "fidelity": "Compare declared and measured round trips.",
    },
    "Changing": {
        "link": "Show and change links: delay, jitter, loss, rate, queue, cuts.",
        "kill": "Kill the programs of a node.",
        "vanish": "Cut a node off: no packet in or out, nobody is told.",
        "pause": "Stop the programs of a node where they are.",
        "resume": "Let a paused node go on.",
        "drain": "Take a node out of service without losing a request.",
        "start": "Bring a node back, whatever befell it.",
    },
    "Policy and records": {
        "policy": "Show, test and change the security policy of the edge.",
        "dns": "Show and change public names and where they lead.",
        "pools": "Show load balancers, their members, how each is and why.",
    },
    "Experiments": {
        "run": "Play a world: its timeline, its load, what must hold.",
        "load": "Send the world's load through a running lab.",
        "get": "Ask for a URL as a visitor would.",
        "compare": "Say whether a routing algorithm helps, or harms.",
        "plot": "Draw the figures of an experiment again.",
        "replay": "Judge algorithms on recorded round trips.",
        "recovery": "Break something N times, and measure the way around.",
        "parity": "Compare virtual time with real packets.",
        "chaos": "Break and mend at random while watching promises.",
    },
    "Files": {
        "validate": "Check a world file.",
        "compose": "Write the docker-compose.yml of a world.",
    },
}


class Sections(TyperGroup):
    """The application itself."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        told = {name for section in SECTIONS.values() for name in section}
        others = {
            name: command.get_short_help_str(limit=1000)
            for name in self.list_commands(ctx)
            if name not in told
            and (command := self.get_command(ctx, name)) is not None
            and not command.hidden
        }
        width = max(map(len, [*told, *others]))
        for title, section in {**SECTIONS, "Others": others}.items():
            if section:
                with formatter.section(title):
                    formatter.write_dl(
                        [(name.ljust(width), line) for name, line in section.items()]
                    )


class Whole(TyperGroup):
    """A group of commands, each with its whole first sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, command.get_short_help_str(limit=1000))
                    for name, command in commands
                    if command is not None
                ]
            )
