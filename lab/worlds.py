"""Reading world files with all that the lab knows: the file itself, and the routing that it asks for.

`topology` knows what a world file may say, and nothing of routing; here its section is held against the catalogue, the
estimators and the plug-in that it names. A plug-in is looked at in a process of its own: to look at it is to run it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from lab.driver import LabError
from lab.policy_file import check_keys
from routing import plugin
from routing.catalogue import CATALOGUE, Algorithm
from routing.errors import PluginError, RoutingError, UnknownAlgorithmError
from routing.estimators import estimator
from topology import load
from topology.document import Document
from topology.model import Routing, World
from topology.plan import Plan
from topology.problems import Problem, either, near_miss, shown

_HERE = Path(__file__).resolve().parent
# In the repository for everybody to see; an installed popnet has it beside this file.
DEFAULT_WORLD = next(
    place
    for place in (_HERE.parent / "topology.yaml", _HERE / "topology.yaml")
    if place.exists() or place.parent == _HERE
)

ESTIMATORS = ("last", "ewma", "min", "median", "quantile", "mean_deviation")

_LOOK_S = 10.0


class AlgorithmChoiceError(LabError):
    """An algorithm that was asked for on the command line, and is none."""

    def __init__(self, problem: Problem) -> None:
        hint = f" ({problem.hint})" if problem.hint else ""
        super().__init__(f"--algorithm: found {problem.found}; allowed: {problem.allowed}{hint}")


def load_world(path: Path | str, algorithm: str | None = None) -> World:
    """The world in a file, with another algorithm, when one is given: a name or a file.

    Raises WorldError, AlgorithmChoiceError.
    """
    if algorithm is None:
        return load.load_world(path, check_routing, check_keys)
    # What the file says of its algorithm does not count then, and so may be wrong.
    world = load.load_world(path, check_keys)
    return with_algorithm(world, algorithm)


def with_algorithm(world: World, algorithm: str) -> World:
    """The world with this algorithm: a name, or a file as seen from here. Parameters given for another are left out.

    Raises AlgorithmChoiceError.
    """
    routing = msgspec.structs.replace(world.routing, algorithm=algorithm, source=None, params={})
    if algorithm == world.routing.algorithm and world.routing.source is None:
        routing = msgspec.structs.replace(routing, params=world.routing.params)
    if algorithm.endswith(".py"):
        try:
            text = Path(algorithm).read_text("utf-8")
        except (OSError, ValueError) as error:
            found = getattr(error, "strerror", None) or "no UTF-8"
            problem = _problem(f"{shown(algorithm)}: {found}", "a readable Python file")
            raise AlgorithmChoiceError(problem) from error
        routing = msgspec.structs.replace(routing, algorithm=Path(algorithm).name, source=text)
    found = describe(routing)
    if isinstance(found, Problem):
        raise AlgorithmChoiceError(found)
    return msgspec.structs.replace(world, routing=routing)


def with_plan(plan: Plan, algorithm: str | None) -> Plan:
    """The plan with this algorithm, if one is given. Raises AlgorithmChoiceError."""
    return plan if algorithm is None else Plan.of(with_algorithm(plan.world, algorithm))


def _problem(found: str, allowed: str, hint: str = "") -> Problem:
    return Problem(file="", line=1, column=1, key="", found=found, allowed=allowed, hint=hint)


def check_routing(document: Document, world: World) -> None:
    """Note what of `routing` nobody could carry out."""
    routing = world.routing
    named = ("routing", "algorithm")
    if not any(one.key == "routing.algorithm" for one in document.problems):
        found = describe(routing)
        if isinstance(found, Problem):
            key = ("routing", "source") if _inline(document) else named
            document.problem(key, found.found, found.allowed, found.hint)
        else:
            _check_params(document, found, routing.params)
    for number, name in enumerate(routing.beside):
        if name not in CATALOGUE:
            here = ("routing", "beside", number)
            document.problem(here, shown(name), either(CATALOGUE, 40), near_miss(name, CATALOGUE))
    try:
        estimator(_plain(routing.probe.estimator))
    except RoutingError as error:
        spec = routing.probe.estimator
        name = spec if isinstance(spec, str) else next(iter(spec), "")
        document.problem(
            ("routing", "probe", "estimator"),
            str(error) if name in ESTIMATORS else shown(name),
            f"{either(ESTIMATORS)}, with its parameters",
            "" if name in ESTIMATORS else near_miss(name, ESTIMATORS),
        )


def _inline(document: Document) -> bool:
    return ("routing", "source") in document.keys


def _plain(spec: str | Mapping[str, float | tuple[float, ...]]) -> Any:
    if isinstance(spec, str):
        return spec
    return {name: list(one) if isinstance(one, tuple) else one for name, one in spec.items()}


def _check_params(document: Document, algorithm: Algorithm, params: Mapping[str, Any]) -> None:
    known = algorithm.params
    for name, value in params.items():
        here = ("routing", "params", name)
        if name not in known:
            found = f"no parameter of {algorithm.name}"
            document.problem(here, found, either(known, 40), near_miss(name, known), at_key=True)
            continue
        try:
            algorithm.with_params({name: value})
        except RoutingError:
            document.problem(here, shown(value), f"a value as its default, {shown(known[name])}")


def describe(routing: Routing) -> Algorithm | Problem:
    """What the section's algorithm is: its name and parameters. It cannot decide here."""
    name = routing.algorithm
    if routing.source is None:
        try:
            return plugin.find(name)
        except UnknownAlgorithmError as error:
            return _problem(
                shown(name),
                f"{either(error.known, 40)}, or a file FILE.py",
                near_miss(name, error.known),
            )
        except PluginError as error:
            return _problem(str(error), "an entry point that is an algorithm")
    with tempfile.TemporaryDirectory(prefix="popnet-algorithm-") as directory:
        file = Path(directory, Path(name).name)
        file.write_text(routing.source, "utf-8")
        said = _looked_at(file)
    if "error" in said:
        # Where the text lies for the moment is nobody's business.
        text = said["error"].replace(str(file), name)
        return _problem(text, "a Python file with `decide(state)`")
    return Algorithm(name, CATALOGUE["direct"].decide, said["params"], learns=True)


def _looked_at(file: Path) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "routing.worker", "--check", str(file)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LOOK_S
        )
    except subprocess.TimeoutExpired:
        return {"error": f"{file}: not loaded within {_LOOK_S:g} s"}
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return {"error": f"{file}: ends its process while it is loaded (exit {done.returncode})"}
    return dict(found)
