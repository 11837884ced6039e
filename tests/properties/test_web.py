"""WebSockets and tunnels under whatever bytes come: only documented exceptions, nothing unbounded."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.web.test_sockets import REQUEST, frame

from librats import ConfigError, ProxyError
from librats.types import Address
from librats.web.sockets import LONGEST_MESSAGE, ClientSocket, ServerSocket, WebSocket
from librats.web.socks import SocksTunnel
from librats.web.tunnel import LONGEST_ANSWER, Tunnel
from librats.web_uris import ProxyUri, WebUri

LONGEST_REPLY = 4 + 1 + 255 + 2
URI = WebUri(Address("relay.example.org", 443))

frames = st.builds(
    frame,
    st.sampled_from([0, 1, 2, 2, 2, 8, 9, 10, 3]),
    st.binary(max_size=200),
    fin=st.booleans(),
    masked=st.sampled_from([True, True, True, False]),
    reserved=st.sampled_from([0, 0, 0, 0, 1, 4]),
)
words = st.sampled_from([REQUEST, b"GET / HTTP/1.1\r\n", b"\r\n\r\n", b"Upgrade: websocket\r\n", b"X: " + b"y" * 5000])
noise = st.lists(st.one_of(frames, words, st.binary(max_size=60)), max_size=8).map(b"".join)


def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(draw(st.integers(0, 4))):
        if changed:
            changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    return bytes(changed)


@st.composite
def pieces(draw: st.DrawFn, whole: st.SearchStrategy[bytes] = noise) -> list[bytes]:
    data = damaged(draw, draw(whole))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def fed(socket: WebSocket, given_: list[bytes]) -> None:
    size = sum(map(len, given_))
    for piece in given_:
        was_over = socket.is_over
        socket.receive_data(piece)
        out = socket.data_to_send()
        assert len(out) <= size + 4096
        assert not (was_over and (out or socket.take_data()))
        assert sum(map(len, socket.take_data())) <= min(size, LONGEST_MESSAGE + size)
    socket.send(b"x")
    socket.close()
    assert socket.is_over


@settings(max_examples=300, deadline=None)
@given(pieces())
def test_a_server_bears_every_beginning(given_: list[bytes]) -> None:
    fed(ServerSocket(), given_)


@settings(max_examples=300, deadline=None)
@given(pieces(noise.map(lambda rest: REQUEST + rest)))
def test_a_server_bears_whatever_comes_with_the_request(given_: list[bytes]) -> None:
    fed(ServerSocket(), given_)


@settings(max_examples=300, deadline=None)
@given(pieces())
def test_an_open_server_bears_every_byte(given_: list[bytes]) -> None:
    server = ServerSocket()
    server.receive_data(REQUEST)
    server.data_to_send()
    fed(server, given_)


@settings(max_examples=200, deadline=None)
@given(pieces())
def test_a_client_bears_every_answer(given_: list[bytes]) -> None:
    client = ClientSocket(URI)
    fed(client, given_)
    assert str(client.problem).isprintable()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=3000), max_size=6), st.data())
def test_what_is_sent_arrives_however_it_is_cut(messages: list[bytes], data: st.DataObject) -> None:
    client, server = ClientSocket(URI), ServerSocket()
    server.receive_data(client.data_to_send())
    client.receive_data(server.data_to_send())
    for message in messages:
        client.send(message)
    wire, got = client.data_to_send(), b""
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        server.receive_data(wire[:size])
        got += b"".join(server.take_data())
        wire = wire[size:]
    assert got == b"".join(messages)
    assert server.is_open


answers = st.lists(
    st.one_of(
        st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 407 X\r\n", b"HTTP/1.0 100\r\n", b"\r\n", b"A: b\r\n"]),
        st.binary(max_size=50),
        st.just(b"Proxy-Authenticate: " + b"z" * LONGEST_ANSWER),
    ),
    max_size=8,
).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(pieces(answers))
def test_a_tunnel_bears_every_answer(given_: list[bytes]) -> None:
    tunnel = Tunnel(ProxyUri.parse("http://ann:secret@127.0.0.1:3128"), Address("relay.example.org", 443))
    with contextlib.suppress(ProxyError):
        for piece in given_:
            if tunnel.receive_data(piece):
                break


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40), st.sampled_from(["wss://", "ws://", "http://", "", "wss://a:b@", "http://a:b@[", "//"]))
def test_uris_are_read_or_refused(text: str, scheme: str) -> None:
    for read in (WebUri.parse, ProxyUri.parse):
        with contextlib.suppress(ConfigError):
            found = read(scheme + text)
            assert read(str(found)).address == found.address
            assert str(found).isprintable()
            assert " " not in str(found)


replies = st.sampled_from(
    [
        b"\x05\x00",
        b"\x05\x02",
        b"\x01\x00",
        b"\x05\xff",
        b"\x05\x00\x00\x01",
        bytes(6),
        b"\x05\x00\x00\x03\x03abc",
        bytes(255),
    ]
)
socks_noise = st.lists(st.one_of(replies, st.binary(max_size=30)), max_size=8).map(b"".join)


@given(given_=pieces(socks_noise), uri=st.sampled_from(["socks5h://proxy", "socks5h://ann:secret@proxy"]))
def test_a_socks_tunnel_bears_every_answer(given_: list[bytes], uri: str) -> None:
    asked = SocksTunnel(ProxyUri.parse(uri), Address("relay.example.org", 443))
    sent = asked.data_to_send()
    told = ""
    try:
        for piece in given_:
            there = asked.receive_data(piece)
            assert there == asked.is_there
            sent += asked.data_to_send()
    except ProxyError as error:
        told = str(error)
    assert "secret" not in told
    if not told:
        assert len(asked._received) <= LONGEST_REPLY
    assert len(sent) < 100
