from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from wan.virtual import loop as virtual_loop
from wan.virtual.errors import DeadlockError, NowhereError, RefusedError, StandstillError
from wan.virtual.loop import VirtualLoop, run


def test_time_is_that_of_the_next_event() -> None:
    async def main() -> float:
        begin = asyncio.get_running_loop().time()
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time() - begin

    assert run(main()) == 3600


def test_callbacks_come_by_time_and_then_in_the_order_they_were_asked_for() -> None:
    seen: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for name, delay in (("late", 2.0), ("a", 1.0), ("b", 1.0), ("c", 1.0)):
            loop.call_later(delay, seen.append, name)
        loop.call_soon(seen.append, "soon")
        await asyncio.sleep(5)

    run(main())
    assert seen == ["soon", "a", "b", "c", "late"]


def test_a_cancelled_timer_moves_no_clock() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        for _ in range(1000):
            loop.call_later(10, print).cancel()
        await asyncio.sleep(1)
        return loop.time()

    assert run(main()) == 1


def test_a_deadlock_names_who_waits_and_where() -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(forever(), name="the one that waits")
        await task

    with pytest.raises(DeadlockError) as caught:
        run(main())
    assert any(
        "the one that waits in forever (test_loop.py" in line for line in caught.value.waiting
    )
    assert "nothing is left to happen" in str(caught.value)


@pytest.mark.parametrize("wait", ["call_soon", "call_later"])
def test_a_program_that_calls_itself_for_ever_is_named(
    wait: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(virtual_loop, "MOST_TURNS", 1000)

    def never_over() -> None:
        loop = asyncio.get_running_loop()
        # A rounding error's worth of time: the clock is not moved by it.
        loop.call_soon(never_over) if wait == "call_soon" else loop.call_later(1e-18, never_over)

    async def main() -> None:
        await asyncio.sleep(1)
        never_over()
        await asyncio.sleep(1)

    with pytest.raises(StandstillError, match="never_over") as caught:
        run(main())
    assert "stands still at 1.0" in str(caught.value)


@pytest.mark.parametrize(
    "leave",
    [
        lambda loop: loop.run_in_executor(None, print),
        lambda loop: asyncio.to_thread(print),
        lambda loop: loop.getaddrinfo("example.com", 80),
        lambda loop: loop.add_reader(0, print),
        lambda loop: loop.add_signal_handler(2, print),
        lambda loop: asyncio.create_subprocess_exec("true"),
        lambda loop: loop.create_connection(asyncio.Protocol, "127.0.0.1", 1),
        lambda loop: loop.create_connection(asyncio.Protocol, sock=object()),
        lambda loop: loop.create_connection(asyncio.Protocol, "127.0.0.1", 1, ssl=True),
        lambda loop: loop.create_server(asyncio.Protocol, sock=object()),
        lambda loop: loop.create_server(asyncio.Protocol, ["127.0.0.1", "127.0.0.2"], 1),
        lambda loop: loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=object()),
        lambda loop: loop.create_unix_connection(asyncio.Protocol, sock=object()),
        lambda loop: loop.sock_recv(object(), 1),
        lambda loop: loop.sock_sendall(object(), b""),
        lambda loop: loop.sock_connect(object(), ("127.0.0.1", 1)),
        lambda loop: loop.sock_accept(object()),
        lambda loop: loop.remove_reader(0),
    ],
)
def test_what_would_leave_the_loop_is_refused(leave: Any) -> None:
    async def main() -> None:
        result = leave(asyncio.get_running_loop())
        if asyncio.iscoroutine(result):
            await result

    with pytest.raises(RefusedError, match="would leave virtual time"):
        run(main())


def test_timers_that_were_cancelled_do_not_pile_up() -> None:
    """Every request arms a timeout of minutes and cancels it: an hour of them must not stay in memory."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        most = 0
        for _ in range(5000):
            loop.call_later(3600, print).cancel()
            await asyncio.sleep(0.001)
            most = max(most, len(loop.agenda))
        return most

    assert run(main()) < 1000


def test_contexts_travel_with_callbacks_and_timers() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def main() -> list[str]:
        seen: list[str] = []
        loop = asyncio.get_running_loop()
        variable.set("mine")
        loop.call_later(1, lambda: seen.append(variable.get()))
        loop.call_soon(lambda: seen.append(variable.get()))
        variable.set("changed")
        await asyncio.sleep(2)
        return seen

    assert run(main()) == ["mine", "mine"]


def test_code_that_is_on_no_node_has_no_network(rig: Any) -> None:
    with pytest.raises(NowhereError):
        rig.loop.run_until_complete(asyncio.start_server(print, "127.0.0.1", 1))


def test_timeouts_are_in_virtual_time() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run(main()) == 30


def test_a_closed_loop_takes_nothing() -> None:
    loop = VirtualLoop()
    loop.close()
    with pytest.raises(RuntimeError):
        loop.call_soon(print)
