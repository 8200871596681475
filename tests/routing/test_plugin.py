"""Algorithms from outside: what is one, what is said of what is none, and the messages that a worker speaks."""

from __future__ import annotations

import io
import random
from pathlib import Path as File
from typing import Any

import msgspec
import pytest

from routing import plugin, worker
from routing.api import Exit, MeasuredLink, Outcome, Path
from routing.catalogue import CATALOGUE, algorithm
from routing.errors import PluginError, UnknownAlgorithmError
from routing.table import MOST_PATHS, RouteTable

EXAMPLE = File(__file__).resolve().parents[2] / "examples" / "my_algorithm.py"
GOOD = "PARAMS = {'a': 1.0}\n\n\ndef decide(state):\n    return {}\n"


def test_a_file_with_decide_is_an_algorithm() -> None:
    found = plugin.from_text("mine.py", GOOD, "mine.py")
    assert (found.name, found.params, found.learns) == ("mine.py", {"a": 1.0}, True)


def test_the_example_decides_as_one_relay_does_when_nobody_has_anything_to_do() -> None:
    mine = plugin.load(EXAMPLE)
    tables = [made(mine), made(algorithm("one-relay"))]
    for one in tables:
        one.recompute(0.0)
    assert [path.way for path in tables[0].routes("app")] == [
        path.way for path in tables[1].routes("app")
    ]


def test_a_busy_relay_is_avoided_by_the_example() -> None:
    table = made(plugin.load(EXAMPLE))
    table.recompute(0.0)
    assert table.routes("app")[0].pops == ("A", "C", "B")
    table.set_loads({"C": (1000.0, 0.0)})
    table.recompute(1.0)
    assert table.routes("app")[0].pops == ("A", "B")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def decide(state)\n    return {}\n", "f.py:1: expected ':'"),
        ("\n\nimport nothing_of_that_name\n", "f.py:3: ModuleNotFoundError: No module named"),
        ("import sys\nsys.exit(3)\n", "f.py:2: SystemExit: 3"),
        ("x = 1\n", "f.py: no function `decide(state)`"),
        ("decide = 3\n", "f.py: `decide` is no plain function"),
        ("async def decide(state): ...\n", "f.py: `decide` is no plain function"),
        ("def decide(): ...\n", "f.py: `decide` must take one argument, the state"),
        ("def decide(state, more): ...\n", "f.py: `decide` must take one argument, the state"),
        (GOOD.replace("{'a': 1.0}", "[1]"), "f.py: `PARAMS` is no dict"),
        ("\0", "f.py"),
    ],
)
def test_what_is_no_algorithm_is_one_clear_error(text: str, said: str) -> None:
    with pytest.raises(PluginError) as caught:
        plugin.from_text("f.py", text, "f.py")
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: File) -> None:
    with pytest.raises(PluginError, match=r"none\.py: No such file"):
        plugin.load(tmp_path / "none.py")
    (tmp_path / "latin.py").write_bytes(b"# \xe4\n")
    with pytest.raises(PluginError, match=r"latin\.py: bytes that are not UTF-8"):
        plugin.load(tmp_path / "latin.py")


def test_two_loads_share_nothing() -> None:
    text = "SEEN = []\n\n\ndef decide(state):\n    SEEN.append(1)\n    return {'n': len(SEEN)}\n"
    one, two = (plugin.from_text("f.py", text, "f.py") for _ in range(2))
    state: Any = None
    assert [one.decide(state), one.decide(state), two.decide(state)] == [
        {"n": 1},
        {"n": 2},
        {"n": 1},
    ]


