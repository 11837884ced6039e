"""Nodes of the DHT that are joined in memory, with a clock of their own."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

from librats.dht.node import DhtNode
from librats.dht.operations import Finished
from librats.dht.rates import Limits
from librats.testing.entropy import SeededEntropy

ONE_WAY = (0.02, 0.08)


class Joined:
    """A network of nodes, each at an address of its own. Datagrams take a while; those to nobody are lost."""

    def __init__(self, seed: int = 1) -> None:
        self.now = 0.0
        self.nodes: dict[bytes, DhtNode] = {}
        self.silent: set[bytes] = set()
        self.sent = 0
        self.finished: dict[tuple[bytes, int], Finished] = {}
        self.forge: Callable[[bytes, bytes, bytes], bytes | None] = lambda data, source, target: data
        """What becomes of a datagram on its way, its source and its target being known."""
        self._entropy = SeededEntropy(seed, "links")
        self._seed = seed
        self._order = count()
        self._due: list[tuple[float, int, bytes, tuple[bytes, bytes] | None]] = []
        self._woken: dict[bytes, float] = {}

    def add(self, address: bytes, **settings: Any) -> DhtNode:
        entropy = SeededEntropy(self._seed, address.hex())
        settings.setdefault("limits", Limits(queries=10_000, most_queries=10_000))
        settings.setdefault("families", (len(address),))
        node = DhtNode(entropy, now=self.now, **settings)
        self.nodes[address] = node
        self.look_after(address)
        return node

    def remove(self, address: bytes) -> None:
        del self.nodes[address]
        self._woken.pop(address, None)

    def look_after(self, address: bytes) -> None:
        """Send what a node has to send, and note when it wants to be called."""
        node = self.nodes[address]
        for data, target in node.datagrams_to_send():
            self.sent += 1
            forged = self.forge(data, address, target)
            if forged is not None:
                at = self.now + self._entropy.uniform(*ONE_WAY)
                heapq.heappush(self._due, (at, next(self._order), target, (forged, address)))
        while (event := node.next_event()) is not None:
            self.finished[address, event.number] = event
        timer = node.next_timer()
        if timer < self._woken.get(address, timer + 1):
            self._woken[address] = timer
            heapq.heappush(self._due, (timer, next(self._order), address, None))

    def run(self, seconds: float) -> None:
        self._run_until(self.now + seconds, lambda: False)

    def _run_until(self, end: float, is_over: Callable[[], bool]) -> None:
        while self._due and self._due[0][0] <= end and not is_over():
            self.now, _, address, datagram = heapq.heappop(self._due)
            node = self.nodes.get(address)
            if datagram is None:
                self._woken.pop(address, None)
            if node is None:
                continue
            if datagram is None:
                node.handle_timer(now=self.now)
            elif address not in self.silent:
                node.receive_datagram(*datagram, now=self.now)
            self.look_after(address)
        if not is_over():
            self.now = end

    def outcome(self, address: bytes, number: int, *, within: float = 60.0) -> Finished:
        """Run until what a node began has finished."""
        self.look_after(address)
        self._run_until(self.now + within, lambda: (address, number) in self.finished)
        return self.finished[address, number]
