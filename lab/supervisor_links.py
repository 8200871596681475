"""Keeps the wan process told of what people changed.

The wan process is the truth about links while it lives. The supervisor listens to its events and remembers all
changes, because a wan process that died and was started again knows only the world file. PoPs are told nothing: what
links are like they measure.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import msgspec

from lab import jsonlines
from lab.jsonlines import Message, RefusedError, UnreachableError
from lab.rundir import RunDir
from topology.plan import LinkSpec, Plan

Pair = tuple[str, str]


class LinkFollower:
    """`on_node_action(node, action)` carries out what the timeline wants of nodes."""

    def __init__(
        self,
        plan: Plan,
        run: RunDir,
        on_node_action: Callable[[str, str], Awaitable[None]],
        record: Callable[..., None],
    ) -> None:
        self._plan = plan
        self._run = run
        self._on_node_action = on_node_action
        self._record = record
        self._changed: dict[Pair, LinkSpec] = {}
        self._vanished: set[str] = set()
        self._pins: dict[str, str | None] = {}
        self._partition: list[list[str]] | None = None
        self._subscribed: asyncio.Task[None] | None = None

    def _declared(self, source: str, destination: str) -> LinkSpec | None:
        """With the empty name at one end: the access line of the other."""
        if not source or not destination:
            return self._plan.access(source or destination)
        return self._plan.link(source, destination)

    async def wan_is_ready(self) -> None:
        """The wan process listens, for the first time or again: repeat what it must know, then listen to it."""
        for message in self._to_repeat():
            try:
                await jsonlines.ask_async(self._run.wan_socket, message)
            except (RefusedError, UnreachableError) as error:
                self._record("wan_not_told", message=message, error=str(error))
        streams = await jsonlines.connect(self._run.wan_socket)
        await jsonlines.ask_on(streams, {"op": "subscribe"}, self._run.wan_socket)
        self._subscribed = asyncio.create_task(self._follow(*streams), name="wan events")

    async def learn(self) -> None:
        """What people had changed before this process began to listen: the wan process still knows."""
        links = await jsonlines.ask_async(self._run.wan_socket, {"op": "links", "pairs": None})
        self._links_changed(links["links"])
        status = await jsonlines.ask_async(self._run.wan_socket, {"op": "status"})
        self._vanished |= {one["node"] for one in status["nodes"] if one["vanished"]}

    async def wan_is_gone(self) -> None:
        """Returns when the wan process of the last `wan_is_ready` has ended."""
        if self._subscribed is not None:
            await self._subscribed

    def _to_repeat(self) -> list[Message]:
        messages: list[Message] = []
        if self._changed:
            changes = [
                {**_named(*pair), "set": msgspec.to_builtins(spec)}
                for pair, spec in self._changed.items()
            ]
            messages.append({"op": "set", "changes": changes})
        messages += [{"op": "vanish", "node": node, "on": True} for node in sorted(self._vanished)]
        messages += [{"op": "pin", "visitor": who, "pop": pop} for who, pop in self._pins.items()]
        if self._partition is not None:
            messages.append({"op": "partition", "groups": self._partition})
        return messages

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                await self._event(json.loads(line))
        except OSError:
            pass
        finally:
            writer.close()

    async def _event(self, event: Message) -> None:
        match event.get("event"):
            case "link_changed":
                self._links_changed(event["changes"])
            case "vanished":
                self._vanished.add(event["node"])
            case "returned":
                self._vanished.discard(event["node"])
            case "partition_changed":
                self._partition = event["groups"] or None
            case "pinned":
                self._pins[event["node"]] = event["pop"]
            case "node_action":
                await self._on_node_action(event["node"], event["action"])

    def _links_changed(self, changes: list[Message]) -> None:
        for entry in changes:
            pair = (entry["from"], entry["to"])
            spec = msgspec.convert(entry["current"], LinkSpec)
            if spec == self._declared(*pair):
                self._changed.pop(pair, None)
            else:
                self._changed[pair] = spec


def _named(source: str, destination: str) -> Message:
    if not source or not destination:
        return {"access": source or destination}
    return {"from": source, "to": destination}
