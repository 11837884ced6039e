"""What libFuzzer runs, by atheris: ``python -m tests.fuzz.stun_target [libFuzzer's options] [CORPUS]``.

The compiled codec tells libFuzzer nothing about its branches. The oracle does: it is instrumented, reads the same
bytes, and what the two find must agree; so the fuzzer is led to every branch that the oracle has.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tests.reference.stun"]):
    from tests.reference import stun as oracle

from tests.hostile.mutations import Mutator

from librats._core import stun
from librats.errors import StunError
from librats.stun.constants import Attribute

KEY = b"key"
KINDS = list(Attribute)
FIRST_CHANNEL, LAST_CHANNEL = 0x4000, 0x4FFF


def outcome(call: Callable[[], object]) -> object:
    """Return what a call returns, or None for a StunError: anything else it raises is a find."""
    try:
        return call()
    except StunError:
        return None


def compare_messages(data: bytes, *, allow_classic: bool) -> None:
    """Read the bytes as a message, the oracle and the codec, and everything of it."""
    try:
        wanted = oracle.parse(data, allow_classic=allow_classic)
    except oracle.Malformed:
        wanted = None
    try:
        found = stun.parse(data, allow_classic=allow_classic)
    except StunError:
        found = None
    assert (found is None) == (wanted is None)
    if found is None or wanted is None:
        return
    assert found.types() == [attribute.kind for attribute in wanted.attributes]
    assert found.check_fingerprint() == wanted.check_fingerprint()
    assert found.check_integrity(KEY) == wanted.check_integrity(KEY)
    assert (found.method, found.message_class) == (wanted.method, wanted.message_class)
    found.unknown_required()
    values = outcome(found.values)
    for kind in set(found.types()):
        outcome(partial(found.get_all, kind))
        value = outcome(partial(found.get, kind))
        assert values is None or value is not None
        if value is not None and kind not in oracle.GUARDS:
            write_again(kind, value)


def write_again(kind: int, value: object) -> None:
    """Write a value that was read; it must be read as the same again, whatever its bytes were."""
    if isinstance(value, str) and kind == 0x0006 and len(value.encode()) > 508:
        return
    if isinstance(value, str | tuple) and len(str(value)) > 500:
        return
    written = stun.serialise(1, 0, bytes(12), [(kind, value)], key=KEY, fingerprint=True)
    assert stun.parse(written).get(kind) == value


def compare_channel_data(data: bytes) -> None:
    """Read the bytes as ChannelData, and as the beginning of a stream."""
    channel = outcome(lambda: stun.parse_channel_data(data))
    number, size = int.from_bytes(data[:2]), int.from_bytes(data[2:4])
    fits = len(data) >= 4 and FIRST_CHANNEL <= number <= LAST_CHANNEL and 4 + size <= len(data) <= 4 + size + 3
    assert channel == ((number, data[4 : 4 + size]) if fits else None)
    frame = outcome(lambda: stun.frame_size(data))
    assert frame is None or isinstance(frame, int)
    if frame is not None and len(data) >= 4:
        assert frame >= 4
        assert frame % 4 == 0
    stun.is_stun(data)


def test_one_input(data: bytes) -> None:
    """Try one input."""
    compare_messages(data, allow_classic=False)
    compare_messages(data, allow_classic=True)
    compare_channel_data(data)


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Mutate as libFuzzer does or as the hostile tests do; in most, put the length right and known types in."""
    chance = random.Random(seed)  # noqa: S311 - garbage, no secret
    mutated = atheris.Mutate(data, max_size) if chance.random() < 0.5 else Mutator(seed).mutate(data)
    mutated = bytes(mutated[:max_size])
    if len(mutated) < oracle.HEADER or chance.random() < 0.1:
        return mutated
    mutated = mutated[: len(mutated) & ~3]
    if len(mutated) > oracle.HEADER and chance.random() < 0.3:
        at = chance.randrange(oracle.HEADER, len(mutated), 4)
        mutated = mutated[:at] + chance.choice(KINDS).to_bytes(2) + mutated[at + 2 :]
    return mutated[:2] + (len(mutated) - oracle.HEADER).to_bytes(2) + oracle.COOKIE.to_bytes(4) + mutated[8:]


def main() -> None:
    """Run libFuzzer until it finds something or its time is over."""
    assert Path(stun.__file__).suffix in {".so", ".pyd"}
    atheris.Setup(sys.argv, test_one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
