"""Values of STUN and TURN attributes: what Python sees of the bytes, and the bytes of what Python gives.

Attributes of RFC 8489, 8656, 5780, 8445, 6062 and 8016 are known here; the value of any other is its bytes.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.number cimport PyNumber_Index
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeASCII, PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memset

from librats._core.ip_text cimport IP_TEXT_SIZE, read_ipv4, read_ipv6, write_ipv4, write_ipv6
from librats._core.octets cimport load_be16, load_be32, store_be16, store_be32
from librats._core.stun_layout cimport FAMILY_IPV4, FAMILY_IPV6, IpAddress, load_address, padded_size, store_address

from librats.errors import StunError, UsageError

cdef enum:
    MAX_MESSAGE = 20 + 65532
    USERNAME = 0x0006
    MAX_USERNAME_SENT = 508
    MAX_USERNAME = 512  # what RFC 5389 allowed
    MAX_TEXT = 763


cdef int form_of(unsigned int type) noexcept nogil:
    """Return the form of an attribute's value; UNKNOWN for those that this codec does not know."""
    if type == 0x0020 or type == 0x0012 or type == 0x0016:  # XOR-MAPPED-, XOR-PEER-, XOR-RELAYED-ADDRESS
        return XOR_ADDRESS
    if type == 0x0006 or type == 0x0014 or type == 0x0015 or type == 0x8003:
        return TEXT  # USERNAME, REALM, NONCE, ALTERNATE-DOMAIN
    if type == 0x8022:  # SOFTWARE
        return FREE_TEXT
    if type == 0x0008 or type == 0x001C or type == 0x0013 or type == 0x0026 or type == 0x8030:
        return OCTETS  # MESSAGE-INTEGRITY, -SHA256, DATA, PADDING, MOBILITY-TICKET
    if type == 0x8028:  # FINGERPRINT
        return CHECKSUM
    if type == 0x0024 or type == 0x000D or type == 0x0003 or type == 0x002A or type == 0x8027:
        return UINT32  # PRIORITY, LIFETIME, CHANGE-REQUEST, CONNECTION-ID, CACHE-TIMEOUT
    if type == 0x8029 or type == 0x802A:  # ICE-CONTROLLED, ICE-CONTROLLING
        return UINT64
    if type == 0x0025 or type == 0x001A:  # USE-CANDIDATE, DONT-FRAGMENT
        return FLAG
    if type == 0x0019 or type == 0x0017 or type == 0x8000:
        return UINT8_FIRST  # REQUESTED-TRANSPORT, REQUESTED- and ADDITIONAL-ADDRESS-FAMILY
    if type == 0x000C or type == 0x0027:  # CHANNEL-NUMBER, RESPONSE-PORT
        return UINT16_FIRST
    if type == 0x0001 or type == 0x8023 or type == 0x802B or type == 0x802C or type == 0x0004 or type == 0x0005:
        return ADDRESS  # MAPPED-ADDRESS, ALTERNATE-SERVER, RESPONSE-ORIGIN, OTHER-ADDRESS; SOURCE-, CHANGED-ADDRESS
    if type == 0x0009:
        return ERROR
    if type == 0x000A:
        return TYPES
    if type == 0x001D:
        return ALGORITHM
    if type == 0x8002:
        return ALGORITHMS
    if type == 0x001E:
        return USER_HASH
    if type == 0x0022:  # RESERVATION-TOKEN
        return EIGHT_OCTETS
    if type == 0x0018:  # EVEN-PORT
        return TOP_BIT
    if type == 0x8001:  # ADDRESS-ERROR-CODE
        return FAMILY_ERROR
    if type == 0x8004:  # ICMP
        return ICMP_ERROR
    return UNKNOWN


cdef object _malformed(unsigned int type, str what):
    return StunError(400, f"Bad Request: attribute 0x{type:04X}: {what}")


cdef object _decode_address(unsigned int type, const uint8_t* value, size_t size, const uint8_t* mask):
    cdef IpAddress address
    cdef char text[IP_TEXT_SIZE]
    cdef size_t length
    if not load_address(value, size, mask, &address):
        raise _malformed(type, "neither an IPv4 nor an IPv6 address")
    length = write_ipv4(text, address.host) if address.family == FAMILY_IPV4 else write_ipv6(text, address.host)
    return PyUnicode_DecodeASCII(text, length, NULL), address.port


