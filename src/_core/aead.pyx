"""ChaCha20-Poly1305 (RFC 8439) as the Noise cipher state: one key, one counter, many messages at a time.

The primitive is libsodium's (:mod:`librats._core.libsodium`), short messages put together from two of its parts
(:mod:`librats._core.short_aead`). Long messages go through OpenSSL where there is one: the interpreter's own
(:mod:`librats._core.evp`; :data:`INTERPRETER_OPENSSL` tells), or, once :func:`load_openssl` has found it, that of the
package ``cryptography``, in a version that encrypts into a buffer at hand. ``LIBRATS_AEAD=libsodium`` forbids both,
``LIBRATS_AEAD=cryptography`` the first.

A :class:`Cipher` belongs to one thread at a time.
"""

import os

cimport cython
from cpython.buffer cimport PyBUF_READ, PyBUF_SIMPLE, PyBUF_WRITE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from librats._core.evp cimport (
    EVP_KEYLESS, EVP_OPENING, EVP_SEALING, evp_available, evp_free, evp_load, evp_new, evp_open, evp_seal, evp_set_key
)
from librats._core.frame_layout cimport RELEASE_GIL_FROM
from librats._core.libsodium cimport sodium_open, sodium_seal, sodium_wipe
from librats._core.octets cimport store_le64
from librats._core.short_aead cimport SHORT_AD_MOST, SHORT_FROM, SHORT_MOST, short_available, short_open, short_seal

from librats._core import libsodium
from librats.errors import LocalProtocolError, RemoteProtocolError

cdef uint64_t NONCE_LIMIT = 0xFFFFFFFFFFFFFFFF  # reserved for REKEY: Noise revision 34, 4.2 and 5.1

# Written once, by load_openssl: the class, and the exception that says that a message does not authenticate.
cdef object _openssl_class = None
cdef object _openssl_refusal = None


cdef void _make_nonce(uint8_t* nonce, uint64_t counter) noexcept nogil:
    memset(nonce, 0, 4)
    store_le64(nonce + 4, counter)


cdef inline bint _is_short(size_t size, size_t ad_size) noexcept nogil:
    return SHORT_FROM <= size <= SHORT_MOST and ad_size <= SHORT_AD_MOST and short_available()


