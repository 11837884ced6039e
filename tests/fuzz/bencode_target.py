"""What libFuzzer runs, by atheris: ``python -m tests.fuzz.bencode_target [libFuzzer's options] [CORPUS]``.

The compiled readers tell libFuzzer nothing about their branches. The oracle does: it is instrumented, reads the same
bytes, and what the two find must agree, to the offset of what is wrong.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tests.reference.bencode"]):
    from tests.reference import bencode as oracle

from tests.hostile.mutations import Mutator

from librats._core import bencode, krpc
from librats.errors import BencodeError, KrpcError

PIECES = [b"d", b"l", b"e", b"i1e", b"i-0e", b"1:a", b"2:id20:", b"1:y1:q", b"1:t2:aa", b"d1:ad", b"00:", b"999999:"]
PROPERTIES = [name for name, item in vars(krpc.KrpcMessage).items() if type(item).__name__ == "getset_descriptor"]
DEPTH = 32
"""Containers in each other that a message may have in its dictionary, or instead of one."""


def compare_values(data: bytes, *, strict: bool, tokens: int) -> None:
    """Read the bytes as a value, the oracle and the compiled reader; write it again where it was read."""
    wanted: tuple[object, int | None]
    try:
        wanted = oracle.decode(data, strict=strict, tokens=tokens), None
    except oracle.Malformed as flaw:
        wanted = None, flaw.offset
    found: tuple[object, int | None]
    try:
        found = bencode.decode(data, strict=strict, max_tokens=tokens), None
    except BencodeError as error:
        found = None, error.offset
    assert found == wanted
    if found[1] is not None:
        return
    written = bencode.encode(found[0])
    assert written == oracle.encode(wanted[0])
    assert not strict or written == data


def read_message(data: bytes) -> None:
    """Read the bytes as a message, and everything of it."""
    try:
        oracle.decode(data, strict=False, depth=DEPTH + data.startswith(b"d"))
        is_sound = True
    except oracle.Malformed:
        is_sound = False
    try:
        message = krpc.parse(data)
    except BencodeError:
        assert not is_sound
        return
    except KrpcError:
        return
    assert is_sound
    for name in PROPERTIES:
        getattr(message, name)
    if message.item is not None:
        bencode.decode(message.item, strict=False)


def test_one_input(data: bytes) -> None:
    """Try one input."""
    compare_values(data, strict=True, tokens=100_000)
    compare_values(data, strict=False, tokens=len(data) // 3)
    read_message(data)


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Mutate as libFuzzer does, as the hostile tests do, or put a piece of bencode in."""
    chance = random.Random(seed)  # noqa: S311 - garbage, no secret
    kind = chance.random()
    if kind < 0.4:
        mutated = atheris.Mutate(data, max_size)
    elif kind < 0.7:
        mutated = Mutator(seed).mutate(data)
    else:
        at = chance.randint(0, len(data))
        mutated = data[:at] + chance.choice(PIECES) + data[at + chance.randint(0, 3) :]
    return bytes(mutated[:max_size])


def main() -> None:
    """Run libFuzzer until it finds something or its time is over."""
    assert Path(bencode.__file__).suffix in {".so", ".pyd"}
    assert PROPERTIES
    atheris.Setup(sys.argv, test_one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
