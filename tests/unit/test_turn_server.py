"""TurnServer: its fields, and its URI both ways."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats import Address, ConfigError, TurnCredentials, TurnServer, TurnTransport


def test_the_port_follows_the_transport() -> None:
    assert TurnServer(host="a").address == Address("a", 3478)
    assert TurnServer(host="a", transport=TurnTransport.TCP).port == 3478
    assert TurnServer(host="a", transport=TurnTransport.TLS).port == 5349
    assert TurnServer(host="a", transport=TurnTransport.TLS, port=443).port == 443


def test_a_password_is_not_shown() -> None:
    server = TurnServer(host="a", username="ann", password="hush-hush")
    assert "hush" not in repr(server)
    assert "ann" in repr(server)
    assert "hush" in server.to_uri()
    assert "hush" not in repr(TurnCredentials(username="ann", password="hush-hush"))


URIS: list[tuple[str, tuple[str, int, str, str, str]]] = [
    # RFC 7065, 3.1 and its appendix of examples
    ("turn:example.org", ("example.org", 3478, "", "", "udp")),
    ("turns:example.org", ("example.org", 5349, "", "", "tls")),
    ("turn:example.org:8000", ("example.org", 8000, "", "", "udp")),
    ("turn:example.org?transport=udp", ("example.org", 3478, "", "", "udp")),
    ("turn:example.org?transport=tcp", ("example.org", 3478, "", "", "tcp")),
    ("turns:example.org?transport=tcp", ("example.org", 5349, "", "", "tls")),
    ("turn:192.0.2.7:99", ("192.0.2.7", 99, "", "", "udp")),
    ("turn:[2001:db8::7]", ("2001:db8::7", 3478, "", "", "udp")),
    ("turn:[2001:db8::7]:99?transport=tcp", ("2001:db8::7", 99, "", "", "tcp")),
    # with a user
    ("turn:ann:pw@example.org", ("example.org", 3478, "ann", "pw", "udp")),
    ("turn:ann:pw@example.org?transport=tls", ("example.org", 5349, "ann", "pw", "tls")),
    ("turns:ann:pw@example.org:443", ("example.org", 443, "ann", "pw", "tls")),
    ("turn:1700%3Aann:p%40%2F%3f%23%25@[::1]:1", ("::1", 1, "1700:ann", "p@/?#%", "udp")),
    ("turn:b%C3%B6b:pw@example.org", ("example.org", 3478, "böb", "pw", "udp")),
    (" TURN:ann:pw@Example.org?Transport=TCP ", ("Example.org", 3478, "ann", "pw", "tcp")),
]


@pytest.mark.parametrize(("uri", "wanted"), URIS, ids=[uri for uri, _ in URIS])
def test_a_uri_is_read(uri: str, wanted: tuple[str, int, str, str, str]) -> None:
    server = TurnServer.from_uri(uri)
    assert (server.host, server.port, server.username, server.password, server.transport) == wanted
    assert TurnServer.from_uri(server.to_uri()) == server


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("stun:example.org", "of the form"),
        ("example.org", "of the form"),
        ("turn://example.org", "of the form"),
        ("turn:example.org/path", "of the form"),
        ("turn:2001:db8::7", "of the form"),
        ("turn:ann@example.org", "without a password"),
        ("turn:ann:@example.org", "without a password"),
        ("turn::pw@example.org", "without a password"),
        ("turn:1700:ann:pw@example.org", "%3A"),
        ("turn:ann:p%4@example.org", "hexadecimal"),
        ("turn:ann:p%FF@example.org", "UTF-8"),
        ("turn:ann:p%00@example.org", "printable"),
        ("turn:example.org:", "no port"),
        ("turn:example.org:99999", "65535"),
        ("turn:example.org:123456", "no port"),
        ("turn:example.org?transport=quic", "transport=udp"),
        ("turn:example.org?ttl=5", "transport=udp"),
        ("turns:example.org?transport=udp", "DTLS"),
        ("turn:", "host name"),
        ("turn:ann:pw@", "host name"),
    ],
)
def test_what_is_no_such_uri_is_told_without_the_password(uri: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TurnServer.from_uri(uri)


@pytest.mark.parametrize("uri", ["turn:ann:hush@x@example.org", "turn:ann:hush@example.org/x", "x:ann:hush@y?z=1"])
def test_an_error_does_not_show_the_password(uri: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TurnServer.from_uri(uri)
    assert "hush" not in str(caught.value)


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(str.isprintable)


@given(username=TEXTS, password=TEXTS, port=st.integers(1, 65535), transport=st.sampled_from(list(TurnTransport)))
def test_a_uri_says_everything(username: str, password: str, port: int, transport: TurnTransport) -> None:
    server = TurnServer(host="::1", port=port, username=username, password=password, transport=transport)
    assert TurnServer.from_uri(server.to_uri()) == server


@given(st.text(max_size=60).map(lambda text: f"turn:{text}"))
def test_any_text_is_read_or_refused(uri: str) -> None:
    try:
        server = TurnServer.from_uri(uri)
    except ConfigError:
        return
    assert TurnServer.from_uri(server.to_uri()) == server


def nobody() -> TurnCredentials:
    return TurnCredentials(username="ann", password="pw")


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("host", {"host": ""}),
        ("host", {"host": "a b"}),
        ("host", {"host": "a:99"}),
        ("host", {"host": "[::1]"}),
        ("host", {"host": 7}),
        ("port", {"port": -1}),
        ("port", {"port": 65536}),
        ("port", {"port": True}),
        ("transport", {"transport": "dtls"}),
        ("username", {"password": "pw"}),
        ("password", {"username": "ann"}),
        ("username", {"username": "a\nb", "password": "pw"}),
        ("username", {"username": "a" * 509, "password": "pw"}),
        ("credentials", {"username": "ann", "password": "pw", "credentials": nobody}),
        ("credentials", {"credentials": "ann"}),
        ("ca_file", {"ca_file": "ca.pem"}),
        ("ca_file", {"ca_file": 7, "transport": "tls"}),
    ],
)
def test_a_field_that_cannot_be_used_is_named(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        TurnServer(**({"host": "example.org"} | fields))
    assert caught.value.field == field


@pytest.mark.parametrize("fields", [{"username": ""}, {"password": ""}, {"lifetime": 0}, {"lifetime": "long"}])
def test_credentials_that_cannot_be_used_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        TurnCredentials(**({"username": "ann", "password": "pw"} | fields))
    assert caught.value.field == next(iter(fields))
