"""Both ends against each other, against Cap'n Proto's own library, and against arbitrary bytes."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import capnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wire import capnp as reading
from wire import tunnel_rpc as t
from wire import tunnel_rpc_messages as rpc
from wire.capnp_write import Builder
from wire.errors import RpcError

SCHEMA = """
@0xb1c7a4f1d20e5a11; struct RegisterParams { auth @0 :Auth; tunnelId @1 :Data; connIndex @2 :UInt8;
options @3 :Options; } struct Auth { accountTag @0 :Text; tunnelSecret @1 :Data; } struct Options {
  client @0 :Client; originLocalIp @1 :Data; replaceExisting @2 :Bool; compressionQuality @3 :UInt8;
  numPreviousAttempts @4 :UInt8;
}
struct Client { clientId @0 :Data; features @1 :List(Text); version @2 :Text; arch @3 :Text; }
struct RegisterResults { result @0 :Response; }
struct Response { union { error @0 :Error; details @1 :Details; } }
struct Error { cause @0 :Text; retryAfter @1 :Int64; shouldRetry @2 :Bool; }
struct Details { uuid @0 :Data; locationName @1 :Text; remotelyManaged @2 :Bool; }
struct ConfigParams { config @0 :Data; }
"""


@pytest.fixture(scope="module")
def tunnel(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("schema") / "tunnel.capnp"
    path.write_text(SCHEMA)
    return capnp.load(str(path))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Its own rpc.capnp, under another file id: it aborts on a second copy of what it has built in."""
    text = (Path(capnp.__file__).parent / "rpc.capnp").read_text()
    text = text.replace("@0xb312981b2552a250", "@0xb312981b2552a251")
    path = tmp_path_factory.mktemp("schema") / "rpc_copy.capnp"
    path.write_text(
        "\n".join(x for x in text.splitlines() if "c++.capnp" not in x and "Cxx" not in x)
    )
    return capnp.load(str(path))


def read_all(library: Any, data: bytes) -> list[Any]:
    return list(library.Message.read_multiple_bytes(data))


REQUEST = t.Registration(
    account_tag="a" * 32,
    tunnel_secret=bytes(range(32)),
    tunnel_id=b"T" * 16,
    conn_index=3,
    client=t.ClientInfo(b"C" * 16, ("serialized_headers", "postquantum"), "1.0-ü", "linux_amd64"),
    origin_local_ip=bytes(10) + b"\xff\xff\x7f\x00\x00\x01",
    replace_existing=True,
    compression_quality=2,
    num_previous_attempts=9,
)
DETAILS = t.ConnectionDetails(b"U" * 16, "LHR", remotely_managed=True)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
requests = st.builds(
    t.Registration,
    account_tag=texts,
    tunnel_secret=st.binary(max_size=70),
    tunnel_id=st.binary(min_size=16, max_size=16),
    conn_index=st.integers(0, 255),
    client=st.builds(
        t.ClientInfo,
        client_id=st.binary(min_size=16, max_size=16),
        features=st.lists(texts, max_size=6).map(tuple),
        version=texts,
        arch=texts,
    ),
    origin_local_ip=st.binary(max_size=16),
    replace_existing=st.booleans(),
    compression_quality=st.integers(0, 255),
    num_previous_attempts=st.integers(0, 255),
)
results = st.one_of(
    st.builds(
        t.ConnectionDetails,
        uuid=st.binary(min_size=16, max_size=16),
        location=texts,
        remotely_managed=st.booleans(),
    ),
    st.builds(
        t.Refusal,
        cause=texts,
        retry_after_s=st.integers(-(10**4), 10**6).map(float),
        should_retry=st.booleans(),
    ),
)


# Both ends


def pass_on(
    client: t.RegistrationClient, server: t.RegistrationServer
) -> tuple[list[t.ClientEvent], list[t.ServerEvent]]:
    at_server = server.receive(client.data_to_send())
    at_client = client.receive(server.data_to_send())
    return at_client, at_server


@given(requests, results)
def test_a_registration_and_its_answer(
    request: t.Registration, result: t.ConnectionDetails | t.Refusal
) -> None:
    client, server = t.RegistrationClient(), t.RegistrationServer()
    client.register(request)
    at_client, at_server = pass_on(client, server)
    assert at_client == []
    assert at_server == [t.RegisterConnection(1, request)]
    server.answer(1, result)
    at_client, _ = pass_on(client, server)
    wrapped = t.Refused(result) if isinstance(result, t.Refusal) else t.Registered(result)
    assert at_client == [wrapped]


