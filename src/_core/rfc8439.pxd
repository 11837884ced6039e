"""The vector of RFC 8439, 2.8.2, which whatever does ChaCha20-Poly1305 is checked by before it is used."""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp

ctypedef bint (*seal_by)(
    uint8_t* out, const uint8_t* plaintext, size_t size, const uint8_t* ad, size_t ad_size,
    const uint8_t* nonce, const uint8_t* key
) noexcept nogil
ctypedef bint (*open_by)(
    uint8_t* out, const uint8_t* ciphertext, size_t size, const uint8_t* ad, size_t ad_size,
    const uint8_t* nonce, const uint8_t* key
) noexcept nogil


cdef inline bint agrees_with_rfc8439(seal_by seal, open_by open) except -1:
    """Tell whether two functions seal as the RFC does, open that in place, and refuse what is forged."""
    cdef bytes key = bytes(range(0x80, 0xA0))
    cdef bytes nonce = bytes.fromhex("070000004041424344454647")
    cdef bytes ad = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    cdef bytes plaintext = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
        b"sunscreen would be it."
    )
    cdef bytes ciphertext = bytes.fromhex(
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e06"
        "0b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d265"
        "86cec64b61161ae10b594f09e26a7e902ecbd0600691"
    )
    cdef uint8_t out[256]
    cdef size_t size = len(plaintext)
    cdef size_t sealed = len(ciphertext)
    if not seal(out, plaintext, size, ad, len(ad), nonce, key):
        return False
    if memcmp(out, <const uint8_t*>ciphertext, sealed) != 0:
        return False
    if not open(out, out, sealed, ad, len(ad), nonce, key) or memcmp(out, <const uint8_t*>plaintext, size) != 0:
        return False
    seal(out, plaintext, size, ad, len(ad), nonce, key)
    out[3] ^= 1
    return not open(out, out, sealed, ad, len(ad), nonce, key)
