"""`python -m wan --world RUN/world.json --socket RUN/wan.sock [--events RUN/events.jsonl] [--realtime]`"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from wan.process import Process

_BAD_INPUT = 2


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m wan", description="Carry the packets of a world's nodes by its link model."
    )
    parser.add_argument("--world", type=Path, required=True, help="world.json, a resolved world")
    parser.add_argument("--socket", required=True, help="where the control socket is made")
    parser.add_argument("--events", help="file that gets one JSON line per event")
    parser.add_argument("--realtime", action="store_true", help="ask for SCHED_FIFO")
    given = parser.parse_args()
    try:
        process = Process.of(given.world, given.socket, given.events)
    except (OSError, msgspec.MsgspecError) as error:
        print(f"wan: {error}", file=sys.stderr)  # noqa: T201
        return _BAD_INPUT
    process.run(realtime=given.realtime)
    return 0


if __name__ == "__main__":
    sys.exit(main())