def test_a_whole_life_byte_by_byte() -> None:
    client, server = t.RegistrationClient(), t.RegistrationServer()

    def trickle() -> tuple[list[t.ClientEvent], list[t.ServerEvent]]:
        at_client: list[t.ClientEvent] = []
        at_server: list[t.ServerEvent] = []
        for byte in client.data_to_send():
            at_server += server.receive(bytes([byte]))
        for byte in server.data_to_send():
            at_client += client.receive(bytes([byte]))
        return at_client, at_server

    client.register(REQUEST)
    _, at_server = trickle()
    assert at_server == [t.RegisterConnection(1, REQUEST)]
    server.answer(1, DETAILS)
    assert trickle() == ([t.Registered(DETAILS)], [])
    client.update_local_configuration(b'{"ingress":[]}')
    assert trickle() == ([t.ConfigurationTaken()], [t.UpdateLocalConfiguration(b'{"ingress":[]}')])
    client.unregister()
    assert trickle() == ([t.Unregistered()], [t.UnregisterConnection()])


def test_unregistering_before_the_answer_reaches_the_promise() -> None:
    client, server = t.RegistrationClient(), t.RegistrationServer()
    client.register(REQUEST)
    client.unregister()
    _, at_server = pass_on(client, server)
    assert at_server == [t.RegisterConnection(1, REQUEST), t.UnregisterConnection()]


def test_an_exception_names_the_call_that_failed() -> None:
    client, server = t.RegistrationClient(), t.RegistrationServer()
    client.register(REQUEST)
    pass_on(client, server)
    server.fail(1, "not today")
    assert client.receive(server.data_to_send()) == [t.CallFailed(t.CallKind.REGISTER, "not today")]


def test_the_secret_is_not_printed() -> None:
    assert "secret" not in repr(REQUEST)


def test_calls_on_other_objects_interfaces_and_methods_are_refused(library: Any) -> None:
    server = t.RegistrationServer()
    server.receive(rpc.encode_unregister(5, rpc.Target(0, promised=True)))
    server.receive(rpc.encode_unregister(6, rpc.Target(9, promised=False)))
    foreign = bytearray(rpc.encode_unregister(7, rpc.Target(0, promised=False)))
    foreign = foreign.replace(struct.pack("<Q", rpc.REGISTRATION_SERVER), b"\x01" * 8)
    server.receive(bytes(foreign))
    server.receive(_call_of_method(library, 8, 77))
    answers = read_all(library, server.data_to_send())
    assert [m.which() for m in answers] == ["return"] * 4
    kinds = [(getattr(m, "return").answerId, getattr(m, "return").exception.type) for m in answers]
    assert kinds == [(5, "failed"), (6, "failed"), (7, "unimplemented"), (8, "unimplemented")]


def _call_of_method(library: Any, question: int, method: int) -> bytes:
    message = library.Message.new_message()
    call = message.init("call")
    call.questionId, call.methodId, call.interfaceId = question, method, rpc.REGISTRATION_SERVER
    call.init("target").importedCap = 0
    call.init("params")
    data: bytes = message.to_bytes()
    return data


def test_an_answer_nobody_asked_for_is_an_error() -> None:
    client = t.RegistrationClient()
    with pytest.raises(RpcError, match="not asked"):
        client.receive(rpc.encode_return_empty(4))


@pytest.mark.parametrize("size", [0, 15, 17])
def test_identifiers_have_sixteen_bytes(size: int) -> None:
    client, server = t.RegistrationClient(), t.RegistrationServer()
    client.register(t.Registration("", b"", b"x" * size, 0, t.ClientInfo(b"C" * 16)))
    with pytest.raises(RpcError, match="tunnel id"):
        server.receive(client.data_to_send())
    client, server = t.RegistrationClient(), t.RegistrationServer()
    client.register(REQUEST)
    pass_on(client, server)
    server.answer(1, t.ConnectionDetails(b"x" * size, "LHR"))
    with pytest.raises(RpcError, match="connection id"):
        client.receive(server.data_to_send())


# The library of Cap'n Proto itself as oracle


@given(request=requests)
def test_the_library_reads_what_we_ask(library: Any, tunnel: Any, request: t.Registration) -> None:
    client = t.RegistrationClient()
    client.register(request)
    bootstrap, call = read_all(library, client.data_to_send())
    assert bootstrap.which() == "bootstrap"
    assert bootstrap.bootstrap.questionId == 0
    assert call.which() == "call"
    body = call.call
    assert (body.questionId, body.interfaceId, body.methodId) == (1, rpc.REGISTRATION_SERVER, 0)
    assert body.sendResultsTo.which() == "caller"
    assert body.target.promisedAnswer.questionId == 0
    params = body.params.content.as_struct(tunnel.RegisterParams)
    assert params.connIndex == request.conn_index
    assert params.auth.accountTag == request.account_tag
    assert params.auth.tunnelSecret == request.tunnel_secret
    assert params.tunnelId == request.tunnel_id
    options = params.options
    assert options.replaceExisting == request.replace_existing
    assert options.compressionQuality == request.compression_quality
    assert options.numPreviousAttempts == request.num_previous_attempts
    assert options.originLocalIp == request.origin_local_ip
    assert options.client.clientId == request.client.client_id
    assert tuple(options.client.features) == request.client.features
    assert options.client.version == request.client.version
    assert options.client.arch == request.client.arch


