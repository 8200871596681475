"""Keeps PoPs told of the declared links, and the wan process told of what people changed.

The wan process is the truth about links while it lives. The supervisor listens to its events: a changed link between
PoPs goes to every PoP at once (PUT /links), and all changes are remembered, because a wan process that died
and was started again knows only the world file.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from lab import adminhttp, configs, jsonlines
from lab.jsonlines import Message, RefusedError, UnreachableError
from lab.rundir import RunDir
from pops.config import Link
from topology.plan import LinkSpec, Plan

Pair = tuple[str, str]


class LinkFollower:
    """`on_node_action(node, action)` carries out what the timeline wants of nodes."""

    def __init__(
        self,
        plan: Plan,
        run: RunDir,
        ready_pops: Callable[[], list[str]],
        on_node_action: Callable[[str, str], Awaitable[None]],
        record: Callable[..., None],
    ) -> None:
        self._plan = plan
        self._run = run
        self._ready_pops = ready_pops
        self._on_node_action = on_node_action
        self._record = record
        self._changed: dict[Pair, LinkSpec] = {}
        self._vanished: set[str] = set()
        self._pins: dict[str, str] = {}
        self._partition: list[list[str]] | None = None
        self._pushing: asyncio.Task[None] | None = None
        self._push_again = False
        self._subscribed: asyncio.Task[None] | None = None

    def current(self, source: str, destination: str) -> LinkSpec:
        return self._changed.get((source, destination)) or self._plan.link(source, destination)

    def links(self) -> list[Link]:
        return configs.links(self._plan, self.current)

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

    def _to_repeat(self) -> list[Message]:
        messages: list[Message] = []
        if self._changed:
            changes = [
                {"from": source, "to": destination, "set": msgspec.to_builtins(spec)}
                for (source, destination), spec in self._changed.items()
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
                await self._links_changed()
            case "vanished":
                self._remember(self._vanished, event["node"], bool(event.get("on", True)))
            case "returned":
                self._remember(self._vanished, event["node"], False)
            case "partitioned":
                self._partition = event.get("groups")
            case "pinned":
                visitor, pop = event["visitor"], event.get("pop")
                if pop is None:
                    self._pins.pop(visitor, None)
                else:
                    self._pins[visitor] = pop
            case "node_action":
                await self._on_node_action(event["node"], event["action"])

    @staticmethod
    def _remember(names: set[str], name: str, on: bool) -> None:
        if on:
            names.add(name)
        else:
            names.discard(name)

    async def _links_changed(self) -> None:
        """Ask for the whole truth: what an event says of a change depends on how it came about."""
        answer = await jsonlines.ask_async(self._run.wan_socket, {"op": "links", "pairs": None})
        before = self.links()
        self._changed = {
            (entry["from"], entry["to"]): msgspec.convert(entry["current"], LinkSpec)
            for entry in answer["links"]
            if entry["current"] != entry["declared"]
        }
        if self.links() != before:
            self.push()

    def push(self, pop: str | None = None) -> None:
        """Tell every ready PoP (or one, which has just started) the links of now."""
        if pop is not None:
            # config.json is as the world file has it; a PoP that starts later must learn what changed since.
            if self._changed:
                asyncio.create_task(self._put(pop, self._body()), name=f"links to {pop}")  # noqa: RUF006
            return
        if self._pushing is not None and not self._pushing.done():
            self._push_again = True
            return
        self._pushing = asyncio.create_task(self._push_all(), name="links to all PoPs")

    async def _push_all(self) -> None:
        while True:
            self._push_again = False
            body = self._body()
            await asyncio.gather(*(self._put(pop, body) for pop in self._ready_pops()))
            if not self._push_again:
                return

    def _body(self) -> bytes:
        return msgspec.json.encode(self.links())

    async def _put(self, pop: str, body: bytes) -> None:
        path = self._run.node(pop) / "admin.sock"
        problem: Any
        try:
            answer = await adminhttp.request_async(path, "PUT", "/links", body)
        except UnreachableError as error:
            problem = str(error)
        else:
            if answer.status < 300:
                return
            problem = f"{answer.status} {answer.body[:200].decode(errors='replace')}"
        self._record("links_not_told", pop=pop, error=problem)
