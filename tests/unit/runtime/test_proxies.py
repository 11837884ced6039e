"""Which proxy the environment names for which server."""

from __future__ import annotations

import logging
import urllib.request

import pytest

from librats.runtime.proxies import system_proxy
from librats.types import Address

SERVER = Address("relay.example.org", 443)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "socks_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    # What Windows and macOS have set counts where the environment says nothing, and is not the test's.
    monkeypatch.setattr("urllib.request.getproxies", urllib.request.getproxies_environment)
    bypass = getattr(urllib.request, "proxy_bypass_environment")  # noqa: B009 - its stubs do not have it
    monkeypatch.setattr("urllib.request.proxy_bypass", bypass)


def test_without_a_setting_there_is_none() -> None:
    assert system_proxy(SERVER, True) is None


@pytest.mark.parametrize(
    ("settings", "secure", "found"),
    [
        ({"https_proxy": "http://one:1"}, True, "http://one:1"),
        ({"HTTPS_PROXY": "one:1"}, True, "http://one:1"),
        ({"http_proxy": "http://one:1"}, True, None),
        ({"http_proxy": "http://one:1"}, False, "http://one:1"),
        ({"http_proxy": "http://one:1", "https_proxy": "http://two:2"}, False, "http://two:2"),
        ({"all_proxy": "http://all:3"}, True, "http://all:3"),
        ({"all_proxy": "socks5://all:3"}, True, "socks5://all:3"),
        ({"all_proxy": "https://all"}, True, "https://all:443"),
        ({"socks_proxy": "one"}, True, "socks5h://one:1080"),
        ({"socks_proxy": "socks5://one"}, True, "socks5://one:1080"),
        ({"socks_proxy": "http://one:3"}, False, "socks5h://one:3"),
        ({"socks_proxy": "socks5://one:3", "no_proxy": "example.org"}, True, None),
        ({"socks_proxy": "socks5://one:3", "https_proxy": "http://two:2"}, True, "http://two:2"),
        ({"https_proxy": "http://one:1", "no_proxy": "example.org"}, True, None),
        ({"https_proxy": "http://one:1", "no_proxy": "*"}, True, None),
        ({"https_proxy": "http://one:1", "no_proxy": "example.com"}, True, "http://one:1"),
    ],
)
def test_the_environment_names_it(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], secure: bool, found: str | None
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    proxy = system_proxy(SERVER, secure)
    assert (None if proxy is None else str(proxy)) == found


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.3.4.5"])
def test_no_proxy_leads_to_this_machine(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("https_proxy", "http://one:1")
    assert system_proxy(Address(host, 443), True) is None


def test_a_proxy_of_another_kind_is_left_aside_and_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "librats.proxy")
    monkeypatch.setenv("all_proxy", "socks4://ann:secret@one:1080")
    assert system_proxy(SERVER, True) is None
    assert "no proxy that can be spoken to" in caplog.text
    assert "secret" not in caplog.text
