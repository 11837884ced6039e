"""What a SOCKS proxy is asked, and what proxies make of it."""

from __future__ import annotations

import pytest

from librats import AttemptReason, ProxyError
from librats.types import Address
from librats.web.socks import SocksTunnel
from librats.web_uris import ProxyUri

NAME = Address("relay.example.org", 443)
ASKED = b"\x05\x01\x00\x03\x11relay.example.org\x01\xbb"
MADE = b"\x05\x00\x00\x01\xc0\x00\x02\x07\x04\x38"


def tunnel(uri: str = "socks5h://proxy.example.org", target: Address = NAME) -> SocksTunnel:
    return SocksTunnel(ProxyUri.parse(uri), target)


def test_a_proxy_that_wants_nobody_named_is_asked_at_once() -> None:
    asked = tunnel()
    assert asked.data_to_send() == b"\x05\x01\x00"
    assert asked.data_to_send() == b""
    assert not asked.receive_data(b"\x05\x00")
    assert asked.data_to_send() == ASKED
    assert asked.receive_data(MADE)
    assert asked.is_there


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("192.0.2.7", b"\x01\xc0\x00\x02\x07"),
        ("2001:db8::7", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x07"),
        ("fe80::7%eth0", b"\x04\xfe\x80" + bytes(13) + b"\x07"),
        ("bücher.example", b"\x03\x15xn--bcher-kva.example"),
    ],
)
def test_hosts_are_told_as_numbers_or_as_names(host: str, place: bytes) -> None:
    asked = tunnel(target=Address(host, 443))
    asked.data_to_send()
    asked.receive_data(b"\x05\x00")
    assert asked.data_to_send() == b"\x05\x01\x00" + place + b"\x01\xbb"


def test_user_and_password_of_the_uri_are_told_where_they_are_wanted() -> None:
    asked = tunnel("socks5h://ann:p%40ss@proxy")
    assert asked.data_to_send() == b"\x05\x02\x00\x02"
    assert not asked.receive_data(b"\x05\x02")
    assert asked.data_to_send() == b"\x01\x03ann\x04p@ss"
    assert not asked.receive_data(b"\x01\x00")
    assert asked.data_to_send() == ASKED


@pytest.mark.parametrize(
    "reply",
    [MADE, b"\x05\x00\x00\x03\x03abc\x04\x38", b"\x05\x00\x00\x04" + bytes(18), b"\x05\x00\x00\x03\x00\x00\x00"],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_an_answer_may_come_in_pieces(reply: bytes, size: int) -> None:
    asked = tunnel()
    answer = b"\x05\x00" + reply
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    assert [asked.receive_data(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]


@pytest.mark.parametrize(
    ("uri", "answer", "words", "status"),
    [
        ("socks5h://p", b"\x05\xff", "write user and password", 255),
        ("socks5h://a:b@p", b"\x05\xff", "neither anybody nor", 255),
        ("socks5h://p", b"\x05\x02", "neither anybody nor", 2),
        ("socks5h://p", b"\x05\x01", "neither anybody nor", 1),
        ("socks5h://a:b@p", b"\x05\x02\x01\x01", "does not take this user", 1),
        ("socks5h://p", b"\x05\x00\x05\x02", "rules do not allow", 2),
        ("socks5h://p", b"\x05\x00\x05\x04\x00\x01" + bytes(6), "cannot reach that host", 4),
        ("socks5h://p", b"\x05\x00\x05\x63", "answers 99, asked for relay.example.org:443", 99),
    ],
)
def test_a_proxy_that_refuses_is_told_with_its_number(uri: str, answer: bytes, words: str, status: int) -> None:
    with pytest.raises(ProxyError, match=words) as caught:
        tunnel(uri).receive_data(answer)
    assert (caught.value.code, caught.value.status) == (AttemptReason.PROXY_DENIED, status)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n", "not answer in SOCKS 5"),
        (b"\x04\x5a", "not answer in SOCKS 5"),
        (b"\x05\x00\x04", "not answer in SOCKS 5"),
        (b"\x05\x00\x05\x00\x00\x02" + bytes(20), "not answer in SOCKS 5"),
        (b"\x05\x00" + MADE + b"early words", "more than it was asked"),
    ],
)
def test_what_is_no_proxy_is_told(answer: bytes, words: str) -> None:
    with pytest.raises(ProxyError, match=words) as caught:
        tunnel().receive_data(answer)
    assert (caught.value.code, caught.value.status) == (AttemptReason.PROXY_UNREACHABLE, None)


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("socks5h://" + "a" * 256 + ":b@p", NAME),
        ("socks5h://a:" + "%C3%BC" * 128 + "@p", NAME),
        ("socks5h://p", Address("a" * 256, 443)),
        ("socks5h://p", Address("ü" * 300, 443)),
    ],
)
def test_what_is_too_long_to_be_told_is_refused(uri: str, target: Address) -> None:
    with pytest.raises(ProxyError) as caught:
        tunnel(uri, target)
    assert caught.value.code is AttemptReason.PROXY_UNREACHABLE


def test_the_longest_user_password_and_name_are_told_whole() -> None:
    asked = tunnel(f"socks5h://{'u' * 255}:{'p' * 255}@p", Address("n" * 255, 443))
    asked.data_to_send()
    asked.receive_data(b"\x05\x02")
    assert asked.data_to_send() == b"\x01\xff" + b"u" * 255 + b"\xff" + b"p" * 255
    asked.receive_data(b"\x01\x00")
    assert asked.data_to_send() == b"\x05\x01\x00\x03\xff" + b"n" * 255 + b"\x01\xbb"


def test_a_host_without_a_name_is_refused() -> None:
    with pytest.raises(ProxyError):
        tunnel(target=Address("", 443))
