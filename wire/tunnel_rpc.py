"""The control stream's conversation, both ends, without I/O: bytes in, events out, bytes to send.

The connector asks and the edge answers. Standard Cap'n Proto RPC, level 1, of which a tunnel needs
four kinds of message: Bootstrap (give me your main object), Call, Return, Finish. The connector
calls on the object before it has it (promise pipelining), so registering costs one round trip.

    connector                                   edge
    Bootstrap q0, Call q1 registerConnection  >
                                              <  Return a0 (capability), Return a1 (details or
                                              refusal)
    Finish q0, Finish q1                      >
    Call updateLocalConfiguration             >  Return            (first connection only)
    ...
    Call unregisterConnection                 >  Return            (draining)

Every error is `RpcError`; after one the stream is dead. Neither end keeps anything for a question
beyond its Return.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import assert_never

from wire import tunnel_rpc_messages as rpc
from wire.capnp import Framer
from wire.errors import RpcError
from wire.tunnel_rpc_messages import (
    CAUSE_DUPLICATE,
    CAUSE_UNAUTHORIZED,
    ClientInfo,
    ConnectionDetails,
    Refusal,
    Registration,
)

__all__ = [
    "CAUSE_DUPLICATE",
    "CAUSE_UNAUTHORIZED",
    "Aborted",
    "CallFailed",
    "CallKind",
    "ClientEvent",
    "ClientInfo",
    "ConfigurationTaken",
    "ConnectionDetails",
    "Refusal",
    "Refused",
    "RegisterConnection",
    "Registered",
    "Registration",
    "RegistrationClient",
    "RegistrationServer",
    "RpcError",
    "ServerEvent",
    "UnregisterConnection",
    "Unregistered",
    "UpdateLocalConfiguration",
]


class CallKind(Enum):
    BOOTSTRAP = auto()
    REGISTER = auto()
    UPDATE_LOCAL_CONFIGURATION = auto()
    UNREGISTER = auto()


@dataclass(frozen=True, slots=True)
class RegisterConnection:
    """Answer with `RegistrationServer.answer`."""

    question: int
    request: Registration


@dataclass(frozen=True, slots=True)
class UpdateLocalConfiguration:
    """Already answered; `config` is JSON."""

    config: bytes


@dataclass(frozen=True, slots=True)
class UnregisterConnection:
    """Already answered: the connector wants no new requests, and waits for the edge to close."""


@dataclass(frozen=True, slots=True)
class Aborted:
    """The peer ended the conversation; nothing more comes."""

    reason: str


ServerEvent = RegisterConnection | UpdateLocalConfiguration | UnregisterConnection | Aborted


class RegistrationServer:
    """The edge's end."""

    _EXPORT = 0

    def __init__(self) -> None:
        self._framer = Framer()
        self._out = bytearray()
        self._bootstrap: int | None = None

    def receive(self, data: bytes) -> list[ServerEvent]:
        """Take bytes of the control stream. Raises `RpcError`."""
        events: list[ServerEvent] = []
        for frame in self._framer.feed(data):
            match rpc.decode(frame):
                case rpc.Bootstrap(question):
                    self._bootstrap = question
                    self._out += rpc.encode_return_capability(question, self._EXPORT)
                case rpc.Call() as call:
                    event = self._called(call)
                    if event is not None:
                        events.append(event)
                case rpc.Abort(reason):
                    events.append(Aborted(reason))
                case rpc.Return() | rpc.Other():
                    # We ask nothing, so no Return concerns us; the rest needs no answer.
                    pass
                case unreachable:
                    assert_never(unreachable)
        return events

    def _called(self, call: rpc.Call) -> ServerEvent | None:
        target = call.target
        expected = self._bootstrap if target.promised else self._EXPORT
        if expected is None or target.number != expected:
            self.fail(call.question, "no such object")
            return None
        if call.interface not in (rpc.REGISTRATION_SERVER, rpc.TUNNEL_SERVER):
            self._refuse(call.question, f"interface {call.interface:#x} is not served here")
            return None
        match call.method:
            case rpc.REGISTER_CONNECTION:
                return RegisterConnection(call.question, rpc.decode_register(call.params))
            case rpc.UNREGISTER_CONNECTION:
                self._out += rpc.encode_return_empty(call.question)
                return UnregisterConnection()
            case rpc.UPDATE_LOCAL_CONFIGURATION:
                self._out += rpc.encode_return_empty(call.question)
                return UpdateLocalConfiguration(call.params.data(0))
            case _:
                self._refuse(call.question, f"method {call.method} is not served here")
                return None

    def answer(self, question: int, result: ConnectionDetails | Refusal) -> None:
        """Say yes or no to a `RegisterConnection`."""
        self._out += rpc.encode_return_registration(question, result)

    def fail(self, question: int, reason: str) -> None:
        """Answer with an exception."""
        self._out += rpc.encode_return_exception(question, reason)

    def _refuse(self, question: int, reason: str) -> None:
        self._out += rpc.encode_return_exception(question, reason, rpc.NOT_IMPLEMENTED)

    def data_to_send(self) -> bytes:
        data = bytes(self._out)
        self._out.clear()
        return data


