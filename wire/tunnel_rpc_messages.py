"""What travels on a tunnel's control stream: the four RPC messages in use and the tunnel's own structs.

Layouts are those of Cap'n Proto's rpc.capnp and of cloudflared's tunnelrpc.capnp, written as
offsets because there is no schema compiler here. Decoding checks what a peer must get right
(16-byte identifiers); everything else has Cap'n Proto's defaults. All errors are `RpcError`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wire.capnp import Message, StructReader
from wire.capnp_write import Builder, StructBuilder
from wire.errors import RpcError

REGISTRATION_SERVER = 0xF71695EC7FE85497
# The interface that RegistrationServer came from; its methods have the same numbers.
TUNNEL_SERVER = 0xEA58385C65416035
REGISTER_CONNECTION, UNREGISTER_CONNECTION, UPDATE_LOCAL_CONFIGURATION = range(3)

# Tags of the RPC message union.
UNIMPLEMENTED, ABORT, CALL, RETURN, FINISH, RESOLVE, RELEASE = range(7)
BOOTSTRAP, DISEMBARGO = 8, 13

# Tags of the Return union, and of the kinds of exception.
_RESULTS, _EXCEPTION, _CANCELED = range(3)
FAILED, OVERLOADED, DISCONNECTED, NOT_IMPLEMENTED = range(4)

_SENDER_HOSTED = 1


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """Which connector this is: its random 16-byte id, what it can do, and its build."""

    client_id: bytes
    features: tuple[str, ...] = ()
    version: str = ""
    arch: str = ""


@dataclass(frozen=True, slots=True)
class Registration:
    """The request to serve one connection of a tunnel."""

    account_tag: str
    tunnel_secret: bytes = field(repr=False)
    tunnel_id: bytes
    conn_index: int
    client: ClientInfo
    origin_local_ip: bytes = b""
    replace_existing: bool = False
    compression_quality: int = 0
    num_previous_attempts: int = 0


@dataclass(frozen=True, slots=True)
class ConnectionDetails:
    """The edge's yes: the id it gave the connection (16 bytes) and the PoP it ends in."""

    uuid: bytes
    location: str
    remotely_managed: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """The edge's no. The wait is in nanoseconds on the wire; 0 is "whenever you like"."""

    cause: str
    retry_after_s: float = 0.0
    should_retry: bool = False


# Causes that connectors know by their text.
CAUSE_DUPLICATE = "EDUPCONN"
CAUSE_UNAUTHORIZED = "Unauthorized"


@dataclass(frozen=True, slots=True)
class Target:
    """What a call is addressed to: an imported capability, or the answer to a question."""

    number: int
    promised: bool


@dataclass(frozen=True, slots=True)
class Bootstrap:
    question: int


@dataclass(frozen=True, slots=True)
class Call:
    question: int
    interface: int
    method: int
    target: Target
    params: StructReader


@dataclass(frozen=True, slots=True)
class Return:
    """Exactly one of `results` and `problem` is there; `capability` is what content points to."""

    answer: int
    results: StructReader | None
    capability: int | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Abort:
    reason: str


@dataclass(frozen=True, slots=True)
class Other:
    """A message that needs no answer here: finish, release, and what level 1 never sends."""

    tag: int


RpcMessage = Bootstrap | Call | Return | Abort | Other


def decode(message: Message) -> RpcMessage:
    """Read one message of the RPC protocol."""
    root = message.root()
    tag = root.u16(0)
    if tag == BOOTSTRAP:
        return Bootstrap(root.struct(0).u32(0))
    if tag == CALL:
        return _decode_call(root.struct(0))
    if tag == RETURN:
        return _decode_return(root.struct(0))
    if tag == ABORT:
        return Abort(root.struct(0).text(0))
    return Other(tag)


def _decode_call(body: StructReader) -> Call:
    target = body.struct(0)
    kind = target.u16(4)
    if kind == 0:
        addressed = Target(target.u32(0), promised=False)
    elif kind == 1:
        addressed = Target(target.struct(0).u32(0), promised=True)
    else:
        raise RpcError(f"a call to a target of kind {kind}")
    params = body.struct(1).struct(0)
    return Call(body.u32(0), body.u64(8), body.u16(4), addressed, params)


def _decode_return(body: StructReader) -> Return:
    answer, kind = body.u32(0), body.u16(6)
    if kind == _RESULTS:
        payload = body.struct(0)
        if payload.is_capability(0):
            table = payload.structs(1)
            index = payload.capability(0)
            if index >= len(table) or table[index].u16(0) != _SENDER_HOSTED:
                raise RpcError("a capability that is not in the message's table")
            return Return(answer, None, table[index].u32(4), None)
        return Return(answer, payload.struct(0), None, None)
    if kind == _EXCEPTION:
        return Return(answer, None, None, body.struct(0).text(0) or "no reason given")
    if kind == _CANCELED:
        return Return(answer, None, None, "canceled")
    raise RpcError(f"a return of kind {kind}")


def _message(tag: int, data: int, pointers: int) -> tuple[Builder, StructBuilder]:
    builder = Builder(1, 1)
    builder.root.set_u16(0, tag)
    return builder, builder.root.new_struct(0, data, pointers)


def encode_bootstrap(question: int) -> bytes:
    builder, body = _message(BOOTSTRAP, 1, 1)
    body.set_u32(0, question)
    return builder.to_bytes()


def encode_finish(question: int, *, keep_capabilities: bool = False) -> bytes:
    builder, body = _message(FINISH, 1, 0)
    body.set_u32(0, question)
    # releaseResultCaps: true by default, so stored inverted.
    body.set_bit(32, keep_capabilities)
    return builder.to_bytes()


