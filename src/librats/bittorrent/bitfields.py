"""Sets of pieces: a bit for each, as they are sent, and a byte for each, as they are worked with."""

from __future__ import annotations

from librats.errors import RemoteProtocolError

__all__ = ["packed_bits", "unpacked_bits"]


def packed_bits(flags: bytes) -> bytes:
    """Return a bit for each byte of 0 or 1, the first one highest."""
    count = len(flags)
    digits = flags.translate(_DIGITS) + b"0" * (-count % 8)
    return int(digits, 2).to_bytes(len(digits) // 8) if digits else b""


def unpacked_bits(bits: bytes, count: int) -> bytearray:
    """Return a byte of 0 or 1 for each of the first bits.

    Raises:
        RemoteProtocolError: There are bits behind them.
    """
    digits = f"{int.from_bytes(bits):0{len(bits) * 8}b}"
    if "1" in digits[count:]:
        raise RemoteProtocolError("a bitfield with bits behind its end")
    return bytearray(digits[:count].encode().translate(_FLAGS))


_DIGITS = bytes([ord("0"), ord("1"), *range(2, 256)])
_FLAGS = bytes(256)[:48] + b"\0\1" + bytes(256)[50:]
