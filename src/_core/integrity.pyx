"""What guards STUN messages: HMAC-SHA-1 (RFC 2104, FIPS 180-4) and the CRC-32 of FINGERPRINT (RFC 8489, 14.7).

SHA-1 stands here because a call of the interpreter's costs more than the whole of a STUN message; nothing but STUN
asks for it. Its blocks go through the OpenSSL that the interpreter has loaded where that shows its function for them,
which uses what processors have for SHA-1 (:data:`BY_OPENSSL` tells). The functions need neither the GIL nor memory of
their own.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from librats._core.evp cimport evp_find
from librats._core.octets cimport store_be32

cdef extern from *:
    """
    #define SHA1_ROTATE(x, n) (((x) << (n)) | ((x) >> (32 - (n))))
    #define SHA1_LOAD(i) (w[i] = (uint32_t)p[4 * (i)] << 24 | (uint32_t)p[4 * (i) + 1] << 16 \\
                                 | (uint32_t)p[4 * (i) + 2] << 8 | (uint32_t)p[4 * (i) + 3])
    #define SHA1_MIX(i) (w[(i) & 15] = SHA1_ROTATE(w[((i) + 13) & 15] ^ w[((i) + 8) & 15] \\
                                                   ^ w[((i) + 2) & 15] ^ w[(i) & 15], 1))
    #define SHA1_STEP(a, b, c, d, e, f, k, word) \\
        e += SHA1_ROTATE(a, 5) + (f) + (k) + (word); b = SHA1_ROTATE(b, 30);
    #define SHA1_CHOOSE(b, c, d) ((d) ^ ((b) & ((c) ^ (d))))
    #define SHA1_PARITY(b, c, d) ((b) ^ (c) ^ (d))
    #define SHA1_MAJORITY(b, c, d) (((b) & (c)) | ((d) & ((b) | (c))))
    #define SHA1_FIVE(f, k, word, i) \\
        SHA1_STEP(a, b, c, d, e, f(b, c, d), k, word(i)) \\
        SHA1_STEP(e, a, b, c, d, f(a, b, c), k, word((i) + 1)) \\
        SHA1_STEP(d, e, a, b, c, f(e, a, b), k, word((i) + 2)) \\
        SHA1_STEP(c, d, e, a, b, f(d, e, a), k, word((i) + 3)) \\
        SHA1_STEP(b, c, d, e, a, f(c, d, e), k, word((i) + 4))
    #define SHA1_TWENTY(f, k, i) \\
        SHA1_FIVE(f, k, SHA1_MIX, i) SHA1_FIVE(f, k, SHA1_MIX, (i) + 5) \\
        SHA1_FIVE(f, k, SHA1_MIX, (i) + 10) SHA1_FIVE(f, k, SHA1_MIX, (i) + 15)

    static void sha1_portable(uint32_t *state, const uint8_t *p, size_t count) {
        uint32_t w[16];
        for (; count; count--, p += 64) {
            uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
            SHA1_FIVE(SHA1_CHOOSE, 0x5A827999u, SHA1_LOAD, 0)
            SHA1_FIVE(SHA1_CHOOSE, 0x5A827999u, SHA1_LOAD, 5)
            SHA1_FIVE(SHA1_CHOOSE, 0x5A827999u, SHA1_LOAD, 10)
            SHA1_STEP(a, b, c, d, e, SHA1_CHOOSE(b, c, d), 0x5A827999u, SHA1_LOAD(15))
            SHA1_STEP(e, a, b, c, d, SHA1_CHOOSE(a, b, c), 0x5A827999u, SHA1_MIX(16))
            SHA1_STEP(d, e, a, b, c, SHA1_CHOOSE(e, a, b), 0x5A827999u, SHA1_MIX(17))
            SHA1_STEP(c, d, e, a, b, SHA1_CHOOSE(d, e, a), 0x5A827999u, SHA1_MIX(18))
            SHA1_STEP(b, c, d, e, a, SHA1_CHOOSE(c, d, e), 0x5A827999u, SHA1_MIX(19))
            SHA1_TWENTY(SHA1_PARITY, 0x6ED9EBA1u, 20)
            SHA1_TWENTY(SHA1_MAJORITY, 0x8F1BBCDCu, 40)
            SHA1_TWENTY(SHA1_PARITY, 0xCA62C1D6u, 60)
            state[0] += a; state[1] += b; state[2] += c; state[3] += d; state[4] += e;
        }
    }
    """
    void sha1_portable(uint32_t* state, const uint8_t* data, size_t count) noexcept nogil


cdef struct OpensslSha1:
    # What SHA_CTX begins with; the rest of it is not looked at where whole blocks are taken.
    uint32_t state[5]
    uint8_t rest[108]

ctypedef void (*transform_function)(OpensslSha1*, const uint8_t*) noexcept nogil

cdef struct Sha1:
    uint32_t state[5]
    uint64_t size
    uint8_t block[64]


# Written once, below, while this module is imported; read only ever after.
cdef uint32_t _table[8][256]
cdef transform_function _transform = NULL


cdef void sha1_blocks(uint32_t* state, const uint8_t* data, size_t count) noexcept nogil:
    cdef OpensslSha1 context
    cdef size_t i
    if _transform == NULL:
        sha1_portable(state, data, count)
        return
    memcpy(context.state, state, sizeof(context.state))
    for i in range(count):
        _transform(&context, data + 64 * i)
    memcpy(state, context.state, sizeof(context.state))


cdef void sha1_begin(Sha1* state) noexcept nogil:
    state.state[0] = 0x67452301
    state.state[1] = 0xEFCDAB89
    state.state[2] = 0x98BADCFE
    state.state[3] = 0x10325476
    state.state[4] = 0xC3D2E1F0
    state.size = 0


cdef void sha1_add(Sha1* state, const uint8_t* data, size_t size) noexcept nogil:
    cdef size_t held = <size_t>(state.size & 63)
    cdef size_t taken
    state.size += size
    if held:
        taken = min(size, 64 - held)
        memcpy(state.block + held, data, taken)
        data += taken
        size -= taken
        if held + taken < 64:
            return
        sha1_blocks(state.state, state.block, 1)
    if size >= 64:
        sha1_blocks(state.state, data, size >> 6)
        data += size & ~<size_t>63
        size &= 63
    if size:
        memcpy(state.block, data, size)


cdef void sha1_end(Sha1* state, uint8_t* digest) noexcept nogil:
    cdef size_t held = <size_t>(state.size & 63)
    cdef uint64_t bits = state.size << 3
    cdef int i
    state.block[held] = 0x80
    held += 1
    if held > 56:
        memset(state.block + held, 0, 64 - held)
        sha1_blocks(state.state, state.block, 1)
        held = 0
    memset(state.block + held, 0, 56 - held)
    store_be32(state.block + 56, <uint32_t>(bits >> 32))
    store_be32(state.block + 60, <uint32_t>bits)
    sha1_blocks(state.state, state.block, 1)
    for i in range(5):
        store_be32(digest + 4 * i, state.state[i])


cdef void make_hmac_key(HmacKey* made, const uint8_t* key, size_t key_size) noexcept nogil:
    """What HMAC-SHA-1 makes of a key before it sees a message: half of the work for a short one."""
    cdef Sha1 state
    cdef uint8_t pad[64]
    cdef uint8_t hashed[SHA1_SIZE]
    cdef size_t i
    if key_size > 64:
        sha1_begin(&state)
        sha1_add(&state, key, key_size)
        sha1_end(&state, hashed)
        key = hashed
        key_size = SHA1_SIZE
    memset(pad, 0x36, 64)
    for i in range(key_size):
        pad[i] ^= key[i]
    sha1_begin(&state)
    sha1_blocks(state.state, pad, 1)
    memcpy(made.inner, state.state, sizeof(made.inner))
    for i in range(64):
        pad[i] ^= 0x36 ^ 0x5C
    sha1_begin(&state)
    sha1_blocks(state.state, pad, 1)
    memcpy(made.outer, state.state, sizeof(made.outer))
    memset(pad, 0, 64)


cdef void hmac_sha1_with(
    const HmacKey* key, const uint8_t* head, size_t head_size, const uint8_t* rest, size_t rest_size, uint8_t* out
) noexcept nogil:
    """HMAC-SHA-1 over two pieces, one behind the other; ``out`` takes 20 bytes."""
    cdef Sha1 state
    memcpy(state.state, key.inner, sizeof(key.inner))
    state.size = 64
    sha1_add(&state, head, head_size)
    sha1_add(&state, rest, rest_size)
    sha1_end(&state, out)
    memcpy(state.state, key.outer, sizeof(key.outer))
    state.size = 64
    sha1_add(&state, out, SHA1_SIZE)
    sha1_end(&state, out)


cdef void hmac_sha1(
    const uint8_t* key, size_t key_size, const uint8_t* head, size_t head_size, const uint8_t* rest, size_t rest_size,
    uint8_t* out
) noexcept nogil:
    """The same with a key that is needed once."""
    cdef HmacKey made
    make_hmac_key(&made, key, key_size)
    hmac_sha1_with(&made, head, head_size, rest, rest_size, out)
    memset(&made, 0, sizeof(made))


cdef bint equal_bytes(const uint8_t* a, const uint8_t* b, size_t size) noexcept nogil:
    """Compare in a time that does not tell where they differ."""
    cdef uint8_t difference = 0
    cdef size_t i
    for i in range(size):
        difference |= a[i] ^ b[i]
    return difference == 0


cdef uint32_t crc32(uint32_t crc, const uint8_t* data, size_t size) noexcept nogil:
    """The CRC-32 of zlib and Ethernet, eight bytes a step; begin with 0, go on with what was returned."""
    cdef uint32_t low
    crc = ~crc
    while size >= 8:
        low = crc ^ (data[0] | <uint32_t>data[1] << 8 | <uint32_t>data[2] << 16 | <uint32_t>data[3] << 24)
        crc = (
            _table[7][low & 255] ^ _table[6][(low >> 8) & 255] ^ _table[5][(low >> 16) & 255] ^ _table[4][low >> 24]
            ^ _table[3][data[4]] ^ _table[2][data[5]] ^ _table[1][data[6]] ^ _table[0][data[7]]
        )
        data += 8
        size -= 8
    while size:
        crc = crc >> 8 ^ _table[0][(crc ^ data[0]) & 255]
        data += 1
        size -= 1
    return ~crc


cdef void _fill_table() noexcept nogil:
    cdef uint32_t value
    cdef int byte, k, _
    for byte in range(256):
        value = <uint32_t>byte
        for _ in range(8):
            value = value >> 1 ^ (<uint32_t>0xEDB88320 & -(value & 1))
        _table[0][byte] = value
    for byte in range(256):
        for k in range(1, 8):
            _table[k][byte] = _table[k - 1][byte] >> 8 ^ _table[0][_table[k - 1][byte] & 255]


_fill_table()


cdef bint _find_transform() except *:
    """Take OpenSSL's function for blocks of SHA-1, where it is there and does what ours does."""
    global _transform
    cdef uint8_t data[192]
    cdef uint32_t ours[5]
    cdef uint32_t theirs[5]
    cdef int i
    for i in range(192):
        data[i] = <uint8_t>(i * 7 + 3)
    for i in range(5):
        ours[i] = theirs[i] = <uint32_t>(0x01234567 * (2 * i + 1))
    _transform = <transform_function>evp_find("SHA1_Transform")
    if _transform == NULL:
        return False
    sha1_portable(ours, data, 3)
    sha1_blocks(theirs, data, 3)
    if memcmp(ours, theirs, sizeof(ours)) != 0:
        _transform = NULL
    return _transform != NULL


BY_OPENSSL = _find_transform()
