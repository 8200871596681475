"""The table of flows is bounded, and forgets those that are idle first."""

from __future__ import annotations

import pytest

from wan import flows


def ports(bench) -> list[int]:  # type: ignore[no-untyped-def]
    return sorted(int.from_bytes(key[8:10]) for key in bench.fabric.doors["tokyo"].flows)


def test_the_idle_are_forgotten_first(bench, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(flows, "MOST_FLOWS", 4)
    for port in range(1, 5):
        bench.send("tokyo", bench.tcp("tokyo", "NRT", (40000 + port, 443)), 0.0)
    bench.send("tokyo", bench.tcp("tokyo", "NRT", (40001, 443)), 100.0)
    for port in (5, 6):
        bench.send("tokyo", bench.tcp("tokyo", "NRT", (40000 + port, 443)), 100.0)
    assert ports(bench) == [40001, 40004, 40005, 40006]
    assert len(bench.fabric.flows) == 4


def test_it_is_bounded_even_if_none_is_idle(bench, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(flows, "MOST_FLOWS", 10)
    for port in range(200):
        bench.send("tokyo", bench.tcp("tokyo", "NRT", (40000 + port, 443)), 0.0)
    assert len(bench.fabric.flows) == len(ports(bench)) == 10
    assert len(bench.arrivals()) == 200


def test_names_are_bounded(bench, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(flows, "MOST_NAMES", 10)
    for port in range(1, 200):
        bench.send("tokyo", bench.tcp("tokyo", "NRT", (40000 + port, port)), 0.0)
    assert len(bench.fabric.flows._conversations) == len(bench.fabric.flows._ordinals) == 10


def test_a_port_used_again_is_another_flow(bench, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(flows, "MOST_FLOWS", 1)
    ordinals = []
    for port in (40000, 40001, 40000):
        bench.send("tokyo", bench.tcp("tokyo", "NRT", (port, 443)))
        (flow,) = bench.fabric.doors["tokyo"].flows.values()
        ordinals.append(flow.fate[-1])
    assert ordinals == [0, 1, 2]
