"""Many hashes in one call: those that hashlib has for each part, by either way."""

from __future__ import annotations

import _hashlib
import ctypes
import subprocess
import sys
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats._core.digests import INTERPRETER_OPENSSL, sha256_each

# Where the interpreter has no OpenSSL of its own to be found, `hashlib` does it.
WITHOUT_OPENSSL = """
import sys
sys.modules["_hashlib"] = None
import hashlib
from librats._core import digests
assert not digests.INTERPRETER_OPENSSL
data = bytes(range(256)) * 100
wanted = b"".join(hashlib.sha256(data[at : at + 7000]).digest() for at in range(0, len(data), 7000))
assert digests.sha256_each(data, 7000) == wanted
print("right")
"""


def one_by_one(data: bytes, part: int) -> bytes:
    return b"".join(sha256(data[at : at + part]).digest() for at in range(0, len(data), part))


def test_the_openssl_of_the_interpreter_is_used_where_it_can_be_found() -> None:
    assert hasattr(ctypes.CDLL(_hashlib.__file__), "EVP_sha256") == INTERPRETER_OPENSSL


@pytest.mark.vectors("crypto/hashes")
def test_a_hash_of_the_standard_is_found(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["data"])
    assert sha256_each(data, max(len(data), 1)).hex() == (case["sha256"] if data else "")


@given(st.binary(max_size=600), st.integers(1, 700))
def test_each_part_is_hashed_by_itself(data: bytes, part: int) -> None:
    assert sha256_each(data, part) == one_by_one(data, part)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 16_384, 50_000, 1 << 20])
@pytest.mark.parametrize("part", [64, 16_384])
def test_long_buffers_of_every_kind_are_hashed_alike(size: int, part: int) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    wanted = one_by_one(data, part)
    for kind in (bytes, bytearray, memoryview):
        assert sha256_each(kind(data), part) == wanted


def test_without_openssl_the_hashes_are_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_OPENSSL], capture_output=True, text=True, check=False)
    assert done.stdout == "right\n", done.stderr


@pytest.mark.parametrize("part", [0, -1])
def test_parts_without_a_byte_are_refused(part: int) -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        sha256_each(b"abc", part)


def test_what_is_no_contiguous_buffer_is_refused() -> None:
    with pytest.raises(BufferError):
        sha256_each(memoryview(b"abcdef")[::2], 1)
    with pytest.raises(TypeError):
        sha256_each("abc", 1)  # type: ignore[arg-type]
