"""`python -m lab.gateway`: the gateway of the lab whose run directory $POPNET_RUN names."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import uvloop

from lab.gateway import ports
from lab.gateway.ports import PortError, Wanted
from lab.gateway.process import Gateway, GatewayError
from lab.rundir import RUN_VARIABLE, RunDir
from runtime.notify import Notifier
from topology.plan import Plan

_BAD_INPUT = 2


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.gateway", description=__doc__)
    parser.add_argument("--web-port", default="auto", metavar="PORT|auto|off")
    parser.add_argument("--socks-port", default="auto", metavar="PORT|auto|off")
    parser.add_argument("--listen", default=ports.LOOPBACK, help="address of both ports")
    parser.add_argument("--city", help="visitor of those who name none")
    return parser.parse_args()


async def _serve(gateway: Gateway) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await gateway.serve(stop, Notifier(os.environ.get("NOTIFY_SOCKET")))


def main() -> int:
    options = _options()
    try:
        run = RunDir(Path(os.environ[RUN_VARIABLE]))
        wanted = Wanted(
            web=ports.check("--web-port", options.web_port),
            socks=ports.check("--socks-port", options.socks_port),
            listen=options.listen,
            city=options.city,
        )
        gateway = Gateway(run, Plan.from_json(run.world.read_bytes()), wanted)
        uvloop.run(_serve(gateway))
    except KeyError:
        print(f"gateway: ${RUN_VARIABLE} names no run directory", file=sys.stderr)  # noqa: T201
        return _BAD_INPUT
    except (PortError, GatewayError, OSError) as error:
        print(f"gateway: {error}", file=sys.stderr)  # noqa: T201
        return _BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