@given(result=results)
def test_the_library_reads_what_we_answer(
    library: Any, tunnel: Any, result: t.ConnectionDetails | t.Refusal
) -> None:
    client, server = t.RegistrationClient(), t.RegistrationServer()
    client.register(REQUEST)
    server.receive(client.data_to_send())
    server.answer(1, result)
    first, second = (getattr(m, "return") for m in read_all(library, server.data_to_send()))
    assert (first.answerId, first.releaseParamCaps) == (0, True)
    (descriptor,) = first.results.capTable
    assert descriptor.which() == "senderHosted"
    assert (descriptor.senderHosted, descriptor.attachedFd) == (0, 255)
    response = second.results.content.as_struct(tunnel.RegisterResults).result
    if isinstance(result, t.Refusal):
        assert response.which() == "error"
        assert response.error.cause == result.cause
        assert response.error.retryAfter == round(result.retry_after_s * 1e9)
        assert response.error.shouldRetry == result.should_retry
    else:
        assert response.which() == "details"
        assert response.details.uuid == result.uuid
        assert response.details.locationName == result.location
        assert response.details.remotelyManaged == result.remotely_managed


def test_the_library_reads_the_rest(library: Any, tunnel: Any) -> None:
    client, server = t.RegistrationClient(), t.RegistrationServer()
    client.register(REQUEST)
    pass_on(client, server)
    server.answer(1, DETAILS)
    client.receive(server.data_to_send())
    client.update_local_configuration(b"{}")
    client.unregister()
    asked = client.data_to_send()
    finish0, finish1, update, unregister = read_all(library, asked)
    assert (finish0.finish.questionId, finish0.finish.releaseResultCaps) == (0, False)
    assert (finish1.finish.questionId, finish1.finish.releaseResultCaps) == (1, True)
    assert update.call.target.importedCap == 0
    assert update.call.methodId == 2
    assert update.call.params.content.as_struct(tunnel.ConfigParams).config == b"{}"
    assert unregister.call.methodId == 1
    assert rpc.encode_abort("why")[-8:] == b"why\0\0\0\0\0"
    (abort,) = read_all(library, rpc.encode_abort("why"))
    assert abort.abort.reason == "why"
    assert server.receive(rpc.encode_abort("why")) == [t.Aborted("why")]


def library_register(library: Any, tunnel: Any, *, words: int) -> bytes:
    """Written by the library in segments of at least `words`: small ones need far pointers."""
    message = library.Message.new_message(words)
    call = message.init("call")
    call.questionId, call.interfaceId, call.methodId = 1, rpc.REGISTRATION_SERVER, 0
    call.init("target").importedCap = 0
    content = tunnel.RegisterParams.new_message(words)
    content.connIndex, content.tunnelId = REQUEST.conn_index, REQUEST.tunnel_id
    content.auth.accountTag = REQUEST.account_tag
    content.auth.tunnelSecret = REQUEST.tunnel_secret
    options = content.options
    options.replaceExisting, options.compressionQuality = True, 2
    options.numPreviousAttempts, options.originLocalIp = 9, REQUEST.origin_local_ip
    options.client.clientId = REQUEST.client.client_id
    options.client.features = list(REQUEST.client.features)
    options.client.version, options.client.arch = REQUEST.client.version, REQUEST.client.arch
    call.params.content = content
    data: bytes = message.to_bytes()
    return data


@pytest.mark.parametrize("words", [1, 2, 5, 9, 1024])
def test_we_read_what_the_library_writes_in_any_number_of_segments(
    library: Any, tunnel: Any, words: int
) -> None:
    data = library_register(library, tunnel, words=words)
    if words == 1:
        assert struct.unpack_from("<I", data)[0] > 0, "this case is there for its far pointers"
    assert t.RegistrationServer().receive(data) == [t.RegisterConnection(1, REQUEST)]


# Arbitrary bytes


def whole_conversation() -> bytes:
    client = t.RegistrationClient()
    client.register(REQUEST)
    client.update_local_configuration(b"{}" * 20)
    client.unregister()
    return client.data_to_send()


def feed(end: t.RegistrationServer | t.RegistrationClient, data: bytes) -> None:
    with suppress(RpcError):
        end.receive(data)


