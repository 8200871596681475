"""A plug-in in a process of its own: `python -m routing.worker FILE` decides what it is sent on stdin.

    python -m routing.worker FILE           decide until stdin ends
    python -m routing.worker --check FILE   say as JSON what the file is: its parameters, or what is wrong with it

A message is its length in four bytes, most significant first, and so many bytes of MessagePack. Theirs to us: first
`Hello`, then one `Question` after the other; ours: `Ready`, then one `Answer` for each. `memory` and `rng` live here,
for as long as the process does.

What the plug-in prints must not end up between answers, so its stdout is our stderr.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

import msgspec

from routing import plugin
from routing.api import Exit, MeasuredLink, Outcome, Path, RoutingState
from routing.catalogue import Algorithm
from routing.errors import AlgorithmError, PluginError, RoutingError
from routing.graph import Load, latency_graph
from routing.table import MOST_PATHS, RouteTable, decided

try:
    import resource
except ImportError:  # not a Unix
    resource = None  # type: ignore[assignment]

# Longer messages than this are refused on either side: 330 PoPs that all know each other are 6 MB.
MOST_BYTES = 16 * 1024 * 1024

WirePath = tuple[tuple[str, ...], str, dict[str, float]]


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """`params` are those that were given, without the defaults; `seed` is for `rng`."""

    params: dict[str, Any]
    seed: str


class Ready(msgspec.Struct, frozen=True, array_like=True):
    """`error`: why there is nothing to ask."""

    error: str | None = None


class Question(msgspec.Struct, frozen=True, array_like=True):
    """A RoutingState, without what lives in the worker. Links and exits as in routing.api."""

    me: str
    now: float
    seq: int
    links: list[tuple[str, str, float, float, float, int, float]]
    loads: dict[str, Load]
    tunnels: dict[str, tuple[Exit, ...]]
    previous: dict[str, list[WirePath]]
    outcomes: tuple[Outcome, ...]


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """Paths by tunnel, or what went wrong; what the decision took of the processor, and how often it waited.

    Who asks sees how long an answer took, but not whether that was the plug-in or a machine with too much to do.
    """

    routes: dict[str, list[WirePath]]
    error: str | None = None
    cpu_s: float = 0.0
    waits: int = 0


_LINK = ("rtt_s", "jitter_s", "loss", "samples", "age_s")


def question(state: RoutingState) -> Question:
    return Question(
        me=state.me,
        now=state.now,
        seq=state.seq,
        links=[
            (a, b, *(link[name] for name in _LINK)) for a, b, link in state.graph.edges(data=True)
        ],
        loads={pop: (node["load"], node["age_s"]) for pop, node in state.graph.nodes(data=True)},
        tunnels=dict(state.tunnels),
        previous={
            tunnel: [_sent(path) for path in paths] for tunnel, paths in state.previous.items()
        },
        outcomes=state.outcomes,
    )


def state_of(
    asked: Question, params: Mapping[str, Any], memory: dict[str, Any], rng: random.Random
) -> RoutingState:
    return RoutingState(
        me=asked.me,
        now=asked.now,
        seq=asked.seq,
        graph=latency_graph(asked.me, (MeasuredLink(*link) for link in asked.links), asked.loads),
        tunnels=asked.tunnels,
        previous=_paths(asked.previous),
        outcomes=asked.outcomes,
        memory=memory,
        rng=rng,
        params=params,
    )


def routes_of(answer: Answer) -> dict[str, list[Path]]:
    return {tunnel: list(paths) for tunnel, paths in _paths(answer.routes).items()}


def _paths(sent: Mapping[str, list[WirePath]]) -> dict[str, tuple[Path, ...]]:
    return {tunnel: tuple(Path(*path) for path in paths) for tunnel, paths in sent.items()}


def _sent(path: Path) -> WirePath:
    return path.pops, path.connection, {name: float(cost) for name, cost in path.terms.items()}


def packed(message: msgspec.Struct) -> bytes:
    """A message with its length before it."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4, "big") + body


def _read(source: BinaryIO) -> bytes | None:
    head = source.read(4)
    length = int.from_bytes(head, "big")
    if len(head) < 4 or length > MOST_BYTES:
        return None
    body = source.read(length)
    return body if len(body) == length else None


def _answer(algorithm: Algorithm, state: RoutingState) -> Answer:
    try:
        routes = RouteTable.shaped(algorithm, decided(algorithm, state))
        sent = {
            tunnel: [_sent(path) for path in paths[:MOST_PATHS]] for tunnel, paths in routes.items()
        }
    except AlgorithmError as error:
        return Answer({}, error.problem)
    return Answer(sent)


def serve(file: str, source: BinaryIO, sink: BinaryIO) -> None:
    """Answer until `source` ends."""

    def say(message: msgspec.Struct) -> None:
        sink.write(packed(message))
        sink.flush()

    if (body := _read(source)) is None:
        return
    hello = msgspec.msgpack.decode(body, type=Hello)
    try:
        algorithm = plugin.load(file)
        params = algorithm.with_params(hello.params)
    except RoutingError as error:
        say(Ready(str(error)))
        return
    say(Ready())
    memory: dict[str, Any] = {}
    rng = random.Random(hello.seed)
    questions = msgspec.msgpack.Decoder(Question)
    while (body := _read(source)) is not None:
        state = state_of(questions.decode(body), params, memory, rng)
        cpu_s, waits = _spent()
        answer = _answer(algorithm, state)
        cpu_after_s, waits_after = _spent()
        say(msgspec.structs.replace(answer, cpu_s=cpu_after_s - cpu_s, waits=waits_after - waits))


def _spent() -> tuple[float, int]:
    """Seconds of processor until now, and how often this process has waited for something of its own accord."""
    times = os.times()
    waits = 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    return times.user + times.system, waits


def check(file: str) -> str:
    """What `--check` says: `{"params": {...}}` or `{"error": "..."}`."""
    try:
        return msgspec.json.encode({"params": dict(plugin.load(file).params)}).decode()
    except PluginError as error:
        return msgspec.json.encode({"error": str(error)}).decode()
    except (TypeError, msgspec.MsgspecError):
        return msgspec.json.encode({"error": f"{file}: `PARAMS` is no plain data"}).decode()


def main(arguments: list[str]) -> int:
    # Whatever the plug-in prints, and whatever it starts prints, goes to stderr.
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    source = os.fdopen(os.dup(0), "rb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    match arguments:
        case ["--check", file]:
            sink.write(check(file).encode())
            sink.flush()
        case [file]:
            serve(file, source, sink)
        case _:
            sys.stderr.write(f"{__doc__}\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
