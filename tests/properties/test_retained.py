"""What is kept until it is acknowledged, compiled, against the slow oracle, in any order of what can happen."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference import retained as oracle

from librats._core.aead import Cipher
from librats._core.framing import BlockWriter, FrameQueue
from librats._core.retained import Retained
from librats.errors import RemoteProtocolError

KEYS = [bytes([number]) * 32 for number in range(40)]


class Kept:
    """One of the two, with the cipher of its path."""

    def __init__(self, kind: type[Retained | oracle.Retained]) -> None:
        self.cipher = Cipher(KEYS[0])
        self.kept = kind(self.cipher)
        self.writer = BlockWriter(self.cipher)
        self.sealed_before = 0

    def send(self, payloads: list[bytes], *, rekeys: bool, elicits: bool, now: float) -> bytes:
        self.writer.begin(1 << 16)
        changed = rekeys and self.writer.put_rekey()
        queue = FrameQueue()
        for payload in payloads:
            queue.add(0x77, 0, payload)
        self.writer.put_queue(queue)
        data = self.writer.finish()
        if data:
            sealed = self.sealed_before + self.writer.sealed
            self.kept.add(data, sealed, begins_with_rekey=changed, elicits=elicits, now=now)
        return data

    def move(self, key: bytes) -> None:
        self.cipher = Cipher(key)
        self.kept.move(self.cipher)
        self.sealed_before = self.kept.sealed
        self.writer = BlockWriter(self.cipher)

    def seen(self) -> tuple[object, ...]:
        kept = self.kept
        return (kept.sealed, kept.acknowledged, kept.size, kept.awaited, kept.progress_at, kept.is_stale)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_it_keeps_sends_again_and_lets_go_of_what_the_oracle_does(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - nothing here is a secret
    both = [Kept(Retained), Kept(oracle.Retained)]
    moves = 0
    for step in range(50):
        match source.randrange(6):
            case 0 | 1 | 2 if not both[0].kept.is_stale:
                payloads = [source.randbytes(source.randrange(50)) for _ in range(source.randrange(4))]
                rekeys, elicits = source.random() < 0.3, source.random() < 0.7
                sent = [one.send(payloads, rekeys=rekeys, elicits=elicits, now=float(step)) for one in both]
                assert sent[0] == sent[1]
            case 3 if not both[0].kept.is_stale:  # a peer acknowledges only what has come on its path
                low, high = both[0].kept.acknowledged, both[0].kept.sealed
                for one in both:
                    one.kept.acknowledge(low + (high - low) * (step % 4) // 3, now=float(step))
            case 4 if moves < len(KEYS) - 1 and source.random() < 0.5:
                moves += 1
                for one in both:
                    one.move(KEYS[moves])
            case _:
                again = [one.kept.resend(one.cipher) for one in both]
                assert again[0] == again[1]
                for one in both:
                    one.kept.trim()
        assert both[0].seen() == both[1].seen()


def test_what_was_never_sent_cannot_be_acknowledged_nor_less_than_before() -> None:
    kept = Kept(Retained)
    for number in range(3):
        kept.send([b"%d" % number], rekeys=False, elicits=True, now=1.0)
    kept.kept.acknowledge(2, now=2.0)
    for wrong in (1, 4, 2**64 - 1):
        with pytest.raises(RemoteProtocolError):
            kept.kept.acknowledge(wrong, now=3.0)
    assert kept.kept.acknowledged == 2
    assert kept.kept.progress_at == 2.0