@cython.final
cdef class Cipher:
    """One direction of an encrypted conversation: a key and a message counter (Noise revision 34, 5.1).

    Every sealed or opened message uses the next counter value. A message that does not authenticate leaves the counter
    where it was.

    Args:
        key: 32 bytes.
        nonce: First counter value, 0 to 2**64 - 1.

    Raises:
        ValueError: The key has not 32 bytes, or the nonce does not fit 64 bits.

    Example:
        >>> from librats._core.aead import Cipher
        >>> Cipher(bytes(32)).open(Cipher(bytes(32)).seal(b"hello"))
        b'hello'
    """

    def __cinit__(self, key not None, nonce=0):
        cdef Py_buffer view
        if not 0 <= nonce <= NONCE_LIMIT:
            raise ValueError("the nonce does not fit 64 bits")
        PyObject_GetBuffer(key, &view, PyBUF_SIMPLE)
        try:
            if view.len != KEY_SIZE:
                raise ValueError(f"a key has 32 bytes, not {view.len}")
            memcpy(self._key, view.buf, KEY_SIZE)
        finally:
            PyBuffer_Release(&view)
        self._nonce = nonce
        self._openssl = None
        self._evp = NULL
        self._evp_direction = EVP_KEYLESS

    def __dealloc__(self):
        if self._evp != NULL:
            evp_free(self._evp)
        sodium_wipe(self._key, KEY_SIZE)

    def __repr__(self):
        return f"<Cipher nonce={self._nonce}>"

    @property
    def nonce(self):
        """Counter value of the next message. 2**64 - 1 means that no message is left."""
        return self._nonce

    @nonce.setter
    def nonce(self, value):
        if not 0 <= value <= NONCE_LIMIT:
            raise ValueError("the nonce does not fit 64 bits")
        self._nonce = value

    @staticmethod
    cdef int raw_seal(
        uint8_t* out, const uint8_t* plaintext, size_t size, const uint8_t* ad, size_t ad_size,
        uint64_t counter, const uint8_t* key
    ) noexcept nogil:
        cdef uint8_t nonce[12]
        cdef bint sealed
        _make_nonce(nonce, counter)
        if _is_short(size, ad_size):
            sealed = short_seal(out, plaintext, size, ad, ad_size, nonce, key)
        else:
            sealed = sodium_seal(out, plaintext, size, ad, ad_size, nonce, key)
        return CIPHER_OK if sealed else CIPHER_FORGED

    @staticmethod
    cdef int raw_open(
        uint8_t* out, const uint8_t* ciphertext, size_t size, const uint8_t* ad, size_t ad_size,
        uint64_t counter, const uint8_t* key
    ) noexcept nogil:
        cdef uint8_t nonce[12]
        cdef bint genuine
        _make_nonce(nonce, counter)
        if _is_short(size - TAG_SIZE, ad_size):
            genuine = short_open(out, ciphertext, size, ad, ad_size, nonce, key)
        else:
            genuine = sodium_open(out, ciphertext, size, ad, ad_size, nonce, key)
        return CIPHER_OK if genuine else CIPHER_FORGED

    cdef int seal_at(
        self, uint8_t* out, const uint8_t* plaintext, size_t size, const uint8_t* ad, size_t ad_size
    ) noexcept nogil:
        cdef uint8_t nonce[12]
        cdef int result
        if self._nonce == NONCE_LIMIT:
            return CIPHER_EXHAUSTED
        if size >= EVP_FROM and self._has_evp(EVP_SEALING):
            _make_nonce(nonce, self._nonce)
            if not evp_seal(self._evp, out, plaintext, size, ad, ad_size, nonce):
                return CIPHER_FORGED
            self._nonce += 1
            return CIPHER_OK
        result = Cipher.raw_seal(out, plaintext, size, ad, ad_size, self._nonce, self._key)
        if result == CIPHER_OK:
            self._nonce += 1
        return result

    cdef int open_at(
        self, uint8_t* out, const uint8_t* ciphertext, size_t size, const uint8_t* ad, size_t ad_size
    ) noexcept nogil:
        cdef uint8_t nonce[12]
        cdef int result
        if self._nonce == NONCE_LIMIT:
            return CIPHER_EXHAUSTED
        if size < TAG_SIZE:
            return CIPHER_TOO_SHORT
        if size >= EVP_FROM and self._has_evp(EVP_OPENING):
            _make_nonce(nonce, self._nonce)
            result = (
                CIPHER_OK if evp_open(self._evp, out, ciphertext, size, ad, ad_size, nonce) else CIPHER_FORGED
            )
        else:
            result = Cipher.raw_open(out, ciphertext, size, ad, ad_size, self._nonce, self._key)
        if result == CIPHER_OK:
            self._nonce += 1
        return result

    cdef bint _has_evp(self, int direction) noexcept nogil:
        """Whether the interpreter's OpenSSL is there, and has the key in that direction from now on."""
        if self._evp_direction == direction:
            return True
        if not evp_available():
            return False
        if self._evp == NULL:
            self._evp = evp_new()
        if self._evp == NULL or not evp_set_key(self._evp, direction, self._key):
            return False
        self._evp_direction = direction
        return True

    cdef int rekey_at(self) noexcept nogil:
        cdef uint8_t zeros[32]
        cdef uint8_t sealed[48]
        cdef int result
        memset(zeros, 0, sizeof(zeros))
        result = Cipher.raw_seal(sealed, zeros, sizeof(zeros), NULL, 0, NONCE_LIMIT, self._key)
        if result == CIPHER_OK:
            memcpy(self._key, sealed, KEY_SIZE)
            self._evp_direction = EVP_KEYLESS
            with gil:
                self._openssl = None  # it has the old key
        sodium_wipe(sealed, sizeof(sealed))
        return result

    cdef bint uses_openssl(self, size_t size) noexcept:
        """Whether a message of that size goes through seal_apart or open_apart rather than seal_at or open_at."""
        return size >= OPENSSL_FROM and _openssl_class is not None

    cdef object with_openssl(self):
        if self._openssl is None:
            self._openssl = _openssl_class((<const char*>self._key)[:KEY_SIZE])
        return self._openssl

    cdef int seal_apart(self, uint8_t* out, const uint8_t* plaintext, size_t size, object ad) except -9:
        """Seal by OpenSSL; the two buffers must not overlap."""
        cdef uint8_t nonce[12]
        if self._nonce == NONCE_LIMIT:
            return CIPHER_EXHAUSTED
        _make_nonce(nonce, self._nonce)
        self.with_openssl().encrypt_into(
            (<const char*>nonce)[:12], PyMemoryView_FromMemory(<char*>plaintext, size, PyBUF_READ), ad,
            PyMemoryView_FromMemory(<char*>out, size + TAG_SIZE, PyBUF_WRITE)
        )
        self._nonce += 1
        return CIPHER_OK

    cdef int open_apart(self, uint8_t* out, const uint8_t* ciphertext, size_t size, object ad) except -9:
        """Open by OpenSSL; the two buffers must not overlap."""
        cdef uint8_t nonce[12]
        if self._nonce == NONCE_LIMIT:
            return CIPHER_EXHAUSTED
        _make_nonce(nonce, self._nonce)
        try:
            self.with_openssl().decrypt_into(
                (<const char*>nonce)[:12], PyMemoryView_FromMemory(<char*>ciphertext, size, PyBUF_READ), ad,
                PyMemoryView_FromMemory(<char*>out, size - TAG_SIZE, PyBUF_WRITE)
            )
        except _openssl_refusal:
            return CIPHER_FORGED
        self._nonce += 1
        return CIPHER_OK

    def seal(self, plaintext, ad=b""):
        """Encrypt one message.

        Args:
            plaintext: Any contiguous buffer.
            ad: Associated data: authenticated, not encrypted.

        Returns:
            The ciphertext, 16 bytes longer than the plaintext.

        Raises:
            LocalProtocolError: The counter is used up.
        """
        return _run_one(self, plaintext, ad, True)

    def open(self, ciphertext, ad=b""):
        """Decrypt one message.

        Args:
            ciphertext: Any contiguous buffer, tag included.
            ad: The associated data that the sender gave.

        Returns:
            The plaintext, 16 bytes shorter than the ciphertext.

        Raises:
            RemoteProtocolError: It is too short, was not sealed with this key and counter, or was changed; or the
                counter is used up.
        """
        return _run_one(self, ciphertext, ad, False)

    def seal_many(self, plaintexts):
        """Encrypt a batch, in order, holding the GIL only to make room for the results.

        Args:
            plaintexts: A sequence of ``bytes``.

        Returns:
            A list of ciphertexts.

        Raises:
            LocalProtocolError: The counter would be used up within the batch; nothing was sealed then.
        """
        return _run_batch(self, list(plaintexts), True)

    def open_many(self, ciphertexts):
        """Decrypt a batch, in order, holding the GIL only to make room for the results.

        Args:
            ciphertexts: A sequence of ``bytes``.

        Returns:
            A list of plaintexts.

        Raises:
            RemoteProtocolError: One of them does not authenticate. The counter then stands at that message.
        """
        return _run_batch(self, list(ciphertexts), False)

    def copy(self):
        """Return another cipher with the same key and counter: for opening again what this one seals, never to seal."""
        cdef Cipher other = Cipher.__new__(Cipher, (<const char*>self._key)[:KEY_SIZE])
        other._nonce = self._nonce
        return other

    def rekey(self):
        """Replace the key by the next one (Noise revision 34, 4.2 and 11.3). The counter goes on."""
        if self.rekey_at() != CIPHER_OK:
            raise LocalProtocolError("libsodium could not derive the next key")


