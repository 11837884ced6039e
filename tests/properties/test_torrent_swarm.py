"""A swarm among peers that send whatever they like, in any order: one documented error, and nothing out of step."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.bittorrent.joined_swarms import Dice, Room, content_of, torrent_of

from librats._core import bencode
from librats.bittorrent import messages as wire
from librats.bittorrent.extensions import MetadataKind, MetadataMessage, PexMessage
from librats.bittorrent.messages import Handshake, Message
from librats.bittorrent.swarm import Swarm
from librats.bittorrent.swarm_settings import SwarmSettings
from librats.errors import RemoteProtocolError
from librats.types import Address

TORRENTS = {version: torrent_of(100_000, version=version, piece_length=32_768) for version in ("v1", "v2", "hybrid")}
ROOT = next(file.root for file in TORRENTS["v2"].layout.files)

numbers = st.one_of(st.integers(0, 5), st.sampled_from([16_384, 32_768, 1 << 31, (1 << 32) - 1]))
blocks = st.tuples(numbers, numbers, numbers)
asked = st.tuples(st.sampled_from([ROOT, bytes(32)]), numbers, numbers, numbers, numbers)
payloads = st.one_of(
    st.binary(max_size=30),
    st.dictionaries(st.sampled_from([b"m", b"p", b"reqq", b"metadata_size"]), st.integers(-5, 1 << 40)).map(
        bencode.encode
    ),
    st.just(bencode.encode({b"m": {b"ut_metadata": 9, b"ut_pex": 8, b"ut_holepunch": 7}, b"metadata_size": 700})),
    st.builds(
        lambda kind, piece, data: MetadataMessage(kind=kind, piece=piece, data=data).encode(),
        st.sampled_from(MetadataKind),
        st.integers(0, 3),
        st.binary(max_size=20),
    ),
    st.just(PexMessage(added=((Address("192.0.2.1", 5), 0),)).encode()),  # type: ignore[arg-type]
    st.just(bytes([0, 0, 192, 0, 2, 9, 26, 225, 0, 0, 0, 0])),
)
any_message = st.one_of(
    st.sampled_from(
        [
            *(wire.Choke(), wire.Unchoke(), wire.Interested(), wire.NotInterested(), wire.KeepAlive()),
            *(wire.HaveAll(), wire.HaveNone(), wire.UnknownMessage(99, b"x")),
        ]
    ),
    st.builds(wire.Have, numbers),
    st.builds(wire.AllowedFast, numbers),
    st.builds(wire.SuggestPiece, numbers),
    st.builds(wire.Bitfield, st.sampled_from([b"", b"\xf0", b"\x80", b"\xff", b"\xf0\0"])),
    blocks.map(lambda block: wire.Request(*block)),
    blocks.map(lambda block: wire.Cancel(*block)),
    blocks.map(lambda block: wire.RejectRequest(*block)),
    st.builds(wire.Piece, numbers, numbers, st.sampled_from([b"x", bytes(16_384), bytes(1696)])),
    st.builds(wire.Port, st.integers(0, 65_535)),
    st.builds(wire.Extended, st.integers(0, 4), payloads),
    asked.map(lambda fields: wire.HashRequest(*fields)),
    asked.map(lambda fields: wire.HashReject(*fields)),
    st.builds(
        lambda f, hashes: wire.Hashes(f[0], f[1], f[2], f[3], f[4], hashes), asked, st.sampled_from([b"", bytes(64)])
    ),
)
steps = st.lists(st.one_of(any_message, st.sampled_from(["wait", "pause", "go on", "leave"])), max_size=30)


def swarm_of(version: str, state: str) -> Swarm:
    torrent = TORRENTS[version]
    settings = SwarmSettings(peer_id=b"u" * 20, port=1)
    swarm = Swarm(torrent.magnet(), settings, Dice(), now=0.0, torrent=None if state == "magnet" else torrent)
    if state != "magnet":
        swarm.begin(bytearray([int(state == "seed")]) * torrent.layout.piece_count, 0.0)
    return swarm


@settings(max_examples=200)
@given(st.sampled_from(list(TORRENTS)), st.sampled_from(["magnet", "leecher", "seed"]), st.booleans(), steps)
def test_nothing_but_a_broken_protocol_escapes(version: str, state: str, fast: bool, todo: list[Any]) -> None:
    swarm = swarm_of(version, state)
    now = 0.0
    handshake = Handshake.of(TORRENTS[version].info_hash, b"t" * 20)
    if not fast:
        handshake = handshake._replace(reserved=(1 << 20).to_bytes(8))
    link = swarm.add_peer(handshake, Address("192.0.2.7", 5), is_outgoing=True, now=now)
    for step in todo:
        if step == "wait":
            now += 61.0
            swarm.handle_timer(now)
        elif step == "pause":
            swarm.pause()
        elif step == "go on":
            swarm.go_on(now)
        elif step == "leave":
            swarm.remove_peer(link, now)
            link = swarm.add_peer(handshake, Address("192.0.2.7", 5), is_outgoing=False, now=now)
        else:
            message: Message = step
            try:
                link.receive([message], now)
            except RemoteProtocolError:
                swarm.remove_peer(link, now)
                link = swarm.add_peer(handshake, Address("192.0.2.7", 5), is_outgoing=True, now=now)
        swarm.events()
        link.queue.clear()
        link.data_to_send(now)
        picker = swarm.picker
        if picker is not None:
            # What is asked for is asked for by the picker's book as well, and what a peer has is counted once.
            open_blocks = {(started.piece, begin) for started in picker.started() for begin in started.requested}
            assert open_blocks <= set(link.asked)
            assert picker.missing == sum(map(picker.is_needed, range(len(picker.have))))
            assert link.useful == sum(
                picker.is_needed(piece) and link.has_piece(piece) for piece in range(len(picker.have))
            )


@settings(max_examples=50)
@given(steps, st.sampled_from(list(TORRENTS)))
def test_a_peer_that_does_what_it_likes_keeps_nobody_from_the_torrent(todo: list[Any], version: str) -> None:
    room = Room(TORRENTS[version])
    seed, leecher = room.seed(), room.leecher()
    link = leecher.swarm.add_peer(
        Handshake.of(room.torrent.info_hash, b"t" * 20), Address("192.0.2.7", 5), is_outgoing=True, now=0.0
    )
    room.connect(leecher, seed)
    for step in todo:
        if not isinstance(step, str) and link.key in leecher.swarm.links:
            try:
                link.receive([step], room.now)
            except RemoteProtocolError:
                leecher.swarm.remove_peer(link, room.now)
            leecher.settle()
        room.carry(rounds=1)
    room.wait(60)
    assert leecher.is_complete
    assert bytes(leecher.content[:100_000]) == content_of(100_000)
