"""Nodes of the DHT that peers tell of: pinged once, a few at a time, and no host again and again."""

from __future__ import annotations

import asyncio

from librats.errors import OperationTimeout
from librats.services.torrenting.dht_nodes import MAX_AT_ONCE, MAX_HOSTS, PAUSE, DhtNodes
from librats.types import Address


class Node:
    """Our node: who was pinged, and when they answer."""

    def __init__(self) -> None:
        self.listen_port = 6881
        self.pinged: list[Address] = []
        self.go = asyncio.Event()
        self.answers = True

    async def ping(self, address: Address, *, timeout: float | None = None) -> None:
        del timeout
        self.pinged.append(address)
        await self.go.wait()
        if not self.answers:
            raise OperationTimeout("no answer")

    async def find_peers(self, info_hash: bytes, *, timeout: float | None = None) -> list[Address]:
        raise AssertionError

    async def announce(self, info_hash: bytes, port: int | None = None, *, timeout: float | None = None) -> int:
        raise AssertionError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_host_is_pinged_once_whatever_ports_it_tells_and_again_after_a_while() -> None:
    node, clock = Node(), Clock()
    nodes = DhtNodes(node, clock)
    node.go.set()
    for port in (1, 2, 3):
        nodes.told(Address("192.0.2.1", port))
    clock.now += PAUSE + 1
    nodes.told(Address("192.0.2.1", 4))
    await settled()
    assert node.pinged == [Address("192.0.2.1", 1), Address("192.0.2.1", 4)]
    await nodes.close()


async def test_a_few_are_pinged_at_a_time_and_one_that_does_not_answer_does_no_harm() -> None:
    node = Node()
    node.answers = False
    nodes = DhtNodes(node, Clock())
    for number in range(100):
        nodes.told(Address(f"192.0.2.{number}", 6881))
    await settled()
    assert len(node.pinged) == MAX_AT_ONCE
    node.go.set()
    await settled()
    nodes.told(Address("198.51.100.1", 6881))
    await settled()
    assert len(node.pinged) == MAX_AT_ONCE + 1
    await nodes.close()


async def test_hosts_that_are_remembered_are_so_many_at_most_and_forgotten_in_time() -> None:
    node, clock = Node(), Clock()
    nodes = DhtNodes(node, clock)
    node.go.set()
    for number in range(MAX_HOSTS + 50):
        nodes.told(Address(f"10.0.{number // 250}.{number % 250}", 6881))
        await settled()
    assert len(node.pinged) == MAX_HOSTS
    clock.now += PAUSE + 1
    nodes.told(Address("198.51.100.1", 6881))
    await settled()
    assert len(node.pinged) == MAX_HOSTS + 1
    await nodes.close()


async def test_nobody_is_pinged_while_our_node_does_not_run() -> None:
    node = Node()
    node.listen_port = 0
    nodes = DhtNodes(node, Clock())
    nodes.told(Address("192.0.2.1", 6881))
    await settled()
    assert node.pinged == []
    await nodes.close()