cdef object _decode_text(unsigned int type, const uint8_t* value, size_t size):
    if size > (MAX_USERNAME if type == USERNAME else MAX_TEXT):
        raise _malformed(type, "too long")
    try:
        return PyUnicode_DecodeUTF8(<const char*>value, size, NULL)
    except UnicodeDecodeError:
        raise _malformed(type, "not UTF-8") from None


cdef object _decode_error(unsigned int type, const uint8_t* value, size_t size):
    if size < 4:
        raise _malformed(type, "shorter than 4 bytes")
    if not 3 <= value[2] & 7 <= 6 or value[3] > 99:
        raise _malformed(type, "not a code from 300 to 699")
    return (value[2] & 7) * 100 + value[3], PyUnicode_DecodeUTF8(<const char*>value + 4, size - 4, "replace")


cdef object _decode_algorithms(unsigned int type, const uint8_t* value, size_t size):
    cdef list found = []
    cdef size_t at = 0, length
    while at < size:
        if size - at < 4:
            raise _malformed(type, "an algorithm runs past the end")
        length = load_be16(value + at + 2)
        if size - at - 4 < length:
            raise _malformed(type, "an algorithm runs past the end")
        found.append((load_be16(value + at), PyBytes_FromStringAndSize(<const char*>value + at + 4, length)))
        at += 4 + padded_size(length)
    return tuple(found)


cdef uint64_t _load_be64(const uint8_t* value) noexcept nogil:
    return <uint64_t>load_be32(value) << 32 | load_be32(value + 4)


cdef object decode_value(unsigned int type, const uint8_t* value, size_t size, const uint8_t* mask):
    """Return the value as Python sees it; for the mask see ``load_address``.

    Raises:
        StunError: It is not of the form that the attribute has; with code 400.
    """
    cdef int form = form_of(type)
    cdef size_t i
    if form == XOR_ADDRESS:
        return _decode_address(type, value, size, mask)
    if form == UNKNOWN or form == OCTETS:
        return PyBytes_FromStringAndSize(<const char*>value, size)
    if form == TEXT:
        return _decode_text(type, value, size)
    if form == FREE_TEXT:
        return PyUnicode_DecodeUTF8(<const char*>value, size, "replace")
    if form == UINT32 or form == CHECKSUM:
        if size != 4:
            raise _malformed(type, "not of 4 bytes")
        return load_be32(value)
    if form == UINT64:
        if size != 8:
            raise _malformed(type, "not of 8 bytes")
        return _load_be64(value)
    if form == FLAG:
        if size != 0:
            raise _malformed(type, "not empty")
        return True
    if form == ADDRESS:
        return _decode_address(type, value, size, NULL)
    if form == ERROR:
        return _decode_error(type, value, size)
    if form == UINT8_FIRST:
        if size != 4:
            raise _malformed(type, "not of 4 bytes")
        return value[0]
    if form == UINT16_FIRST:
        # RFC 5780, 7.5 can be read as a RESPONSE-PORT of two bytes and padding.
        if size != 4 and not (size == 2 and type == 0x0027):
            raise _malformed(type, "not of 4 bytes")
        return load_be16(value)
    if form == TYPES:
        if size & 1:
            raise _malformed(type, "half a type at its end")
        return tuple([load_be16(value + 2 * i) for i in range(size >> 1)])
    if form == ALGORITHMS:
        return _decode_algorithms(type, value, size)
    if form == ALGORITHM:
        found = _decode_algorithms(type, value, size)
        if len(found) != 1:
            raise _malformed(type, "not one algorithm")
        return found[0]
    if form == USER_HASH or form == EIGHT_OCTETS:
        if size != (32 if form == USER_HASH else 8):
            raise _malformed(type, "of a wrong length")
        return PyBytes_FromStringAndSize(<const char*>value, size)
    if form == TOP_BIT:
        if size != 1:
            raise _malformed(type, "not of 1 byte")
        return value[0] >> 7 == 1
    if form == FAMILY_ERROR:
        code, reason = _decode_error(type, value, size)
        return value[0], code, reason
    if size != 8:
        raise _malformed(type, "not of 8 bytes")
    return value[2] >> 1, load_be16(value + 2) & 0x1FF, load_be32(value + 4)


