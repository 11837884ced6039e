"""Bencode (BEP 3) written, in the one canonical form that a value has."""

from collections.abc import Mapping, Sequence
from numbers import Integral

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_CheckExact, PyDict_Next
from cpython.list cimport PyList_CheckExact, PyList_GET_SIZE
from cpython.long cimport PyLong_Check
from cpython.ref cimport PyObject
from cpython.unicode cimport PyUnicode_Check
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp, memcpy

from librats._core.bencode_scan cimport MAX_DIGITS
from librats._core.bencode_write cimport (
    LONGEST_NUMBER, Writer, begin_writing, end_writing, put_byte, put_number, put_string, reserve, written,
)

from librats.errors import UsageError

cdef extern from *:
    long long PyLong_AsLongLongAndOverflow(object number, int* overflow) except? -1
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef enum:
    DEEPEST = 1000


cdef int _put_integer(Writer* writer, object number) except -1:
    cdef int overflow = 0
    cdef int64_t value = PyLong_AsLongLongAndOverflow(number, &overflow)
    cdef bytes digits
    if overflow:
        if abs(int(number)) >= _BEYOND:
            raise UsageError(f"an integer of more than {MAX_DIGITS} digits")
        digits = b"i%de" % number
        reserve(writer, PyBytes_GET_SIZE(digits))
        memcpy(writer.data + writer.size, PyBytes_AS_STRING(digits), PyBytes_GET_SIZE(digits))
        writer.size += PyBytes_GET_SIZE(digits)
        return 0
    reserve(writer, LONGEST_NUMBER + 3)
    writer.data[writer.size] = b"i"
    writer.size += 1
    if value < 0:
        writer.data[writer.size] = b"-"
        writer.size += 1
        put_number(writer, -<uint64_t>value)
    else:
        put_number(writer, value)
    writer.data[writer.size] = b"e"
    writer.size += 1
    return 0


_TEN = 10
_BEYOND = _TEN**MAX_DIGITS


cdef int _put_text(Writer* writer, object text) except -1:
    cdef Py_ssize_t size
    cdef const char* data
    try:
        data = PyUnicode_AsUTF8AndSize(text, &size)
    except UnicodeEncodeError:
        raise UsageError("text that has no UTF-8") from None
    return put_string(writer, data, size)


cdef int _put_buffer(Writer* writer, object data) except -1:
    cdef Py_buffer view
    try:
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    except (BufferError, ValueError):
        raise UsageError(f"a {type(data).__name__} whose bytes do not lie behind each other") from None
    try:
        return put_string(writer, view.buf, view.len)
    finally:
        PyBuffer_Release(&view)


cdef bytes _key_bytes(object key):
    if PyBytes_CheckExact(key):
        return key
    if PyUnicode_Check(key):
        try:
            return key.encode()
        except UnicodeEncodeError:
            raise UsageError("a key that has no UTF-8") from None
    if isinstance(key, bytes):
        return bytes(key)
    raise UsageError(f"a key is bytes or text, not {type(key).__name__}")


cdef int _put_sorted(Writer* writer, object items, size_t depth) except -1:
    """Write the items of a mapping, whatever their order and keys are."""
    cdef list pairs = [(_key_bytes(key), value) for key, value in items]
    cdef bytes before = None
    pairs.sort(key=_first)
    for pair in pairs:
        if before == pair[0]:
            raise UsageError(f"the key {before!r} twice, as bytes and as text")
        before = pair[0]
        put_string(writer, PyBytes_AS_STRING(before), PyBytes_GET_SIZE(before))
        _put(writer, pair[1], depth)
    return 0


def _first(pair):
    return pair[0]


cdef bint _is_sorted(dict mapping):
    """Whether the keys are bytes, and in order."""
    cdef PyObject* key
    cdef PyObject* before = NULL
    cdef PyObject* value
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t size
    cdef Py_ssize_t size_before
    cdef int order
    while PyDict_Next(mapping, &at, &key, &value):
        if not PyBytes_CheckExact(<object>key):
            return False
        if before != NULL:
            size = PyBytes_GET_SIZE(<object>key)
            size_before = PyBytes_GET_SIZE(<object>before)
            order = memcmp(
                PyBytes_AS_STRING(<object>before), PyBytes_AS_STRING(<object>key), min(size, size_before)
            )
            if order > 0 or (order == 0 and size_before > size):
                return False
        before = key
    return True


cdef inline size_t _one_deeper(size_t depth) except? 0:
    """How many containers may still follow in one that begins."""
    if depth == 0:
        raise UsageError(f"containers more than {DEEPEST} deep in each other")
    return depth - 1


cdef int _put_dictionary(Writer* writer, dict mapping, size_t depth) except -1:
    cdef PyObject* key
    cdef PyObject* value
    cdef Py_ssize_t at = 0
    depth = _one_deeper(depth)
    put_byte(writer, b"d")
    if _is_sorted(mapping):
        while PyDict_Next(mapping, &at, &key, &value):
            # Writing a value may run a program's own methods.
            if not PyBytes_CheckExact(<object>key):
                raise UsageError("the dictionary changes while it is written")
            put_string(writer, PyBytes_AS_STRING(<object>key), PyBytes_GET_SIZE(<object>key))
            _put(writer, <object>value, depth)
    else:
        _put_sorted(writer, mapping.items(), depth)
    return put_byte(writer, b"e")


cdef int _put_list(Writer* writer, list values, size_t depth) except -1:
    cdef Py_ssize_t index = 0
    depth = _one_deeper(depth)
    put_byte(writer, b"l")
    while index < PyList_GET_SIZE(values):
        _put(writer, values[index], depth)
        index += 1
    return put_byte(writer, b"e")


cdef int _put_container(Writer* writer, object value, size_t depth) except -1:
    depth = _one_deeper(depth)
    if isinstance(value, Mapping):
        put_byte(writer, b"d")
        _put_sorted(writer, value.items(), depth)
    elif isinstance(value, Sequence):
        put_byte(writer, b"l")
        for item in value:
            _put(writer, item, depth)
    else:
        raise UsageError(f"bencode has no {type(value).__name__}")
    return put_byte(writer, b"e")


cdef int _put(Writer* writer, object value, size_t depth) except -1:
    if PyBytes_CheckExact(value):
        return put_string(writer, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    if PyLong_Check(value):
        return _put_integer(writer, value)
    if PyDict_CheckExact(value):
        return _put_dictionary(writer, value, depth)
    if PyList_CheckExact(value):
        return _put_list(writer, value, depth)
    if PyUnicode_Check(value):
        return _put_text(writer, value)
    # Numbers of numpy are buffers, too.
    if isinstance(value, Integral):
        return _put_integer(writer, int(value))
    if not PyObject_CheckBuffer(value):
        return _put_container(writer, value, depth)
    return _put_buffer(writer, value)


def encode(value):
    """Write a value in the one canonical form that it has.

    Args:
        value: A number, bytes or any other buffer, text (written as UTF-8), a mapping with keys of bytes or text, or a
            sequence of such values. True is 1, and False is 0.

    Raises:
        UsageError: There is no such thing in bencode, as None or a float; a key is there as bytes and as text; an
            integer has more than 640 digits; or containers are more than 1,000 deep in each other.

    Example:
        >>> from librats._core.bencode import encode
        >>> encode({"b": [1, "two"], b"a": bytearray(b"three")})
        b'd1:a5:three1:bli1e3:twoee'
    """
    cdef Writer writer
    begin_writing(&writer)
    try:
        _put(&writer, value, DEEPEST)
        return written(&writer)
    finally:
        end_writing(&writer)
