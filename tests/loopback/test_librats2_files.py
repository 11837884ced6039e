"""Files to and from librats 2 nodes on this machine, over the node that was written for the tests."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.reference.librats2_node import Librats2Node, peer_id

from librats import FilesConfig, RatsClient, TransferError
from librats.services.transferring.handle import Transfer, TransferState
from librats.services.transferring.offer import Offer

if TYPE_CHECKING:
    from tests.loopback.conftest import MakeClient, Until

WAIT = 20.0
FILE_CHUNK = 4
ANN = bytes(range(1, 33))
OFFER, RESPONSE, CHUNK, FILE_END, PROGRESS, COMPLETE, CANCEL, PAUSE, RESUME = range(1, 10)
NUMBER = (7).to_bytes(8)
DATA = bytes(range(256)) * 2_000


@asynccontextmanager
async def node_of(client: RatsClient, until: Until) -> AsyncIterator[Librats2Node]:
    """A node that is connected to the client."""
    node = await Librats2Node.dial(client.listen_port, ANN)
    await until(lambda: peer_id(ANN) in client.peers)
    try:
        yield node
    finally:
        await node.close()


async def word(node: Librats2Node) -> bytes:
    """The next word about files that a node is told."""
    async with asyncio.timeout(WAIT):
        while True:
            kind, _, payload = await node.receive()
            if kind == FILE_CHUNK:
                return payload


async def word_of(node: Librats2Node, op: int) -> bytes:
    while (payload := await word(node))[0] != op:
        pass
    return payload


def offer_of(*files: tuple[bytes, int], name: bytes, is_folder: bool = False, number: bytes = NUMBER) -> bytes:
    total = sum(size for _, size in files)
    head = struct.pack(">B8sBQH", OFFER, number, is_folder, total, len(name)) + name + struct.pack(">I", len(files))
    return head + b"".join(struct.pack(">H", len(path)) + path + struct.pack(">Q", size) for path, size in files)


async def give(node: Librats2Node, *files: bytes) -> None:
    """Send files as librats 2 does, in chunks of 60,000 bytes."""
    for number, data in enumerate(files):
        for at in range(0, len(data), 60_000):
            await node.send(FILE_CHUNK, struct.pack(">B8sIQ", CHUNK, NUMBER, number, at) + data[at : at + 60_000])
        await node.send(FILE_CHUNK, struct.pack(">B8sI", FILE_END, NUMBER, number) + sha256(data).digest())


def taking(client: RatsClient, folder: Path, **how: bool) -> asyncio.Future[Transfer]:
    """Accept what is offered, into a folder."""
    begun: asyncio.Future[Transfer] = asyncio.get_running_loop().create_future()

    @client.files.on_offer
    async def offered(offer: Offer) -> None:
        begun.set_result(await offer.accept(folder, **how))

    return begun


async def code_of(transfer: Transfer) -> str:
    with pytest.raises(TransferError) as failure:
        async with asyncio.timeout(WAIT):
            await transfer.wait()
    return failure.value.code


def names_in(folder: Path) -> list[str]:
    """What is below a folder, but folders with something in them."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() or not any(path.iterdir())]


# From a node


async def test_file_of_a_node_is_written_whole(make_client: MakeClient, until: Until, tmp_path: Path) -> None:
    client = await make_client()
    begun = taking(client, tmp_path)
    async with node_of(client, until) as node:
        await node.send(FILE_CHUNK, offer_of((b"a.bin", len(DATA)), name=b"a.bin"))
        assert await word(node) == bytes([RESPONSE]) + NUMBER + b"\1"
        transfer = await begun
        await give(node, DATA)
        last = await word_of(node, COMPLETE)
        assert last == bytes([COMPLETE]) + NUMBER + b"\1"
        result = await transfer.wait()
    assert (result.path, result.bytes, result.content_id) == (tmp_path / "a.bin", len(DATA), "")
    assert names_in(tmp_path) == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == DATA


async def test_node_is_told_how_much_has_come(make_client: MakeClient, until: Until, tmp_path: Path) -> None:
    client = await make_client()
    taking(client, tmp_path)
    async with node_of(client, until) as node:
        await node.send(FILE_CHUNK, offer_of((b"a.bin", len(DATA)), name=b"a.bin"))
        await word_of(node, RESPONSE)
        await give(node, DATA)
        told = []
        while (payload := await word(node))[0] == PROGRESS:
            told.append(int.from_bytes(payload[9:]))
    assert told == [300_000, len(DATA)]  # the first chunk beyond 256 KiB, and the end of the file