cdef uint8_t* reserve(Output* out, size_t size) except NULL:
    """Lengthen the output by that many bytes, and return where they are to go."""
    cdef size_t capacity
    cdef uint8_t* grown
    if out.size + size > out.capacity:
        if out.size + size > MAX_MESSAGE:
            raise UsageError("a STUN message has at most 65,532 bytes of attributes")
        capacity = max(out.size + size, 2 * out.capacity)
        grown = <uint8_t*>realloc(out.allocated, capacity)
        if grown == NULL:
            raise MemoryError()
        if out.allocated == NULL:
            memcpy(grown, out.data, out.size)
        out.data = out.allocated = grown
        out.capacity = capacity
    out.size += size
    return out.data + out.size - size


cdef object _unfit(unsigned int type, str what):
    return UsageError(f"attribute 0x{type:04X}: {what}")


cdef uint64_t _number(unsigned int type, object value, uint64_t limit) except? 0xDEAD:
    cdef uint64_t number
    try:
        number = PyNumber_Index(value)
    except (TypeError, OverflowError):
        raise _unfit(type, f"not a number from 0 to {limit}") from None
    if number > limit:
        raise _unfit(type, f"not a number from 0 to {limit}")
    return number


cdef object _items(unsigned int type, object value):
    if not isinstance(value, (tuple, list)):
        raise _unfit(type, f"a tuple is needed, not {value.__class__.__name__}")
    return value


cdef const char* _utf8(unsigned int type, object text, Py_ssize_t* size, Py_ssize_t limit) except NULL:
    cdef const char* found
    if not isinstance(text, str):
        raise _unfit(type, f"text is needed, not {text.__class__.__name__}")
    try:
        found = PyUnicode_AsUTF8AndSize(text, size)
    except UnicodeEncodeError:
        raise _unfit(type, "text that UTF-8 cannot carry") from None
    if size[0] > limit:
        raise _unfit(type, f"at most {limit} bytes of UTF-8")
    return found


cdef int _add_octets(unsigned int type, object value, Output* out, Py_ssize_t wanted) except -1:
    cdef Py_buffer view
    try:
        PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
    except (TypeError, BufferError):
        raise _unfit(type, f"bytes are needed, not {value.__class__.__name__}") from None
    try:
        if wanted >= 0 and view.len != wanted:
            raise _unfit(type, f"{wanted} bytes are needed, not {view.len}")
        memcpy(reserve(out, view.len), view.buf, view.len)
    finally:
        PyBuffer_Release(&view)
    return 0


cdef int _add_address(unsigned int type, object value, const uint8_t* mask, Output* out) except -1:
    cdef IpAddress address
    cdef Py_ssize_t size = 0
    cdef const char* text
    # The socket module's IPv6 addresses have two numbers more.
    if not isinstance(value, tuple) or len(value) not in (2, 4):
        raise _unfit(type, "an address is a tuple of host and port")
    text = _utf8(type, value[0], &size, 255)
    if read_ipv4(text, size, address.host):
        address.family = FAMILY_IPV4
    elif read_ipv6(text, size, address.host):
        address.family = FAMILY_IPV6
    else:
        raise _unfit(type, f"{value[0]!r} is neither an IPv4 nor an IPv6 address")
    address.port = <uint16_t>_number(type, value[1], 65535)
    store_address(reserve(out, 8 if address.family == FAMILY_IPV4 else 20), &address, mask)
    return 0


