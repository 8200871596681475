"""`python -m wan.attach`: attach the network namespace this runs in to a WAN, and run programs there.

    python -m wan.attach --config RUN/nodes/NRT/agent.json
    python -m wan.attach --node tokyo --address 100.64.0.9 --wan RUN/wan.sock -- curl https://app.example.com/

It makes no namespace itself: whoever starts it has done so (the lab by unshare, a container engine by its own
means). In the second form it ends with its command and has its exit code.

Only the attaching needs a right, CAP_NET_ADMIN: with --user (or POPNET_USER) the agent and its programs go on as
that user.
"""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections.abc import Sequence
from pathlib import Path

from wan import tun
from wan.agent.attachment import AttachmentError
from wan.agent.config import AgentConfig, ConfigError, Program, load
from wan.agent.driver import run

_BAD_INPUT = 2
_MACHINE_CANNOT = 5


def interface(config: AgentConfig) -> tun.Interface:
    return tun.Interface(config.address, config.anycast, config.mtu, config.congestion)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wan.attach",
        description="Attach this network namespace to the WAN as one node, and run its programs.",
    )
    parser.add_argument("--config", type=Path, help="agent.json of the node")
    parser.add_argument("--node", help="name of the node, as in the world file")
    parser.add_argument("--address", help="its unicast address")
    parser.add_argument("--anycast", action="append", default=[], help="may be repeated")
    parser.add_argument("--mtu", type=int, default=1500)
    parser.add_argument("--congestion", help="congestion control of its TCP")
    parser.add_argument("--wan", help="control socket of the wan process")
    parser.add_argument("--directory", help="where agent.sock is made")
    parser.add_argument("--events", help="file that gets one JSON line per event")
    parser.add_argument(
        "--user",
        default=os.environ.get("POPNET_USER"),
        help="who to be once wan0 is there (only when started as root)",
    )
    parser.add_argument("command", nargs="*", help="after --: the program to run")
    return parser


def _config(options: argparse.Namespace) -> AgentConfig:
    if options.config is not None:
        return load(options.config)
    missing = [name for name in ("node", "address", "wan") if getattr(options, name) is None]
    if missing or not options.command:
        wanted = ", ".join([*(f"--{name}" for name in missing), "-- COMMAND"])
        raise ConfigError(
            f"give --config FILE, or all of --node, --address, --wan, -- COMMAND (missing: {wanted})"
        )
    return AgentConfig(
        node=options.node,
        address=options.address,
        anycast=tuple(options.anycast),
        mtu=options.mtu,
        congestion=options.congestion,
        wan=options.wan,
        directory=options.directory,
        events=options.events,
        programs=(Program(name=Path(options.command[0]).name, arguments=tuple(options.command)),),
        follow=True,
    )


def _user(name: str | None) -> pwd.struct_passwd | None:
    """Whom to become; None: nobody else."""
    if not name or os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(f"--user: no user {name!r} on this system") from None


def _become(user: pwd.struct_passwd) -> None:
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        config = _config(options)
        user = _user(options.user)
    except ConfigError as error:
        print(f"wan.attach: {error}", file=sys.stderr)  # noqa: T201
        return _BAD_INPUT
    try:
        device, refused = tun.set_up(interface(config))
    except OSError as error:
        print(f"wan.attach: {tun.DEVICE} by {tun.tun_path()}: {error}", file=sys.stderr)  # noqa: T201
        return _MACHINE_CANNOT
    for problem in refused:
        print(f"wan.attach: {config.node}: {problem}", file=sys.stderr)  # noqa: T201
    if user is not None:
        _become(user)
    try:
        return run(config, device)
    except AttachmentError as error:
        print(f"wan.attach: {error}", file=sys.stderr)  # noqa: T201
        return _BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
