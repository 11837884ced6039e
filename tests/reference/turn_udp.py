"""The reference TURN server on a real UDP port, on a thread of its own."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from types import TracebackType
from typing import Self

from tests.reference.turn_server import Allocation, ReferenceServer

from librats.types import Address

__all__ = ["TurnServerThread"]


class TurnServerThread:
    """Serves from ``with`` to its end; :attr:`address` tells where. What it relays goes through real sockets."""

    def __init__(self, server: ReferenceServer | None = None, host: str = "127.0.0.1") -> None:
        self.server = server or ReferenceServer({"ann": "secret"})
        self.server.relay_address = self._open_relay
        self.server.relay = self._relay
        self.is_deaf = False
        self._host = host
        self._selector = selectors.DefaultSelector()
        self._main = self._open(host)
        self._relays: dict[Address, socket.socket] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reference TURN server", daemon=True)

    @property
    def address(self) -> Address:
        return Address(*self._main.getsockname()[:2])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        for sock in (self._main, *self._relays.values()):
            sock.close()
        self._selector.close()

    def _open(self, host: str) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((host, 0))
        sock.setblocking(False)
        self._selector.register(sock, selectors.EVENT_READ)
        return sock

    def _open_relay(self, host: str, _port: int) -> Address:
        sock = self._open("::1" if ":" in host else "127.0.0.1")
        address = Address(*sock.getsockname()[:2])
        self._relays[address] = sock
        return address

    def _relay(self, data: bytes, peer: Address, allocation: Allocation) -> None:
        for address in allocation.relayed:
            if (":" in address.host) == (":" in peer.host):
                self._relays[address].sendto(data, peer)

    def _run(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.02):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                self._read(sock)

    def _read(self, sock: socket.socket) -> None:
        try:
            data, name = sock.recvfrom(65535)
        except OSError:
            return
        source, now = Address(*name[:2]), time.monotonic()
        if sock is not self._main:
            at = Address(*sock.getsockname()[:2])
            out = [
                (message, client)
                for message, client in self.server.from_peer(data, source, now)
                if at in self.server.allocations[client].relayed
            ]
        else:
            out = [] if self.is_deaf else self.server.receive(data, source, now)
        for message, client in out:
            self._main.sendto(message, client)
