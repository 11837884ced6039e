"""How many peers are dialled at once, whoever tells us to."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from librats.bittorrent.candidates import Candidates
from librats.services.torrenting.dialling import PUNCHES, Dialler
from librats.services.torrenting.download import Download
from librats.types import Address

ADDRESSES = [Address(f"203.0.113.{number}", 6881) for number in range(1, 200)]


class Silence:
    """uTP, and nobody who answers."""

    def __init__(self) -> None:
        self.dialled: list[tuple[Address, bool]] = []

    async def resolve(self, address: Address) -> list[Address]:
        return [address]

    async def dial(self, _factory: object, address: Address, *, punch: bool = False, timeout: float) -> None:
        del timeout
        self.dialled.append((address, punch))
        await asyncio.Event().wait()


class Few:
    """A torrent with three connections."""

    connections = 3
    wants_peers = True
    swarm = SimpleNamespace(links={}, is_complete=False)

    def __init__(self) -> None:
        self.candidates = Candidates()

    def now(self) -> float:
        return 0.0


def made(silence: Silence, *, max_peers: int = 200) -> tuple[Dialler, Download]:
    host: Any = SimpleNamespace(encryption=SimpleNamespace(begins_encrypted=lambda _known: False))
    network: Any = silence
    utp: Any = silence
    dialler = Dialler(network, host, tcp=False, utp=utp, max_peers=max_peers, on_news=lambda _download: None)
    download = cast("Download", Few())
    dialler.add(download)
    return dialler, download


async def dialled(silence: Silence, dialler: Dialler) -> list[tuple[Address, bool]]:
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await dialler.close()
    return silence.dialled


async def test_a_peer_that_dials_us_as_well_is_dialled_as_one() -> None:
    silence = Silence()
    dialler, download = made(silence)
    dialler.punch(download, ADDRESSES[0])
    assert await dialled(silence, dialler) == [(ADDRESSES[0], True)]


async def test_few_are_dialled_at_once_because_peers_ask_for_it() -> None:
    silence = Silence()
    dialler, download = made(silence)
    for address in ADDRESSES:
        dialler.punch(download, address)
    assert [address for address, _ in await dialled(silence, dialler)] == ADDRESSES[:PUNCHES]


async def test_nobody_is_dialled_where_there_are_as_many_peers_as_may_be() -> None:
    silence = Silence()
    dialler, download = made(silence, max_peers=3)
    dialler.punch(download, ADDRESSES[0])
    assert await dialled(silence, dialler) == []


async def test_a_host_that_has_lied_is_not_dialled_though_somebody_asks_for_it() -> None:
    silence = Silence()
    dialler, download = made(silence)
    download.candidates.ban(ADDRESSES[0])
    dialler.punch(download, ADDRESSES[0])
    assert await dialled(silence, dialler) == []
