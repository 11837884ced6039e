"""Simulated routers let through what the kernel's do: a plain punch, over every pair of types of both."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from functools import partial

import pytest
from tests.netns.lab import SERVER, Lab, missing
from tests.netns.nat_rules import TYPES
from tests.reference.punching import Open, Pace, punch, tell_where_from

from librats.runtime.datagrams import Receive
from librats.runtime.udp import DatagramEndpoint, open_datagram
from librats.runtime.udp_sockets import udp_socket
from librats.testing import SimNetwork
from librats.types import Address

WHY_NOT = missing()
pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

PORT = 3478
WHERE = Address(SERVER[0], PORT)
USUAL = ("open", "full_cone", "restricted", "port_restricted", "symmetric", "double_nat", "udp_blocked")
ALL = tuple(name for name in TYPES if name != "v6_only")

Matrix = dict[tuple[str, str], bool]


def kernel_matrix(kinds: Sequence[str]) -> Matrix:
    """Punch over every pair at once: each type has a host on the left and one on the right."""

    async def open_in(lab: Lab, box: str, host: str, port: int, receive: Receive) -> DatagramEndpoint:
        def new_socket(family: int) -> socket.socket:
            with lab.enter(box):
                return udp_socket(family)

        return await open_datagram(host, port, receive=receive, new_socket=new_socket)

    async def main(lab: Lab) -> list[bool]:
        def opener(number: int) -> Open:
            return partial(open_in, lab, lab.host(number), "0.0.0.0", 0)  # noqa: S104 - there is nothing else

        server, pace = await tell_where_from(partial(open_in, lab, "server", *WHERE)), Pace()
        await pace.start(opener(2 * len(kinds)), WHERE)
        pairs = [(left, len(kinds) + right) for left in range(len(kinds)) for right in range(len(kinds))]
        through = await asyncio.gather(*(punch(opener(left), opener(right), WHERE, pace) for left, right in pairs))
        pace.close()
        server.close()
        return through

    with Lab(*kinds, *kinds, "open") as lab:
        through = asyncio.run(main(lab))
    return dict(zip(((a, b) for a in kinds for b in kinds), through, strict=True))


def simulated_matrix(kinds: Sequence[str]) -> Matrix:
    """Do the same in one simulation."""
    with SimNetwork(seed=1, delay=0.001) as net:
        server, witness = net.host("server", addresses=[SERVER[0]]), net.host("witness")
        sides = [
            {kind: net.host(f"{side} {kind}", behind=net.router(f"{side} {kind} router", kind)) for kind in kinds}
            for side in ("left", "right")
        ]

        async def open_on(host: str, port: int, receive: Receive) -> DatagramEndpoint:
            here = next(each for each in net.hosts if each.name == host)
            return await here.open_datagram(here.addresses[0], port, receive=receive)

        async def main() -> list[bool]:
            endpoint, pace = await tell_where_from(partial(open_on, server.name, PORT)), Pace()
            await pace.start(partial(open_on, witness.name, 0), WHERE)
            pairs = [(sides[0][a], sides[1][b]) for a in kinds for b in kinds]
            through = await asyncio.gather(
                *(punch(partial(open_on, a.name, 0), partial(open_on, b.name, 0), WHERE, pace) for a, b in pairs)
            )
            pace.close()
            endpoint.close()
            return through

        through = net.run(main())
    return dict(zip(((a, b) for a in kinds for b in kinds), through, strict=True))


def differences(kinds: Sequence[str]) -> tuple[Matrix, Matrix]:
    """Return the pairs that differ, as the kernel has them, and all of them."""
    real, simulated = kernel_matrix(kinds), simulated_matrix(kinds)
    for pair in [pair for pair in real if real[pair] != simulated[pair]]:
        # The random ports of the kernel's routers are hashes: of so many sockets two may be given the same one.
        real[pair] = kernel_matrix(pair)[pair]
    return {pair: through for pair, through in real.items() if simulated[pair] != through}, real


def test_the_usual_types_agree() -> None:
    differ, real = differences(USUAL)
    assert differ == {}
    assert sum(real.values()) == 31


@pytest.mark.long
def test_all_types_agree() -> None:
    differ, real = differences(ALL)
    assert differ == {}
    assert 0 < sum(real.values()) < len(real)
