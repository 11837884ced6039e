"""Bencode (BEP 3): strict and lenient decoding, canonical encoding.

Decoding gives ``bytes``, ``int``, ``list`` and ``dict`` with keys of ``bytes``. It never goes deeper or on for longer
than it is allowed to, and what it refuses is a :class:`librats.BencodeError` with the offset of the first wrong byte.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_SetItem
from cpython.list cimport PyList_New
from cpython.long cimport PyLong_FromLongLong, PyLong_FromString
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy

from librats._core.bencode_scan cimport (
    CUT_SHORT, MAX_DIGITS, NO_VALUE, SAME_KEY, SMALL_DIGITS, TOO_DEEP, TOO_MANY_TOKENS, TRAILING_BYTES, UNSORTED_KEY,
    Scan, Span, begin_scan, is_digit, refuse, scan_integer, scan_key, scan_string, small_integer,
)

from librats._core import bencoder
from librats.errors import BencodeError, UsageError

cdef extern from *:
    void take_item "PyList_SET_ITEM"(list values, Py_ssize_t index, PyObject* value)

encode = bencoder.encode

MAX_DEPTH = 64
MAX_TOKENS = 100_000

cdef enum:
    DEEPEST = 1000
    # Values that wait for the end of their container, before memory is asked for.
    STACKED = 64
    # Places of the table of known keys.
    KEYS = 128

_FLAWS = (
    "sound",
    "the input ends too soon",
    "no value begins here",
    "an integer without a digit",
    "a leading zero",
    "a zero with a sign",
    f"an integer of more than {MAX_DIGITS} digits",
    "an integer that does not end",
    "no colon after the length of a string",
    "a string longer than the input",
    "no key of a dictionary begins here",
    "the key is out of order",
    "the same key again",
    "nested too deep",
    "too many tokens",
    "bytes after the value",
)


cdef object bencode_error(int flaw, size_t at):
    """The error that tells a flaw of a scan."""
    return BencodeError(_FLAWS[flaw], at)


cdef struct Reader:
    Scan scan
    size_t depth
    size_t tokens
    # Values of the containers that are open, each a reference of its own.
    PyObject** stack
    size_t stacked
    size_t room
    PyObject* at_first[STACKED]


cdef int _push(Reader* reader, object value) except -1:
    cdef PyObject** grown
    cdef size_t room
    if reader.stacked == reader.room:
        room = reader.room * 2
        if reader.stack == reader.at_first:
            grown = <PyObject**>PyMem_Malloc(room * sizeof(PyObject*))
            if grown != NULL:
                memcpy(grown, reader.stack, reader.room * sizeof(PyObject*))
        else:
            grown = <PyObject**>PyMem_Realloc(reader.stack, room * sizeof(PyObject*))
        if grown == NULL:
            raise MemoryError
        reader.stack = grown
        reader.room = room
    Py_INCREF(value)
    reader.stack[reader.stacked] = <PyObject*>value
    reader.stacked += 1
    return 0


cdef inline size_t _place_of(const uint8_t* key, size_t size) noexcept nogil:
    return (key[0] + key[size - 1] * 24 + size * 14) % KEYS


def _place_known_keys():
    """Put the keys that messages and torrents are made of where _key() looks for them."""
    cdef size_t place
    cdef bytes key
    for key in _KNOWN_KEYS:
        # Asked for once, the hash is kept in the key.
        hash(key)
        place = _place_of(<const uint8_t*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        if _known[place] == NULL:
            _known[place] = <PyObject*>key


_KNOWN_KEYS = (
    # KRPC, BEP 5, 32, 33, 42, 43, 44, 51.
    *(b"a", b"e", b"ip", b"q", b"r", b"ro", b"t", b"v", b"y"),
    *(b"id", b"target", b"info_hash", b"nodes", b"nodes6", b"values", b"token", b"port", b"implied_port", b"want"),
    *(b"k", b"sig", b"seq", b"salt", b"cas", b"samples", b"num", b"interval", b"scrape", b"noseed", b"p"),
    *(b"BFsd", b"BFpe"),
    # Torrent files, BEP 3, 52.
    *(b"length", b"path", b"attr", b"pieces root", b"files", b"name", b"info", b"piece length", b"pieces"),
)
# Written once, below, while this module is imported; read only ever after. The tuple keeps the keys alive.
cdef PyObject* _known[KEYS]
_place_known_keys()


cdef inline object _key(const uint8_t* data, size_t size):
    """Return a key, which is always the same object where it is one of the known ones."""
    cdef PyObject* known
    if size == 0:
        return b""
    known = _known[_place_of(data, size)]
    if known != NULL and <size_t>PyBytes_GET_SIZE(<object>known) == size:
        if memcmp(PyBytes_AS_STRING(<object>known), data, size) == 0:
            return <object>known
    return PyBytes_FromStringAndSize(<const char*>data, size)


cdef object _integer(const uint8_t* digits, size_t size):
    cdef char copy[MAX_DIGITS + 2]
    if size <= SMALL_DIGITS:
        return PyLong_FromLongLong(small_integer(digits, size))
    memcpy(copy, digits, size)
    copy[size] = 0
    return PyLong_FromString(copy, NULL, 10)


cdef inline object _refused(Reader* reader):
    raise bencode_error(reader.scan.flaw, reader.scan.flaw_at)


cdef object _read(Reader* reader):
    """Read the value at ``scan.at``."""
    cdef Scan* scan = &reader.scan
    cdef Span span
    cdef uint8_t byte
    if scan.at == scan.size:
        refuse(scan, CUT_SHORT, scan.at)
        return _refused(reader)
    if reader.tokens == 0:
        refuse(scan, TOO_MANY_TOKENS, scan.at)
        return _refused(reader)
    reader.tokens -= 1
    byte = scan.data[scan.at]
    if is_digit(byte):
        if scan_string(scan, &span):
            return PyBytes_FromStringAndSize(<const char*>scan.data + span.at, span.size)
    elif byte == b"i":
        if scan_integer(scan, &span):
            return _integer(scan.data + span.at, span.size)
    elif byte != b"l" and byte != b"d":
        refuse(scan, NO_VALUE, scan.at)
    elif reader.depth == 0:
        refuse(scan, TOO_DEEP, scan.at)
    else:
        scan.at += 1
        reader.depth -= 1
        value = _read_list(reader) if byte == b"l" else _read_dictionary(reader)
        reader.depth += 1
        return value
    return _refused(reader)


cdef list _read_list(Reader* reader):
    cdef Scan* scan = &reader.scan
    cdef size_t first = reader.stacked
    cdef size_t count
    cdef size_t index
    cdef list values
    while True:
        if scan.at < scan.size and scan.data[scan.at] == b"e":
            break
        _push(reader, _read(reader))
    scan.at += 1
    count = reader.stacked - first
    values = PyList_New(count)
    for index in range(count):
        take_item(values, index, reader.stack[first + index])
    reader.stacked = first
    return values


cdef dict _read_dictionary(Reader* reader):
    cdef Scan* scan = &reader.scan
    cdef dict found = {}
    cdef Span span
    cdef Span before
    cdef size_t start
    before.at = 0
    before.size = 0
    while True:
        start = scan.at
        if start < scan.size and scan.data[start] == b"e":
            break
        if reader.tokens == 0:
            refuse(scan, TOO_MANY_TOKENS, start)
            return _refused(reader)
        reader.tokens -= 1
        if not scan_key(scan, &span):
            return _refused(reader)
        if scan.strict and before.at and not _in_order(scan, &before, &span, start):
            return _refused(reader)
        before = span
        key = _key(scan.data + span.at, span.size)
        value = _read(reader)
        if scan.strict:
            PyDict_SetItem(found, key, value)
        else:
            found.setdefault(key, value)
    scan.at += 1
    return found


cdef bint _in_order(Scan* scan, const Span* before, const Span* span, size_t start) noexcept nogil:
    cdef size_t shared = before.size if before.size < span.size else span.size
    cdef int order = memcmp(scan.data + before.at, scan.data + span.at, shared)
    if order > 0 or (order == 0 and before.size > span.size):
        return refuse(scan, UNSORTED_KEY, start)
    if order == 0 and before.size == span.size:
        return refuse(scan, SAME_KEY, start)
    return True


cdef object _decoded(const uint8_t* data, size_t size, bint strict, size_t depth, size_t tokens, size_t* used):
    """Read the value that the data begins with; how long it is goes into ``used``."""
    cdef Reader reader
    cdef size_t index
    begin_scan(&reader.scan, data, size, strict)
    reader.depth = depth
    reader.tokens = tokens
    reader.stack = reader.at_first
    reader.stacked = 0
    reader.room = STACKED
    try:
        value = _read(&reader)
        used[0] = reader.scan.at
        return value
    finally:
        for index in range(reader.stacked):
            Py_DECREF(<object>reader.stack[index])
        if reader.stack != reader.at_first:
            PyMem_Free(reader.stack)


cdef object _decoded_from(object data, bint strict, Py_ssize_t depth, Py_ssize_t tokens, size_t* used, size_t* size):
    cdef Py_buffer view
    if not 0 <= depth <= DEEPEST:
        raise UsageError(f"max_depth is a number from 0 to {DEEPEST}")
    if tokens < 0:
        raise UsageError("max_tokens is less than 0")
    if PyBytes_CheckExact(data):
        size[0] = PyBytes_GET_SIZE(data)
        return _decoded(<const uint8_t*>PyBytes_AS_STRING(data), size[0], strict, depth, tokens, used)
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        size[0] = view.len
        return _decoded(<const uint8_t*>view.buf, view.len, strict, depth, tokens, used)
    finally:
        PyBuffer_Release(&view)


def decode(data, *, bint strict=True, Py_ssize_t max_depth=MAX_DEPTH, Py_ssize_t max_tokens=MAX_TOKENS):
    """Read one value, which is all of the data.

    Args:
        data: Any buffer of bytes.
        strict: Refuse what is not canonical: keys out of order or twice, leading zeros, ``i-0e``. Without it, of keys
            that are there twice the first one counts. Where bytes are hashed or signed, only strict reading is safe.
        max_depth: How many containers may be in each other, at most 1,000.
        max_tokens: How many values and keys there may be.

    Raises:
        BencodeError: It is no bencode, not canonical, or beyond a limit. Integers have at most 640 digits.

    Example:
        >>> from librats._core.bencode import decode
        >>> decode(b"d3:agei7e4:name3:anne")
        {b'age': 7, b'name': b'ann'}
    """
    cdef size_t used
    cdef size_t size
    value = _decoded_from(data, strict, max_depth, max_tokens, &used, &size)
    if used != size:
        raise bencode_error(TRAILING_BYTES, used)
    return value


def decode_prefix(data, *, bint strict=True, Py_ssize_t max_depth=MAX_DEPTH, Py_ssize_t max_tokens=MAX_TOKENS):
    """Read the value that the data begins with; more may follow, as the piece of metadata of a message of BEP 9.

    Args:
        data: As for :func:`decode`, like all that follows.
        strict: See there.
        max_depth: See there.
        max_tokens: See there.

    Returns:
        The value, and how many bytes it has.

    Raises:
        BencodeError: As for :func:`decode`.

    Example:
        >>> from librats._core.bencode import decode_prefix
        >>> decode_prefix(b"li1eetail")
        ([1], 5)
    """
    cdef size_t used
    cdef size_t size
    value = _decoded_from(data, strict, max_depth, max_tokens, &used, &size)
    return value, used
