"""How deep a JSON text nests, inlined. Header only: there is no module of this name."""

from libc.stdint cimport uint8_t, uint32_t


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