@given(st.binary(max_size=400))
def test_any_bytes_give_events_or_the_named_error(data: bytes) -> None:
    feed(t.RegistrationServer(), data)
    feed(t.RegistrationClient(), data)
    framed = struct.pack("<II", 0, len(data) // 8) + data[: len(data) // 8 * 8]
    feed(t.RegistrationServer(), framed)
    feed(t.RegistrationClient(), framed)


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6),
    st.booleans(),
)
@settings(max_examples=120)
def test_damaged_conversations_give_events_or_the_named_error(
    changes: list[tuple[int, int]], at_server: bool
) -> None:
    client, server = t.RegistrationClient(), t.RegistrationServer()
    client.register(REQUEST)
    data = bytearray(client.data_to_send())
    if not at_server:
        server.receive(bytes(data))
        server.answer(1, DETAILS)
        data = bytearray(server.data_to_send())
    for at, byte in changes:
        data[at % len(data)] = byte
    feed(server if at_server else client, bytes(data))


def framed(*segments: bytes) -> bytes:
    table = struct.pack("<I", len(segments) - 1)
    table += b"".join(struct.pack("<I", len(s) // 8) for s in segments)
    return table + bytes(-len(table) % 8) + b"".join(segments)


def root_of(*segments: bytes) -> reading.StructReader:
    (message,) = reading.Framer().feed(framed(*segments))
    return message.root()


def test_a_frame_too_large_is_refused_before_it_is_stored() -> None:
    with pytest.raises(RpcError, match="words"):
        reading.Framer().feed(struct.pack("<II", 0, reading.MAX_MESSAGE_WORDS + 1))
    with pytest.raises(RpcError, match="segments"):
        reading.Framer().feed(struct.pack("<I", 70))


def test_a_struct_that_contains_itself_ends() -> None:
    # One pointer, to the struct that holds it.
    loop = struct.pack("<iI", -1 << 2, 1 << 16)
    reader = root_of(struct.pack("<iI", 0, 1 << 16) + loop)

    def descend(reader: reading.StructReader) -> None:
        for _ in range(1000):
            reader = reader.struct(0)

    with pytest.raises(RpcError, match=r"deep|overlap"):
        descend(reader)


def test_pointers_that_share_one_large_text_run_out_of_budget() -> None:
    text = b"x" * 799 + b"\0"
    count = 200
    head = struct.pack("<iI", 0, 1 << 16) + struct.pack("<iI", 1, count << 3 | 6)
    pointers = b"".join(
        struct.pack("<iI", (count - 1 - i) << 2 | 1, 800 << 3 | 2) for i in range(count)
    )
    with pytest.raises(RpcError, match="overlap"):
        root_of(head + pointers + text).texts(0)


def test_a_composite_list_of_nothing_cannot_be_endless() -> None:
    many = struct.pack("<iI", 0, 1 << 16) + struct.pack("<iI", 1, 0 << 3 | 7)
    tag = struct.pack("<II", ((1 << 29) - 1) << 2, 0)
    with pytest.raises(RpcError, match="overlap"):
        root_of(many + tag).structs(0)


@pytest.mark.parametrize(
    ("pointer", "why"),
    [
        (struct.pack("<iI", 5 << 2, 1), "outside"),
        (struct.pack("<iI", -9 << 2, 1), "outside"),
        (struct.pack("<iI", 1, 8 << 3 | 2), "struct belongs"),
        (struct.pack("<II", 2, 7), "not there"),
        (struct.pack("<II", 6, 0), "landing pad"),
        (struct.pack("<II", 3, 0), "struct belongs"),
    ],
)
def test_pointers_that_lead_nowhere(pointer: bytes, why: str) -> None:
    with pytest.raises(RpcError, match=why):
        root_of(struct.pack("<iI", 0, 1 << 16) + pointer).struct(0)


def test_bad_texts() -> None:
    for raw, why in ((b"abc", "final zero"), (b"\xff\0", "UTF-8")):
        builder = Builder(0, 1)
        builder.root.set_data(0, raw)
        (message,) = reading.Framer().feed(builder.to_bytes())
        with pytest.raises(RpcError, match=why):
            message.root().text(0)


def test_fields_beyond_a_struct_have_their_defaults() -> None:
    reader = root_of(struct.pack("<iI", -4, 0))
    assert (reader.u8(0), reader.u64(8), reader.bit(3), reader.i64(0)) == (0, 0, False, 0)
    assert (reader.text(0), reader.data(1), reader.texts(2), reader.structs(3)) == ("", b"", [], [])
    assert reader.struct(0).u16(0) == 0
    assert not reader.is_capability(0)
    with pytest.raises(RpcError, match="capability"):
        reader.capability(0)