cdef int _add_error(unsigned int type, object value, Output* out) except -1:
    cdef Py_ssize_t size = 0
    cdef const char* reason
    cdef uint64_t code, family = 0
    cdef uint8_t* to
    if not isinstance(value, tuple) or len(value) != (3 if type == 0x8001 else 2):
        raise _unfit(type, "an error is a tuple of code and reason, with the family before them in ADDRESS-ERROR-CODE")
    if type == 0x8001:
        family = _number(type, value[0], 255)
        value = value[1:]
    code = _number(type, value[0], 699)
    if code < 300:
        raise _unfit(type, "codes go from 300 to 699")
    reason = _utf8(type, value[1], &size, MAX_TEXT)
    to = reserve(out, 4 + size)
    to[0] = <uint8_t>family
    to[1] = 0
    to[2] = <uint8_t>(code // 100)
    to[3] = <uint8_t>(code % 100)
    memcpy(to + 4, reason, size)
    return 0


cdef int _add_algorithm(unsigned int type, object value, Output* out) except -1:
    cdef Py_ssize_t size
    cdef uint8_t* to
    cdef size_t started = out.size
    if not isinstance(value, tuple) or len(value) != 2:
        raise _unfit(type, "an algorithm is a tuple of its number and the bytes of its parameters")
    number = _number(type, value[0], 65535)
    reserve(out, 4)
    _add_octets(type, value[1], out, -1)
    size = out.size - started - 4
    store_be16(out.data + started, <uint16_t>number)
    store_be16(out.data + started + 2, <uint16_t>size)
    size = padded_size(size) - size
    if size:
        to = reserve(out, size)
        memset(to, 0, size)
    return 0


cdef int encode_value(unsigned int type, object value, const uint8_t* mask, Output* out) except -1:
    """Add the value to the output, padding left out; a value that is no text, number or tuple is given as its bytes.

    Raises:
        UsageError: It is not of the form that the attribute has.
    """
    cdef int form = form_of(type)
    cdef Py_ssize_t size = 0
    cdef const char* text
    cdef uint8_t* to
    cdef uint64_t number
    if form == XOR_ADDRESS:
        _add_address(type, value, mask, out)
    elif form == ADDRESS:
        _add_address(type, value, NULL, out)
    elif form == TEXT or form == FREE_TEXT:
        text = _utf8(type, value, &size, MAX_USERNAME_SENT if type == USERNAME else MAX_TEXT)
        memcpy(reserve(out, size), text, size)
    elif form == UNKNOWN or form == OCTETS:
        _add_octets(type, value, out, -1)
    elif form == UINT32:
        number = _number(type, value, 0xFFFFFFFF)
        store_be32(reserve(out, 4), <uint32_t>number)
    elif form == UINT64:
        number = _number(type, value, 0xFFFFFFFFFFFFFFFF)
        to = reserve(out, 8)
        store_be32(to, <uint32_t>(number >> 32))
        store_be32(to + 4, <uint32_t>number)
    elif form == FLAG:
        if value is not True:
            raise _unfit(type, "a flag is True, or left out")
    elif form == UINT8_FIRST:
        number = _number(type, value, 255)
        store_be32(reserve(out, 4), <uint32_t>(number << 24))
    elif form == UINT16_FIRST:
        number = _number(type, value, 65535)
        store_be32(reserve(out, 4), <uint32_t>(number << 16))
    elif form == ERROR or form == FAMILY_ERROR:
        _add_error(type, value, out)
    elif form == TYPES:
        for item in _items(type, value):
            number = _number(type, item, 65535)
            store_be16(reserve(out, 2), <uint16_t>number)
    elif form == ALGORITHM:
        _add_algorithm(type, value, out)
    elif form == ALGORITHMS:
        for item in _items(type, value):
            _add_algorithm(type, item, out)
    elif form == USER_HASH:
        _add_octets(type, value, out, 32)
    elif form == EIGHT_OCTETS:
        _add_octets(type, value, out, 8)
    elif form == TOP_BIT:
        if not isinstance(value, bool):
            raise _unfit(type, "True where the next port is to be reserved too, or False")
        reserve(out, 1)[0] = 0x80 if value else 0
    elif form == ICMP_ERROR:
        _add_icmp(type, value, out)
    else:
        raise _unfit(type, "comes of fingerprint=True")
    return 0


cdef int _add_icmp(unsigned int type, object value, Output* out) except -1:
    cdef uint8_t* to
    if not isinstance(value, tuple) or len(value) != 3:
        raise _unfit(type, "an ICMP error is a tuple of type, code and data")
    kind = _number(type, value[0], 127)
    code = _number(type, value[1], 511)
    data = _number(type, value[2], 0xFFFFFFFF)
    to = reserve(out, 8)
    store_be16(to, 0)
    store_be16(to + 2, <uint16_t>(kind << 9 | code))
    store_be32(to + 4, <uint32_t>data)
    return 0
