"""How WebSockets and proxies are named."""

from __future__ import annotations

import pytest

from librats import ConfigError, NatTraversalConfig, TurnServer
from librats.servers import introducer_place
from librats.types import Address
from librats.web_uris import ProxyUri, WebUri

ID = "ab" * 32


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("wss://relay.example.org", WebUri(Address("relay.example.org", 443))),
        ("wss://relay.example.org/", WebUri(Address("relay.example.org", 443))),
        ("WSS://relay.example.org:8443/p2p/librats", WebUri(Address("relay.example.org", 8443), True, "/p2p/librats")),
        ("ws://[2001:db8::7]", WebUri(Address("2001:db8::7", 80), False)),
    ],
)
def test_a_websocket_is_named_by_its_uri(text: str, place: WebUri) -> None:
    assert WebUri.parse(text) == place
    assert WebUri.parse(str(place)) == place


@pytest.mark.parametrize(
    "text",
    [
        *("", "wss://", "http://relay.example.org", "wss://relay.example.org:0", "wss://relay.example.org:70000"),
        *("wss://a b", "wss://relay.example.org/a b", "wss://relay.example.org?x=1", "wss://relay.example.org/#x"),
        *(
            "wss://[2001:db8::7",
            "wss://[fe80::x]/",
            "wss://relay\n.example.org",
            "wss://x\r\nHost:y/",
            "relay.example.org",
        ),
    ],
)
def test_what_is_no_websocket_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        WebUri.parse(text)
    with pytest.raises(ConfigError, match="introducers"):
        NatTraversalConfig(introducers=(text.replace("://", f"://{ID}@"),))


def test_an_introducer_is_named_by_its_port_or_its_websocket() -> None:
    assert introducer_place(f"{ID}@relay.example.org:3478") == (ID, Address("relay.example.org", 3478))
    peer_id, place = introducer_place(f"wss://{ID}@relay.example.org")
    assert (peer_id, str(place)) == (ID, "wss://relay.example.org:443/librats")
    with pytest.raises(ConfigError, match="wss://PEERID@HOST"):
        introducer_place("wss://relay.example.org")


@pytest.mark.parametrize(
    ("text", "shown", "username", "password"),
    [
        ("http://proxy:3128", "http://proxy:3128", "", ""),
        ("proxy:3128", "http://proxy:3128", "", ""),
        ("http://proxy/", "http://proxy:80", "", ""),
        ("http://ann:p%40ss@proxy", "http://proxy:80", "ann", "p@ss"),
        ("http://[2001:db8::7]:8080", "http://[2001:db8::7]:8080", "", ""),
        ("https://ann:p%40ss@proxy", "https://proxy:443", "ann", "p@ss"),
        ("socks5://proxy", "socks5://proxy:1080", "", ""),
        ("socks5h://a%3Ab:p%40ss@proxy:1", "socks5h://proxy:1", "a:b", "p@ss"),
    ],
)
def test_a_proxy_is_named_by_its_uri(text: str, shown: str, username: str, password: str) -> None:
    proxy = ProxyUri.parse(text)
    assert (str(proxy), proxy.username, proxy.password) == (shown, username, password)
    assert not password or password not in repr(proxy)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no host"),
        ("socks4://proxy:1080", "no proxy that can be spoken to"),
        ("ftp://ann:secret@proxy:443", "no proxy that can be spoken to"),
        ("https://a%3Ab:secret@proxy", "colon"),
        ("socks5://ann:secret@proxy/path", "behind the port; write socks5"),
        ("http://proxy:x", "port"),
        ("http://ann:secret@proxy:99999", "port"),
        ("http://ann:secret@proxy/path", "behind the port"),
        ("http://a%3Ab:secret@proxy", "colon"),
        ("http://a%0D%0AHost:secret@proxy", "control"),
        ("http://ann:secret@pro xy", "no host"),
    ],
)
def test_what_is_no_proxy_is_refused_without_its_password(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        NatTraversalConfig(proxy=text)
    assert caught.value.field == "proxy"
    assert "secret" not in str(caught.value)


def test_turn_inside_a_websocket_has_the_ports_of_the_web() -> None:
    secure = TurnServer.from_uri("turn:ann:secret@relay.example.org?transport=wss")
    plain = TurnServer.from_uri("turn:relay.example.org?transport=ws")
    assert (str(secure.web), str(plain.web)) == (
        "wss://relay.example.org:443/librats",
        "ws://relay.example.org:80/librats",
    )
    assert TurnServer.from_uri(secure.to_uri()) == secure
    assert TurnServer(host="relay.example.org", transport="tls").web is None  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="path"):
        TurnServer(host="relay.example.org", transport="wss", path="no slash")  # type: ignore[arg-type]
