"""The two sides of a transfer in librats 2's FileChunk messages, without any network or disk."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from librats.errors import TransferError
from librats.transfer.filechunk import (
    NodeChunk,
    NodeComplete,
    NodeFile,
    NodeFileEnd,
    NodeOffering,
    NodeOp,
    NodePlain,
    NodeProgress,
    NodeResponse,
    decode_word,
)
from librats.transfer.filechunk_receiving import PROGRESS_EVERY, NodeReceiving
from librats.transfer.filechunk_sending import CHUNK_SIZE, IDLE_TIME, WINDOW, NodeSending
from librats.transfer.pacing import RateLimit

NUMBER = 0x1122334455667788


def offering_of(*sizes: int) -> NodeOffering:
    files = tuple(NodeFile((f"{number}.bin",), size) for number, size in enumerate(sizes))
    return NodeOffering(name="all", is_folder=True, files=files)


def bytes_of(file: int, size: int) -> bytes:
    return bytes([file + 1]) * size


@dataclass
class Pair:
    """A sender and a receiver that hear each other at once."""

    offering: NodeOffering
    sending: NodeSending = field(init=False)
    receiving: NodeReceiving = field(init=False)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.sending = NodeSending(NUMBER, self.offering, now=0.0)
        self.receiving = NodeReceiving(NUMBER, self.offering, now=0.0)
        self.files = [bytearray() for _ in self.offering.files]
        self.told = 0
        self.words: deque[bytes] = deque()
        self.sending.take(NodeResponse(NUMBER, True), now=0.0)

    def send(self) -> bool:
        """Send what the sender may send next."""
        job = self.sending.next_read(self.now)
        if job is None:
            return False
        file, offset, size = job
        whole = bytes_of(file, self.offering.files[file].size)
        self.words += self.sending.wrap(whole[offset : offset + size], now=self.now)
        return True

    def receive(self) -> None:
        """Receive one message, and tell the sender where that is due."""
        file = self.receiving.file
        data = self.receiving.take(decode_word(self.words.popleft()), now=self.now)
        if data is not None:
            self.files[file] += data
            word = self.receiving.written(len(data))
            if word is not None:
                self.told += 1
                self.sending.take(decode_word(word), now=self.now)

    def run(self) -> None:
        while self.send() or self.words:
            while self.words:
                self.receive()

    def finish(self) -> None:
        assert self.receiving.is_whole
        self.sending.take(NodeComplete(NUMBER, True), now=self.now)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 700_000), max_size=6))
def test_files_of_any_size_arrive_whole(sizes: list[int]) -> None:
    pair = Pair(offering_of(*sizes))
    pair.run()
    pair.finish()
    assert [bytes(file) for file in pair.files] == [bytes_of(number, size) for number, size in enumerate(sizes)]
    assert pair.sending.is_done
    assert pair.sending.received == sum(sizes)


def test_no_more_than_the_window_is_under_way() -> None:
    pair = Pair(offering_of(WINDOW + 3 * CHUNK_SIZE))
    while pair.send():
        assert pair.sending.sent <= WINDOW
    assert pair.sending.sent == WINDOW
    pair.sending.take(NodeProgress(NUMBER, 10), now=0.0)
    assert pair.sending.next_read(0.0) == (0, WINDOW, 10)


def test_progress_beyond_what_was_sent_opens_no_wider_window() -> None:
    pair = Pair(offering_of(3 * WINDOW))
    pair.sending.take(NodeProgress(NUMBER, 1 << 60), now=0.0)
    while pair.send():
        pass
    assert pair.sending.sent == WINDOW


def test_progress_is_told_every_256_kib_and_at_the_end_of_a_file() -> None:
    pair = Pair(offering_of(4 * PROGRESS_EVERY, 1, 0, 7))
    pair.run()
    assert pair.told == 4 + 2


def test_empty_folder_is_whole_at_once() -> None:
    pair = Pair(offering_of())
    assert not pair.send()
    pair.finish()
    assert pair.sending.is_done


def test_nothing_goes_before_the_offer_is_accepted() -> None:
    sending = NodeSending(NUMBER, offering_of(5), now=0.0)
    assert sending.next_read(0.0) is None
    assert sending.ready_at(0.0) == float("inf")


def test_pause_of_either_side_stops_the_sender_until_both_go_on() -> None:
    pair = Pair(offering_of(5))
    pair.sending.take(NodePlain(NodeOp.PAUSE, NUMBER), now=0.0)
    pair.sending.is_paused = True
    assert pair.sending.next_read(0.0) is None
    pair.sending.take(NodePlain(NodeOp.RESUME, NUMBER), now=0.0)
    assert pair.sending.next_read(0.0) is None
    pair.sending.is_paused = False
    assert pair.sending.next_read(0.0) == (0, 0, 5)


def test_chunks_are_taken_while_paused() -> None:
    pair = Pair(offering_of(5))
    pair.receiving.take(NodePlain(NodeOp.PAUSE, NUMBER), now=0.0)
    assert pair.receiving.take(NodeChunk(NUMBER, 0, 0, b"he"), now=0.0) == b"he"


def test_limit_of_bytes_per_second_is_kept() -> None:
    sending = NodeSending(NUMBER, offering_of(10 * CHUNK_SIZE), limit=RateLimit(CHUNK_SIZE), now=0.0)
    sending.take(NodeResponse(NUMBER, True), now=0.0)
    job = sending.next_read(0.0)
    assert job is not None
    sending.wrap(bytes(job[2]), now=0.0)
    assert sending.next_read(0.0) is None
    assert sending.ready_at(0.0) == pytest.approx(job[2] / CHUNK_SIZE - 0.25)


@pytest.mark.parametrize(
    ("word", "code"),
    [
        (NodeResponse(NUMBER, False), "refused"),
        (NodeComplete(NUMBER, False), "peer_failed"),
        (NodeComplete(NUMBER, True), "protocol"),
        (NodePlain(NodeOp.CANCEL, NUMBER), "cancelled"),
    ],
)
def test_sender_says_why_it_ends(word: NodeResponse | NodeComplete | NodePlain, code: str) -> None:
    pair = Pair(offering_of(5))
    with pytest.raises(TransferError) as failure:
        pair.sending.take(word, now=0.0)
    assert failure.value.code == code


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([NodeChunk(NUMBER, 0, 1, b"h")], "protocol"),
        ([NodeChunk(NUMBER, 1, 0, b"h")], "protocol"),
        ([NodeChunk(NUMBER, 0, 0, b"h"), NodeChunk(NUMBER, 0, 0, b"h")], "protocol"),
        ([NodeChunk(NUMBER, 0, 0, b"hello!")], "protocol"),
        ([NodeChunk(NUMBER, 0, 0, b"hell"), NodeFileEnd(NUMBER, 0, sha256(b"hell").digest())], "protocol"),
        ([NodeChunk(NUMBER, 0, 0, b"hello"), NodeFileEnd(NUMBER, 1, sha256(b"hello").digest())], "protocol"),
        ([NodeChunk(NUMBER, 0, 0, b"hello"), NodeFileEnd(NUMBER, 0, bytes(32))], "bad_chunk"),
        ([NodeComplete(NUMBER, False)], "peer_failed"),
        ([NodePlain(NodeOp.CANCEL, NUMBER)], "cancelled"),
    ],
)
def test_receiver_says_why_it_ends(words: list[NodeChunk | NodeFileEnd], code: str) -> None:
    receiving = NodeReceiving(NUMBER, offering_of(5, 5), now=0.0)
    for word in words[:-1]:
        receiving.take(word, now=0.0)
    with pytest.raises(TransferError) as failure:
        receiving.take(words[-1], now=0.0)
    assert failure.value.code == code


def test_nothing_is_taken_behind_the_last_file() -> None:
    receiving = NodeReceiving(NUMBER, offering_of(), now=0.0)
    assert receiving.is_whole
    for word in (NodeChunk(NUMBER, 0, 0, b""), NodeFileEnd(NUMBER, 0, sha256().digest())):
        with pytest.raises(TransferError, match="protocol"):
            receiving.take(word, now=0.0)


def test_silent_receiver_is_given_up_but_not_while_paused() -> None:
    sending = NodeSending(NUMBER, offering_of(5), answer_timeout=300.0, now=0.0)
    sending.handle_timer(now=299.0)
    sending.take(NodeResponse(NUMBER, True), now=299.0)
    sending.is_paused = True
    sending.handle_timer(now=10_000.0)
    sending.is_paused = False
    sending.resumed(10_000.0)
    sending.handle_timer(now=10_000.0 + IDLE_TIME - 1)
    with pytest.raises(TransferError, match="stalled"):
        sending.handle_timer(now=10_000.0 + IDLE_TIME)


def test_offer_that_nobody_answers_is_given_up() -> None:
    sending = NodeSending(NUMBER, offering_of(5), answer_timeout=300.0, now=0.0)
    assert sending.next_timer() == 300.0
    with pytest.raises(TransferError, match="stalled"):
        sending.handle_timer(now=300.0)


def test_silent_sender_is_given_up_but_not_while_paused() -> None:
    receiving = NodeReceiving(NUMBER, offering_of(5), now=0.0)
    receiving.take(NodePlain(NodeOp.PAUSE, NUMBER), now=1.0)
    receiving.handle_timer(now=10_000.0)
    receiving.take(NodePlain(NodeOp.RESUME, NUMBER), now=10_000.0)
    with pytest.raises(TransferError, match="stalled"):
        receiving.handle_timer(now=10_000.0 + IDLE_TIME)


@given(st.data())
def test_receiver_of_any_words_writes_no_more_than_was_offered(data: st.DataObject) -> None:
    receiving = NodeReceiving(NUMBER, offering_of(3, 0, 5), now=0.0)
    words = st.one_of(
        st.builds(NodeChunk, st.just(NUMBER), st.integers(0, 3), st.integers(0, 6), st.binary(max_size=6)),
        st.builds(NodeFileEnd, st.just(NUMBER), st.integers(0, 3), st.just(sha256().digest())),
        st.builds(NodePlain, st.sampled_from([NodeOp.PAUSE, NodeOp.RESUME]), st.just(NUMBER)),
    )
    taken = [0] * 4
    try:
        for word in data.draw(st.lists(words, max_size=12)):
            file = receiving.file
            piece = receiving.take(word, now=0.0)
            taken[file] += 0 if piece is None else len(piece)
    except TransferError:
        pass
    assert taken[0] <= 3
    assert taken[1] == taken[3] == 0
    assert taken[2] <= 5
