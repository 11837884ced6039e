"""Message stream encryption: both roles, what they agree on, and what they refuse."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.reference.stream_crypto import SlowKey, SlowRc4
from tests.unit.bittorrent.joined_swarms import Dice

from librats.bittorrent import stream_encryption
from librats.bittorrent.stream_encryption import (
    DH_PRIME,
    KEY_SIZE,
    MAX_PAD,
    CryptoMethod,
    DhKey,
    IncomingEncryption,
    NewCipher,
    OutgoingEncryption,
    is_plain,
    obfuscated,
)
from librats.errors import RemoteProtocolError
from librats.services.torrenting.encryption import new_rc4
from librats.types import Entropy

TORRENT = b"t" * 20
PLAIN, RC4 = CryptoMethod.PLAINTEXT, CryptoMethod.RC4
VECTORS = Path(__file__).parents[2] / "vectors" / "torrent" / "stream_encryption.json"


def pair(
    offered: Sequence[CryptoMethod] = (PLAIN, RC4),
    taken: Sequence[CryptoMethod] = (PLAIN, RC4),
    *,
    theirs: bytes = TORRENT,
    cipher: NewCipher = SlowRc4,
) -> tuple[OutgoingEncryption, IncomingEncryption]:
    one = OutgoingEncryption(cipher, Dice(1), TORRENT, methods=offered)
    other = IncomingEncryption(cipher, Dice(2), {obfuscated(theirs): theirs}.get, methods=taken)
    return one, other


class Highest(Dice):
    """Draws the highest number that there is."""

    def randbelow(self, limit: int) -> int:
        return limit - 1


class Sevens(Dice):
    """Has every private key be 7."""

    def token_bytes(self, size: int) -> bytes:
        return (7).to_bytes(size)


def join(one: OutgoingEncryption, other: IncomingEncryption) -> tuple[bytes, bytes]:
    """Pass bytes on until neither has any left; return what each has got for the peer wire."""
    first = second = b""
    while True:
        there, back = one.data_to_send(), other.data_to_send()
        if not there and not back:
            return first, second
        second += other.receive(there)
        first += one.receive(back)


@pytest.mark.parametrize("cipher", [SlowRc4, new_rc4])
@pytest.mark.parametrize(
    ("offered", "taken", "method"),
    [
        ((PLAIN, RC4), (PLAIN, RC4), PLAIN),
        ((PLAIN, RC4), (RC4, PLAIN), RC4),
        ((PLAIN,), (RC4, PLAIN), PLAIN),
        ((RC4,), (PLAIN, RC4), RC4),
    ],
)
def test_both_sides_agree_on_what_the_one_offers_and_the_other_likes_best(
    offered: Sequence[CryptoMethod], taken: Sequence[CryptoMethod], method: CryptoMethod, cipher: NewCipher
) -> None:
    one, other = pair(offered, taken, cipher=cipher)
    one.write(b"hello, ")
    assert join(one, other) == (b"", b"hello, ")
    assert one.is_done
    assert other.is_done
    assert one.method is other.method is method
    one.write(b"world")
    other.write(b"and back")
    assert join(one, other) == (b"and back", b"world")
    assert (one.encryptor is not None) == (other.decryptor is not None) == (method is RC4)


@pytest.mark.parametrize("method", [PLAIN, RC4])
def test_what_is_written_before_the_answer_arrives_in_its_order(method: CryptoMethod) -> None:
    one, other = pair((method,), (method,))
    one.write(b"with the start; ")
    other.receive(one.data_to_send())
    one.receive(other.data_to_send())
    one.write(b"while there is no answer; ")
    got = other.receive(one.data_to_send())
    assert got == b"with the start; "
    one.receive(other.data_to_send())
    one.write(b"after it")
    assert other.receive(one.data_to_send()) == b"while there is no answer; after it"


def test_more_than_fits_into_the_start_is_sent_behind_it() -> None:
    one, other = pair()
    long = bytes(range(256)) * 400
    one.write(long)
    assert join(one, other) == (b"", long)


def test_nothing_of_the_handshake_is_seen_from_outside() -> None:
    one, other = pair((RC4,), (RC4,))
    hello = b"\x13BitTorrent protocol" + bytes(8) + TORRENT
    one.write(hello)
    seen = b""
    while (there := one.data_to_send()) or (back := other.data_to_send()):
        if there:
            seen += there
            other.receive(there)
        else:
            seen += back
            one.receive(back)
    assert b"BitTorrent" not in seen
    assert TORRENT not in seen


def test_a_torrent_that_is_not_here_is_refused() -> None:
    one, other = pair(theirs=b"u" * 20)
    with pytest.raises(RemoteProtocolError, match="not here"):
        join(one, other)


def test_who_can_do_only_what_is_not_taken_is_refused() -> None:
    one, other = pair((PLAIN,), (RC4,))
    with pytest.raises(RemoteProtocolError, match="no way"):
        join(one, other)


@pytest.mark.parametrize("key", [0, 1, DH_PRIME - 1, DH_PRIME, DH_PRIME + 1, 2**768 - 1])
def test_public_keys_that_make_no_secret_are_refused(key: int) -> None:
    for side in pair():
        with pytest.raises(RemoteProtocolError, match="no secret"):
            side.receive(key.to_bytes(KEY_SIZE))


@pytest.mark.parametrize("key", [2, DH_PRIME - 2])
def test_the_first_and_the_last_key_that_make_a_secret_are_taken(key: int) -> None:
    own = SlowKey(private=7)
    assert DhKey(Sevens()).shared(key.to_bytes(KEY_SIZE)) == own.shared(key.to_bytes(KEY_SIZE))


def test_nothing_is_computed_before_a_whole_key_has_come_and_one_secret_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys: list[DhKey] = []
    secrets: list[bytes] = []

    class Counted(DhKey):
        def __init__(self, entropy: Entropy) -> None:
            super().__init__(entropy)
            keys.append(self)

        def shared(self, theirs: bytes) -> bytes:
            secrets.append(theirs)
            return super().shared(theirs)

    monkeypatch.setattr(stream_encryption, "DhKey", Counted)
    other = IncomingEncryption(SlowRc4, Dice(), lambda _hash: None)
    other.receive(bytes(KEY_SIZE - 1))
    assert (len(keys), len(secrets)) == (0, 0)
    other.receive(b"\x05" + bytes(range(200)))
    assert (len(keys), len(secrets)) == (1, 1)
    with pytest.raises(RemoteProtocolError, match="not found"):
        other.receive(bytes(2000))
    assert (len(keys), len(secrets)) == (1, 1)


@pytest.mark.parametrize(("pad", "is_found"), [(0, True), (MAX_PAD, True), (MAX_PAD + 1, False)])
def test_the_request_is_looked_for_behind_512_bytes_at_most(pad: int, is_found: bool) -> None:
    key, other = SlowKey(2**159 + 7), pair()[1]
    other.receive(key.public)
    secret = key.shared(other.data_to_send()[:KEY_SIZE])
    marker = hashlib.sha1(b"req1" + secret, usedforsecurity=False).digest()
    if is_found:
        assert other.receive(b"\xaa" * pad + marker) == b""
    else:
        with pytest.raises(RemoteProtocolError):
            other.receive(b"\xaa" * pad + marker)


def test_pads_of_512_bytes_are_sent_and_taken_wherever_there_are_pads() -> None:
    one = OutgoingEncryption(SlowRc4, Highest(1), TORRENT)
    other = IncomingEncryption(SlowRc4, Highest(2), {obfuscated(TORRENT): TORRENT}.get)
    sizes: list[int] = []
    for side, peer in ((one, other), (other, one), (one, other), (other, one)):
        sent = side.data_to_send()
        sizes.append(len(sent))
        peer.receive(sent)
    assert sizes == [96 + 512, 96 + 512, 40 + 14 + 512 + 2, 14 + 512]
    assert one.is_done
    assert other.is_done


def test_what_cannot_be_the_request_any_more_is_refused_at_once() -> None:
    key, other = SlowKey(2**159 + 7), pair()[1]
    other.receive(key.public)
    assert other.receive(b"\xaa" * (MAX_PAD + 19)) == b""
    with pytest.raises(RemoteProtocolError, match="not found"):
        other.receive(b"\xaa")


def test_a_torrent_that_is_not_here_is_refused_with_the_last_byte_of_its_hash() -> None:
    key, other = SlowKey(2**159 + 7), pair()[1]
    other.receive(key.public)
    secret = key.shared(other.data_to_send()[:KEY_SIZE])
    marker = hashlib.sha1(b"req1" + secret, usedforsecurity=False).digest()
    assert other.receive(marker + b"\xaa" * 19) == b""
    with pytest.raises(RemoteProtocolError, match="not here"):
        other.receive(b"\xaa")


@pytest.mark.parametrize(("pad", "is_found"), [(0, True), (MAX_PAD, True), (MAX_PAD + 1, False)])
def test_the_answer_is_looked_for_behind_512_bytes_at_most(pad: int, is_found: bool) -> None:
    key, one = SlowKey(2**159 + 7), pair()[0]
    secret = key.shared(one.data_to_send()[:KEY_SIZE])
    cipher = SlowRc4(hashlib.sha1(b"keyB" + secret + TORRENT, usedforsecurity=False).digest())
    cipher.update(bytes(1024))
    one.receive(key.public + b"\xaa" * pad)
    answer = cipher.update(bytes(8) + struct.pack(">IH", RC4, 0))
    if is_found:
        one.receive(answer)
        assert one.method is RC4
    else:
        with pytest.raises(RemoteProtocolError, match="not found"):
            one.receive(answer)


@pytest.mark.parametrize(("chosen", "pad"), [(0, 0), (3, 0), (4, 0), (2, 513), (1, 0)])
def test_an_answer_that_cannot_be_is_refused(chosen: int, pad: int) -> None:
    key, one = SlowKey(2**159 + 7), pair((RC4,))[0]
    secret = key.shared(one.data_to_send()[:KEY_SIZE])
    cipher = SlowRc4(hashlib.sha1(b"keyB" + secret + TORRENT, usedforsecurity=False).digest())
    cipher.update(bytes(1024))
    with pytest.raises(RemoteProtocolError, match="cannot be"):
        one.receive(key.public + cipher.update(bytes(8) + struct.pack(">IH", chosen, pad)))


@pytest.mark.parametrize(("verification", "pad"), [(b"\1" + bytes(7), 0), (bytes(8), 513), (bytes(8), 65_535)])
def test_an_offer_that_cannot_be_is_refused(verification: bytes, pad: int) -> None:
    key, other = SlowKey(2**159 + 7), pair()[1]
    other.receive(key.public)
    secret = key.shared(other.data_to_send()[:KEY_SIZE])
    cipher = SlowRc4(hashlib.sha1(b"keyA" + secret + TORRENT, usedforsecurity=False).digest())
    cipher.update(bytes(1024))
    marker = hashlib.sha1(b"req1" + secret, usedforsecurity=False).digest()
    mask = hashlib.sha1(b"req3" + secret, usedforsecurity=False).digest()
    which = bytes(a ^ b for a, b in zip(obfuscated(TORRENT), mask, strict=True))
    with pytest.raises(RemoteProtocolError, match="cannot be"):
        other.receive(marker + which + cipher.update(verification + struct.pack(">IH", 3, pad)))


@pytest.mark.parametrize(
    ("begun", "plain"),
    [
        (b"", None),
        (b"\x13", None),
        (b"\x13BitTorrent protocol", True),
        (b"\x13BitTorrent protocox", False),
        (b"G", False),
    ],
)
def test_a_plain_connection_is_told_by_its_first_bytes(begun: bytes, plain: bool | None) -> None:
    assert is_plain(begun) is plain


@pytest.mark.parametrize("vector", json.loads(VECTORS.read_text()), ids=lambda vector: vector["name"])
def test_recorded_connections_with_libtorrent_are_understood(vector: dict[str, str]) -> None:
    info_hash = bytes.fromhex(vector["info_hash"])
    dice = Dice(int(vector["seed"]))
    methods = [CryptoMethod[name] for name in vector["methods"].split()]
    side: OutgoingEncryption | IncomingEncryption
    if vector["role"] == "outgoing":
        side = OutgoingEncryption(new_rc4, dice, info_hash, methods=methods)
        side.write(bytes.fromhex(vector["first"]))
    else:
        side = IncomingEncryption(new_rc4, dice, {obfuscated(info_hash): info_hash}.get, methods=methods)
    sent, got = side.data_to_send(), b""
    for part in vector["came"].split():
        got += side.receive(bytes.fromhex(part))
        sent += side.data_to_send()
    assert side.method is CryptoMethod[vector["method"]]
    assert sent.hex() == vector["sent"]
    assert got.hex() == vector["got"]
    assert got[:20] == b"\x13BitTorrent protocol"
