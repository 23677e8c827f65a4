"""Both sides of the control conversation, message by message."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.client_protocol import (
    Acknowledged,
    ClientProtocol,
    ClientState,
    ControlReceived,
    LoggedIn,
    ServerSaidError,
)
from relay.extension import Extension, pack_extension, read_extension
from relay.frames import encode_array, encode_message
from relay.protocol import (
    Authenticated,
    CloseConnection,
    Consumer,
    ServerProtocol,
    Subscribed,
    UpstreamRequested,
)
from relay.wire import EXTENSIONS, LocalProtocolError, RemoteProtocolError, is_control

GOOD = "S"
HUB = Consumer(id="H", role="hub")


def only_good(key: str, secret: str) -> Consumer | None:
    return {"K": Consumer(id="K"), "H": HUB}.get(key) if secret == "S" else None


def a_server(*, codec: str = "json", **options) -> ServerProtocol:
    server = ServerProtocol(codec, only_good, extensions_offered=EXTENSIONS, **options)
    server.frames_to_send()
    return server


def a_live_server(*, key: str = "K", extensions: list[str] | None = None, **options):
    server = a_server(**options)
    say(server, action="auth", key=key, secret="S", extensions=extensions)
    server.frames_to_send()
    return server


def say(server: ServerProtocol, **message) -> list:
    return server.receive(json.dumps({k: v for k, v in message.items() if v is not None}))


def answers(server: ServerProtocol) -> list[dict]:
    frames = [json.loads(frame) for frame in server.frames_to_send()]
    assert all(len(frame) == 1 for frame in frames)  # control messages come alone
    return [frame[0] for frame in frames]


def error_code(server: ServerProtocol) -> int:
    (message,) = answers(server)
    assert message["T"] == "error"
    return message["code"]


def test_the_server_speaks_first_and_authenticates():
    server = ServerProtocol("json", only_good)

    assert answers(server) == [{"T": "success", "msg": "connected"}]
    (event,) = say(server, action="auth", key="K", secret="S")

    assert event == Authenticated(consumer=Consumer(id="K"), extensions=frozenset())
    assert answers(server) == [{"T": "success", "msg": "authenticated"}]


def test_extensions_are_granted_only_when_asked_and_offered():
    server = ServerProtocol("json", only_good, extensions_offered=["clock", "frame"])
    server.frames_to_send()

    (event,) = say(server, action="auth", key="K", secret="S", extensions=["clock", "x", "resume"])

    assert event.extensions == {"clock"}
    assert answers(server)[0]["extensions"] == ["clock"]


def test_a_wrong_secret_gets_402_and_the_end():
    server = a_server()

    (event,) = say(server, action="auth", key="K", secret="wrong")

    assert isinstance(event, CloseConnection)
    assert error_code(server) == 402
    assert say(server, action="auth", key="K", secret="S") == []


def test_headers_authenticate_and_a_later_auth_is_403():
    server = a_server()

    (event,) = server.authenticate_headers("K", "S")
    say(server, action="auth", key="K", secret="S")

    assert isinstance(event, Authenticated)
    assert [message.get("code") for message in answers(server)] == [None, 403]


def test_who_does_not_authenticate_in_time_is_told_404():
    server = a_server()

    assert isinstance(server.auth_timed_out()[0], CloseConnection)
    assert error_code(server) == 404
    assert a_live_server().auth_timed_out() == []


def test_subscriptions_add_up_and_acknowledge_the_whole_state():
    server = a_live_server()

    say(server, action="subscribe", trades=["B", "A"], quotes=["A"])
    say(server, action="subscribe", trades=["*"], orderbooks=None, news=[])
    (event,) = say(server, action="unsubscribe", trades=["*", "B"])

    first, _, last = answers(server)
    assert first == {
        "T": "subscription", "trades": ["A", "B"], "quotes": ["A"], "bars": [], "updatedBars": [],
        "dailyBars": [], "statuses": [], "lulds": [], "imbalances": [],
        "corrections": ["A", "B"], "cancelErrors": ["A", "B"],
    }  # fmt: skip
    assert last["trades"] == ["A"]
    assert event.channels["trades"] == {"A"}
    assert event.resume is None


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"action": "subscribe", "trades": ["A*"]}, 400),
        ({"action": "subscribe", "trades": ["[A,B)"]}, 400),
        ({"action": "subscribe", "trades": "A"}, 400),
        ({"action": "subscribe", "trades": [1]}, 400),
        ({"action": "subscribe", "trades": [""]}, 400),
        ({"action": "subscribe", "orderbooks": ["A"]}, 410),
        ({"action": "subscribe", "trades": ["A"], "resume": {"e": 1, "o": 1}}, 400),
        ({"action": "dance"}, 400),
        ({"action": "auth", "key": "K", "secret": "S"}, 403),
        ({"action": "upstream", "command": "open"}, 400),
    ],
)
def test_a_refused_request_changes_nothing(message, code):
    server = a_live_server()

    events = say(server, **message)

    assert (events, error_code(server)) == ([], code)
    assert not any(server.subscription.channels.values())


def test_subscribing_before_auth_is_401():
    server = a_server()

    say(server, action="subscribe", trades=["A"])

    assert error_code(server) == 401


def test_patterns_and_resume_need_their_extensions():
    server = a_live_server(extensions=["prefix", "resume"])

    (event,) = say(
        server, action="subscribe", trades=["A*", "[B,BR)", "[X,)"], resume={"e": 5, "o": 7}
    )

    assert event == Subscribed(
        channels=server.subscription.channels,
        resume=(5, 7),
    )
    assert answers(server)[0]["trades"] == ["A*", "[B,BR)", "[X,)"]
    for bad in ({"e": -1, "o": 1}, {"e": 1}, {"e": 1, "o": 2**53}, {"e": 1, "o": True}, [1, 2]):
        say(server, action="subscribe", resume=bad)
        assert error_code(server) == 400


def test_only_a_hub_may_command_the_upstream_and_its_keys_stay_out_of_repr():
    client = a_live_server(upstream_control=True)
    hub = a_live_server(key="H", upstream_control=True)

    say(client, action="upstream", command="open", key="PK", secret="TOP")
    (event,) = say(hub, action="upstream", command="open", key="PK", secret="TOP")

    assert error_code(client) == 411
    assert event == UpstreamRequested(command="open", key="PK", secret="TOP")
    assert "TOP" not in repr(event)


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_requests_are_understood_as_text_and_as_msgpack(codec):
    server = a_server(codec=codec)

    server.receive(msgspec.msgpack.encode({"action": "auth", "key": "K", "secret": "S"}))
    server.receive(json.dumps({"action": "subscribe", "trades": ["A"]}))

    assert server.subscription.channels["trades"] == {"A"}
    kinds = {type(frame) for frame in server.frames_to_send()}
    assert kinds == {str if codec == "json" else bytes}


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
@settings(max_examples=300, deadline=None)
def test_no_request_raises(frame):
    server = a_live_server(codec="json", extensions=["prefix", "resume"])

    server.receive(frame)

    assert all(message["T"] in ("error", "subscription") for message in answers(server))


def test_a_request_over_64_kib_is_refused():
    server = a_live_server()

    say(server, action="subscribe", trades=["A" * 10] * 7000)

    assert error_code(server) == 400


# --- client side ---------------------------------------------------------------------------------


def talk(client: ClientProtocol, server: ServerProtocol) -> list:
    """Carry everything both ways until both are silent; return the client's events."""
    events = []
    while True:
        downstream, upstream = server.frames_to_send(), client.frames_to_send()
        if not downstream and not upstream:
            return events
        for frame in downstream:
            assert is_control(frame)
            events += client.receive(frame)
        for frame in upstream:
            server.receive(frame)


