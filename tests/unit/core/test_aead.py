"""The compiled cipher beyond its vectors: counters, batches, damage, and sizes around that where the GIL is freed."""

from __future__ import annotations

import pytest

from librats._core.aead import Cipher
from librats.errors import LocalProtocolError, RemoteProtocolError

KEY = bytes(range(32))
LAST = 2**64 - 1
SIZES = (0, 1, 63, 64, 65, 1023, 1024, 1025, 70_000)


@pytest.mark.parametrize("size", SIZES)
def test_a_batch_is_the_same_as_one_by_one(size: int) -> None:
    plaintexts = [bytes([index]) * size for index in range(5)]
    one_by_one, batch = Cipher(KEY), Cipher(KEY)
    sealed = batch.seal_many(plaintexts)
    assert sealed == [one_by_one.seal(plaintext) for plaintext in plaintexts]
    assert [len(ciphertext) for ciphertext in sealed] == [size + 16] * 5
    assert Cipher(KEY).open_many(sealed) == plaintexts
    assert batch.nonce == one_by_one.nonce == 5


@pytest.mark.parametrize("size", SIZES)
def test_every_kind_of_buffer_is_taken(size: int) -> None:
    data = bytes(size)
    sealed = Cipher(KEY).seal(data)
    assert Cipher(KEY).seal(bytearray(data)) == Cipher(KEY).seal(memoryview(data)) == sealed
    assert Cipher(KEY).open(bytearray(sealed)) == Cipher(KEY).open(memoryview(sealed)) == data


def test_every_flipped_bit_is_detected_and_leaves_the_counter() -> None:
    sealed = Cipher(KEY).seal(b"message", b"data")
    cipher = Cipher(KEY)
    for bit in range(len(sealed) * 8):
        damaged = bytearray(sealed)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RemoteProtocolError):
            cipher.open(damaged, b"data")
    for ad in (b"", b"datb", b"data "):
        with pytest.raises(RemoteProtocolError):
            cipher.open(sealed, ad)
    assert cipher.nonce == 0
    assert cipher.open(sealed, b"data") == b"message"


@pytest.mark.parametrize("size", range(16))
def test_less_than_a_tag_is_refused(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match="16 bytes"):
        Cipher(KEY).open(bytes(size))
    with pytest.raises(RemoteProtocolError, match="16 bytes"):
        Cipher(KEY).open_many([bytes(size)])


def test_a_batch_stops_at_the_forged_message() -> None:
    sealed = Cipher(KEY).seal_many([b"a", b"b", b"c"])
    cipher = Cipher(KEY)
    with pytest.raises(RemoteProtocolError):
        cipher.open_many([sealed[0], bytes(17), sealed[2]])
    assert cipher.nonce == 1
    assert cipher.open(sealed[1]) == b"b"


def test_the_last_counter_value_is_never_used() -> None:
    cipher = Cipher(KEY, LAST - 1)
    sealed = cipher.seal(b"last")
    assert cipher.nonce == LAST
    with pytest.raises(LocalProtocolError, match="used up"):
        cipher.seal(b"")
    reader = Cipher(KEY, LAST - 1)
    assert reader.open(sealed) == b"last"
    with pytest.raises(RemoteProtocolError, match="used up"):
        reader.open(sealed)


def test_a_batch_that_would_use_the_counter_up_seals_nothing() -> None:
    cipher = Cipher(KEY, LAST - 2)
    with pytest.raises(LocalProtocolError, match="used up"):
        cipher.seal_many([b"a", b"b", b"c"])
    assert cipher.nonce == LAST - 2
    assert len(cipher.seal_many([b"a", b"b"])) == 2


def test_a_new_key_keeps_the_counter_and_locks_the_old_messages_out() -> None:
    sender, receiver = Cipher(KEY), Cipher(KEY)
    receiver.open(sender.seal(b"one"))
    old = sender.seal(b"two")
    sender.nonce = 1
    sender.rekey()
    receiver.rekey()
    assert sender.nonce == receiver.nonce == 1
    with pytest.raises(RemoteProtocolError):
        receiver.open(old)
    assert receiver.open(sender.seal(b"two")) == b"two"


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_a_key_of_another_size_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Cipher(key)


@pytest.mark.parametrize("nonce", [-1, 2**64])
def test_a_counter_beyond_64_bits_is_refused(nonce: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        Cipher(KEY, nonce)
    cipher = Cipher(KEY)
    with pytest.raises(ValueError, match="64 bits"):
        cipher.nonce = nonce
    assert cipher.nonce == 0


def test_only_bytes_go_into_a_batch() -> None:
    cipher = Cipher(KEY)
    with pytest.raises(TypeError, match="bytearray"):
        cipher.seal_many([b"a", bytearray(b"b")])  # type: ignore[list-item]
    assert cipher.nonce == 0
    assert cipher.seal_many([]) == []


def test_repr_shows_no_key() -> None:
    assert repr(Cipher(b"k" * 32, 7)) == "<Cipher nonce=7>"
