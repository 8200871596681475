"""`python -m tunnel_client run --token TOKEN --url http://localhost:8000`.

Exit status: 0 stopped as asked, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys

from runtime.clock import monotonic
from runtime.events import EventLog
from runtime.notify import Notifier
from runtime.resolver import SystemResolver
from tunnel_client.config import Settings, load
from tunnel_client.drivers.log import Log
from tunnel_client.errors import UsageError
from tunnel_client.flags import HelpError, help_text
from tunnel_client.process import Connector


def main() -> int:
    try:
        settings = load(sys.argv[1:], os.environ)
        return _run(settings)
    except HelpError:
        sys.stdout.write(help_text() + "\n")
        return 0
    except UsageError as error:
        sys.stderr.write(f"tunnel_client: {error}\n")
        return 2


def _run(settings: Settings) -> int:
    try:
        import uvloop
    except ImportError:
        # Not to be had on every platform; the standard loop does the same, slower.
        factory = asyncio.new_event_loop
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    log = Log(sys.stderr, level=settings.log_level, as_json=settings.log_json)
    events = EventLog(os.environ.get("POPNET_EVENTS"), os.environ.get("POPNET_NODE", "connector"))
    # Only here, after any fork: the resolver starts a thread.
    resolver = SystemResolver()
    try:
        connector = Connector(
            settings,
            resolver=resolver,
            clock=monotonic,
            rng=random.Random(),
            log=log,
            events=events,
            notifier=Notifier.from_environment(),
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, connector.stop)
        return await connector.run()
    finally:
        await resolver.close()
        events.close()


if __name__ == "__main__":
    sys.exit(main())
