"""What an agent is told: its node, its door, its programs. Read from `agent.json` or made from a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec


class ConfigError(Exception):
    """The configuration is not usable; the text says where and why."""


class Program(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One program of a node.

    `entry` ("package.module:function") is called as a console script would be, with `arguments` in sys.argv, in a
    fork of the agent, for the parent may have imported it already; without it `arguments` is executed.
    `reports_ready`: it sends READY=1 to $NOTIFY_SOCKET when it can serve, else it counts as ready once started.
    `log` None: keeps the agent's own standard streams and its terminal.
    """

    name: str
    arguments: tuple[str, ...] = ()
    entry: str | None = None
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    directory: str | None = None
    log: str | None = None
    reports_ready: bool = False
    stop_grace_s: Annotated[float, msgspec.Meta(ge=0)] = 10.0


class AgentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`directory` holds agent.sock and the notify sockets; None: nobody can ask this agent anything.

    `follow`: the agent ends when its programs have ended, with the exit code of the first of them.
    """

    node: str
    address: str
    anycast: tuple[str, ...] = ()
    mtu: int = 1500
    congestion: str | None = None
    wan: str
    directory: str | None = None
    events: str | None = None
    programs: tuple[Program, ...] = ()
    follow: bool = False


def load(path: Path) -> AgentConfig:
    try:
        return msgspec.json.decode(path.read_bytes(), type=AgentConfig)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path}: {error}") from error


def dump(config: AgentConfig) -> bytes:
    return msgspec.json.format(msgspec.json.encode(config))
