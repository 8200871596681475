"""What an agent decides: programs, announcements, requests. No process is started."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from wan.agent.config import AgentConfig, Program
from wan.agent.core import AgentCore, Announce, Effect, Exit, Phase, Record, Signal, Spawn

POP = Program(name="pop", entry="x:y", log="pop.log", reports_ready=True)
SERVICE = Program(name="service", arguments=("serve",), log="service.log")
CONNECTOR = Program(name="connector", arguments=("connect",), log="c.log", reports_ready=True)


def agent(*programs: Program, **more: Any) -> AgentCore:
    return AgentCore(
        AgentConfig(node="NRT", address="100.64.0.1", wan="wan.sock", programs=programs, **more)
    )


def pop() -> AgentCore:
    core = agent(POP, anycast=("198.18.0.1",))
    core.start()
    return core


def without_records(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if not isinstance(effect, Record)]


def phases(core: AgentCore) -> list[Phase]:
    return [program.phase for program in core.snapshot().programs]


def test_starts_every_program_and_is_ready_when_all_are_and_the_wan_has_it() -> None:
    core = agent(SERVICE, CONNECTOR)
    assert core.start() == [Spawn(SERVICE), Spawn(CONNECTOR)]
    core.spawned("service", 10)
    core.spawned("connector", 11)
    assert phases(core) == [Phase.READY, Phase.STARTING]
    core.notified("connector", "STATUS=dialling\nREADY=1")
    assert not core.snapshot().ready
    core.wan_attached()
    assert core.snapshot().ready


@pytest.mark.parametrize("attached_first", [True, False])
def test_announces_once_when_ready_and_attached(attached_first: bool) -> None:
    core = pop()
    steps = [core.wan_attached, lambda: core.spawned("pop", 7) + core.notified("pop", "READY=1")]
    first, second = steps if attached_first else steps[::-1]
    assert Announce(True) not in first()
    assert without_records(second()) == [Announce(True)]
    assert without_records(core.notified("pop", "READY=1")) == []


def test_a_visitor_announces_nothing() -> None:
    core = agent()
    assert without_records(core.wan_attached()) == []
    assert core.snapshot().ready


@pytest.mark.parametrize("end", ["death", "stopping"])
def test_withdraws_at_the_end_of_a_program(end: str) -> None:
    core = pop()
    core.wan_attached()
    core.spawned("pop", 7)
    core.notified("pop", "READY=1")
    effects = (
        core.exited(7, "SIGKILL", 137) if end == "death" else core.notified("pop", "STOPPING=1")
    )
    assert without_records(effects) == [Announce(False)]


def test_announces_again_when_the_wan_comes_back() -> None:
    core = pop()
    core.wan_attached()
    core.spawned("pop", 7)
    core.notified("pop", "READY=1")
    core.wan_lost()
    assert not core.snapshot().announced
    assert without_records(core.wan_attached()) == [Announce(True)]


def test_a_dead_program_stays_dead_until_someone_starts_it() -> None:
    core = pop()
    core.spawned("pop", 7)
    assert without_records(core.exited(7, "exit 3", 3)) == []
    assert phases(core) == [Phase.DEAD]
    assert core.snapshot().programs[0].ended == "exit 3"
    assert core.handle_timer(1e9) == []
    answer, effects = core.request({"op": "start"}, 0.0)
    assert answer["changed"]
    assert without_records(effects) == [Spawn(POP)]


def test_a_late_ready_of_a_dead_program_changes_nothing() -> None:
    core = pop()
    core.wan_attached()
    core.spawned("pop", 7)
    core.exited(7, "SIGKILL", 137)
    assert core.notified("pop", "READY=1") == []


def test_the_end_of_a_process_that_is_no_program_of_ours_is_ignored() -> None:
    core = pop()
    core.spawned("pop", 7)
    assert core.exited(8, "exit 0", 0) == []
    assert phases(core) == [Phase.STARTING]


def test_pause_keeps_the_announcement() -> None:
    core = pop()
    core.wan_attached()
    core.spawned("pop", 7)
    core.notified("pop", "READY=1")
    _, effects = core.request({"op": "pause"}, 0.0)
    assert without_records(effects) == [Signal(7, signal.SIGSTOP, True)]
    assert core.snapshot().announced
    assert core.snapshot().as_json()["programs"][0]["state"] == "paused"
    _, effects = core.request({"op": "resume"}, 0.0)
    assert without_records(effects) == [Signal(7, signal.SIGCONT, True)]
    assert core.snapshot().as_json()["programs"][0]["state"] == "ready"


def test_stop_is_polite_then_not() -> None:
    core = pop()
    core.spawned("pop", 7)
    _, effects = core.request({"op": "stop"}, 100.0)
    assert without_records(effects) == [Signal(7, signal.SIGTERM, False)]
    deadline = core.next_timer()
    assert deadline == 100.0 + POP.stop_grace_s
    assert core.handle_timer(deadline - 0.1) == []
    assert core.handle_timer(deadline) == [Signal(7, signal.SIGKILL, True)]
    assert core.handle_timer(deadline + 1) == []


def test_stop_wakes_a_paused_program_for_it_could_not_obey_otherwise() -> None:
    core = pop()
    core.spawned("pop", 7)
    core.request({"op": "pause"}, 0.0)
    _, effects = core.request({"op": "stop"}, 1.0)
    numbers = [effect.number for effect in effects if isinstance(effect, Signal)]
    assert numbers == [signal.SIGTERM, signal.SIGCONT]


def test_one_program_of_several_can_be_named() -> None:
    core = agent(SERVICE, CONNECTOR)
    core.start()
    core.spawned("service", 10)
    core.spawned("connector", 11)
    _, effects = core.request({"op": "kill", "program": "connector"}, 0.0)
    assert without_records(effects) == [Signal(11, signal.SIGKILL, True)]
    answer, effects = core.request({"op": "kill", "program": "conector"}, 0.0)
    assert not answer["ok"]
    assert "service, connector" in answer["error"]
    assert effects == []


def test_killing_what_is_dead_changes_nothing_and_says_so() -> None:
    core = pop()
    answer, effects = core.request({"op": "kill"}, 0.0)
    assert answer == {"ok": True, "changed": False}
    assert without_records(effects) == []


def test_unknown_operations_are_refused() -> None:
    answer, effects = pop().request({"op": "explode"}, 0.0)
    assert not answer["ok"]
    assert effects == []


def test_leaves_when_every_program_has_ended() -> None:
    core = agent(SERVICE, CONNECTOR)
    core.start()
    core.spawned("service", 10)
    core.spawned("connector", 11)
    _, effects = core.request({"op": "exit"}, 0.0)
    assert [type(effect) for effect in effects] == [Signal, Signal]
    assert Exit(0) not in core.exited(10, "SIGTERM", 143)
    assert Exit(0) in core.exited(11, "exit 0", 0)


def test_leaves_at_once_without_programs_and_when_told_twice() -> None:
    assert agent().leave(0.0) == [Exit(0)]
    core = pop()
    core.spawned("pop", 7)
    assert Exit(0) not in core.leave(0.0)
    assert core.leave(0.0) == [Signal(7, signal.SIGKILL, True), Exit(0)]


def test_a_wrapper_ends_with_its_program_and_its_code() -> None:
    core = agent(Program(name="sh", arguments=("sh",)), follow=True)
    core.start()
    core.spawned("sh", 9)
    assert Exit(7) in core.exited(9, "exit 7", 7)


def test_a_program_on_the_agents_terminal_is_signalled_alone() -> None:
    core = agent(Program(name="sh", arguments=("sh",)), follow=True)
    core.spawned("sh", 9)
    _, effects = core.request({"op": "kill"}, 0.0)
    assert without_records(effects) == [Signal(9, signal.SIGKILL, False)]
