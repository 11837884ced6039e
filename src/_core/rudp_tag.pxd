"""The keyed tag of packets between two of ours: ChaCha20-Poly1305 (RFC 8439) of nothing, the packet as associated data,
cut to eight bytes. Header only.

The nonce is the whole number of the packet, of which the lower half is on the wire. No number is used twice, and each
direction has a key of its own, which the session above gives. Long packets go through the interpreter's OpenSSL.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from librats._core.aead cimport CIPHER_OK, KEY_SIZE, TAG_SIZE, Cipher
from librats._core.evp cimport EVP_SEALING, evp_available, evp_free, evp_new, evp_seal, evp_set_key
from librats._core.octets cimport store_le64
from librats._core.rudp_state cimport Conn
from librats._core.rudp_wire cimport BODY_DATA, BODY_DATAGRAM, BODY_PING, TAG

cdef enum:
    LONG_FROM = 2048  # bytes from which on OpenSSL is quicker


cdef inline bint make_tag(
    const uint8_t* packet, uint32_t size, uint64_t number, const uint8_t* key, void** long_one, uint8_t* out
) noexcept nogil:
    """Write sixteen bytes, of which eight are the tag; False where the library could not."""
    cdef uint8_t nonce[12]
    if size >= LONG_FROM and evp_available():
        if long_one[0] == NULL:
            long_one[0] = evp_new()
            if long_one[0] != NULL and not evp_set_key(long_one[0], EVP_SEALING, key):
                evp_free(long_one[0])
                long_one[0] = NULL
        if long_one[0] != NULL:
            memset(nonce, 0, 4)
            store_le64(nonce + 4, number)
            return evp_seal(long_one[0], out, packet, 0, packet, size, nonce)
    return Cipher.raw_seal(out, packet, 0, packet, size, number, key) == CIPHER_OK


cdef inline bint write_tag(Conn* c, uint8_t* packet, uint32_t size, uint64_t number) noexcept nogil:
    """Write eight bytes behind the packet; False where the library could not."""
    cdef uint8_t tag[16]
    if not make_tag(packet, size, number, c.key_out, &c.long_out, tag):
        return False
    memcpy(packet + size, tag, TAG)
    return True


cdef inline bint check_tag(Conn* c, const uint8_t* packet, uint32_t size, uint64_t number) noexcept nogil:
    """Whether the last eight bytes of the packet are its tag."""
    cdef uint8_t tag[16]
    cdef uint8_t difference = 0
    cdef int i
    if not make_tag(packet, size - TAG, number, c.key_in, &c.long_in, tag):
        return False
    for i in range(TAG):
        difference |= tag[i] ^ packet[size - TAG + i]
    return difference == 0


cdef inline void forget_keys(Conn* c) noexcept nogil:
    memset(c.key_out, 0, KEY_SIZE)
    memset(c.key_in, 0, KEY_SIZE)
    drop_contexts(c)


cdef inline void drop_contexts(Conn* c) noexcept nogil:
    if c.long_out != NULL:
        evp_free(c.long_out)
    if c.long_in != NULL:
        evp_free(c.long_in)
    c.long_out = NULL
    c.long_in = NULL


cdef inline bint must_tag(const Conn* c, uint8_t body, uint64_t offset) noexcept nogil:
    """Whether a packet has a tag.

    Until the peer is known to have the key, what was written before it was agreed goes without, and so do
    acknowledgements: the peer may need them to come to the key.
    """
    if not c.has_key or c.agreed:
        return c.has_key
    return body == BODY_DATAGRAM or body == BODY_PING or (body == BODY_DATA and offset >= c.mark)
