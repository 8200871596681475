"""Whether a request may go again, by which way, and how often that happens at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pops.core.failover import RetryBudget, Trouble, may_repeat
from routing.api import Path
from wire.overlay import Fault, FaultCode

UNTOUCHED = {FaultCode.NO_TUNNEL, FaultCode.LOOP, FaultCode.ROUTE, FaultCode.DRAINING}
UNCERTAIN = {FaultCode.OVERLAY, FaultCode.TUNNEL_LOST}


def paths(*ways: str) -> list[Path]:
    return [Path(tuple(way.split(">")), "c", {}) for way in ways]


def ways(trouble: Trouble, *listed: str) -> list[str]:
    return [">".join(path.pops) for path in trouble.ways(paths(*listed))]


@pytest.mark.parametrize("code", list(FaultCode))
def test_what_has_certainly_or_perhaps_arrived(code: FaultCode) -> None:
    fault = Fault(code, "A")
    other = may_repeat(fault, refused=False, idempotent=False, unsaid=False)
    idempotent = may_repeat(fault, refused=False, idempotent=True, unsaid=False)
    unsaid = may_repeat(fault, refused=False, idempotent=False, unsaid=True)
    # A request that may be served only once goes again only where nobody has seen it.
    assert other == (code in UNTOUCHED)
    assert idempotent == unsaid == (code in UNTOUCHED | UNCERTAIN)
    assert may_repeat(fault, refused=True, idempotent=False, unsaid=False)


def test_a_dead_relay_is_avoided_with_all_its_links() -> None:
    trouble = Trouble()
    trouble.met(Fault(FaultCode.OVERLAY, "NRT"), ("NRT", "IAD", "LHR"))
    left = ways(trouble, "NRT>IAD>LHR", "NRT>IAD>FRA", "NRT>SIN>IAD>LHR", "NRT>SIN>FRA", "NRT>LHR")
    assert left == ["NRT>SIN>FRA", "NRT>LHR", "NRT>SIN>IAD>LHR", "NRT>IAD>FRA"]


def test_a_dead_egress_is_avoided_before_a_way_around_the_link_to_it_is_tried() -> None:
    trouble = Trouble()
    trouble.met(Fault(FaultCode.ROUTE, "IAD"), ("NRT", "IAD", "LHR"))
    left = ways(trouble, "NRT>SIN>IAD>LHR", "NRT>LHR", "NRT>IAD>FRA")
    assert left == ["NRT>IAD>FRA", "NRT>LHR", "NRT>SIN>IAD>LHR"]


def test_an_egress_without_a_connection_is_the_last_resort() -> None:
    trouble = Trouble()
    trouble.met(Fault(FaultCode.NO_TUNNEL, "LHR"), ("NRT", "LHR"))
    assert ways(trouble, "NRT>LHR", "NRT>SIN>LHR", "NRT>FRA") == ["NRT>FRA", "NRT>SIN>LHR"]


def test_the_same_way_leads_to_the_twin_of_a_lost_connection() -> None:
    trouble = Trouble()
    trouble.met(Fault(FaultCode.TUNNEL_LOST, "LHR"), ("NRT", "LHR"))
    assert ways(trouble, "NRT>LHR", "NRT>FRA") == ["NRT>FRA", "NRT>LHR"]


@pytest.mark.parametrize("code", [FaultCode.ORIGIN, FaultCode.TUNNEL_PROTOCOL])
def test_a_dead_service_is_not_asked_by_another_connection_or_way(code: FaultCode) -> None:
    trouble = Trouble()
    trouble.met(Fault(code, "LHR"), ("NRT", "LHR"), "dublin.0")
    listed = [
        Path(tuple(way.split(">")), connection, {})
        for way, connection in (
            ("NRT>LHR", "dublin.0"),
            ("NRT>SIN>LHR", "dublin.0"),
            ("NRT>FRA", "dublin.1"),
            ("NRT>LHR", "boston.0"),
            ("NRT>IAD", "boston.1"),
        )
    ]
    assert [path.connection for path in trouble.ways(listed)] == ["boston.0", "boston.1"]


def test_a_fault_that_names_a_stranger_costs_only_its_own_way() -> None:
    trouble = Trouble()
    trouble.met(Fault(FaultCode.OVERLAY, "XXX"), ("NRT", "LHR"))
    assert ways(trouble, "NRT>LHR", "NRT>SIN>LHR", "NRT>FRA") == ["NRT>SIN>LHR", "NRT>FRA"]


def test_the_budget_is_a_share_of_the_requests() -> None:
    budget = RetryBudget(share=0.2, floor_per_s=0.0)
    budget.requests = 100
    assert sum(budget.take(1.0) for _ in range(100)) == 20


def test_a_quiet_pop_has_a_few_in_any_case() -> None:
    budget = RetryBudget(share=0.2, floor_per_s=1.0, window_s=10.0)
    assert sum(budget.take(0.0) for _ in range(100)) == 10
    assert not budget.take(9.0)
    # What was taken counts for one more window.
    assert not budget.take(19.0)
    assert budget.take(39.0)


def test_an_hour_of_requests_is_worth_no_more_than_its_last_seconds() -> None:
    budget = RetryBudget(share=0.1, floor_per_s=0.0, window_s=10.0)
    budget.requests = 360_000
    assert sum(budget.take(3600.0) for _ in range(1000)) == 100


@given(
    st.lists(st.tuples(st.floats(0.0, 5.0), st.integers(0, 50), st.integers(0, 50)), max_size=60)
)
def test_retries_of_two_windows_never_exceed_their_budget(
    steps: list[tuple[float, int, int]],
) -> None:
    share, floor_per_s, window_s = 0.2, 0.5, 10.0
    budget = RetryBudget(share=share, floor_per_s=floor_per_s, window_s=window_s)
    now, asked, taken = 0.0, [], []
    for wait_s, requests, wishes in steps:
        now += wait_s
        budget.requests += requests
        asked += [now] * requests
        taken += [now for _ in range(wishes) if budget.take(now)]
    for end in set(taken):
        begin = end - window_s
        got = sum(begin < at <= end for at in taken)
        # An average stands for a window that nobody looked at: bounded by twice of what two windows saw.
        seen = sum(at <= end for at in asked)
        assert got <= share * seen + floor_per_s * window_s
