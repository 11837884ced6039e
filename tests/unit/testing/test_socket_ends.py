"""How connections in a simulated network end: on one side first, on both at once, with a reset, and for good."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.testing.test_sockets import PORT, closed, listening, recorders

from librats.testing import SimNetwork
from librats.testing.packets import Packet, PacketKind
from librats.types import Address


@pytest.fixture
def net() -> Iterator[SimNetwork]:
    with SimNetwork(seed=1) as network:
        yield network


def test_half_a_connection_can_be_closed(net: SimNetwork) -> None:
    async def main() -> None:
        ours, theirs, server = await recorders(net.host("a"), net.host("b"), keep_open=True)
        ours.transport.write(b"question")
        ours.transport.write_eof()
        with pytest.raises(RuntimeError):
            ours.transport.write(b"more")
        await asyncio.sleep(1)
        assert (bytes(theirs.data), theirs.calls) == (b"question", ["made", "eof"])
        theirs.transport.write(b"answer")
        theirs.transport.close()
        await theirs.lost
        await asyncio.sleep(1)
        assert (bytes(ours.data), ours.calls) == (b"answer", ["made", "eof"])
        ours.transport.close()
        await ours.lost
        assert ours.error is theirs.error is None
        server.close()
        await asyncio.sleep(0.1)
        assert [host.connections for host in net.hosts] == [0, 0]

    net.run(main())


def test_both_may_close_at_once(net: SimNetwork) -> None:
    async def main() -> None:
        ours, theirs, server = await recorders(net.host("a"), net.host("b"))
        ours.transport.close()
        theirs.transport.close()
        await asyncio.gather(ours.lost, theirs.lost)
        assert ours.calls == theirs.calls == ["made", "lost"]
        assert ours.error is theirs.error is None
        server.close()
        await asyncio.sleep(1)
        assert [host.connections for host in net.hosts] == [0, 0]

    net.run(main())


def test_closing_with_unread_bytes_resets_the_connection(net: SimNetwork) -> None:
    async def main() -> None:
        ours, theirs, server = await recorders(net.host("a"), net.host("b"))
        theirs.transport.pause_reading()
        ours.transport.write(b"never read")
        await asyncio.sleep(1)
        theirs.transport.close()
        await ours.lost
        assert isinstance(ours.error, ConnectionResetError)
        ours.transport.write(b"into the void")  # which asyncio takes in silence
        server.close()

    net.run(main())


def test_what_arrived_before_a_reset_is_read(net: SimNetwork) -> None:
    async def main() -> None:
        ours, theirs, server = await recorders(net.host("a"), net.host("b"))
        ours.transport.pause_reading()
        theirs.transport.pause_reading()
        theirs.transport.write(b"last words")
        ours.transport.write(b"unread")
        await asyncio.sleep(1)
        theirs.transport.abort()
        await asyncio.sleep(1)
        assert ours.calls == ["made"]
        ours.transport.resume_reading()
        await ours.lost
        assert bytes(ours.data) == b"last words"
        assert isinstance(ours.error, ConnectionResetError)
        server.close()

    net.run(main())


async def one_word(net: SimNetwork) -> Any:
    """Let one side say a word and end, and the other one end too; return where the connection was."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b"word"
        await closed(writer)

    server = await listening(net.hosts[1], serve)
    with net.hosts[0]:
        reader, writer = await asyncio.open_connection("b", PORT)
    writer.write(b"word")
    writer.write_eof()
    assert await reader.read() == b""
    name = writer.get_extra_info("sockname")
    await closed(writer)
    server.close()
    return name


@pytest.mark.parametrize("seed", range(8))
def test_an_end_is_forgotten_though_the_last_acknowledgement_is_lost(seed: int) -> None:
    with SimNetwork(seed, loss=0.3) as net:
        a, b = net.host("a"), net.host("b")
        net.run(one_word(net))
        net.run(asyncio.sleep(2000))
        assert (a.connections, b.connections) == (0, 0)


def test_what_comes_twice_after_the_end_is_acknowledged_and_breaks_nothing() -> None:
    with SimNetwork(trace=True) as net:
        net.host("a"), net.host("b")

        async def main() -> None:
            source, target = Address(*await one_word(net)), Address(net.hosts[1].addresses[0], PORT)
            for wait in (1, 100):
                await asyncio.sleep(wait)
                net.note("once more")
                for kind in (PacketKind.DATA, PacketKind.FIN, PacketKind.ACK):
                    net.hosts[0].stack.send_once(Packet(kind, source, target, 0, 0, b"word" * (kind == "data")))
            await asyncio.sleep(1)

        net.run(main())
        _, early, late = str(net.trace).split("once more")
        assert (early.count(" rst "), early.count("b sent ack")) == (0, 2)
        assert late.count("b sent rst") == 3