cdef int _run(
    Cipher cipher, bint sealing, uint8_t* out, const uint8_t* source, size_t size, const uint8_t* ad, size_t ad_size
) noexcept nogil:
    if sealing:
        return cipher.seal_at(out, source, size, ad, ad_size)
    return cipher.open_at(out, source, size, ad, ad_size)


cdef bytes _run_one(Cipher cipher, object data, object ad, bint sealing):
    cdef Py_buffer view, ad_view
    cdef bytes out
    cdef uint8_t* target
    cdef const uint8_t* source
    cdef int result
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if not sealing and view.len < TAG_SIZE:
            raise _open_error(CIPHER_TOO_SHORT)
        PyObject_GetBuffer(ad, &ad_view, PyBUF_SIMPLE)
        try:
            out = PyBytes_FromStringAndSize(NULL, view.len + (TAG_SIZE if sealing else -TAG_SIZE))
            target = <uint8_t*>PyBytes_AS_STRING(out)
            source = <const uint8_t*>view.buf
            if cipher.uses_openssl(view.len):
                result = cipher.seal_apart(target, source, view.len, ad) if sealing else cipher.open_apart(
                    target, source, view.len, ad)
            elif view.len < RELEASE_GIL_FROM:
                result = _run(cipher, sealing, target, source, view.len, <const uint8_t*>ad_view.buf, ad_view.len)
            else:
                with nogil:
                    result = _run(cipher, sealing, target, source, view.len, <const uint8_t*>ad_view.buf, ad_view.len)
        finally:
            PyBuffer_Release(&ad_view)
    finally:
        PyBuffer_Release(&view)
    if result != CIPHER_OK:
        raise _seal_error(result) if sealing else _open_error(result)
    return out


