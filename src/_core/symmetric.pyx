"""The symmetric half of a Noise handshake over SHA-256 (revision 34, 5.2), and X25519, by libsodium's own functions.

Like those of the cipher, the functions are taken from the libsodium that PyNaCl brings: their addresses are looked up
while this module is imported, and checked against published vectors. :data:`AVAILABLE` tells whether they are there
and right; where they are not, ``librats.noise`` does the same with hashlib, hmac and ``nacl.bindings``, slower.

An object belongs to one thread at a time.
"""

import ctypes

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from librats._core.aead cimport CIPHER_OK, TAG_SIZE, Cipher

from librats._core import aead

from librats.errors import RemoteProtocolError

cdef enum:
    HASH_SIZE = 32
    ON_STACK = 512

ctypedef int (*hash_function)(uint8_t*, const uint8_t*, unsigned long long) noexcept nogil
ctypedef int (*hmac_function)(uint8_t*, const uint8_t*, unsigned long long, const uint8_t*) noexcept nogil
ctypedef int (*scalarmult_function)(uint8_t*, const uint8_t*, const uint8_t*) noexcept nogil
ctypedef int (*base_function)(uint8_t*, const uint8_t*) noexcept nogil

# Written once, below, while this module is imported; read only ever after.
cdef hash_function _sha256 = NULL
cdef hmac_function _hmac_sha256 = NULL
cdef scalarmult_function _scalarmult = NULL
cdef base_function _scalarmult_base = NULL