async def test_folder_of_a_node_is_written_whole(make_client: MakeClient, until: Until, tmp_path: Path) -> None:
    client = await make_client()
    begun = taking(client, tmp_path)
    async with node_of(client, until) as node:
        files = ((b"sub/b", 3), (b"a", 200_000), (b"empty", 0))
        await node.send(FILE_CHUNK, offer_of(*files, name=b"all", is_folder=True))
        transfer = await begun
        await give(node, b"bbb", b"a" * 200_000, b"")
        await transfer.wait()
    found = {name: (tmp_path / name).read_bytes() for name in names_in(tmp_path)}
    assert found == {"all/sub/b": b"bbb", "all/a": b"a" * 200_000, "all/empty": b""}


@pytest.mark.parametrize("path", [b"../x", b"/x", b"C:/x", b"a\\b", b"con", b"a/../../x"])
async def test_offer_with_an_unsafe_name_is_refused_unasked(
    path: bytes, make_client: MakeClient, until: Until, tmp_path: Path
) -> None:
    client = await make_client()
    begun = taking(client, tmp_path)
    async with node_of(client, until) as node:
        await node.send(FILE_CHUNK, offer_of((path, 1), name=b"all", is_folder=True))
        assert await word(node) == bytes([RESPONSE]) + NUMBER + b"\0"
    assert not begun.done()


