"""Sealing and opening many small messages: librats' cipher, and PyNaCl's bindings one message at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import nacl.bindings

from librats._core.aead import Cipher
from librats.cli.measuring.sample import Sample

__all__ = ["SIZE", "librats_opening_rate", "librats_sealing_rate", "operations_rate", "pynacl_sealing_rate"]

SIZE = 64
BATCH = 1000
KEY = bytes(range(32))


def operations_rate(operation: Callable[[], object], times: int, each: int) -> Sample:
    """Measure operations for each second of CPU time, which other processes of a busy machine touch least.

    Args:
        operation: Does ``each`` of them.
        times: How often it is called, after a warm-up.
        each: How many it does.
    """
    operation()
    started = time.process_time()
    for _ in range(times):
        operation()
    return Sample(times * each / (time.process_time() - started))


def librats_sealing_rate(batches: int) -> Sample:
    """Measure messages of 64 bytes sealed a second, in batches of 1,000."""
    messages = [os.urandom(SIZE) for _ in range(BATCH)]
    cipher = Cipher(KEY)
    return operations_rate(lambda: cipher.seal_many(messages), batches, BATCH)


def librats_opening_rate(batches: int) -> Sample:
    """Measure messages of 64 bytes opened a second, in batches of 1,000."""
    sealing, opening = Cipher(KEY), Cipher(KEY)
    sealed = sealing.seal_many([os.urandom(SIZE) for _ in range(BATCH)])

    def open_them() -> None:
        opening.nonce = 0
        opening.open_many(sealed)

    return operations_rate(open_them, batches, BATCH)


def pynacl_sealing_rate(batches: int) -> Sample:
    """Measure the same with ``nacl.bindings``."""
    messages = [os.urandom(SIZE) for _ in range(BATCH)]
    seal = nacl.bindings.crypto_aead_chacha20poly1305_ietf_encrypt

    def seal_them() -> list[bytes]:
        return [
            seal(message, b"", b"\0\0\0\0" + number.to_bytes(8, "little"), KEY)
            for number, message in enumerate(messages)
        ]

    return operations_rate(seal_them, batches, BATCH)
