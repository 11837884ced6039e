"""Whole messages of a Noise handshake over SHA-256 (revision 34, 5.2, 5.3), and X25519, by libsodium's own functions.

Like those of the cipher, the functions are taken from the libsodium that PyNaCl brings: their addresses are looked up
while this module is imported, and checked against published vectors. :data:`AVAILABLE` tells whether they are there
and right; where they are not, ``librats.noise`` does the same with hashlib, hmac and ``nacl.bindings``, slower.

An object belongs to one thread at a time. A message is written or read without the interpreter's lock.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from librats._core.aead cimport CIPHER_OK, TAG_SIZE, Cipher
from librats._core.libsodium cimport sodium_find, sodium_wipe

from librats.errors import HandshakeError, RemoteProtocolError

cdef enum:
    HASH_SIZE = 32
    KEY_SIZE = 32
    ON_STACK = 512
    HMAC_STATE_WORDS = 32

# Places in TOKENS.
cdef enum:
    TOKEN_E = 0
    TOKEN_S = 1
    TOKEN_EE = 2
    TOKEN_ES = 3
    TOKEN_SE = 4
    TOKEN_SS = 5

cdef enum:
    STEP_OK = 0
    STEP_LOW_ORDER = -1
    STEP_FORGED = -2
    STEP_NO_PSK = -3
    STEP_NO_MEMORY = -4

ctypedef int (*hash_function)(uint8_t*, const uint8_t*, unsigned long long) noexcept nogil
ctypedef int (*hmac_init_function)(uint64_t*, const uint8_t*, size_t) noexcept nogil
ctypedef int (*hmac_update_function)(uint64_t*, const uint8_t*, unsigned long long) noexcept nogil
ctypedef int (*hmac_final_function)(uint64_t*, uint8_t*) noexcept nogil
ctypedef size_t (*size_function)() noexcept nogil
ctypedef int (*scalarmult_function)(uint8_t*, const uint8_t*, const uint8_t*) noexcept nogil
ctypedef int (*base_function)(uint8_t*, const uint8_t*) noexcept nogil

# Written once, below, while this module is imported; read only ever after.
cdef hash_function _sha256 = NULL
cdef hmac_init_function _hmac_init = NULL
cdef hmac_update_function _hmac_update = NULL
cdef hmac_final_function _hmac_final = NULL
cdef scalarmult_function _scalarmult = NULL
cdef base_function _scalarmult_base = NULL

TOKENS = ("e", "s", "ee", "es", "se", "ss", "psk")
"""The tokens of handshake messages (7.1); a program holds the place of each in here, as a byte."""


@cython.final
cdef class Sha256Steps:
    """What one side of a handshake knows, and what the tokens of its messages do to that (5.3).

    It has the methods of :class:`librats.noise.steps.Steps`, which describes them and the arguments.
    """

    cdef uint8_t _hash[HASH_SIZE]
    cdef uint8_t _chaining_key[HASH_SIZE]
    cdef uint8_t _key[KEY_SIZE]
    cdef uint64_t _nonce
    cdef bint _has_key
    cdef bint _initiator
    cdef uint8_t _static[KEY_SIZE]
    cdef uint8_t _static_public[KEY_SIZE]
    cdef uint8_t _ephemeral[KEY_SIZE]
    cdef uint8_t _ephemeral_public[KEY_SIZE]
    cdef bint _is_prepared
    cdef uint8_t _remote_static[KEY_SIZE]
    cdef uint8_t _remote_ephemeral[KEY_SIZE]
    cdef bint _knows_remote_static
    cdef bytes _psks
    cdef const uint8_t* _next_psk
    cdef Py_ssize_t _psks_left
    cdef bint _uses_psks

    def __cinit__(
        self, bytes name not None, *, bint initiator, bytes prologue not None, bytes static, bytes static_public,
        bytes ephemeral, bytes remote_static, bytes psks not None
    ):
        if PyBytes_GET_SIZE(name) > HASH_SIZE:
            _sha256(self._hash, <const uint8_t*>PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        else:
            memcpy(self._hash, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))  # which was all zero
        memcpy(self._chaining_key, self._hash, HASH_SIZE)
        self._initiator = initiator
        _take_key(self._ephemeral, ephemeral)
        self._knows_remote_static = _take_key(self._remote_static, remote_static)
        if _take_key(self._static, static) and not _take_key(self._static_public, static_public):
            with nogil:
                _scalarmult_base(self._static_public, self._static)
        self._psks = psks
        self._next_psk = <const uint8_t*>PyBytes_AS_STRING(psks)
        self._psks_left = PyBytes_GET_SIZE(psks) // KEY_SIZE
        self._uses_psks = self._psks_left > 0
        self.mix_hash(prologue)

    def __dealloc__(self):
        sodium_wipe(self._chaining_key, HASH_SIZE)
        sodium_wipe(self._key, KEY_SIZE)
        sodium_wipe(self._static, KEY_SIZE)
        sodium_wipe(self._ephemeral, KEY_SIZE)

    def __repr__(self):
        return f"<Sha256Steps {'keyed' if self._has_key else 'no key yet'}>"

    @property
    def static_public(self):
        """This side's static public key; zeros where it has none."""
        return PyBytes_FromStringAndSize(<const char*>self._static_public, KEY_SIZE)

    @property
    def remote_static(self):
        """The other side's static public key, or None."""
        return PyBytes_FromStringAndSize(<const char*>self._remote_static, KEY_SIZE) if (
            self._knows_remote_static) else None

    @property
    def handshake_hash(self):
        """The hash over everything so far."""
        return PyBytes_FromStringAndSize(<const char*>self._hash, HASH_SIZE)

    def mix_hash(self, bytes data not None):
        """Bind the data to the handshake."""
        if self._mix_hash(<const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)) != STEP_OK:
            raise MemoryError()

    def prepare(self):
        """Compute this side's ephemeral public key now, and not in the message that carries it."""
        with nogil:
            self._prepare()

    def write(self, bytes program not None, bytes payload not None):
        """Return the message of those tokens.

        Raises:
            HandshakeError: The other side's key has low order.
        """
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        cdef bytes message = PyBytes_FromStringAndSize(NULL, self._overhead(program) + size)
        cdef uint8_t* out = <uint8_t*>PyBytes_AS_STRING(message)
        cdef const uint8_t* tokens = <const uint8_t*>PyBytes_AS_STRING(program)
        cdef Py_ssize_t count = PyBytes_GET_SIZE(program)
        cdef const uint8_t* plaintext = <const uint8_t*>PyBytes_AS_STRING(payload)
        cdef int result
        with nogil:
            result = self._write(out, tokens, count, plaintext, size)
        if result != STEP_OK:
            raise _step_error(result)
        return message

    def read(self, bytes program not None, bytes message not None):
        """Return the payload of a message of those tokens.

        Raises:
            HandshakeError: The other side's key has low order.
            RemoteProtocolError: It is shorter than its overhead, or does not authenticate.
        """
        cdef Py_ssize_t size = PyBytes_GET_SIZE(message) - self._overhead(program)
        cdef bytes payload
        cdef uint8_t* out
        cdef const uint8_t* tokens = <const uint8_t*>PyBytes_AS_STRING(program)
        cdef Py_ssize_t count = PyBytes_GET_SIZE(program)
        cdef const uint8_t* source = <const uint8_t*>PyBytes_AS_STRING(message)
        cdef int result
        if size < 0:
            raise _step_error(STEP_FORGED)
        payload = PyBytes_FromStringAndSize(NULL, size)
        out = <uint8_t*>PyBytes_AS_STRING(payload)
        with nogil:
            result = self._read(out, tokens, count, source, size)
        if result != STEP_OK:
            raise _step_error(result)
        return payload

    def split(self):
        """Return the transport ciphers, initiator to responder and back, and a secret beside them: the third output."""
        cdef uint8_t second[HASH_SIZE]
        cdef uint8_t third[HASH_SIZE]
        self._derive(NULL, 0, second, third)
        first = Cipher((<const char*>self._chaining_key)[:HASH_SIZE])
        other = Cipher((<const char*>second)[:HASH_SIZE])
        secret = (<const char*>third)[:HASH_SIZE]
        sodium_wipe(second, HASH_SIZE)
        sodium_wipe(third, HASH_SIZE)
        return first, other, secret

    cdef Py_ssize_t _overhead(self, bytes program) noexcept:
        """Bytes that keys and tags take in a message of those tokens."""
        cdef bint has_key = self._has_key
        cdef Py_ssize_t size = 0
        cdef uint8_t token
        for token in program:
            if token == TOKEN_E:
                size += KEY_SIZE
                has_key = has_key or self._uses_psks
            elif token == TOKEN_S:
                size += KEY_SIZE + (TAG_SIZE if has_key else 0)
            else:
                has_key = True
        return size + (TAG_SIZE if has_key else 0)

    cdef void _prepare(self) noexcept nogil:
        if not self._is_prepared:
            _scalarmult_base(self._ephemeral_public, self._ephemeral)
            self._is_prepared = True

    cdef int _write(
        self, uint8_t* out, const uint8_t* tokens, Py_ssize_t count, const uint8_t* payload, size_t size
    ) noexcept nogil:
        cdef Py_ssize_t index
        cdef int result
        for index in range(count):
            if tokens[index] == TOKEN_E:
                self._prepare()
                memcpy(out, self._ephemeral_public, KEY_SIZE)
                result = self._mix_ephemeral(out)
                out += KEY_SIZE
            elif tokens[index] == TOKEN_S:
                result = self._encrypt_and_hash(out, self._static_public, KEY_SIZE)
                out += KEY_SIZE + (TAG_SIZE if self._has_key else 0)
            else:
                result = self._mix_secret(tokens[index])
            if result != STEP_OK:
                return result
        return self._encrypt_and_hash(out, payload, size)

    cdef int _read(
        self, uint8_t* out, const uint8_t* tokens, Py_ssize_t count, const uint8_t* message, size_t size
    ) noexcept nogil:
        cdef Py_ssize_t index
        cdef int result
        for index in range(count):
            if tokens[index] == TOKEN_E:
                memcpy(self._remote_ephemeral, message, KEY_SIZE)
                result = self._mix_ephemeral(message)
                message += KEY_SIZE
            elif tokens[index] == TOKEN_S:
                result = self._decrypt_and_hash(self._remote_static, message, KEY_SIZE)
                self._knows_remote_static = result == STEP_OK
                message += KEY_SIZE + (TAG_SIZE if self._has_key else 0)
            else:
                result = self._mix_secret(tokens[index])
            if result != STEP_OK:
                return result
        return self._decrypt_and_hash(out, message, size)

    cdef int _mix_ephemeral(self, const uint8_t* public_key) noexcept nogil:
        cdef int result = self._mix_hash(public_key, KEY_SIZE)
        if self._uses_psks:
            # 9.2: a pre-shared key alone gives the same keys every time; the ephemeral one makes them unique.
            self._mix_key(public_key)
        return result

    cdef int _mix_secret(self, uint8_t token) noexcept nogil:
        cdef uint8_t secret[KEY_SIZE]
        cdef bint initiator_ephemeral = token == TOKEN_EE or token == TOKEN_ES
        cdef bint responder_ephemeral = token == TOKEN_EE or token == TOKEN_SE
        cdef const uint8_t* mine = self._static
        cdef const uint8_t* theirs = self._remote_static
        if token > TOKEN_SS:
            return self._mix_psk()
        if initiator_ephemeral if self._initiator else responder_ephemeral:
            mine = self._ephemeral
        if responder_ephemeral if self._initiator else initiator_ephemeral:
            theirs = self._remote_ephemeral
        if _scalarmult(secret, mine, theirs) != 0:
            return STEP_LOW_ORDER
        self._mix_key(secret)
        sodium_wipe(secret, KEY_SIZE)
        return STEP_OK

    cdef void _mix_key(self, const uint8_t* secret) noexcept nogil:
        self._derive(secret, KEY_SIZE, self._key, NULL)
        self._has_key = True
        self._nonce = 0

    cdef int _mix_psk(self) noexcept nogil:
        cdef uint8_t to_hash[HASH_SIZE]
        cdef int result
        if not self._psks_left:
            return STEP_NO_PSK
        self._psks_left -= 1
        self._derive(self._next_psk, KEY_SIZE, to_hash, self._key)
        self._next_psk += KEY_SIZE
        result = self._mix_hash(to_hash, HASH_SIZE)
        self._has_key = True
        self._nonce = 0
        sodium_wipe(to_hash, HASH_SIZE)
        return result

    cdef int _mix_hash(self, const uint8_t* data, size_t size) noexcept nogil:
        cdef uint8_t stacked[ON_STACK]
        cdef uint8_t* joined = stacked
        if HASH_SIZE + size > ON_STACK:
            joined = <uint8_t*>malloc(HASH_SIZE + size)
            if joined == NULL:
                return STEP_NO_MEMORY
        memcpy(joined, self._hash, HASH_SIZE)
        if size:
            memcpy(joined + HASH_SIZE, data, size)
        _sha256(self._hash, joined, HASH_SIZE + size)
        if joined != stacked:
            free(joined)
        return STEP_OK

    cdef int _encrypt_and_hash(self, uint8_t* out, const uint8_t* plaintext, size_t size) noexcept nogil:
        if not self._has_key:
            memcpy(out, plaintext, size)
            return self._mix_hash(out, size)
        Cipher.raw_seal(out, plaintext, size, self._hash, HASH_SIZE, self._nonce, self._key)
        self._nonce += 1  # a handshake's key seals a message or two
        return self._mix_hash(out, size + TAG_SIZE)

    cdef int _decrypt_and_hash(self, uint8_t* out, const uint8_t* ciphertext, size_t size) noexcept nogil:
        """Take what is, decrypted, so many bytes."""
        if not self._has_key:
            memcpy(out, ciphertext, size)
            return self._mix_hash(ciphertext, size)
        if Cipher.raw_open(
            out, ciphertext, size + TAG_SIZE, self._hash, HASH_SIZE, self._nonce, self._key
        ) != CIPHER_OK:
            return STEP_FORGED
        self._nonce += 1
        return self._mix_hash(ciphertext, size + TAG_SIZE)

    cdef void _derive(self, const uint8_t* secret, size_t size, uint8_t* second, uint8_t* third) noexcept nogil:
        """Set the chaining key and derive one or two keys more (4.3): HMAC as in RFC 5869, without info."""
        cdef uint64_t keyed[HMAC_STATE_WORDS]
        cdef uint64_t state[HMAC_STATE_WORDS]
        cdef uint8_t extracted[HASH_SIZE]
        cdef uint8_t number = 1
        _hmac_init(state, self._chaining_key, HASH_SIZE)
        _hmac_update(state, secret, size)
        _hmac_final(state, extracted)
        _hmac_init(keyed, extracted, HASH_SIZE)
        memcpy(state, keyed, sizeof(state))
        _hmac_update(state, &number, 1)
        _hmac_final(state, self._chaining_key)
        _next_key(keyed, self._chaining_key, 2, second)
        if third != NULL:
            _next_key(keyed, second, 3, third)
        sodium_wipe(keyed, sizeof(keyed))
        sodium_wipe(extracted, HASH_SIZE)