@dataclass(frozen=True, slots=True)
class Registered:
    details: ConnectionDetails


@dataclass(frozen=True, slots=True)
class Refused:
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class ConfigurationTaken:
    pass


@dataclass(frozen=True, slots=True)
class Unregistered:
    pass


@dataclass(frozen=True, slots=True)
class CallFailed:
    """The edge answered a call with an exception instead of a result."""

    kind: CallKind
    reason: str


ClientEvent = Registered | Refused | ConfigurationTaken | Unregistered | CallFailed | Aborted


class RegistrationClient:
    """The connector's end."""

    def __init__(self) -> None:
        self._framer = Framer()
        self._out = bytearray()
        self._open: dict[int, CallKind] = {}
        self._capability: int | None = None
        self._bootstrap: int | None = None

    def register(self, request: Registration) -> None:
        self._bootstrap = self._ask(CallKind.BOOTSTRAP)
        self._out += rpc.encode_bootstrap(self._bootstrap)
        question = self._ask(CallKind.REGISTER)
        self._out += rpc.encode_register(question, self._target(), request)

    def update_local_configuration(self, config: bytes) -> None:
        """Report the local configuration, JSON, for the dashboard's eyes."""
        question = self._ask(CallKind.UPDATE_LOCAL_CONFIGURATION)
        self._out += rpc.encode_local_configuration(question, self._target(), config)

    def unregister(self) -> None:
        question = self._ask(CallKind.UNREGISTER)
        self._out += rpc.encode_unregister(question, self._target())

    def _ask(self, kind: CallKind) -> int:
        """The lowest free question number, as other makes number them."""
        question = 0
        while question in self._open:
            question += 1
        self._open[question] = kind
        return question

    def _target(self) -> rpc.Target:
        if self._capability is not None:
            return rpc.Target(self._capability, promised=False)
        assert self._bootstrap is not None, "register first"
        return rpc.Target(self._bootstrap, promised=True)

    def receive(self, data: bytes) -> list[ClientEvent]:
        """Take bytes of the control stream. Raises `RpcError`."""
        events: list[ClientEvent] = []
        for frame in self._framer.feed(data):
            match rpc.decode(frame):
                case rpc.Return() as answer:
                    event = self._returned(answer)
                    if event is not None:
                        events.append(event)
                case rpc.Abort(reason):
                    events.append(Aborted(reason))
                case rpc.Bootstrap(question):
                    # We have no object to offer.
                    self._out += rpc.encode_return_exception(question, "nothing to offer here")
                case rpc.Call() as call:
                    self._out += rpc.encode_return_exception(call.question, "no such object")
                case rpc.Other():
                    pass
                case unreachable:
                    assert_never(unreachable)
        return events

    def _returned(self, answer: rpc.Return) -> ClientEvent | None:
        kind = self._open.pop(answer.answer, None)
        if kind is None:
            raise RpcError(f"an answer to question {answer.answer}, which was not asked")
        keep = kind is CallKind.BOOTSTRAP and answer.capability is not None
        self._out += rpc.encode_finish(answer.answer, keep_capabilities=keep)
        if answer.problem is not None:
            return CallFailed(kind, answer.problem)
        if kind is CallKind.BOOTSTRAP:
            if answer.capability is None:
                raise RpcError("the bootstrap answer holds no capability")
            self._capability = answer.capability
            return None
        if answer.results is None:
            raise RpcError("a capability where results belong")
        match kind:
            case CallKind.REGISTER:
                result = rpc.decode_registration_result(answer.results)
                return Refused(result) if isinstance(result, Refusal) else Registered(result)
            case CallKind.UPDATE_LOCAL_CONFIGURATION:
                return ConfigurationTaken()
            case CallKind.UNREGISTER:
                return Unregistered()
            case unreachable:
                assert_never(unreachable)

    def data_to_send(self) -> bytes:
        data = bytes(self._out)
        self._out.clear()
        return data
