"""Records of rotated identities: what they say, what is refused, and how they are kept."""

from __future__ import annotations

import itertools
import json
import logging
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.peers.stopping import leftovers, stops

from librats import DecodeError, Identity, IdentityError, StoreError, Succession, UsageError
from librats.peers.identities.succession import CONTEXT, RECORD_SIZE, chain_to, decode_chain, encode_chain
from librats.peers.identities.succession_file import put_in_place, read_successions, rotate

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no forks and signals")
IDENTITIES = [Identity.from_private_key(bytes([number]) * 32) for number in range(1, 12)]
A, B, C = IDENTITIES[:3]


def record(old: Identity, new: Identity) -> Succession:
    return Succession.make(old, new, created=1_700_000_000)


CHAIN = [record(old, new) for old, new in itertools.pairwise(IDENTITIES)]


def test_a_record_names_both_identities_and_survives_its_coding() -> None:
    made = record(A, B)
    encoded = made.encode()
    assert len(encoded) == RECORD_SIZE == 265
    assert Succession.decode(encoded) == made
    assert (made.old_id, made.new_id) == (A.peer_id, B.peer_id)
    assert (made.old_verify_key, made.new_verify_key) == (A.verify_key, B.verify_key)
    assert encoded[:9] == b"\x01" + (1_700_000_000).to_bytes(8)
    assert encoded[9:137] == A.public_key + A.verify_key + B.public_key + B.verify_key
    assert encoded[137:] == A.sign(CONTEXT + encoded[:137]) + B.sign(CONTEXT + encoded[:137])


def test_what_makes_no_sense_is_not_made() -> None:
    with pytest.raises(UsageError, match="follow itself"):
        record(A, A)
    for created in (-1, 1 << 64):
        with pytest.raises(UsageError, match="seconds"):
            Succession.make(A, B, created=created)


def test_every_changed_bit_is_noticed() -> None:
    encoded = record(A, B).encode()
    for bit in range(len(encoded) * 8):
        changed = bytearray(encoded)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecodeError):
            Succession.decode(bytes(changed))


def test_records_that_only_one_side_has_signed_are_refused() -> None:
    encoded = record(A, B).encode()
    for signer in (A, B):
        forged = encoded[:137] + signer.sign(CONTEXT + encoded[:137]) * 2
        with pytest.raises(DecodeError, match="signature"):
            Succession.decode(forged)
    swapped = encoded[:137] + encoded[201:] + encoded[137:201]
    with pytest.raises(DecodeError, match="signature"):
        Succession.decode(swapped)
    unbound = encoded[:137] + A.sign(encoded[:137]) + B.sign(encoded[:137])
    with pytest.raises(DecodeError, match="signature"):
        Succession.decode(unbound)


def test_an_identity_that_follows_itself_is_refused() -> None:
    body = b"\x01" + bytes(8) + (A.public_key + A.verify_key) * 2
    with pytest.raises(DecodeError, match="to itself"):
        Succession.decode(body + A.sign(CONTEXT + body) * 2)


@given(data=st.binary(max_size=600) | st.binary(min_size=RECORD_SIZE, max_size=RECORD_SIZE))
def test_arbitrary_bytes_raise_nothing_else(data: bytes) -> None:
    for read in (Succession.decode, decode_chain):
        with pytest.raises(DecodeError):
            read(data)


def test_hostile_chains_raise_nothing_else() -> None:
    """Ten thousand chains cut, doubled, shuffled and changed."""
    source = random.Random(7)  # noqa: S311 - nothing here is a secret
    whole = encode_chain(CHAIN[:4])
    taken = 0
    for _ in range(10_000):
        data = bytearray(whole)
        for _ in range(source.randrange(3)):
            match source.randrange(4):
                case 0:
                    data[source.randrange(len(data))] ^= 1 << source.randrange(8)
                case 1:
                    del data[source.randrange(len(data)) :]
                    data = data or bytearray(1)
                case 2:
                    at = source.randrange(0, len(data), RECORD_SIZE)
                    data[at:at] = data[at : at + RECORD_SIZE]
                case 3:
                    at = source.randrange(0, len(data), RECORD_SIZE)
                    data = data[at:] + data[:at]
        try:
            records = decode_chain(bytes(data))
        except DecodeError:
            continue
        taken += 1
        assert encode_chain(records) == bytes(data)
    assert 2_000 < taken < 6_000


def test_a_chain_has_at_most_eight_records_of_which_each_follows_the_one_before() -> None:
    assert decode_chain(encode_chain(CHAIN[:8])) == CHAIN[:8]
    assert decode_chain(encode_chain(CHAIN)) == CHAIN[2:]
    for data in (b"", b"".join(one.encode() for one in CHAIN[:9]), encode_chain([CHAIN[0], CHAIN[2]])):
        with pytest.raises(DecodeError):
            decode_chain(data)


