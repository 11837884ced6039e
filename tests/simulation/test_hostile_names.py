"""Peers that offer names which lead elsewhere, or are one file with another: refused by whoever takes all offers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client
from tests.simulation.moving_files import accept_all, stop
from tests.unit.transfer.test_manifest import entry, raw
from tests.unit.transfer.test_names import HOSTILE, SAME

from librats import Stream, TransferError
from librats.services.transferring.wire import PROTOCOL, Wire
from librats.testing import SimNetwork
from librats.transfer import frames
from librats.transfer.frames import Chunk, FrameType, Offering
from librats.transfer.manifest import MAX_HEAD

LONGEST = 100_000


async def refusal_of(stream: Stream, manifest: bytes) -> str:
    """Offer a manifest, give it where that is wanted, and return the code with which that ends."""
    head = manifest[:MAX_HEAD]
    stream.write(
        frames.encode_offer(Offering(transfer=bytes(16), content_id=bytes(32), manifest_size=len(manifest), head=head))
    )
    wire = Wire(stream)
    try:
        while True:
            frame = await wire.next()
            assert not isinstance(frame, Chunk)
            assert frame.type != FrameType.WANT, "data of a hostile offer is asked for"
            if frame.type == FrameType.MANIFEST_WANT:
                offset, size = frames.read_manifest_want(frame.body)
                wire.send(frames.encode_piece(offset, manifest[offset : offset + size]))
    except TransferError as error:
        return error.code
    finally:
        await stream.close()


def offers(kind: str) -> list[bytes]:
    """Return manifests of a hostile name: of the offer, of its only file, of a file and of a folder below a folder."""
    names = [name for name in HOSTILE[kind] if len(name) < LONGEST]
    found = []
    for name in names:
        found += [
            raw([entry(name)], folder=1, name=b"all"),
            raw([], [name], folder=1, name=b"all"),
            raw([entry(name)], folder=0, name=name),
            raw([entry(b"x")], folder=0, name=name),
        ]
    return found


@pytest.mark.parametrize("kind", list(HOSTILE))
def test_a_hostile_name_is_refused_by_who_takes_every_offer(simulate: Simulate, tmp_path: Path, kind: str) -> None:
    manifests = offers(kind)
    codes = refused(simulate, tmp_path, manifests)
    # A head that is longer than one may be is none: that comes before its name.
    assert set(codes) <= ({"bad_name", "bad_offer"} if kind == "too long" else {"bad_name"})
    assert len(codes) == len(manifests) > 0


def test_names_that_are_one_on_some_system_are_refused_by_who_takes_every_offer(
    simulate: Simulate, tmp_path: Path
) -> None:
    pairs = [(one.encode(), other.encode()) for one, other in SAME if one != other]
    manifests = [raw([entry(name) for name in sorted(pair)], folder=1, name=b"all") for pair in pairs]
    manifests += [raw([entry(name + b"/x") for name in sorted(pair)], folder=1, name=b"all") for pair in pairs]
    manifests += [raw([entry(min(pair))], [max(pair)], folder=1, name=b"all") for pair in pairs]
    assert set(refused(simulate, tmp_path, manifests)) == {"bad_name"}


def refused(simulate: Simulate, tmp_path: Path, manifests: list[bytes]) -> list[str]:
    """Offer each of them to a client; return the codes. Nothing may have been written."""
    codes: list[str] = []

    async def scenario(net: SimNetwork) -> None:
        attacker, victim = [await start_client(net.host(name)) for name in ("attacker", "victim")]
        accept_all(victim, tmp_path / "deep" / "in")
        await attacker.connect(f"victim:{PORT}")
        for manifest in manifests:
            codes.append(await refusal_of(await attacker.open_stream(victim.peer_id, PROTOCOL), manifest))
        assert victim.peer_id in attacker.peers
        await stop(attacker, victim)

    simulate(scenario)
    assert not list(tmp_path.rglob("*"))
    return codes
