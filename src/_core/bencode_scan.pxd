"""Where the tokens of bencode begin and end (BEP 3), inlined. Header only: there is no module of this name.

Every reader of bencode goes through these: what they refuse is told by a :c:type:`Scan`, as a flaw and its offset.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint64_t

cdef enum:
    # CPython turns that many digits into a number whatever limit a program has set (sys.set_int_max_str_digits).
    MAX_DIGITS = 640
    # What fits a signed integer of 64 bits whatever the digits are.
    SMALL_DIGITS = 18
    # Containers in containers that skip_value() follows: one bit for each tells which are dictionaries.
    MAX_SKIPPED = 64


cdef enum Flaw:
    SOUND
    CUT_SHORT
    NO_VALUE
    NO_DIGIT
    LEADING_ZERO
    NEGATIVE_ZERO
    TOO_MANY_DIGITS
    NO_END_OF_INTEGER
    NO_COLON
    STRING_TOO_LONG
    NO_KEY
    UNSORTED_KEY
    SAME_KEY
    TOO_DEEP
    TOO_MANY_TOKENS
    TRAILING_BYTES


cdef struct Scan:
    const uint8_t* data
    # Bytes that are there, and how many of them were read.
    size_t size
    size_t at
    # Whether what is not canonical is refused.
    bint strict
    Flaw flaw
    size_t flaw_at


cdef struct Span:
    size_t at
    size_t size


cdef inline void begin_scan(Scan* scan, const uint8_t* data, size_t size, bint strict) noexcept nogil:
    scan.data = data
    scan.size = size
    scan.at = 0
    scan.strict = strict
    scan.flaw = SOUND
    scan.flaw_at = 0


cdef inline bint refuse(Scan* scan, Flaw flaw, size_t at) noexcept nogil:
    """Note what is wrong, and where; always False."""
    scan.flaw = flaw
    scan.flaw_at = at
    return False


cdef inline bint is_digit(uint8_t byte) noexcept nogil:
    return <unsigned int>byte - 48 <= 9


cdef inline bint scan_string(Scan* scan, Span* found) noexcept nogil:
    """Read the string that begins with the digit at ``scan.at``, and go behind it."""
    cdef size_t at = scan.at + 1
    cdef size_t start = scan.at
    cdef size_t length = scan.data[start] - 48
    cdef unsigned int digit
    # Most lengths have one digit or two, and no leading zero.
    if at < scan.size and scan.data[at] == b":":
        at += 1
    elif at + 1 < scan.size and scan.data[at + 1] == b":" and is_digit(scan.data[at]) and length:
        length = length * 10 + (scan.data[at] - 48)
        at += 2
    else:
        if length == 0 and scan.strict and at < scan.size and is_digit(scan.data[at]):
            return refuse(scan, LEADING_ZERO, start)
        while True:
            if at == scan.size:
                return refuse(scan, CUT_SHORT, at)
            digit = <unsigned int>scan.data[at] - 48
            if digit > 9:
                break
            # Beyond the input it is too long already: it need not grow on, and does not overflow.
            if length <= scan.size:
                length = length * 10 + digit
            at += 1
        if scan.data[at] != b":":
            return refuse(scan, NO_COLON, at)
        at += 1
    if length > scan.size - at:
        return refuse(scan, STRING_TOO_LONG, start)
    found.at = at
    found.size = length
    scan.at = at + length
    return True


cdef inline bint scan_integer(Scan* scan, Span* found) noexcept nogil:
    """Read the integer whose ``i`` is at ``scan.at``, and go behind it; found are its sign and digits."""
    cdef size_t start = scan.at + 1
    cdef size_t first = start
    cdef size_t at
    if first < scan.size and scan.data[first] == b"-":
        first += 1
    at = first
    while at < scan.size and <unsigned int>scan.data[at] - 48 <= 9:
        at += 1
        if at - first > MAX_DIGITS:
            return refuse(scan, TOO_MANY_DIGITS, at - 1)
    if at == scan.size:
        return refuse(scan, CUT_SHORT, at)
    if at == first:
        return refuse(scan, NO_DIGIT, at)
    if scan.data[at] != b"e":
        return refuse(scan, NO_END_OF_INTEGER, at)
    if scan.strict and scan.data[first] == b"0":
        if at - first > 1:
            return refuse(scan, LEADING_ZERO, first)
        if first > start:
            return refuse(scan, NEGATIVE_ZERO, first)
    found.at = start
    found.size = at - start
    scan.at = at + 1
    return True


cdef inline int64_t small_integer(const uint8_t* digits, size_t size) noexcept nogil:
    """The number of a sign and at most SMALL_DIGITS digits."""
    cdef bint negative = digits[0] == b"-"
    cdef size_t at = 1 if negative else 0
    cdef int64_t value = 0
    while at < size:
        value = value * 10 + (digits[at] - 48)
        at += 1
    return -value if negative else value


cdef inline bint fitting_integer(const uint8_t* digits, size_t size, int64_t* value) noexcept nogil:
    """Whether the number of a sign and digits fits 64 bits; without a sign, 19 digits may."""
    cdef uint64_t large = 0
    cdef size_t at
    if size <= SMALL_DIGITS:
        value[0] = small_integer(digits, size)
        return True
    if size > SMALL_DIGITS + 1 or digits[0] == b"-":
        return False
    for at in range(size):
        large = large * 10 + (digits[at] - 48)
    value[0] = <int64_t>large
    return large <= <uint64_t>INT64_MAX


cdef inline bint scan_key(Scan* scan, Span* found) noexcept nogil:
    """Read a key of a dictionary, where there must be one."""
    if scan.at == scan.size:
        return refuse(scan, CUT_SHORT, scan.at)
    if not is_digit(scan.data[scan.at]):
        return refuse(scan, NO_KEY, scan.at)
    return scan_string(scan, found)


cdef inline bint skip_value(Scan* scan, unsigned int depth) noexcept nogil:
    """Go behind the value at ``scan.at``, in at most ``depth`` containers (MAX_SKIPPED at the most).

    The order of keys is not looked at.
    """
    cdef uint64_t dictionaries = 0
    cdef unsigned int opened = 0
    cdef bint key = False
    cdef Span span
    cdef uint8_t byte
    while True:
        if scan.at == scan.size:
            return refuse(scan, CUT_SHORT, scan.at)
        byte = scan.data[scan.at]
        if is_digit(byte):
            if not scan_string(scan, &span):
                return False
            if key:
                key = False
                continue
        elif byte == b"e" and opened and (key or not dictionaries & 1):
            scan.at += 1
            opened -= 1
            dictionaries >>= 1
        elif key:
            return refuse(scan, NO_KEY, scan.at)
        elif byte == b"i":
            if not scan_integer(scan, &span):
                return False
        elif byte == b"l" or byte == b"d":
            if opened >= depth:
                return refuse(scan, TOO_DEEP, scan.at)
            opened += 1
            dictionaries = dictionaries << 1 | (byte == b"d")
            scan.at += 1
            key = byte == b"d"
            continue
        else:
            return refuse(scan, NO_VALUE, scan.at)
        if not opened:
            return True
        key = dictionaries & 1