async def test_offer_is_refused_where_nobody_takes_files(make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    async with node_of(client, until) as node:
        await node.send(FILE_CHUNK, offer_of((b"a", 1), name=b"a"))
        assert await word(node) == bytes([RESPONSE]) + NUMBER + b"\0"


async def test_offers_beyond_the_limit_for_a_peer_are_refused(make_client: MakeClient, until: Until) -> None:
    client = await make_client(files=FilesConfig(max_offers_per_peer=2))
    asked: list[Offer] = []
    client.files.on_offer(asked.append)
    async with node_of(client, until) as node:
        for number in range(3):
            await node.send(FILE_CHUNK, offer_of((b"a", 1), name=b"a", number=number.to_bytes(8)))
        assert await word(node) == bytes([RESPONSE]) + (2).to_bytes(8) + b"\0"
        await until(lambda: len(asked) == 2)


@pytest.mark.parametrize("end", [bytes([CANCEL]) + NUMBER, bytes([COMPLETE]) + NUMBER + b"\0"])
async def test_offer_that_is_taken_back_cannot_be_accepted(end: bytes, make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    asked: list[Offer] = []
    client.files.on_offer(asked.append)
    async with node_of(client, until) as node:
        await node.send(FILE_CHUNK, offer_of((b"a", 1), name=b"a"))
        await until(lambda: bool(asked))
        await node.send(FILE_CHUNK, end)
        await until(lambda: asked[0].is_decided)
    with pytest.raises(TransferError, match="withdrawn"):
        await asked[0].accept("anywhere")


async def test_an_offer_that_is_said_twice_is_asked_about_once(
    make_client: MakeClient, until: Until, tmp_path: Path
) -> None:
    client = await make_client()
    asked: list[Offer] = []
    client.files.on_offer(asked.append)
    async with node_of(client, until) as node:
        for _ in range(2):
            await node.send(FILE_CHUNK, offer_of((b"a", 5), name=b"a"))
        await node.send(FILE_CHUNK, offer_of((b"b", 5), name=b"b", number=bytes(8)))
        await until(lambda: "b" in [offer.name for offer in asked])
        assert [offer.name for offer in asked] == ["a", "b"]
        await asked[0].accept(tmp_path)
        assert (await word_of(node, RESPONSE))[1:] == NUMBER + b"\x01"
        await node.send(FILE_CHUNK, offer_of((b"a", 5), name=b"a"))  # while it comes, too
        await give(node, b"hello")
        assert (await word_of(node, COMPLETE))[1:] == NUMBER + b"\x01"
        assert len(asked) == 2


async def test_a_taker_that_pauses_at_once_tells_so(make_client: MakeClient, until: Until, tmp_path: Path) -> None:
    client = await make_client()

    @client.files.on_offer
    async def offered(offer: Offer) -> None:
        (await offer.accept(tmp_path)).pause()

    async with node_of(client, until) as node:
        await node.send(FILE_CHUNK, offer_of((b"a", 5), name=b"a"))
        assert [(await word(node))[0] for _ in range(2)] == [RESPONSE, PAUSE]


async def test_wrong_hash_leaves_nothing(make_client: MakeClient, until: Until, tmp_path: Path) -> None:
    client = await make_client()
    begun = taking(client, tmp_path)
    async with node_of(client, until) as node:
        await node.send(FILE_CHUNK, offer_of((b"a", 3), name=b"a"))
        transfer = await begun
        await node.send(FILE_CHUNK, struct.pack(">B8sIQ", CHUNK, NUMBER, 0, 0) + b"abc")
        await node.send(FILE_CHUNK, struct.pack(">B8sI", FILE_END, NUMBER, 0) + bytes(32))
        assert (await word_of(node, COMPLETE))[9:] == b"\0"
        assert await code_of(transfer) == "bad_chunk"
    assert names_in(tmp_path) == []


async def test_node_that_goes_away_leaves_nothing(make_client: MakeClient, until: Until, tmp_path: Path) -> None:
    client = await make_client()
    begun = taking(client, tmp_path)
    async with node_of(client, until) as node:
        await node.send(FILE_CHUNK, offer_of((b"a", 300_000), name=b"a"))
        transfer = await begun
        await word_of(node, RESPONSE)
        await node.send(FILE_CHUNK, struct.pack(">B8sIQ", CHUNK, NUMBER, 0, 0) + bytes(290_000))
        await word_of(node, PROGRESS)
    assert await code_of(transfer) == "peer_lost"
    assert names_in(tmp_path) == []


async def test_what_is_there_is_replaced_only_where_that_is_wanted(
    make_client: MakeClient, until: Until, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("old")
    client = await make_client()
    async with node_of(client, until) as node:
        begun = taking(client, tmp_path)
        await node.send(FILE_CHUNK, offer_of((b"a", 3), name=b"a"))
        assert await code_of(await begun) == "exists"
        assert (await word_of(node, COMPLETE))[9:] == b"\0"
        begun = taking(client, tmp_path, overwrite=True)
        await node.send(FILE_CHUNK, offer_of((b"a", 3), name=b"a"))
        transfer = await begun
        await give(node, b"new")
        await transfer.wait()
    assert (tmp_path / "a").read_text() == "new"


async def test_taker_can_pause_go_on_and_cancel(make_client: MakeClient, until: Until, tmp_path: Path) -> None:
    client = await make_client()
    begun = taking(client, tmp_path)
    async with node_of(client, until) as node:
        await node.send(FILE_CHUNK, offer_of((b"a", 3), name=b"a"))
        transfer = await begun
        await word_of(node, RESPONSE)
        transfer.pause()
        assert await word(node) == bytes([PAUSE]) + NUMBER
        assert transfer.state is TransferState.PAUSED
        transfer.resume()
        assert await word(node) == bytes([RESUME]) + NUMBER
        await transfer.cancel()
        assert await word(node) == bytes([CANCEL]) + NUMBER
    assert await code_of(transfer) == "cancelled"
    assert names_in(tmp_path) == []


# To a node


async def test_file_goes_to_a_node(make_client: MakeClient, until: Until, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(DATA)
    client = await make_client()
    async with node_of(client, until) as node:
        transfer = await client.files.send(peer_id(ANN), path)
        offer = await word_of(node, OFFER)
        number = offer[1:9]
        assert offer == offer_of((b"a.bin", len(DATA)), name=b"a.bin", number=number)
        await node.send(FILE_CHUNK, bytes([RESPONSE]) + number + b"\1")
        came = b""
        while (payload := await word(node))[0] == CHUNK:
            assert payload[9:21] == struct.pack(">IQ", 0, len(came))
            came += payload[21:]
        assert payload == struct.pack(">B8sI", FILE_END, number, 0) + sha256(DATA).digest()
        await node.send(FILE_CHUNK, bytes([PROGRESS]) + number + len(DATA).to_bytes(8))
        await node.send(FILE_CHUNK, bytes([COMPLETE]) + number + b"\1")
        result = await transfer.wait()
    assert came == DATA
    assert (result.path, result.bytes) == (path, len(DATA))


async def test_no_more_than_4_mib_go_to_a_node_that_tells_no_progress(
    make_client: MakeClient, until: Until, tmp_path: Path
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(5 << 20))
    client = await make_client()
    async with node_of(client, until) as node:
        transfer = await client.files.send(peer_id(ANN), path)
        number = (await word_of(node, OFFER))[1:9]
        await node.send(FILE_CHUNK, bytes([RESPONSE]) + number + b"\1")
        came = 0
        while came < 4 << 20:
            came += len(await word_of(node, CHUNK)) - 21
        transfer.pause()
        assert await word(node) == bytes([PAUSE]) + number  # and no chunk before it
        await node.send(FILE_CHUNK, bytes([PROGRESS]) + number + came.to_bytes(8))
        transfer.resume()
        assert await word(node) == bytes([RESUME]) + number
        assert (await word(node))[0] == CHUNK
        await transfer.cancel()
    assert came == 4 << 20


async def test_giver_that_paused_before_it_was_accepted_tells_so_once(
    make_client: MakeClient, until: Until, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    path.write_text("a")
    client = await make_client()
    async with node_of(client, until) as node:
        transfer = await client.files.send(peer_id(ANN), path)
        number = (await word_of(node, OFFER))[1:9]
        transfer.pause()
        await node.send(FILE_CHUNK, bytes([RESPONSE]) + number + b"\1")
        for op in (PAUSE, RESUME, PAUSE):
            await node.send(FILE_CHUNK, bytes([op]) + number)
        assert await word(node) == bytes([PAUSE]) + number
        await until(lambda: transfer.state == TransferState.PAUSED)
        await node.send(FILE_CHUNK, bytes([RESUME]) + number)
        transfer.resume()
        assert await word(node) == bytes([RESUME]) + number
        assert (await word(node))[0] == CHUNK
        await transfer.cancel()


@pytest.mark.parametrize(
    ("answer", "code"),
    [(bytes([RESPONSE]), "refused"), (bytes([COMPLETE]), "peer_failed"), (bytes([CANCEL]), "cancelled")],
)
async def test_giver_says_why_a_node_did_not_take_it(
    answer: bytes, code: str, make_client: MakeClient, until: Until, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    path.write_text("a")
    client = await make_client()
    async with node_of(client, until) as node:
        transfer = await client.files.send(peer_id(ANN), path)
        number = (await word_of(node, OFFER))[1:9]
        await node.send(FILE_CHUNK, answer + number + b"\0")
        assert await code_of(transfer) == code


async def test_transfers_have_numbers_drawn_by_chance(make_client: MakeClient, until: Until, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("a")
    client = await make_client()
    async with node_of(client, until) as node:
        for _ in range(3):
            await client.files.send(peer_id(ANN), path)
        numbers = {int.from_bytes((await word_of(node, OFFER))[1:9]) for _ in range(3)}
    assert len(numbers) == 3
    assert max(numbers) > 1 << 32


async def test_node_that_goes_away_ends_what_is_sent_to_it(
    make_client: MakeClient, until: Until, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    path.write_text("a")
    client = await make_client()
    async with node_of(client, until) as node:
        transfer = await client.files.send(peer_id(ANN), path)
        await word_of(node, OFFER)
    assert await code_of(transfer) == "peer_lost"


async def test_words_about_no_transfer_do_nothing(make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    client.files.on_offer(lambda _offer: None)
    async with node_of(client, until) as node:
        for op in range(256):
            await node.send(FILE_CHUNK, bytes([op]) + NUMBER + bytes(40))
            await node.send(FILE_CHUNK, bytes([op]))
        await node.send(FILE_CHUNK, b"")
        await node.send(FILE_CHUNK, offer_of((b"..", 1), name=b"a", is_folder=True))
        assert (await word_of(node, RESPONSE))[9:] == b"\0"
        await node.send(5, b"\0" + b"12345678")
        kind, _, payload = await node.receive()
        while (kind, payload[:1]) != (5, b"\1"):
            kind, _, payload = await node.receive()
        assert client.peers[peer_id(ANN)].is_connected
