"""Both ends of a WebSocket, and what hostile ones are answered."""

from __future__ import annotations

import struct

import pytest

from librats.types import Address
from librats.web.sockets import LONGEST_HANDSHAKE, LONGEST_MESSAGE, ClientSocket, ServerSocket, WebSocket
from librats.web_uris import WebUri

URI = WebUri(Address("relay.example.org", 443))
REQUEST = (
    b"GET /librats HTTP/1.1\r\nHost: relay.example.org\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
BINARY, TEXT, CONTINUED, CLOSE, PING, PONG = 2, 1, 0, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """Return a frame as a client sends it (RFC 6455, 5.2)."""
    size = len(payload)
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    bit = 0x80 if masked else 0
    if size < 126:
        head = struct.pack(">BB", first, bit | size)
    elif size < 65536:
        head = struct.pack(">BBH", first, bit | 126, size)
    else:
        head = struct.pack(">BBQ", first, bit | 127, size)
    if not masked:
        return head + payload
    mask = b"\x37\xfa\x21\x3d"
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def carry(one: WebSocket, other: WebSocket) -> None:
    while True:
        there, back = one.data_to_send(), other.data_to_send()
        if not (there or back):
            return
        other.receive_data(there)
        one.receive_data(back)


def opened() -> ServerSocket:
    server = ServerSocket()
    server.receive_data(REQUEST)
    assert server.data_to_send().startswith(b"HTTP/1.1 101 ")
    assert server.is_open
    return server


def test_two_ends_carry_bytes_both_ways_and_close() -> None:
    client, server = ClientSocket(URI), ServerSocket()
    carry(client, server)
    assert client.is_open
    assert server.is_open
    long = bytes(range(256)) * 1000
    client.send(b"hello")
    server.send(memoryview(long))
    carry(client, server)
    assert server.take_data() == [b"hello"]
    assert b"".join(client.take_data()) == long
    client.close()
    carry(client, server)
    assert client.is_over
    assert server.is_over
    client.send(b"too late")
    assert client.data_to_send() == b""


def test_the_key_of_the_rfc_is_answered_as_the_rfc_says() -> None:
    server = ServerSocket()
    server.receive_data(REQUEST)
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in server.data_to_send()  # RFC 6455, 1.3


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /favicon.ico HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /librats HTTP/1.1\r\nHost: x\r\n\r\n", 426),
        (REQUEST.replace(b"Version: 13", b"Version: 8"), 400),
        (REQUEST.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"), 400),
        (b"PROPFIND /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (REQUEST.replace(b"Upgrade: websocket", b"Upgrade:\x80websocket"), 400),
        (b"GET / HTTP/3.7\r\n\r\n", 400),
        (b"SSTP_DUPLEX_POST / nonsense\r\n\r\n", 400),
    ],
)
def test_whatever_else_is_asked_for_is_answered_shortly(request_: bytes, status: int) -> None:
    server = ServerSocket()
    server.receive_data(request_)
    answer = server.data_to_send()
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert len(answer) < 600
    assert server.is_over
    server.receive_data(REQUEST)
    assert server.data_to_send() == b""
    assert not server.is_open


@pytest.mark.parametrize("line", [b"X: y\r\n", b"x" * 4000, b"X: " + b"y" * 2000 + b"\r\n"])
def test_a_request_without_an_end_is_given_up(line: bytes) -> None:
    server = ServerSocket()
    server.receive_data(b"GET /librats HTTP/1.1\r\n")
    took = 0
    while not server.is_over:
        server.receive_data(line)
        took += len(line)
        assert took < LONGEST_HANDSHAKE + 5000
    assert server.data_to_send().startswith(b"HTTP/1.1 4")


def test_bytes_of_fragments_and_of_several_frames_are_one_stream() -> None:
    server = opened()
    sent = frame(BINARY, b"ab", fin=False) + frame(PING, b"?") + frame(CONTINUED, b"cd", fin=False)
    sent += frame(CONTINUED, b"", fin=True) + frame(BINARY, b"") + frame(BINARY, b"ef")
    for at in range(len(sent)):
        server.receive_data(sent[at : at + 1])
    assert b"".join(server.take_data()) == b"abcdef"
    assert server.data_to_send() == frame(PONG, b"?", masked=False)
    assert server.is_open


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (frame(BINARY, b"x", masked=False), 1002),
        (frame(BINARY, b"x", reserved=4), 1002),
        (frame(3, b"x"), 1002),
        (frame(CONTINUED, b"x"), 1002),
        (frame(BINARY, b"x", fin=False) + frame(BINARY, b"y"), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(TEXT, b"words"), 1003),
        (frame(BINARY, b"")[:1] + b"\xff" + struct.pack(">Q", LONGEST_MESSAGE + 1) + b"mask", 1009),
        (frame(BINARY, b"x" * 60000, fin=False) + frame(CONTINUED, b"x" * 60000, fin=False) * 4, 1009),
    ],
)
def test_who_breaks_the_rules_is_told_and_closed(wrong: bytes, code: int) -> None:
    server = opened()
    server.receive_data(wrong + frame(BINARY, b"and more"))
    answer = server.data_to_send()
    assert struct.unpack(">H", answer[2:4])[0] == code
    assert server.is_over
    assert b"and more" not in b"".join(server.take_data())


