"""Diffie-Hellman and RC4 as the textbook has them, slow, for what the library does to be compared with."""

from __future__ import annotations

from librats.bittorrent.stream_encryption import DH_GENERATOR, DH_PRIME, KEY_SIZE

Buffer = bytes | bytearray | memoryview


class SlowKey:
    """A pair of keys whose private one is known."""

    def __init__(self, private: int) -> None:
        self.private = private

    @property
    def public(self) -> bytes:
        return pow(DH_GENERATOR, self.private, DH_PRIME).to_bytes(KEY_SIZE)

    def shared(self, theirs: bytes) -> bytes:
        value = int.from_bytes(theirs)
        if not 1 < value < DH_PRIME - 1:
            raise ValueError("no secret comes of it")
        return pow(value, self.private, DH_PRIME).to_bytes(KEY_SIZE)


class SlowRc4:
    """RC4."""

    def __init__(self, key: bytes) -> None:
        self._state = list(range(256))
        self._i = self._j = 0
        state, j = self._state, 0
        for i in range(256):
            j = (j + state[i] + key[i % len(key)]) % 256
            state[i], state[j] = state[j], state[i]

    def update(self, data: Buffer) -> bytes:
        state, i, j = self._state, self._i, self._j
        out = bytearray(data)
        for at, byte in enumerate(out):
            i = (i + 1) % 256
            j = (j + state[i]) % 256
            state[i], state[j] = state[j], state[i]
            out[at] = byte ^ state[(state[i] + state[j]) % 256]
        self._i, self._j = i, j
        return bytes(out)

    def update_into(self, data: Buffer, buf: Buffer) -> int:
        out = self.update(data)
        memoryview(buf)[: len(out)] = out
        return len(out)