@cython.final
cdef class Sha256State:
    """Chaining key, handshake hash and current cipher of a handshake whose hash function is SHA-256.

    It has the methods of :class:`librats.noise.symmetric_state.SymmetricState`, which describes them.

    Args:
        name: The protocol name, where the hash begins; at most 32 bytes.
    """

    cdef uint8_t _hash[HASH_SIZE]
    cdef uint8_t _chaining_key[HASH_SIZE]
    cdef Cipher _cipher

    def __cinit__(self, bytes name not None):
        if PyBytes_GET_SIZE(name) > HASH_SIZE:
            raise ValueError("a name of at most 32 bytes")
        memset(self._hash, 0, HASH_SIZE)
        memcpy(self._hash, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        memcpy(self._chaining_key, self._hash, HASH_SIZE)
        self._cipher = None

    def __dealloc__(self):
        memset(self._chaining_key, 0, HASH_SIZE)

    def __repr__(self):
        return f"<Sha256State {'no key yet' if self._cipher is None else 'keyed'}>"

    @property
    def has_key(self):
        """True from the first mixed-in key on."""
        return self._cipher is not None

    @property
    def handshake_hash(self):
        """The hash over everything so far."""
        return PyBytes_FromStringAndSize(<const char*>self._hash, HASH_SIZE)

    cdef int _mix_hash(self, const uint8_t* data, size_t size) except -1:
        cdef uint8_t stacked[ON_STACK]
        cdef uint8_t* joined = stacked
        if HASH_SIZE + size > ON_STACK:
            joined = <uint8_t*>malloc(HASH_SIZE + size)
            if joined == NULL:
                raise MemoryError()
        memcpy(joined, self._hash, HASH_SIZE)
        if size:
            memcpy(joined + HASH_SIZE, data, size)
        _sha256(self._hash, joined, HASH_SIZE + size)
        if joined != stacked:
            free(joined)
        return 0

    def mix_hash(self, bytes data not None):
        """Bind the data to the handshake."""
        self._mix_hash(<const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cdef int _derive(self, bytes secret, uint8_t* second, uint8_t* third) except -1:
        """Set the chaining key and derive one or two keys more (4.3): HMAC as in RFC 5869, without info."""
        cdef uint8_t extracted[HASH_SIZE]
        cdef uint8_t step[HASH_SIZE + 1]
        _hmac_sha256(
            extracted, <const uint8_t*>PyBytes_AS_STRING(secret), PyBytes_GET_SIZE(secret), self._chaining_key
        )
        step[0] = 1
        _hmac_sha256(self._chaining_key, step, 1, extracted)
        memcpy(step, self._chaining_key, HASH_SIZE)
        step[HASH_SIZE] = 2
        _hmac_sha256(second, step, HASH_SIZE + 1, extracted)
        if third != NULL:
            memcpy(step, second, HASH_SIZE)
            step[HASH_SIZE] = 3
            _hmac_sha256(third, step, HASH_SIZE + 1, extracted)
        memset(extracted, 0, HASH_SIZE)
        memset(step, 0, HASH_SIZE)
        return 0

    def mix_key(self, bytes input_key_material not None):
        """Take a shared secret in; the next message part is encrypted under what comes of it."""
        cdef uint8_t key[HASH_SIZE]
        self._derive(input_key_material, key, NULL)
        self._cipher = Cipher((<const char*>key)[:HASH_SIZE])
        memset(key, 0, HASH_SIZE)

    def mix_key_and_hash(self, bytes pre_shared_key not None):
        """Take a pre-shared key in (9.2)."""
        cdef uint8_t to_hash[HASH_SIZE]
        cdef uint8_t key[HASH_SIZE]
        self._derive(pre_shared_key, to_hash, key)
        self._mix_hash(to_hash, HASH_SIZE)
        self._cipher = Cipher((<const char*>key)[:HASH_SIZE])
        memset(key, 0, HASH_SIZE)

    def encrypt_and_hash(self, bytes plaintext not None):
        """Encrypt, if there is a key, and bind the result to the handshake."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(plaintext)
        cdef bytes out
        if self._cipher is None:
            self.mix_hash(plaintext)
            return plaintext
        out = PyBytes_FromStringAndSize(NULL, size + TAG_SIZE)
        # A handshake's key seals a message or two; its counter is never used up.
        self._cipher.seal_at(
            <uint8_t*>PyBytes_AS_STRING(out), <const uint8_t*>PyBytes_AS_STRING(plaintext), size, self._hash, HASH_SIZE
        )
        self.mix_hash(out)
        return out

    def decrypt_and_hash(self, bytes ciphertext not None):
        """Decrypt, if there is a key, and bind what came to the handshake.

        Raises:
            RemoteProtocolError: It does not authenticate.
        """
        cdef Py_ssize_t size = PyBytes_GET_SIZE(ciphertext)
        cdef bytes out
        if self._cipher is None:
            self.mix_hash(ciphertext)
            return ciphertext
        if size < TAG_SIZE:
            raise RemoteProtocolError("a sealed message has at least 16 bytes")
        out = PyBytes_FromStringAndSize(NULL, size - TAG_SIZE)
        if self._cipher.open_at(
            <uint8_t*>PyBytes_AS_STRING(out), <const uint8_t*>PyBytes_AS_STRING(ciphertext), size, self._hash, HASH_SIZE
        ) != CIPHER_OK:
            raise RemoteProtocolError("a message does not authenticate")
        self.mix_hash(ciphertext)
        return out

    def split(self):
        """Return the transport ciphers: initiator to responder, responder to initiator."""
        cdef uint8_t second[HASH_SIZE]
        self._derive(b"", second, NULL)
        first = Cipher((<const char*>self._chaining_key)[:HASH_SIZE])
        other = Cipher((<const char*>second)[:HASH_SIZE])
        memset(second, 0, HASH_SIZE)
        return first, other


def x25519_public(bytes private_key not None):
    """Return the public key of a private key of 32 bytes."""
    cdef bytes out = PyBytes_FromStringAndSize(NULL, HASH_SIZE)
    cdef uint8_t* target = <uint8_t*>PyBytes_AS_STRING(out)
    cdef const uint8_t* key = <const uint8_t*>PyBytes_AS_STRING(private_key)
    if PyBytes_GET_SIZE(private_key) != HASH_SIZE:
        raise ValueError("a private key has 32 bytes")
    with nogil:
        _scalarmult_base(target, key)
    return out


def x25519(bytes private_key not None, bytes public_key not None):
    """Return the secret that two keys of 32 bytes share; None where it is all zero, whoever asks."""
    cdef bytes out = PyBytes_FromStringAndSize(NULL, HASH_SIZE)
    cdef uint8_t* target = <uint8_t*>PyBytes_AS_STRING(out)
    cdef const uint8_t* mine = <const uint8_t*>PyBytes_AS_STRING(private_key)
    cdef const uint8_t* theirs = <const uint8_t*>PyBytes_AS_STRING(public_key)
    cdef int result
    if PyBytes_GET_SIZE(private_key) != HASH_SIZE or PyBytes_GET_SIZE(public_key) != HASH_SIZE:
        raise ValueError("a key has 32 bytes")
    with nogil:
        result = _scalarmult(target, mine, theirs)
    return None if result else out


def _load():
    """Take libsodium's functions out of PyNaCl's module, if they are there and give the right answers."""
    global _sha256, _hmac_sha256, _scalarmult, _scalarmult_base
    if aead.BACKEND != "libsodium":
        return False
    try:
        from nacl import _sodium

        library = ctypes.CDLL(_sodium.__file__)
        addresses = [
            ctypes.cast(getattr(library, name), ctypes.c_void_p).value
            for name in (
                "crypto_hash_sha256", "crypto_auth_hmacsha256", "crypto_scalarmult_curve25519",
                "crypto_scalarmult_curve25519_base",
            )
        ]
    except (ImportError, AttributeError, OSError, TypeError):
        return False
    if None in addresses:
        return False
    _sha256 = <hash_function><uintptr_t>addresses[0]
    _hmac_sha256 = <hmac_function><uintptr_t>addresses[1]
    _scalarmult = <scalarmult_function><uintptr_t>addresses[2]
    _scalarmult_base = <base_function><uintptr_t>addresses[3]
    return _agrees()


cdef bint _agrees() except -1:
    cdef uint8_t out[HASH_SIZE]
    cdef bytes key = b"\x0b" * 20 + bytes(12)
    _sha256(out, <const uint8_t*>b"abc", 3)  # FIPS 180-4
    if (<const char*>out)[:HASH_SIZE].hex() != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad":
        return False
    # RFC 4231, 4.2; HMAC pads its key with zeros, so 20 bytes of key and 12 of zeros are the same key.
    _hmac_sha256(out, <const uint8_t*>b"Hi There", 8, <const uint8_t*>PyBytes_AS_STRING(key))
    if (<const char*>out)[:HASH_SIZE].hex() != "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7":
        return False
    # RFC 7748, 6.1.
    private = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    public = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    if x25519_public(private).hex() != "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a":
        return False
    return x25519(private, public).hex() == "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"


AVAILABLE = _load()