def a_pair(*, secret: str = GOOD) -> tuple[ClientProtocol, ServerProtocol]:
    server = ServerProtocol("msgpack", only_good, extensions_offered=EXTENSIONS)
    return ClientProtocol("K", secret, extensions=["clock", "prefix", "resume"]), server


def test_both_sides_understand_each_other():
    client, server = a_pair()

    events = talk(client, server)
    client.change({"trades": ["OLD"]}, {"trades": ["A*"], "quotes": ["B"]}, resume=(1, 2))
    events += talk(client, server)

    assert events[0] == LoggedIn(extensions=frozenset({"clock", "prefix", "resume"}))
    assert isinstance(events[-1], Acknowledged)
    assert events[-1].channels["trades"] == {"A*"}
    assert not client.change({"trades": ["A"]}, {"trades": ["A"]})


def test_a_refused_login_is_fatal_and_a_later_error_is_not():
    client, server = a_pair(secret="wrong")

    events = talk(client, server)

    assert events == [ServerSaidError(code=402, msg="auth failed", fatal=True)]
    assert client.state is ClientState.REFUSED
    live, server = a_pair()
    talk(live, server)
    server.send_error(405)
    assert talk(live, server) == [
        ServerSaidError(code=405, msg="symbol limit exceeded", fatal=False)
    ]


