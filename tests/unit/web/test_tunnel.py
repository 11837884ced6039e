"""A CONNECT request, and what proxies make of it."""

from __future__ import annotations

import base64

import pytest

from librats import AttemptReason, ProxyError
from librats.types import Address
from librats.web.tunnel import LONGEST_ANSWER, Tunnel
from librats.web_uris import ProxyUri

TARGET = Address("relay.example.org", 443)


def tunnel(uri: str = "http://proxy.example.org:3128", target: Address = TARGET) -> Tunnel:
    return Tunnel(ProxyUri.parse(uri), target)


def test_the_request_names_the_host_twice_and_nobody_where_nobody_is_known() -> None:
    assert tunnel().data_to_send() == (b"CONNECT relay.example.org:443 HTTP/1.1\r\nHost: relay.example.org:443\r\n\r\n")
    assert b"CONNECT [2001:db8::7]:443 HTTP/1.1" in tunnel(target=Address("2001:db8::7", 443)).data_to_send()


def test_user_and_password_of_the_uri_go_as_basic_credentials() -> None:
    request = tunnel("http://ann:p%40ss%3A%C3%BC@proxy.example.org").data_to_send()
    [line] = [line for line in request.split(b"\r\n") if line.startswith(b"Proxy-Authorization: Basic ")]
    assert base64.b64decode(line.rpartition(b" ")[2]).decode() == "ann:p@ss:ü"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_an_answer_may_come_in_pieces(size: int) -> None:
    answer = b"HTTP/1.0 200 Connection established\r\nVia: somebody\r\nContent-Length: 5\r\n\r\n"
    asked = tunnel()
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    assert [asked.receive_data(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert asked.is_there


def test_interim_answers_are_no_answers() -> None:
    asked = tunnel()
    assert not asked.receive_data(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nX: y\r\n\r\nHTT")
    assert asked.receive_data(b"P/1.1 200\r\n\r\n")


@pytest.mark.parametrize(
    ("uri", "answer", "words"),
    [
        ("http://p", b"HTTP/1.1 403 Forbidden\r\n\r\nNo.", "it answers 403 Forbidden to CONNECT relay.example.org:443"),
        ("http://p", b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n", "write user and password"),
        ("http://a:b@p", b"HTTP/1.1 407 No\r\nproxy-authenticate: basic\r\n\r\n", "does not take this user"),
        ("http://p", b"HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate\r\n\r\n", "ntlm"),
        ("http://p", b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", "302"),
        ("http://p", b"HTTP/1.1 502 \x1b[31mred" + b"x" * 500 + b"\r\n\r\n", "502"),
    ],
)
def test_a_proxy_that_refuses_is_told_with_its_status(uri: str, answer: bytes, words: str) -> None:
    with pytest.raises(ProxyError, match=words.replace("[", "\\[")) as caught:
        tunnel(uri).receive_data(answer)
    assert caught.value.code is AttemptReason.PROXY_DENIED
    assert caught.value.status == int(answer[9:12])
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed the connection"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not answer in HTTP"),
        (b"HTTP/2", "not answer in HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n", "not answer in HTTP"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nearly words", "more than it was asked"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * LONGEST_ANSWER, "too long"),
    ],
)
def test_what_is_no_proxy_is_told(answer: bytes, words: str) -> None:
    with pytest.raises(ProxyError, match=words) as caught:
        tunnel().receive_data(answer)
    assert (caught.value.code, caught.value.status) == (AttemptReason.PROXY_UNREACHABLE, None)


def test_no_error_shows_the_password() -> None:
    asked = tunnel("http://ann:hunter2@proxy.example.org")
    with pytest.raises(ProxyError) as caught:
        asked.receive_data(b"HTTP/1.1 407 No\r\n\r\n")
    assert "hunter2" not in f"{caught.value} {caught.value!r} {asked.proxy!r}"


@pytest.mark.parametrize("whole", [True, False])
def test_an_answer_has_16_kib_at_most(whole: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\nX: "
    longest = head + b"x" * (16 * 1024 - len(head))
    end = b"\r\n\r\n" if whole else b""
    assert tunnel().receive_data(longest + end) is whole
    with pytest.raises(ProxyError, match="too long"):
        tunnel().receive_data(longest + b"x" + end)


@pytest.mark.parametrize(("status", "is_there"), [(199, False), (200, True), (299, True)])
def test_a_success_is_any_status_of_the_second_hundred(status: int, is_there: bool) -> None:
    assert tunnel().receive_data(b"HTTP/1.1 %d x\r\n\r\n" % status) is is_there


def test_a_status_of_the_third_hundred_is_a_refusal() -> None:
    with pytest.raises(ProxyError) as caught:
        tunnel().receive_data(b"HTTP/1.1 300 x\r\n\r\n")
    assert caught.value.status == 300


def test_of_a_proxys_own_words_a_hundred_letters_are_told() -> None:
    with pytest.raises(ProxyError) as caught:
        tunnel().receive_data(b"HTTP/1.1 500 " + b"z" * 101 + b"\r\n\r\n")
    assert str(caught.value).count("z") == 100