def encode_abort(reason: str) -> bytes:
    builder, body = _message(ABORT, 1, 2)
    body.set_text(0, reason)
    return builder.to_bytes()


def _call(question: int, method: int, target: Target) -> tuple[Builder, StructBuilder]:
    """A call's message and its Payload, still without content."""
    builder, body = _message(CALL, 3, 3)
    body.set_u32(0, question)
    body.set_u16(4, method)
    body.set_u64(8, REGISTRATION_SERVER)
    addressed = body.new_struct(0, 1, 1)
    if target.promised:
        addressed.set_u16(4, 1)
        addressed.new_struct(0, 1, 1).set_u32(0, target.number)
    else:
        addressed.set_u32(0, target.number)
    return builder, body.new_struct(1, 0, 2)


def encode_register(question: int, target: Target, request: Registration) -> bytes:
    builder, payload = _call(question, REGISTER_CONNECTION, target)
    params = payload.new_struct(0, 1, 3)
    params.set_u8(0, request.conn_index)
    auth = params.new_struct(0, 0, 2)
    auth.set_text(0, request.account_tag)
    auth.set_data(1, request.tunnel_secret)
    params.set_data(1, request.tunnel_id)
    options = params.new_struct(2, 1, 2)
    options.set_bit(0, request.replace_existing)
    options.set_u8(1, request.compression_quality)
    options.set_u8(2, min(255, request.num_previous_attempts))
    client = options.new_struct(0, 0, 4)
    client.set_data(0, request.client.client_id)
    client.set_texts(1, list(request.client.features))
    client.set_text(2, request.client.version)
    client.set_text(3, request.client.arch)
    options.set_data(1, request.origin_local_ip)
    return builder.to_bytes()


def decode_register(params: StructReader) -> Registration:
    auth, options = params.struct(0), params.struct(2)
    client = options.struct(0)
    tunnel_id, client_id = params.data(1), client.data(0)
    if len(tunnel_id) != 16:
        raise RpcError(f"a tunnel id of {len(tunnel_id)} bytes")
    if len(client_id) != 16:
        raise RpcError(f"a client id of {len(client_id)} bytes")
    return Registration(
        account_tag=auth.text(0),
        tunnel_secret=auth.data(1),
        tunnel_id=tunnel_id,
        conn_index=params.u8(0),
        client=ClientInfo(client_id, tuple(client.texts(1)), client.text(2), client.text(3)),
        origin_local_ip=options.data(1),
        replace_existing=options.bit(0),
        compression_quality=options.u8(1),
        num_previous_attempts=options.u8(2),
    )


def encode_unregister(question: int, target: Target) -> bytes:
    builder, payload = _call(question, UNREGISTER_CONNECTION, target)
    payload.new_struct(0, 0, 0)
    return builder.to_bytes()


def encode_local_configuration(question: int, target: Target, config: bytes) -> bytes:
    builder, payload = _call(question, UPDATE_LOCAL_CONFIGURATION, target)
    payload.new_struct(0, 0, 1).set_data(0, config)
    return builder.to_bytes()


def _return(answer: int, kind: int = _RESULTS) -> tuple[Builder, StructBuilder]:
    builder, body = _message(RETURN, 2, 1)
    body.set_u32(0, answer)
    body.set_u16(6, kind)
    return builder, body


def encode_return_capability(answer: int, export: int) -> bytes:
    builder, body = _return(answer)
    payload = body.new_struct(0, 0, 2)
    payload.set_capability(0, 0)
    (descriptor,) = payload.new_structs(1, 1, 1, 1)
    descriptor.set_u16(0, _SENDER_HOSTED)
    descriptor.set_u32(4, export)
    return builder.to_bytes()


def encode_return_empty(answer: int) -> bytes:
    builder, body = _return(answer)
    body.new_struct(0, 0, 2).new_struct(0, 0, 0)
    return builder.to_bytes()


def encode_return_exception(answer: int, reason: str, kind: int = FAILED) -> bytes:
    builder, body = _return(answer, _EXCEPTION)
    exception = body.new_struct(0, 1, 2)
    exception.set_u16(4, kind)
    exception.set_text(0, reason)
    return builder.to_bytes()


def encode_return_registration(answer: int, result: ConnectionDetails | Refusal) -> bytes:
    builder, body = _return(answer)
    response = body.new_struct(0, 0, 2).new_struct(0, 0, 1).new_struct(0, 1, 1)
    if isinstance(result, Refusal):
        error = response.new_struct(0, 2, 1)
        error.set_i64(0, round(result.retry_after_s * 1e9))
        error.set_bit(64, result.should_retry)
        error.set_text(0, result.cause)
    else:
        response.set_u16(0, 1)
        details = response.new_struct(0, 1, 2)
        details.set_bit(0, result.remotely_managed)
        details.set_data(0, result.uuid)
        details.set_text(1, result.location)
    return builder.to_bytes()


def decode_registration_result(results: StructReader) -> ConnectionDetails | Refusal:
    response = results.struct(0)
    kind, body = response.u16(0), response.struct(0)
    if kind == 0:
        return Refusal(body.text(0), body.i64(0) / 1e9, body.bit(64))
    if kind != 1:
        raise RpcError(f"an answer to a registration of kind {kind}")
    uuid = body.data(0)
    if len(uuid) != 16:
        raise RpcError(f"a connection id of {len(uuid)} bytes")
    return ConnectionDetails(uuid, body.text(1), body.bit(0))
