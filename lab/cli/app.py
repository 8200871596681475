"""The application that commands register with, the exit codes, and how results are printed."""

from __future__ import annotations

import enum
import importlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer

from lab.cli.help import Sections
from lab.driver import Lab, LabError, NoLabError
from lab.jsonlines import UnreachableError
from lab.rundir import LAB_VARIABLE, RunDirError
from topology.problems import WorldError


class Code(enum.IntEnum):
    OK = 0
    CHECK_FAILED = 1
    BAD_INPUT = 2
    NO_LAB = 3
    ABORTED = 4
    MACHINE_CANNOT = 5
    INTERRUPTED = 130


class Format(enum.StrEnum):
    table = "table"
    json = "json"


_HELP = """A whole edge network on this machine: PoPs, anycast, tunnels, smart routing, the Internet between them.

\b
popnet up                                               in one terminal; in a second:
popnet status
popnet curl --from tokyo https://app.example.com/       a request
popnet trace --from tokyo https://app.example.com/      its journey
popnet why --from tokyo app.example.com                 why this way
popnet link set NRT IAD --rtt 400ms                     make it another one
popnet kill LHR                                         break it

`popnet COMMAND --help` teaches the rest.
"""

app = typer.Typer(
    cls=Sections,
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _commands() -> None:
    # Without it, an application with one command would take no name of a command.
    pass


NameOption = Annotated[
    str | None,
    typer.Option(
        "-n",
        "--name",
        envvar=LAB_VARIABLE,
        help="Which lab; without: default. What only looks at it takes the only one that runs.",
    ),
]
# For what runs without a lab unless one is named here: a name for all commands does not mean these.
OwnNameOption = Annotated[
    str | None, typer.Option("-n", "--name", help="In this lab, which is running; as --driver lab.")
]
FormatOption = Annotated[
    Format, typer.Option("-o", "--output", help="table, or json for programs.")
]
NodeArgument = Annotated[str, typer.Argument(help="A node: PoP, visitor or site.", metavar="NODE")]

# Module -> the commands that it registers when it is imported. Only the one that is asked for is imported: all of them
# together take a second.
COMMANDS = {
    "tracing": ("trace", "get"),
    "running": ("up", "first-request"),
    "status": ("status", "down"),
    "inside": ("exec", "curl"),
    "why": ("why",),
    "routes": ("routes", "graph", "lsdb"),
    "nodes": ("kill", "vanish", "start", "pause", "resume", "drain"),
    "links": ("link", "catchment"),
    "watching": ("events", "logs", "capture", "metrics"),
    "checking": ("validate", "doctor"),
    "composing": ("compose",),
    "policy": ("policy",),
    "dns": ("dns",),
    "pools": ("pools",),
    "fidelity": ("fidelity",),
    "run": ("run", "load"),
    "chaos": ("chaos",),
    "compare": ("compare",),
    "replay": ("replay",),
    "plot": ("plot",),
    "recovery": ("recovery",),
    "parity": ("parity",),
}


def open_lab(name: str | None = None) -> Lab:
    """For commands that look: without a name also the only lab there is, said on stderr.

    Commands that change something say `Lab.open`: nobody shall kill a PoP of a lab that he did not mean.
    """
    return Lab.open(name, tell=_tell)


def _tell(text: str) -> None:
    say(f"popnet: {text}")


def say(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def put(text: str) -> None:
    """A line of the result."""
    print(text, flush=True)  # noqa: T201


def put_json(value: Any) -> None:
    put(msgspec.json.format(msgspec.json.encode(value)).decode())


def put_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> None:
    """Aligned columns without decoration, so that `grep` and `awk` work. `right`: one letter a column, l or r."""
    sides = right.ljust(len(columns), "l")
    texts = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in texts) for index in range(len(columns))]
    for row in texts:
        cells = [
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(row, widths, sides, strict=True)
        ]
        put("  ".join(cells).rstrip())


def _or_in_containers(arguments: list[str]) -> None:
    """Run the same command inside a lab of containers, if there is one. Returns when there is none."""
    from lab.cli import elsewhere

    elsewhere.run(arguments, _tell)


def _run() -> object:
    """The command, here or where its lab is; what it returned."""
    try:
        return app(standalone_mode=False)
    except NoLabError as error:
        _or_in_containers([*(("-n", error.only) if error.only else ()), *sys.argv[1:]])
        raise


def main() -> None:
    asked = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    # Help, and what is no command, need all of them.
    for module in [name for name, held in COMMANDS.items() if asked in held] or COMMANDS:
        importlib.import_module(f"lab.cli.{module}")
    try:
        code = _run()
    except NoLabError as error:
        say(f"popnet: {error}")
        sys.exit(Code.NO_LAB)
    except WorldError as error:
        for problem in error.problems:
            say(str(problem))
        sys.exit(Code.BAD_INPUT)
    except (LabError, RunDirError) as error:
        say(f"popnet: {error}")
        sys.exit(getattr(error, "code", Code.BAD_INPUT))
    except UnreachableError as error:
        say(f"popnet: {error}; has the lab ended?")
        sys.exit(Code.ABORTED)
    except typer.Exit as leaving:
        sys.exit(leaving.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(Code.INTERRUPTED)
    except BrokenPipeError:
        # `popnet ... | head`: nobody reads on, and that is fine.
        sys.stderr.close()
        sys.exit(Code.OK)
    except Exception as error:
        # click's own exceptions know how to show themselves and carry a code.
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            sys.exit(error.exit_code)
        raise
    sys.exit(code if isinstance(code, int) else Code.OK)
