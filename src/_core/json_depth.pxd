"""How deep a JSON text nests, inlined. Header only: there is no module of this name."""

from libc.stdint cimport uint8_t, uint32_t

cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>

    /* Whether a text has no bracket but the "{" that it begins and the "}" that it ends with, no backslash, and an
       even number of quotes: then what lies between those two is neither nested nor an open string. */
    static inline int librats_is_flat_bytewise(const uint8_t *text, ptrdiff_t size) {
        int odd = 0;
        if (size < 2 || text[0] != 0x7B || text[size - 1] != 0x7D) return 0;
        for (ptrdiff_t at = 1; at < size - 1; at++) {
            uint8_t lower = text[at] | 0x20;  /* "[" and "{" differ in this bit, and so do "]" and "}" */
            if (lower == 0x7B || lower == 0x7D || text[at] == 0x5C) return 0;
            odd ^= text[at] == 0x22;
        }
        return !odd;
    }

    #if defined(__GNUC__)
    typedef uint8_t librats_bytes16 __attribute__((vector_size(16)));

    /* The same, sixteen bytes at a time. */
    static inline int librats_is_flat(const uint8_t *text, ptrdiff_t size) {
        static const uint8_t places[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        librats_bytes16 bytes, lower, place, quotes = {0}, others = {0};
        uint64_t odd[2], found[2];
        ptrdiff_t at, last = size - 1;
        if (size < 18) return librats_is_flat_bytewise(text, size);
        if (text[0] != 0x7B || text[last] != 0x7D) return 0;
        for (at = 1; at < last; at += 16) {
            if (last - at >= 16) {
                memcpy(&bytes, text + at, 16);
            } else {  /* the last sixteen, without those that have been seen */
                memcpy(&bytes, text + last - 16, 16);
                memcpy(&place, places, 16);
                bytes &= (librats_bytes16)(place >= (uint8_t)(16 - (last - at)));
            }
            lower = bytes | 0x20;
            quotes ^= (librats_bytes16)(bytes == 0x22);
            others |= (librats_bytes16)((lower == 0x7B) | (lower == 0x7D) | (bytes == 0x5C));
        }
        memcpy(odd, &quotes, 16);
        memcpy(found, &others, 16);
        odd[0] ^= odd[1];
        odd[0] ^= odd[0] >> 32;
        odd[0] ^= odd[0] >> 16;
        odd[0] ^= odd[0] >> 8;
        return !(found[0] | found[1]) && !(odd[0] & 1);
    }
    #else
    #define librats_is_flat librats_is_flat_bytewise
    #endif
    """
    bint librats_is_flat(const uint8_t* text, Py_ssize_t size) noexcept nogil


cdef enum:
    COUNTED_TOGETHER = 240  # so few that a byte counts them; sixteen at a time, they leave nothing over


cdef inline uint32_t _opening_brackets(const uint8_t* text, Py_ssize_t size) noexcept nogil:
    cdef uint32_t brackets = 0
    cdef uint8_t some
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t end
    # "[" and "{" differ in one bit. The inner loop is one that compilers make vector instructions of.
    while at < size:
        end = min(size, at + COUNTED_TOGETHER)
        some = 0
        while at < end:
            some += <uint8_t>((text[at] | 0x20) == 0x7B)
            at += 1
        brackets += some
    return brackets


cdef inline bint nests_deeper(const uint8_t* text, Py_ssize_t size, int limit) noexcept nogil:
    cdef const uint8_t* p = text
    cdef const uint8_t* end = text + size
    cdef int depth = 0
    cdef inline bint in_string = False
    # Few opening brackets, those within strings included, cannot nest deep.
    if _opening_brackets(text, size) <= <uint32_t>limit:
        return False
    while p < end:
        if in_string:
            if p[0] == 92:  # a backslash: whatever follows is not the closing quote
                p += 1
            elif p[0] == 34:
                in_string = False
        elif p[0] == 34:
            in_string = True
        elif p[0] == 91 or p[0] == 123:
            depth += 1
            if depth > limit:
                return True
        elif p[0] == 93 or p[0] == 125:
            depth -= 1
        p += 1
    return False


cdef inline bint is_closed_json(const uint8_t* text, Py_ssize_t size, int limit) noexcept nogil:
    """Whether a text ends outside strings and at the depth at which it begins, and nests no deeper than a limit."""
    cdef const uint8_t* p = text
    cdef const uint8_t* end = text + size
    cdef int depth = 0
    cdef bint in_string = False
    if limit > 0 and librats_is_flat(text, size):
        return True
    while p < end:
        if in_string:
            if p[0] == 92:  # a backslash: whatever follows is not the closing quote
                p += 1
            elif p[0] == 34:
                in_string = False
        elif p[0] == 34:
            in_string = True
        elif p[0] == 91 or p[0] == 123:
            depth += 1
            if depth > limit:
                return False
        elif p[0] == 93 or p[0] == 125:
            depth -= 1
        p += 1
    return p == end and depth == 0 and not in_string
