"""A storm over a world in virtual time: the same programs, and nothing of it hidden afterwards."""

from __future__ import annotations

from collections import Counter

from lab.chaos.outcome import Outcome, loaded, outcome
from lab.chaos.promises import Promise, added, agrees, lives, once, right
from lab.chaos.storm import storm
from lab.drivers import virtual_run
from lab.drivers.virtual import VirtualWorld
from topology.plan import Plan

# What is still under way when the calm is over; between two looks.
_PATIENCE_S, _LOOK_S = 30.0, 0.02


def play(plan: Plan, seed: int, for_s: float) -> Outcome:
    plan = loaded(plan, seed)
    happenings = storm(plan, seed, for_s)
    found: list[Promise] = []
    ledger: Counter[str] = Counter()

    def look(world: VirtualWorld) -> None:
        ledger.update(added(node.ledger for node in world.nodes.values()))
        found.extend((_lives(world), _agrees(world), _empty(world)))

    run = virtual_run.play(plan, for_s, happenings=happenings, look=look)
    promises = [right(run.samples), once(run.samples, ledger), *found]
    return outcome(seed, for_s, len(happenings), run.samples, promises)


def _lives(world: VirtualWorld) -> Promise:
    dead = [name for name, node in world.nodes.items() if not node.alive]
    return lives(dead, len(world.nodes))


def _agrees(world: VirtualWorld) -> Promise:
    give_up = world.loop.now + _PATIENCE_S
    # An LSA that is on its way at this moment is no disagreement.
    while (differences := _differences(world)) and world.loop.now < give_up:
        world.run_for(_LOOK_S)
    host = next(iter(world.plan.world.dns), None)
    for visitor in world.plan.world.visitors if host is not None else ():
        visit = world.get(visitor, f"https://{host}/", timeout_s=20.0)
        if not visit.ok:
            differences.append(f"{visitor} is not served: {visit.error or visit.status}")
    return agrees(differences, len(world.plan.pops))


def _differences(world: VirtualWorld) -> list[str]:
    pops = {name: node.pop for name, node in world.nodes.items() if node.pop is not None}
    first, *others = pops.items()
    return [
        f"{name} and {first[0]} hold different {what}"
        for name, pop in others
        for what, same in (
            ("link state", pop.lsdb.digest() == first[1].lsdb.digest()),
            (
                "records",
                pop.book.records.everything() == first[1].book.records.everything(),
            ),
        )
        if not same
    ]


def _empty(world: VirtualWorld) -> Promise:
    """Nothing of the storm's requests is left lying about."""
    left = [
        f"{name}: {len(pop.proxy.exchanges)} exchanges"
        for name, node in world.nodes.items()
        if (pop := node.pop) is not None and len(pop.proxy.exchanges) > 0
    ]
    return Promise("memory", "PoPs hold no request any more", len(world.nodes), tuple(left))
