"""Two clients, and what goes from one to the other."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tests.simulation.conftest import PORT, start_client

from librats import FilesConfig, RatsClient, ReconnectConfig, TransferError
from librats.services.transferring.handle import Transfer
from librats.services.transferring.offer import Offer
from librats.testing import SimNetwork

MIB = 1 << 20
CONTENT = random.Random(1).randbytes(3 * MIB + 77)  # noqa: S311 - nothing here is a secret


def accept_all(client: RatsClient, folder: Path) -> list[Transfer]:
    taken: list[Transfer] = []

    @client.files.on_offer
    async def offered(offer: Offer) -> None:
        taken.append(await offer.accept(folder))

    return taken


async def two(net: SimNetwork, **files: Any) -> tuple[RatsClient, RatsClient]:
    """Return a client that is connected to another one, and that one."""
    config = FilesConfig(**files)
    giver = await start_client(net.host("giver"), files=config, reconnect=ReconnectConfig(initial_delay=1.0))
    taker = await start_client(net.host("taker"), files=config)
    accept_all(taker, Path("/nowhere"))
    await giver.connect(f"taker:{PORT}")
    return giver, taker


async def stop(*clients: RatsClient) -> None:
    for client in clients:
        await client.stop()


async def code_of(transfer: Transfer) -> str:
    try:
        await transfer.wait()
    except TransferError as error:
        return error.code
    return "done"


def no_parts(folder: Path) -> bool:
    return not [path for path in folder.rglob("*") if ".part" in path.name]
