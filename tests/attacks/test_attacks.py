"""The whole table of attacks with both engines: one PoP for each, attacked again and again, must stay well."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.attacks.case import Case
from tests.attacks.table import CASES, ENGINES, judge, judge_waits
from tests.attacks.target import Target
from tests.pops.conftest import Pki, make_pki


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


class Range:
    """A loop of its own, and the PoPs that are attacked in it, each made when the first attack on it comes."""

    def __init__(self, pki: Pki) -> None:
        self.runner = asyncio.Runner()
        self._pki = pki
        self._targets: dict[str, Target] = {}

    def judge(self, engine: str, case: Case) -> tuple[str, str]:
        return self.runner.run(self._judge(engine, case))

    async def _judge(self, engine: str, case: Case) -> tuple[str, str]:
        target = self._targets.get(engine)
        if target is None:
            target = self._targets[engine] = Target(self._pki, engine)
            await target.start()
        return await judge(target, case)

    def close(self) -> None:
        async def close() -> None:
            for target in self._targets.values():
                await target.close()

        self.runner.run(close())
        self.runner.close()


@pytest.fixture(scope="module")
def shooting_range(pki: Pki) -> Iterator[Range]:
    """Each of hundreds of attackers that are cut is on loopback, where a GOAWAY needs no 50 ms to arrive."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runtime.http2.connection._CUT_LINGER_S", 0.005)
        found = Range(pki)
        yield found
        found.close()


WAITS = [case for case in CASES if case.impatient]


@pytest.mark.parametrize("engine", ENGINES)
def test_waits_have_an_end(pki: Pki, engine: str) -> None:
    async def all_at_once() -> list[tuple[str, str]]:
        target = Target(pki, engine, impatient=True)
        await target.start()
        try:
            return await judge_waits(target, WAITS)
        finally:
            await target.close()

    verdicts = asyncio.run(all_at_once())
    assert not {case.key: said for case, said in zip(WAITS, verdicts, strict=True) if said[1]}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.impatient], ids=lambda case: case.key
)
def test_attack(shooting_range: Range, engine: str, case: Case) -> None:
    happened, problem = shooting_range.judge(engine, case)
    assert not problem, f"{case.sent}: {happened}"


def test_names_are_unique() -> None:
    keys = [case.key for case in CASES]
    assert len(set(keys)) == len(keys)


def test_a_wrong_outcome_is_seen(shooting_range: Range) -> None:
    async def harmless(target: Target) -> str:
        return "nothing happened"

    case = Case("harmless", "visitors", "nothing", "a cut", "cut: .*", harmless)
    assert shooting_range.judge("ngh2", case) == ("nothing happened", "not cut: .*")