cdef void _next_key(const uint64_t* keyed, const uint8_t* previous, uint8_t number, uint8_t* out) noexcept nogil:
    cdef uint64_t state[HMAC_STATE_WORDS]
    memcpy(state, keyed, sizeof(state))
    _hmac_update(state, previous, HASH_SIZE)
    _hmac_update(state, &number, 1)
    _hmac_final(state, out)


cdef bint _take_key(uint8_t* target, bytes key) except -1:
    if key is None:
        return False
    if PyBytes_GET_SIZE(key) != KEY_SIZE:
        raise ValueError("a key has 32 bytes")
    memcpy(target, PyBytes_AS_STRING(key), KEY_SIZE)
    return True


cdef object _step_error(int result):
    if result == STEP_LOW_ORDER:
        return HandshakeError("the public key has low order and protects nothing")
    if result == STEP_FORGED:
        return RemoteProtocolError("a handshake message does not authenticate")
    return MemoryError() if result == STEP_NO_MEMORY else IndexError("no pre-shared key is left")


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


def sha256(bytes data not None):
    """Return the SHA-256 of the data."""
    cdef bytes out = PyBytes_FromStringAndSize(NULL, HASH_SIZE)
    _sha256(<uint8_t*>PyBytes_AS_STRING(out), <const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    return out


def hmac_sha256(bytes key not None, bytes data not None):
    """Return the HMAC-SHA-256 of the data."""
    cdef uint64_t state[HMAC_STATE_WORDS]
    cdef bytes out = PyBytes_FromStringAndSize(NULL, HASH_SIZE)
    _hmac_init(state, <const uint8_t*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
    _hmac_update(state, <const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    _hmac_final(state, <uint8_t*>PyBytes_AS_STRING(out))
    sodium_wipe(state, sizeof(state))
    return out


cdef bint _load() except *:
    """Find libsodium's functions in PyNaCl's module; return whether they are there and give the right answers."""
    global _sha256, _hmac_init, _hmac_update, _hmac_final, _scalarmult, _scalarmult_base
    cdef size_function state_size = <size_function>sodium_find("crypto_auth_hmacsha256_statebytes")
    _sha256 = <hash_function>sodium_find("crypto_hash_sha256")
    _hmac_init = <hmac_init_function>sodium_find("crypto_auth_hmacsha256_init")
    _hmac_update = <hmac_update_function>sodium_find("crypto_auth_hmacsha256_update")
    _hmac_final = <hmac_final_function>sodium_find("crypto_auth_hmacsha256_final")
    _scalarmult = <scalarmult_function>sodium_find("crypto_scalarmult_curve25519")
    _scalarmult_base = <base_function>sodium_find("crypto_scalarmult_curve25519_base")
    if (
        state_size == NULL or _sha256 == NULL or _hmac_init == NULL or _hmac_update == NULL or _hmac_final == NULL
        or _scalarmult == NULL or _scalarmult_base == NULL
    ):
        return False
    return state_size() <= HMAC_STATE_WORDS * sizeof(uint64_t) and _agrees()


cdef bint _agrees() except -1:
    cdef uint8_t out[HASH_SIZE]
    cdef uint64_t state[HMAC_STATE_WORDS]
    cdef bytes key = b"\x0b" * 20
    _sha256(out, <const uint8_t*>b"abc", 3)  # FIPS 180-4
    if (<const char*>out)[:HASH_SIZE].hex() != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad":
        return False
    _hmac_init(state, <const uint8_t*>PyBytes_AS_STRING(key), 20)  # RFC 4231, 4.2
    _hmac_update(state, <const uint8_t*>b"Hi There", 8)
    _hmac_final(state, out)
    if (<const char*>out)[:HASH_SIZE].hex() != "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7":
        return False
    # RFC 7748, 6.1.
    private = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    public = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    if x25519_public(private).hex() != "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a":
        return False
    return x25519(private, public).hex() == "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"


AVAILABLE = _load()
