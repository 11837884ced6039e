"""Where a client is reached: a TCP port and a UDP port of the same number."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from librats.errors import ConfigError
from librats.runtime.datagrams import Receive
from librats.runtime.rudp import RudpPort
from librats.types import Address, MappedTransport

if TYPE_CHECKING:
    from librats.runtime.network import Network
    from librats.runtime.tcp import TcpListener

__all__ = ["Listening", "listen"]

logger = logging.getLogger("librats.runtime")

SAME_PORT_TRIES = 16


class Listening:
    """What :func:`listen` has opened."""

    def __init__(self, tcp: TcpListener | None, udp: RudpPort | None) -> None:
        self._tcp = tcp
        self.udp = udp
        """The UDP port; None where there is none."""

    @property
    def addresses(self) -> list[Address]:
        """Where it listens; ``0.0.0.0`` and ``::`` mean every interface."""
        if self._tcp is not None:
            return self._tcp.addresses
        return list(self.udp.endpoint.local_addresses) if self.udp is not None else []

    @property
    def port(self) -> int:
        """The port; 0 where nothing is listened on."""
        return self.addresses[0].port if self.addresses else 0

    @property
    def ports(self) -> dict[MappedTransport, int]:
        """The port by transport, of those that are listened on."""
        open_ = {MappedTransport.TCP: self.takes_tcp, MappedTransport.UDP: self.udp is not None}
        return {transport: self.port for transport, is_open in open_.items() if is_open}

    @property
    def takes_tcp(self) -> bool:
        """Whether TCP connections are taken."""
        return self._tcp is not None

    def stop_accepting(self) -> None:
        """Take no connections any more. Those that were accepted live on."""
        if self._tcp is not None:
            self._tcp.close()

    def close(self) -> None:
        """Let everything go; what goes over UDP ends. Idempotent."""
        self.stop_accepting()
        if self.udp is not None:
            self.udp.close()


async def listen(
    network: Network,
    factory: Callable[[], asyncio.BufferedProtocol],
    host: str,
    port: int,
    *,
    transports: Sequence[str],
    others: Receive | None = None,
    **options: Any,
) -> Listening:
    """Listen on TCP and UDP, on the same port.

    Where a port was asked for whose UDP half somebody else has, only TCP is listened on, and that is logged.

    Args:
        network: Where.
        factory: Makes the protocol of each connection.
        host: IP address; empty for every interface.
        port: 0 picks one that is free in both.
        transports: ``"tcp"`` and ``"udp"``, or one of them, or none.
        others: Called with datagrams that belong to no connection.
        options: For the streams over UDP; see :class:`~librats._core.rudp.RudpTable`.

    Raises:
        ConfigError: The address is taken, not this machine's, or not an address at all.
    """
    if not transports:
        return Listening(None, None)
    if "tcp" not in transports:
        return Listening(None, await _open_udp(network, factory, host, port, others, options))
    tries_left = SAME_PORT_TRIES
    while True:
        tcp = await network.listen_tcp(factory, host, port)
        if "udp" not in transports:
            return Listening(tcp, None)
        tries_left -= 1
        try:
            return Listening(tcp, await _open_udp(network, factory, host, tcp.port, others, options))
        except ConfigError as error:
            if port or not tries_left:
                logger.warning("no connections over UDP: %s", error)
                return Listening(tcp, None)
            tcp.close()
        except BaseException:
            tcp.close()
            raise


async def _open_udp(
    network: Network,
    factory: Callable[[], asyncio.BufferedProtocol],
    host: str,
    port: int,
    others: Receive | None,
    options: dict[str, Any],
) -> RudpPort:
    entropy = network.entropy
    return await RudpPort.open(network, host, port, accept=factory, others=others, entropy=entropy, **options)
