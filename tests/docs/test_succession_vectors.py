"""Records of successions against the vectors that `docs/explanation/protocol.md` gives, both ways."""

from __future__ import annotations

import pytest
from tests.docs.test_protocol_vectors import Case

from librats.errors import DecodeError
from librats.peers.identities.succession import Succession, decode_chain, encode_chain
from librats.peers.identity import Identity
from librats.session.frames import FrameType


@pytest.mark.vectors("protocol/successions")
def test_successions_are_written_and_read_as_the_vector_says(case: Case) -> None:
    packed = bytes.fromhex(case["frame"])
    assert (packed[0], packed[1], int.from_bytes(packed[2:4])) == (FrameType.SUCCESSION, 0, len(packed) - 4)
    if case.get("refused"):
        with pytest.raises(DecodeError):
            decode_chain(packed[4:])
        return
    identities = [Identity.from_private_key(bytes.fromhex(one["private_key"])) for one in case["identities"]]
    for identity, shown in zip(identities, case["identities"], strict=True):
        assert identity.public_key.hex() == shown["public_key"]
        assert identity.verify_key.hex() == shown["verify_key"]
        assert identity.peer_id == shown["peer_id"]
    records = decode_chain(packed[4:])
    made = [
        Succession.make(identities[at], identities[at + 1], created=case["created"] + at) for at in range(len(records))
    ]
    assert records == made
    assert encode_chain(made) == packed[4:]