@pytest.mark.parametrize(
    "behind", [frame(CLOSE), frame(BINARY, b"x", masked=False), frame(3), frame(TEXT, b"words"), b"\xff" * 20]
)
def test_what_comes_with_the_request_is_read_once_that_is_answered(behind: bytes) -> None:
    server = ServerSocket()
    server.receive_data(REQUEST + behind)
    answer, _, rest = server.data_to_send().partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert rest[0] == 0x80 | CLOSE
    assert server.is_over


def test_a_close_is_answered_and_nothing_behind_it_is_heard() -> None:
    server = opened()
    server.receive_data(frame(BINARY, b"last") + frame(CLOSE, struct.pack(">H", 1000)) + frame(BINARY, b"more"))
    assert server.take_data() == [b"last"]
    assert server.data_to_send() == frame(CLOSE, struct.pack(">H", 1000), masked=False)
    assert server.is_over


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "Sec-WebSocket"),
        (b"SSH-2.0-OpenSSH\r\n", "valid HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2 * LONGEST_HANDSHAKE, "before there was a WebSocket"),
    ],
)
def test_a_server_that_opens_no_websocket_is_told_of(answer: bytes, words: str) -> None:
    client = ClientSocket(URI)
    client.receive_data(answer)
    assert client.is_over
    assert not client.is_open
    assert words in str(client.problem)


@pytest.mark.parametrize(("over", "is_open"), [(0, True), (1, False)])
def test_a_request_has_16_kib_at_most(over: int, is_open: bool) -> None:
    bare = REQUEST.removesuffix(b"\r\n\r\n") + b"\r\nX: "
    server = ServerSocket()
    for part in (1, 2):  # websockets itself takes no line of more than 8 KiB
        bare += b"x" * (16 * 512 * part - 40 - len(bare)) + b"\r\nY: "
    server.receive_data(bare + b"y" * (16 * 1024 + over - len(bare)) + b"\r\n\r\n")
    assert server.is_open is is_open
    assert server.data_to_send()[9:12] == (b"101" if is_open else b"431")


@pytest.mark.parametrize(("over", "is_over"), [(0, False), (1, True)])
def test_an_answer_is_waited_for_up_to_16_kib(over: int, is_over: bool) -> None:
    client = ClientSocket(URI)
    answer = b"HTTP/1.1 101 Switching Protocols\r\n"
    for _ in range(2):
        answer += b"X: " + b"x" * 8000 + b"\r\n"
    client.receive_data(answer + b"Y: ")
    client.receive_data(b"y" * (16 * 1024 + over - len(answer) - 3))
    assert client.is_over is is_over


@pytest.mark.parametrize(("size", "frames"), [(64 * 1024, 1), (64 * 1024 + 1, 2)])
def test_64_kib_leave_in_one_message(size: int, frames: int) -> None:
    server = opened()
    server.send(bytes(size))
    sent = server.data_to_send()
    head = 10 if size >= 64 * 1024 else 4
    assert len(sent) == size + head + (frames - 1) * 2


@pytest.mark.parametrize(("over", "is_over"), [(0, False), (1, True)])
def test_a_message_has_256_kib_at_most_all_its_fragments_together(over: int, is_over: bool) -> None:
    server = opened()
    server.receive_data(frame(BINARY, bytes(128 * 1024), fin=False) + frame(CONTINUED, bytes(128 * 1024 + over)))
    assert server.is_over is is_over
    assert sum(map(len, server.take_data())) >= 128 * 1024


@pytest.mark.parametrize(("over", "is_over"), [(0, False), (1, True)])
def test_a_server_may_send_as_long_a_message_as_a_client(over: int, is_over: bool) -> None:
    client, server = ClientSocket(URI), ServerSocket()
    carry(client, server)
    client.receive_data(frame(BINARY, bytes(256 * 1024 + over), masked=False))
    assert client.is_over is is_over


def test_what_comes_right_behind_the_answer_is_no_part_of_it() -> None:
    client, server = ClientSocket(URI), ServerSocket()
    server.receive_data(client.data_to_send())
    client.receive_data(server.data_to_send() + frame(BINARY, bytes(20_000), masked=False))
    assert (client.is_open, client.is_over) == (True, False)
    assert sum(map(len, client.take_data())) == 20_000