def test_the_records_that_lead_to_an_identity_are_found() -> None:
    assert chain_to(C, CHAIN[:2]) == CHAIN[:2]
    assert chain_to(B, CHAIN[:2]) == CHAIN[:1]
    assert chain_to(A, CHAIN[:2]) == []
    assert chain_to(C, [CHAIN[0], record(B, A), CHAIN[1]]) == CHAIN[:2]
    assert chain_to(IDENTITIES[-1], CHAIN) == CHAIN[2:]
    assert chain_to(A, [record(B, A), record(A, B)]) == [record(B, A)]


class TestFile:
    def test_there_is_none_before_the_first_rotation(self, tmp_path: Path) -> None:
        assert read_successions(tmp_path, A) == []

    def test_rotated_identities_and_their_records_are_kept(self, tmp_path: Path) -> None:
        A.save(tmp_path)
        put_in_place(tmp_path, B, CHAIN[:1])
        assert Identity.load(tmp_path) == B
        assert read_successions(tmp_path, B) == CHAIN[:1]
        put_in_place(tmp_path, C, CHAIN[:2])
        assert Identity.load(tmp_path) == C
        assert read_successions(tmp_path, C) == CHAIN[:2]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["identity.key", "successions.json"]

    def test_a_new_identity_is_made_and_put_in_place(self, tmp_path: Path) -> None:
        A.save(tmp_path)
        made = [rotate(tmp_path, Identity.load(tmp_path), created=number) for number in range(10)]
        kept = Identity.load(tmp_path)
        assert (made[0].old_id, made[-1].new_id) == (A.peer_id, kept.peer_id)
        assert read_successions(tmp_path, kept) == made[2:]

    def test_damage_is_set_aside_and_told(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        A.save(tmp_path)
        put_in_place(tmp_path, B, CHAIN[:1])
        path = tmp_path / "successions.json"
        document = json.loads(path.read_text())
        document["records"] = [7, "zz", "00", *document["records"]]
        path.write_text(json.dumps(document))
        with caplog.at_level(logging.WARNING, "librats.peers"):
            assert read_successions(tmp_path, B) == CHAIN[:1]
        assert len(caplog.records) == 3
        path.write_text("{")
        assert read_successions(tmp_path, B) == []
        assert (tmp_path / "successions.json.damaged").read_text() == "{"
        path.write_text('{"format": "librats-successions", "version": 2}')
        assert read_successions(tmp_path, B) == []
        assert path.exists()
        path.write_text('{"format": "librats-successions", "version": 1, "records": {}}')
        assert read_successions(tmp_path, B) == []

    def test_what_cannot_be_written_leaves_the_old_identity(self, tmp_path: Path) -> None:
        A.save(tmp_path)
        (tmp_path / "successions.json").mkdir()
        with pytest.raises(StoreError):
            put_in_place(tmp_path, B, CHAIN[:1])
        assert Identity.load(tmp_path) == A
        (tmp_path / "successions.json").rmdir()
        (tmp_path / "identity.key").rename(tmp_path / "kept")
        (tmp_path / "identity.key").mkdir()
        with pytest.raises(IdentityError, match="cannot write"):
            put_in_place(tmp_path, B, CHAIN[:1])
        assert leftovers(tmp_path) == []

    @POSIX
    def test_a_process_killed_at_any_step_of_a_rotation_leaves_the_old_identity_or_the_new_one(
        self, tmp_path: Path
    ) -> None:
        program = """
from pathlib import Path
from librats import Identity, Succession
from librats.peers.identities.succession_file import put_in_place, read_successions
folder = Path(sys.argv[1])
a, b, c = (Identity.from_private_key(bytes([n]) * 32) for n in (1, 2, 3))
first, second = (Succession.make(old, new, created=1) for old, new in ((a, b), (b, c)))
b.replace(folder)
seen = set()
def before():
    put_in_place(folder, b, [first])
def act():
    put_in_place(folder, c, [first, second])
def check():
    identity = Identity.load_or_create(folder)
    seen.add(identity.peer_id)
    assert identity in (b, c), identity
    assert read_successions(folder, identity) == ([first] if identity == b else [first, second])
    if len(seen) == 2:
        (folder / "both").touch()
"""
        A.save(tmp_path)
        assert stops(program, tmp_path) >= 2 * 18
        assert (tmp_path / "both").exists()
        assert Identity.load(tmp_path) == C
