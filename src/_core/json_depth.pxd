"""How deep a JSON text nests, inlined. Header only: there is no module of this name."""

from libc.stdint cimport uint8_t, uint32_t


cdef inline bint nests_deeper(const uint8_t* text, Py_ssize_t size, int limit) noexcept nogil:
    cdef const uint8_t* p = text
    cdef const uint8_t* end = text + size
    cdef Py_ssize_t index
    cdef uint32_t brackets = 0
    cdef int depth = 0
    cdef inline bint in_string = False
    # Few opening brackets, those within strings included, cannot nest deep. "[" and "{" differ in one bit; the loop
    # is one that compilers make vector instructions of.
    for index in range(size):
        brackets += (text[index] | 0x20) == 0x7B
    if brackets <= <uint32_t>limit:
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
