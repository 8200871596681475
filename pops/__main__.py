"""`python -m pops --config FILE`: one PoP, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

from pops.config import ConfigError, PopConfig, load
from pops.process import PopProcess
from runtime.memory import map_large_blocks
from runtime.notify import Notifier
from runtime.tls import TlsError

EXIT_BAD_INPUT = 2
EXIT_CANNOT = 5


async def _serve(config: PopConfig, notifier: Notifier) -> None:
    pop = PopProcess(config, notifier=notifier)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        # Politely once; who asks twice does not want to wait.
        if stop.is_set():
            pop.hurry()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    await pop.run(stop)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pops", description="One PoP of the edge.")
    parser.add_argument("--config", required=True, help="JSON file, see pops/config.py")
    chosen = parser.parse_args(arguments)
    try:
        config = load(chosen.config)
        map_large_blocks()
        # Here and nowhere else: everything above it runs on any loop.
        import uvloop

        uvloop.run(_serve(config, Notifier.from_environment()))
    except (ConfigError, TlsError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return EXIT_BAD_INPUT
    except OSError as error:
        print(f"{config.name}: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_CANNOT
    return 0


if __name__ == "__main__":
    sys.exit(main())
