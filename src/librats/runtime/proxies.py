"""The proxy that this machine's settings name: the environment, and on Windows and macOS the system's own."""

from __future__ import annotations

import ipaddress
import logging

from librats.errors import ConfigError
from librats.types import Address
from librats.web_uris import ProxyUri

__all__ = ["system_proxy"]

logger = logging.getLogger("librats.proxy")


def is_here(server: Address) -> bool:
    """Tell whether a server is on this machine, which no proxy leads to."""
    if not server.is_literal:
        return server.host.lower().rstrip(".") == "localhost"
    return ipaddress.ip_address(server.host.partition("%")[0]).is_loopback


def _socks(named: dict[str, str]) -> str:
    """Return what names a SOCKS proxy; systems do so with the scheme of another one, or with none."""
    text = named.get("socks", "")
    return text if not text or text.startswith("socks5") else f"socks5h://{text.rpartition('://')[2]}"


def system_proxy(server: Address, secure: bool) -> ProxyUri | None:
    """Return the proxy for connections to a server: ``https_proxy``, ``all_proxy``, ``socks_proxy``, ``no_proxy``.

    It may block: on Windows and macOS, what is to be left out is looked up by name.

    Args:
        server: Host name or IP address, and port.
        secure: Whether TLS is spoken to it; ``http_proxy`` counts, too, where it is not.

    Returns:
        The proxy; None where there is none, where the server is left out or on this machine, and where what is named is
        no proxy that can be spoken to.
    """
    if is_here(server):
        return None
    import urllib.request  # noqa: PLC0415 - a megabyte and a half, for those alone who dial such servers

    named = urllib.request.getproxies()
    text = named.get("https") or named.get("all") or ("" if secure else named.get("http", "")) or _socks(named)
    if not text or urllib.request.proxy_bypass(str(server)):
        return None
    try:
        return ProxyUri.parse(text)
    except ConfigError as error:
        logger.debug("the system's proxy is not used: %s", error)
        return None