def test_the_client_does_not_send_out_of_turn_and_takes_no_nonsense():
    client, _ = a_pair()

    with pytest.raises(LocalProtocolError):
        client.send({"action": "subscribe"})
    for frame in (b"", b"\x91\xc1", b"\x01", msgspec.msgpack.encode([1])):
        with pytest.raises(RemoteProtocolError):
            client.receive(frame)
    with pytest.raises(RemoteProtocolError):
        client.receive(msgspec.msgpack.encode([{"T": "success", "msg": "authenticated"}]))


def test_an_acknowledgment_holds_symbols_and_whatever_else_is_in_it_is_nothing():
    client = ClientProtocol("K", "S")
    odd = {"T": "subscription", "trades": ["A", ["B"], {}, 5, None], "quotes": "A", "bars": {}}

    (event,) = client.receive(msgspec.msgpack.encode([odd]))

    assert event.channels["trades"] == {"A"}
    assert event.channels["quotes"] == event.channels["bars"] == frozenset()


def test_other_control_messages_come_through():
    client, server = a_pair()
    talk(client, server)
    server.send({"T": "resume", "state": "GAP", "from": 1, "to": 2, "e": 3})

    (event,) = talk(client, server)

    assert isinstance(event, ControlReceived)
    assert event.message["state"] == "GAP"


# --- the extension element -----------------------------------------------------------------------

whole = st.integers(0, 2**53 - 1)


@given(whole, whole, whole, st.integers(0, 2**62), st.integers(0, 600))
@settings(max_examples=100, deadline=None)
def test_the_extension_element_reads_back_in_any_frame(epoch, offset, previous, watermark, others):
    trade = encode_message({"T": "t", "S": "A"})
    head = pack_extension(epoch, offset, previous, watermark)
    foreign = encode_message({"T": "x", "w": watermark, "p": previous, "o": offset, "e": epoch})

    wanted = Extension(epoch, offset, previous, watermark)

    assert read_extension(encode_array([head] + [trade] * others)) == wanted
    assert read_extension(encode_array([foreign, trade])) == wanted
    assert msgspec.msgpack.decode(head) == msgspec.msgpack.decode(foreign)


def test_a_frame_without_the_element_has_none():
    cancel = encode_message({"T": "x", "S": "A", "i": 1, "x": "V", "p": 1.0, "s": 1, "a": "C"})

    assert read_extension(encode_array([encode_message({"T": "t", "S": "A"})])) is None
    assert read_extension(encode_array([cancel])) is None
    assert read_extension(b"\x90") is None
    assert not is_control(encode_array([cancel]))
