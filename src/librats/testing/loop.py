"""The event loop of a simulation: asyncio's own, over simulated sockets and virtual time."""

from __future__ import annotations

import asyncio
import socket
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from librats.errors import UsageError
from librats.testing.here import current_host

if TYPE_CHECKING:
    from librats.testing.hosts import SimHost
    from librats.testing.network import SimNetwork

__all__ = ["SimLoop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

RESOLUTION = 1e-9


class SimLoop(BaseSelectorEventLoop):
    """Runs coroutines in virtual time.

    Everything that asyncio offers over TCP and UDP works in it, on simulated sockets; blocking calls that are handed to
    threads are made at once, in the loop's own thread. Real sockets, pipes, subprocesses and signals are not there.

    Args:
        network: The simulation that it belongs to.
    """

    librats_inline_calls = True

    def __init__(self, network: SimNetwork) -> None:
        self._agenda = network.agenda
        super().__init__(network.selector)
        self._clock_resolution = RESOLUTION

    @property
    def librats_network(self) -> SimHost:
        """The host on which the running code runs."""
        return current_host()

    def time(self) -> float:
        """Virtual seconds since the simulation began."""
        return self._agenda.now

    # A loop in virtual time never sleeps: nobody needs to wake it.

    def _make_self_pipe(self) -> None:
        pass

    def _close_self_pipe(self) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Make the call at once: threads would make runs differ."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        """Resolve a name as the current host does."""
        name = host.decode() if isinstance(host, bytes) else host
        found = current_host().lookup(name, int(port or 0))
        return [
            (version, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", sockaddr)
            for version, sockaddr in found
            if family in (0, version)
        ]

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, *, sock: Any = None, **options: Any
    ) -> tuple[Any, Any]:
        """Connect from the current host."""
        if sock is None:
            family = options.pop("family", 0)
            local = options.pop("local_addr", None)
            sock = await self._connected_socket(host, port, family, local)
            if options.get("ssl"):
                options.setdefault("server_hostname", host)
        return await super().create_connection(protocol_factory, sock=sock, **options)

    async def _connected_socket(self, host: Any, port: Any, family: int, local: Any) -> Any:
        here = current_host()
        problem: OSError | None = None
        for version, _, _, _, sockaddr in await self.getaddrinfo(host, port, family=family):
            sock = here.stack.socket(version)
            try:
                if local is not None:
                    sock.bind(local)
                await self.sock_connect(sock, sockaddr)
            except OSError as error:
                sock.close()
                problem = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise problem or OSError(f"{host!r} has no address")

    async def create_server(
        self, protocol_factory: Any, host: Any = None, port: Any = None, *, sock: Any = None, **options: Any
    ) -> Any:
        """Listen on the current host; on every IPv4 address where none is named."""
        if sock is None:
            if not isinstance(host, str | None):
                raise UsageError("a simulated server listens on one address; make one server for each")
            family = options.pop("family", 0) or (socket.AF_INET6 if ":" in (host or "") else socket.AF_INET)
            everywhere = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104 - as asyncio does
            name = host or everywhere
            [(_, _, _, _, sockaddr), *_] = await self.getaddrinfo(name, port, family=family)
            for option in ("reuse_address", "reuse_port", "flags"):
                options.pop(option, None)
            sock = current_host().stack.socket(family)
            try:
                sock.bind(sockaddr)
                return await super().create_server(protocol_factory, sock=sock, **options)
            except BaseException:
                sock.close()
                raise
        return await super().create_server(protocol_factory, sock=sock, **options)

    async def create_datagram_endpoint(
        self,
        protocol_factory: Any,
        local_addr: Any = None,
        remote_addr: Any = None,
        *,
        family: int = 0,
        sock: Any = None,
        reuse_port: bool | None = None,
        **options: Any,
    ) -> tuple[Any, Any]:
        """Open an endpoint for datagrams on the current host."""
        if sock is None:
            here = current_host()
            places = []
            for place in (local_addr, remote_addr):
                found = None if place is None else await self.getaddrinfo(*place, family=family)
                family = family if found is None else found[0][0]
                places.append(None if found is None else found[0][4])
            sock = here.stack.datagram_socket(family or socket.AF_INET)
            try:
                if reuse_port:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                local, remote = places
                everywhere = ("::" if sock.family == socket.AF_INET6 else "0.0.0.0", 0)  # noqa: S104 - as asyncio does
                sock.bind(local or everywhere)
                if remote is not None:
                    sock.connect(remote)
                return await super().create_datagram_endpoint(protocol_factory, sock=sock)
            except BaseException:
                sock.close()
                raise
        return await super().create_datagram_endpoint(protocol_factory, sock=sock)
