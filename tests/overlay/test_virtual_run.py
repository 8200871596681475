"""A run in virtual time counts every request that was asked, also when nobody answers, and can be ended early."""

from __future__ import annotations

from lab.assertions import check_all, parse_all
from lab.drivers.virtual_run import Course, play
from topology.load import parse_world
from topology.plan import Plan

WORLD = """
popnet: 1
name: two
pops: {LHR: {region: 1}, FRA: {region: 2}}
internet: {rtt_ms: {LHR: {FRA: 14}}}
visitors: [london]
sites: {dublin: {service: hello}}
tunnels: {app: {site: dublin}}
dns: {app.example.com: {tunnel: app}}
load: {rate_per_s: 10, arrivals: constant, url: https://app.example.com/, timeout: 20s}
timeline: [{at: 2s, vanish: dublin}, {at: 4s, kill: LHR}]
assert: [recovered within 3s]
"""


def test_requests_that_nobody_answers_are_waited_for_and_have_failed() -> None:
    plan = Plan.of(parse_world(WORLD))
    run = play(plan, 3.0)
    assert run.summary.everything.requests == 30
    # What is asked until the site vanishes is answered; connectors of a silent site are found out by heartbeats.
    assert run.summary.everything.failed == 10
    assert run.interrupted_s is None
    (verdict,) = check_all(parse_all(plan.world.assert_), run.summary)
    assert (verdict.measured, verdict.held) == ("never", False)
    # The rest of the timeline is no part of the run, only waiting for the last answers is.
    assert [one.disturbance.what for one in run.summary.recoveries] == ["vanish dublin"]
    assert b'"killed"' not in run.events


def test_a_run_that_is_stopped_sums_up_what_there_was() -> None:
    plan = Plan.of(parse_world(WORLD))

    def watch(course: Course) -> None:
        # In the place of a signal: in the middle of the run, between two events.
        course._world.loop.call_later(1.25, course.stop)

    run = play(plan, 3.0, watch=watch)
    assert run.interrupted_s == 1.25
    assert (run.summary.everything.requests, run.summary.everything.failed) == (13, 0)
    assert run.summary.recoveries == ()
