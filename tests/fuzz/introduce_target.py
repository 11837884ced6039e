"""What libFuzzer runs, by atheris: ``python -m tests.fuzz.introduce_target [libFuzzer's options] [CORPUS]``."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["librats.introduce"]):
    from librats.introduce.letters import Letter
    from librats.introduce.notices import WITH_LETTER, WITH_REASON, Notice
    from librats.introduce.passing import Passing
    from librats.introduce.sealing import TargetSeal

from librats.errors import DecodeError, HandshakeError

KEY = bytes(range(32))
SIZE_BYTES = 2


def test_one_input(data: bytes) -> None:
    """Read the bytes as notices, each behind its length, and as a letter, sealed and not."""
    passing = Passing({"00" * 32: KEY, "01" * 32: KEY}.get)
    place, turn = 0, 0
    while place + SIZE_BYTES <= len(data):
        size = int.from_bytes(data[place : place + SIZE_BYTES])
        body = data[place + SIZE_BYTES : place + SIZE_BYTES + size]
        place += SIZE_BYTES + size
        turn += 1
        try:
            notice = Notice.decode(body)
        except DecodeError:
            continue
        if notice.op in WITH_LETTER and notice.op not in WITH_REASON:
            assert notice.encode() == body
        passing.take(f"{turn % 3:02x}" * 32, notice, now=float(turn))
    try:
        letter = Letter.decode(data)
        assert Letter.decode(letter.encode()) == letter
    except DecodeError:
        pass
    try:
        TargetSeal(KEY, ephemeral=KEY[::-1], protocol="p/1").open(data)
    except HandshakeError:
        return
    raise AssertionError("opened what nobody has sealed")


def main() -> None:
    """Run libFuzzer until it finds something or its time is over."""
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
