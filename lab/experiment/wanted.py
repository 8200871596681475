"""What somebody wants to have compared: parsed and checked once, here. Raises LabError for what cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lab.asking import full_url
from lab.driver import LabError
from lab.experiment import virtual
from lab.experiment.design import BLOCK_S
from lab.worlds import AlgorithmChoiceError, with_algorithm
from routing.catalogue import algorithm as catalogued
from routing.errors import RoutingError
from topology.model import World
from topology.plan import Plan


@dataclass(frozen=True, slots=True)
class Contender:
    """An algorithm as it is called here, and the plug-in's file if it is one."""

    name: str
    file: Path | None = None


@dataclass(frozen=True)
class Wanted:
    plan: Plan
    world: Path
    algorithms: tuple[Contender, ...]
    requests: int
    visitors: tuple[str, ...]
    urls: tuple[str, ...]
    seeds: tuple[int, ...]
    every_s: float = 0.5
    warm_up_s: float = virtual.WARM_UP_S
    block_s: float = BLOCK_S

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.algorithms)

    @property
    def baseline(self) -> str:
        return self.names[0]


def algorithms(texts: Sequence[str]) -> tuple[Contender, ...]:
    """Names of the catalogue, or files. Raises LabError for what is neither, and for what comes twice."""
    found = []
    for text in (one.strip() for one in texts):
        if text.endswith(".py"):
            found.append(Contender(Path(text).stem, Path(text)))
            continue
        try:
            found.append(Contender(catalogued(text).name))
        except RoutingError as error:
            raise LabError(f"--algorithms: {error}; or a Python file, as ./mine.py") from None
    names = [one.name for one in found]
    if len(names) < 2 or len(set(names)) < len(names):
        raise LabError(
            f"--algorithms: found {', '.join(names)}, allowed: at least two, each of them once"
        )
    return tuple(found)


def worlds(plan: Plan, contenders: Sequence[Contender]) -> dict[str, World]:
    """The world by each of them. A file is read and looked at once, here. Raises LabError."""
    try:
        return {
            one.name: with_algorithm(plan.world, one.name if one.file is None else str(one.file))
            for one in contenders
        }
    except AlgorithmChoiceError as error:
        raise LabError(str(error).replace("--algorithm:", "--algorithms:", 1)) from None


def urls(plan: Plan, given: str | None) -> tuple[str, ...]:
    """What is asked for: what was given, what the world's load asks for, or its first host."""
    load = plan.world.load
    if given is not None:
        found = [full_url(given)]
    elif load is not None and load.url is not None:
        found = [load.url]
    elif load is not None and load.mix:
        found = list(load.mix)
    else:
        found = [f"https://{host}/" for host in list(plan.world.dns)[:1]]
    if not found:
        raise LabError("dns: this world has no host name; give --url")
    size = str(load.sizes[0]) if load is not None and load.sizes else ""
    found = [url.replace("{size}", size) for url in found]
    for url in found:
        if urlsplit(url).hostname not in plan.world.dns:
            hosts = ", ".join(plan.world.dns) or "none"
            raise LabError(f"--url: found {url!r}, allowed: a URL of one of the hosts {hosts}")
    return tuple(found)
