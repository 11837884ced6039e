"""IPv4 and IPv6 addresses as text, written and read without the system's resolver. Header only: no such module.

IPv6 is written as RFC 5952 recommends: lower case, the longest run of zeros shortened, IPv4-mapped addresses dotted.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

cdef enum:
    IP_TEXT_SIZE = 46  # the longest text, and a byte


cdef inline size_t write_ipv4(char* out, const uint8_t* host) noexcept nogil:
    """Write dotted decimals, at most 15 characters; return how many."""
    cdef size_t at = 0
    cdef int i
    cdef unsigned int byte
    for i in range(4):
        byte = host[i]
        if i:
            out[at] = c"."
            at += 1
        if byte >= 100:
            out[at] = <char>(c"0" + byte // 100)
            at += 1
        if byte >= 10:
            out[at] = <char>(c"0" + byte // 10 % 10)
            at += 1
        out[at] = <char>(c"0" + byte % 10)
        at += 1
    return at


cdef inline size_t _write_group(char* out, unsigned int group) noexcept nogil:
    cdef const char* digits = "0123456789abcdef"
    cdef size_t at = 0
    cdef int shift = 12
    while shift and not group >> shift:
        shift -= 4
    while shift >= 0:
        out[at] = digits[(group >> shift) & 15]
        at += 1
        shift -= 4
    return at


cdef inline size_t write_ipv6(char* out, const uint8_t* host) noexcept nogil:
    """Write colon-separated groups, at most 45 characters; return how many."""
    cdef unsigned int groups[8]
    cdef int i, count = 8, run = 0, best = -1, best_size = 1
    cdef size_t at = 0
    for i in range(8):
        groups[i] = (<unsigned int>host[2 * i] << 8) | host[2 * i + 1]
        run = run + 1 if groups[i] == 0 else 0
        if run > best_size:
            best_size = run
            best = i + 1 - run
    if best == 0 and best_size == 5 and groups[5] == 0xFFFF:
        count = 6
    for i in range(count):
        if best <= i < best + best_size and best >= 0:
            if i == best:
                out[at] = c":"
                at += 1
            continue
        if i:
            out[at] = c":"
            at += 1
        at += _write_group(out + at, groups[i])
    if best >= 0 and best + best_size == 8:
        out[at] = c":"
        at += 1
    if count == 6:
        out[at] = c":"
        at += 1 + write_ipv4(out + at + 1, host + 12)
    return at


cdef inline bint read_ipv4(const char* text, size_t size, uint8_t* host) noexcept nogil:
    """Read four dotted decimals without leading zeros; False where the text is anything else."""
    cdef size_t at = 0, started
    cdef int i
    cdef unsigned int value
    for i in range(4):
        if i:
            if at >= size or text[at] != c".":
                return False
            at += 1
        value = 0
        started = at
        while at < size and c"0" <= text[at] <= c"9" and at - started < 3:
            value = value * 10 + <unsigned int>(text[at] - c"0")
            at += 1
        if at == started or value > 255 or (at - started > 1 and text[started] == c"0"):
            return False
        host[i] = <uint8_t>value
    return at == size


cdef inline int _hex_digit(char character) noexcept nogil:
    if c"0" <= character <= c"9":
        return character - c"0"
    if c"a" <= character <= c"f":
        return character - c"a" + 10
    if c"A" <= character <= c"F":
        return character - c"A" + 10
    return -1


cdef inline bint read_ipv6(const char* text, size_t size, uint8_t* host) noexcept nogil:
    """Read an IPv6 address, with or without a dotted end; False where the text is anything else.

    A zone (``%eth0``) is left out: it means nothing to another host.
    """
    cdef uint8_t groups[16]
    cdef size_t at = 0, filled = 0, started
    cdef Py_ssize_t gap = -1
    cdef unsigned int value
    for started in range(size):
        if text[started] == c"%":
            size = started
            break
    if size >= 2 and text[0] == c":" and text[1] == c":":
        gap = 0
        at = 2
    while at < size:
        if filled == 16:
            return False
        started = at
        value = 0
        while at < size and _hex_digit(text[at]) >= 0 and at - started < 4:
            value = value << 4 | <unsigned int>_hex_digit(text[at])
            at += 1
        if at < size and text[at] == c".":
            if filled > 12 or not read_ipv4(text + started, size - started, groups + filled):
                return False
            filled += 4
            break
        if at == started:
            return False
        groups[filled] = <uint8_t>(value >> 8)
        groups[filled + 1] = <uint8_t>(value & 0xFF)
        filled += 2
        if at == size:
            break
        if text[at] != c":":
            return False
        at += 1
        if at == size:
            return False
        if text[at] == c":":
            if gap >= 0:
                return False
            gap = filled
            at += 1
    if gap < 0:
        if filled != 16:
            return False
        memcpy(host, groups, 16)
        return True
    if filled > 14:
        return False
    memset(host, 0, 16)
    memcpy(host, groups, gap)
    memcpy(host + 16 - (filled - gap), groups + gap, filled - gap)
    return True
