"""What a consumer hands on, frame by frame, without a network."""

import msgspec
import pytest

from relay.client import RelayClient
from relay.client_protocol import ClientProtocol
from relay.extension import pack_extension
from relay.frames import encode_array, encode_message
from relay.protocol import Consumer, ServerProtocol
from relay.wire import EXTENSIONS

ASKED = ("frame", "clock", "resume")
EPOCH = 7
NEWEST = encode_array([pack_extension(EPOCH, 140, 139, 9_000)])
CLOCK = encode_array(
    [pack_extension(EPOCH, 141, 140, 9_000), encode_message({"T": "clock", "t": 9_000, "stop": 3})]
)
TRADE = encode_message({"T": "t", "S": "ACME", "p": 10.0, "s": 100, "t": 8_000})


class Line:
    """A client and the relay's side of its conversation; the test carries the frames."""

    def __init__(self, resume: tuple[int, int] | None) -> None:
        self.handed_on: list[bytes] = []
        self.states: list[str] = []
        self.client = RelayClient(
            "ws://relay", "K", "S", extensions=ASKED, on_frame=self.handed_on.append,
            on_state=lambda state, reason: self.states.append(state),
        )  # fmt: skip
        self.client.subscribe(trades=["ACME"], resume=resume)
        self.connect()

    def connect(self) -> None:
        """Log in; the client's subscription is on its way to the relay then."""
        self.client._leave()
        self.client._protocol = ClientProtocol("K", "S", extensions=ASKED)
        self._server = ServerProtocol(
            "msgpack", lambda key, secret: Consumer(id=key), extensions_offered=EXTENSIONS
        )
        self._to_client()
        self._to_server()
        self._to_client()
        self.handed_on.clear()

    def answer(self) -> None:
        """The relay takes up the subscription and says so."""
        self._to_server()
        self._to_client()
        self.handed_on.clear()

    def relay_sends(self, *frames: bytes) -> None:
        for frame in frames:
            self.client._take(frame)

    def _to_server(self) -> None:
        for frame in self.client._protocol.frames_to_send():
            self._server.receive(frame)

    def _to_client(self) -> None:
        for frame in self._server.frames_to_send():
            self.client._take(bytes(frame))


def a_frame(offset: int) -> bytes:
    return encode_array([pack_extension(EPOCH, offset, offset - 1, 8_500), TRADE])


def test_nothing_is_handed_on_between_asking_to_resume_and_the_answer() -> None:
    """A heartbeat then tells of frames that are still to be replayed as if we had them."""
    line = Line(resume=(EPOCH, 100))

    line.relay_sends(NEWEST, CLOCK)
    assert line.handed_on == []
    line.answer()
    line.relay_sends(a_frame(100), CLOCK)

    assert line.states[-1] == "subscribed"
    assert line.handed_on == [a_frame(100), CLOCK]


def test_a_line_lost_before_the_answer_asks_for_the_same_frames_again() -> None:
    line = Line(resume=None)
    line.answer()
    line.relay_sends(a_frame(100))

    line.connect()
    line.relay_sends(NEWEST)
    line.connect()

    subscribe = [request for request in sent(line) if request["action"] == "subscribe"]
    assert [one["resume"] for one in subscribe] == [{"e": EPOCH, "o": 101}]


@pytest.mark.parametrize("resume", [None, (EPOCH, 100)])
def test_who_is_subscribed_is_handed_everything(resume: tuple[int, int] | None) -> None:
    line = Line(resume)
    line.answer()

    line.relay_sends(NEWEST, a_frame(141), CLOCK)

    assert line.handed_on == [NEWEST, a_frame(141), CLOCK]


def sent(line: Line) -> list[dict]:
    return [msgspec.msgpack.decode(one) for one in line.client._protocol.frames_to_send()]
