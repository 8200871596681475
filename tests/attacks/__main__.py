"""`python -m tests.attacks [WORD] [-e ENGINE]`: carry out the attacks whose name or port contains WORD; print the table."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.attacks.table import CASES, ENGINES, judge
from tests.attacks.target import Target
from tests.pops.conftest import Pki, make_pki


async def attack(pki: Pki, engine: str, word: str) -> int:
    wrong = 0
    for impatient in (False, True):
        chosen = [c for c in CASES if c.impatient == impatient and word.lower() in c.key.lower()]
        target = Target(pki, engine, impatient=impatient)
        if not chosen:
            continue
        await target.start()
        try:
            for case in chosen:
                try:
                    happened, problem = await judge(target, case)
                except Exception as error:  # noqa: BLE001  a row that says so, and the next attack
                    happened, problem = "", f"{type(error).__name__}: {error}"
                wrong += bool(problem)
                verdict = f"WRONG: {problem}" if problem else "ok"
                print(
                    f"{engine:<5} {case.port:<9} {case.name[:45]:<46}{case.sent[:60]:<61}{happened[:58]:<59}{verdict}",
                    flush=True,
                )
        finally:
            await target.close()
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("word", nargs="?", default="")
    parser.add_argument("-e", "--engine", choices=ENGINES, action="append")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        pki = make_pki(Path(directory))
        head = f"{'':<5} {'PORT':<9} {'ATTACK':<46}{'SENT':<61}{'WHAT HAPPENED':<59}"
        print(head)
        wrong = sum(
            asyncio.run(attack(pki, engine, given.word)) for engine in given.engine or ENGINES
        )
    print(f"\n{wrong} of them went wrong" if wrong else "\nall as they must")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
