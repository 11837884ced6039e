"""SipHash-2-4, the keyed hash for cookies and for numbers that nobody guesses, as libsodium has it.

The functions are called through the addresses that PyNaCl's cffi module holds, like those of
:mod:`librats._core.aead`; where they are missing, or ``LIBRATS_AEAD=bindings`` asks for it, ``nacl.bindings`` is.
"""

import nacl.bindings

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint64_t, uintptr_t
from libc.string cimport memcpy

from librats._core import aead
from librats._core.octets cimport load_be32

ctypedef int (*hash_function)(uint8_t*, const uint8_t*, unsigned long long, const uint8_t*) noexcept nogil

# Written once, below, while this module is imported; read only ever after.
cdef hash_function _hash = NULL


cdef uint64_t short_hash(const uint8_t* data, size_t size, const uint8_t* key) noexcept nogil:
    """The 64 bits of SipHash-2-4, its first byte the highest; the key has 16 bytes."""
    cdef uint8_t out[8]
    if _hash == NULL:
        _with_bindings(data, size, key, out)
    else:
        _hash(out, data, size, key)
    return <uint64_t>load_be32(out) << 32 | load_be32(out + 4)


cdef void _with_bindings(const uint8_t* data, size_t size, const uint8_t* key, uint8_t* out) noexcept with gil:
    cdef bytes found = nacl.bindings.crypto_shorthash_siphash24(
        (<const char*>data)[:size] if size else b"", (<const char*>key)[:SHORT_KEY]
    )
    memcpy(out, PyBytes_AS_STRING(found), 8)


def siphash(data: bytes, key: bytes) -> bytes:
    """Hash bytes under a key of 16 bytes.

    Returns:
        8 bytes.

    Raises:
        ValueError: The key has not 16 bytes.

    Example:
        >>> from librats._core.shorthash import siphash
        >>> siphash(bytes(range(15)), bytes(range(16))).hex()
        'e545be4961ca29a1'
    """
    if len(key) != SHORT_KEY:
        raise ValueError(f"a key has 16 bytes, not {len(key)}")
    cdef bytes held_data = data
    cdef bytes held_key = key
    return short_hash(
        <const uint8_t*>PyBytes_AS_STRING(held_data), len(held_data), <const uint8_t*>PyBytes_AS_STRING(held_key)
    ).to_bytes(8, "big")


def _load_libsodium():
    """Take libsodium's functions from PyNaCl, if they are there and give the right answers."""
    global _hash
    if aead.BACKEND != "libsodium":
        return False
    try:
        from nacl._sodium import ffi, lib

        address = int(ffi.cast("uintptr_t", ffi.addressof(lib, "crypto_shorthash_siphash24")))
    except (ImportError, AttributeError, TypeError):
        return False
    _hash = <hash_function><uintptr_t>address
    # The vector of the paper "SipHash: a fast short-input PRF", appendix A.
    if siphash(bytes(range(15)), bytes(range(16))) != bytes.fromhex("e545be4961ca29a1"):
        _hash = NULL
        return False
    return True


HASH_BACKEND = "libsodium" if _load_libsodium() else "bindings"