cdef struct Item:
    const uint8_t* source
    uint8_t* target
    size_t size


cdef list _run_batch(Cipher cipher, list inputs, bint sealing):
    cdef Py_ssize_t count = len(inputs)
    cdef Py_ssize_t index
    cdef Py_ssize_t size
    cdef int result = CIPHER_OK
    cdef list outputs = []
    cdef bytes out
    cdef Item* items
    if sealing and <uint64_t>count > NONCE_LIMIT - cipher._nonce:
        raise _seal_error(CIPHER_EXHAUSTED)
    for message in inputs:
        if not isinstance(message, bytes):
            raise TypeError(f"a batch holds bytes, not {type(message).__name__}")
        size = len(message) + (TAG_SIZE if sealing else -TAG_SIZE)
        out = PyBytes_FromStringAndSize(NULL, max(size, 0))
        outputs.append(out)
    items = <Item*>malloc(max(count, 1) * sizeof(Item))
    if items == NULL:
        raise MemoryError()
    try:
        for index in range(count):
            items[index].source = <const uint8_t*>PyBytes_AS_STRING(inputs[index])
            items[index].target = <uint8_t*>PyBytes_AS_STRING(outputs[index])
            items[index].size = len(<bytes>inputs[index])
        with nogil:
            for index in range(count):
                result = _run(cipher, sealing, items[index].target, items[index].source, items[index].size, NULL, 0)
                if result != CIPHER_OK:
                    break
    finally:
        free(items)
    if result != CIPHER_OK:
        raise _seal_error(result) if sealing else _open_error(result)
    return outputs


cdef object _seal_error(int result):
    if result == CIPHER_EXHAUSTED:
        return LocalProtocolError("the message counter of this key is used up")
    return LocalProtocolError("the library could not encrypt")


cdef object _open_error(int result):
    if result == CIPHER_EXHAUSTED:
        return RemoteProtocolError("the message counter of this key is used up")
    if result == CIPHER_TOO_SHORT:
        return RemoteProtocolError("a sealed message has at least 16 bytes")
    return RemoteProtocolError("a message does not authenticate")


def load_openssl():
    """Let big messages go through OpenSSL, where the package ``cryptography`` is there and can do it.

    Importing that package takes some 20 ms, so this is not done with the import of this module. Doing it twice is
    harmless.

    Returns:
        True where they do from now on; False where the interpreter's own OpenSSL does it already, too.
    """
    global _openssl_class, _openssl_refusal
    if _openssl_class is not None:
        return True
    if os.environ.get("LIBRATS_AEAD") in ("bindings", "libsodium") or evp_available():
        return False
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        wanted = ChaCha20Poly1305(bytes(KEY_SIZE)).encrypt(bytes(12), b"librats", b"ad")
        written = bytearray(len(wanted))
        ChaCha20Poly1305(bytes(KEY_SIZE)).encrypt_into(bytes(12), b"librats", b"ad", written)
        again = bytearray(7)
        ChaCha20Poly1305(bytes(KEY_SIZE)).decrypt_into(bytes(12), written, b"ad", again)
    except Exception:
        # Not there, too old, or built without the cipher: libsodium does it all.
        return False
    if Cipher(bytes(KEY_SIZE)).seal(b"librats", b"ad") != written or again != b"librats":
        return False
    _openssl_refusal = InvalidTag
    _openssl_class = ChaCha20Poly1305
    return True


INTERPRETER_OPENSSL = os.environ.get("LIBRATS_AEAD") not in ("bindings", "libsodium", "cryptography") and evp_load()
BACKEND = libsodium.BACKEND