def test_names_are_those_of_the_catalogue_and_of_installed_packages(
    tmp_path: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plugin.find("direct") is CATALOGUE["direct"]
    with pytest.raises(UnknownAlgorithmError, match="'fast'; there are direct"):
        plugin.find("fast")
    (tmp_path / "their_routing.py").write_text(GOOD)
    (tmp_path / "their_broken.py").write_text("")
    metadata = tmp_path / "theirs-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[popnet.algorithms]\nfast = their_routing\nbroken = their_broken\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert plugin.find("fast").params == {"a": 1.0}
    with pytest.raises(PluginError, match="broken = their_broken: no function `decide"):
        plugin.find("broken")
    with pytest.raises(UnknownAlgorithmError, match="hubs, broken, fast"):
        plugin.find("quick")


# The worker, without a process


def made(chosen: Any) -> RouteTable:
    table = RouteTable("A", chosen, {}, max_relays=4, rng=random.Random(1))
    ways = (("A", "B", 0.3), ("A", "C", 0.1), ("C", "B", 0.1))
    table.set_links([MeasuredLink(a, b, rtt, 0.001, 0.01, 7, 0.5) for a, b, rtt in ways])
    table.set_exits({"app": [Exit("B", "c0", 0.010, 2.0)]})
    return table


def spoken(
    tmp_path: File, text: str, *tables: RouteTable, params: dict[str, Any] | None = None
) -> list[bytes]:
    """What a worker with this plug-in says to the state of each table."""
    file = tmp_path / "mine.py"
    file.write_text(text)
    asked = [worker.packed(worker.Hello(params or {}, "seed"))]
    asked += [worker.packed(worker.question(table.begin(0.0))) for table in tables]
    said = io.BytesIO()
    worker.serve(str(file), io.BytesIO(b"".join(asked)), said)
    messages, data = [], said.getvalue()
    while data:
        length = int.from_bytes(data[:4], "big")
        messages.append(data[4 : 4 + length])
        data = data[4 + length :]
    return messages


def answers(tmp_path: File, text: str, *tables: RouteTable) -> list[worker.Answer]:
    ready, *said = spoken(tmp_path, text, *tables)
    assert msgspec.msgpack.decode(ready, type=worker.Ready).error is None
    return [msgspec.msgpack.decode(one, type=worker.Answer) for one in said]


def test_a_worker_decides_as_the_algorithm_would_here(tmp_path: File) -> None:
    table = made(algorithm("one-relay"))
    (answer,) = answers(tmp_path, EXAMPLE.read_text(), table)
    state = table.begin(0.0)
    assert worker.routes_of(answer) == plugin.load(EXAMPLE).decide(
        # The parameters are those of the plug-in.
        type(state)(**{name: getattr(state, name) for name in state.__slots__} | PARAMS)
    )


PARAMS: dict[str, Any] = {"params": {"hop_cost_s": 0.001, "load_cost_s": 0.0005}}


def test_all_of_the_state_reaches_the_plug_in(tmp_path: File) -> None:
    text = """
def decide(state):
    link = dict(state.graph["A"]["C"])
    node = dict(state.graph.nodes["C"])
    (leave,) = state.tunnels["app"]
    (outcome,) = state.outcomes
    (path,) = state.previous["app"]
    state.memory["n"] = state.memory.get("n", 0) + 1
    raise ValueError([state.me, state.now, state.params, link, node, leave, outcome, path, state.memory])
"""
    table = made(plugin.from_text("p.py", "def decide(state): ...\n", "p.py"))
    table.set_loads({"C": (3.0, 0.25)})
    state = table.begin(0.0)
    direct = Path(("A", "B"), "c0", {"overlay": 0.3})
    table.accept(state, {"app": [direct]}, 0.0)
    table.outcome(Outcome("app", ("A", "B"), "c0", 0.35, True))
    (answer,) = answers(tmp_path, text, table)
    link = {"rtt_s": 0.1, "jitter_s": 0.001, "loss": 0.01, "samples": 7, "age_s": 0.5}
    leave, outcome = Exit("B", "c0", 0.010, 2.0), Outcome("app", ("A", "B"), "c0", 0.35, True)
    node = {"load": 3.0, "age_s": 0.25}
    expected = ["A", 0.0, {}, link, node, leave, outcome, direct, {"n": 1}]
    assert answer.error == f"raised ValueError: {expected}"


def test_memory_and_random_numbers_live_as_long_as_the_worker(tmp_path: File) -> None:
    text = """
def decide(state):
    state.memory.setdefault("drawn", []).append(state.rng.random())
    raise ValueError(state.memory["drawn"])
"""
    table = made(algorithm("direct"))
    first, second = answers(tmp_path, text, table, table)
    numbers = random.Random("seed")
    drawn = [numbers.random(), numbers.random()]
    assert [first.error, second.error] == [
        f"raised ValueError: {drawn[:1]}",
        f"raised ValueError: {drawn}",
    ]


BROKEN = {
    "raises": ("return {}[state.me]", "raised KeyError: 'A'"),
    "exits": ("raise SystemExit(3)", "raised SystemExit: 3"),
    "nothing": ("return None", "returned a NoneType, not a mapping"),
    "no list": ("return {'app': 3}", "for app: an int, not a list of paths"),
    "no paths": ("return {'app': ['A>B']}", "for app: a str, not a Path"),
    "odd tunnel": ("return {3: []}", "an int for the name of a tunnel"),
    "odd pops": ("return {'app': [Path('AB', 'c0', {})]}", "for app: pops that are no tuple"),
    "odd connection": (
        "return {'app': [Path(('A', 'B'), 0, {})]}",
        "for app: an int for the name of a connection",
    ),
    "odd terms": ("return {'app': [Path(('A', 'B'), 'c0', 3)]}", "for app: an int for the terms"),
    "odd cost": (
        "return {'app': [Path(('A', 'B'), 'c0', {'x': 'much'})]}",
        "for app: A>B c0: its cost term 'x' is no finite number",
    ),
    "endless cost": (
        "return {'app': [Path(('A', 'B'), 'c0', {'x': float('nan')})]}",
        "for app: A>B c0: its cost term 'x' is no finite number",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_answer_is_named(tmp_path: File, case: str) -> None:
    does, said = BROKEN[case]
    text = f"from routing.api import Path\n\n\ndef decide(state):\n    {does}\n"
    (answer,) = answers(tmp_path, text, made(algorithm("direct")))
    assert answer.routes == {}
    assert answer.error is not None
    assert answer.error.startswith(said)
    # The same where it decides here.
    table = made(plugin.from_text("f.py", text, "f.py"))
    table.recompute(0.0)
    assert str(table.error).startswith(f"algorithm 'f.py': {said}")
    assert [path.pops for path in table.routes("app")] == [("A", "B")]


def test_an_answer_without_measure_is_cut(tmp_path: File) -> None:
    text = """
from routing.api import Path


def decide(state):
    return {"app": [Path(("A", "B"), "c0", {"x": 0.0})] * 1_000_000}
"""
    (answer,) = answers(tmp_path, text, made(algorithm("direct")))
    assert len(answer.routes["app"]) == MOST_PATHS


def test_numbers_of_numpy_are_numbers(tmp_path: File) -> None:
    text = """
import numpy as np
from routing.api import Path


def decide(state):
    return {"app": [Path(("A", "B"), "c0", {"x": np.float32(0.5), "n": np.int64(2)})]}
"""
    (answer,) = answers(tmp_path, text, made(algorithm("direct")))
    assert answer.routes == {"app": [(("A", "B"), "c0", {"x": 0.5, "n": 2.0})]}


def test_a_file_that_is_no_algorithm_or_has_no_such_parameter_answers_nothing(
    tmp_path: File,
) -> None:
    table = made(algorithm("direct"))
    (ready,) = spoken(tmp_path, "x = 1\n", table)
    assert "no function `decide" in str(msgspec.msgpack.decode(ready, type=worker.Ready).error)
    (ready,) = spoken(tmp_path, GOOD, table, params={"b": 1})
    said = msgspec.msgpack.decode(ready, type=worker.Ready).error
    assert said == "algorithm 'mine.py' has no parameter 'b'; it has a"


def test_what_a_file_is(tmp_path: File) -> None:
    file = tmp_path / "mine.py"
    file.write_text(GOOD)
    assert worker.check(str(file)) == '{"params":{"a":1.0}}'
    file.write_text(GOOD.replace("1.0", "object()"))
    assert "`PARAMS` is no plain data" in worker.check(str(file))
