"""Messages of the DHT (KRPC: BEP 5, 32, 33, 42, 43, 44, 51) written, canonical as their keys are in order."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, strlen

from librats._core.bencode_write cimport (
    LONGEST_NUMBER, Writer, begin_writing, end_writing, put_byte, put_number, put_string, reserve, written,
)

from librats._core import krpc
from librats.errors import UsageError

_METHODS = krpc.METHODS


cdef int put_raw(Writer* writer, const char* text, size_t size) except -1:
    reserve(writer, size)
    memcpy(writer.data + writer.size, text, size)
    writer.size += size
    return 0


cdef int put_text(Writer* writer, const char* text) except -1:
    return put_raw(writer, text, strlen(text))


cdef int put_bytes(Writer* writer, const char* key, bytes value) except -1:
    """Write a key, encoded already, and a string; nothing where there is none."""
    if value is None:
        return 0
    put_text(writer, key)
    return put_string(writer, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))


cdef int put_encoded(Writer* writer, const char* key, bytes value) except -1:
    if value is None:
        return 0
    put_text(writer, key)
    return put_raw(writer, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))


cdef int put_integer(Writer* writer, const char* key, object value) except -1:
    cdef uint64_t number
    if value is None:
        return 0
    try:
        number = value
    except OverflowError:
        raise UsageError("a number in a message is not negative, and has 64 bits at the most") from None
    put_text(writer, key)
    put_byte(writer, b"i")
    reserve(writer, LONGEST_NUMBER)
    put_number(writer, number)
    return put_byte(writer, b"e")


cdef int put_flag(Writer* writer, const char* key, bint value) except -1:
    if not value:
        return 0
    put_text(writer, key)
    return put_raw(writer, "i1e", 3)


cdef int put_list(Writer* writer, const char* key, object values) except -1:
    cdef bytes value
    if values is None:
        return 0
    put_text(writer, key)
    put_byte(writer, b"l")
    for value in values:
        if value is None:
            raise UsageError("None in a list of strings")
        put_string(writer, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    return put_byte(writer, b"e")


def query(
    int method, bytes transaction_id not None, bytes id not None, *, bytes target=None, bytes info_hash=None,
    bytes token=None, port=None, bint implied_port=False, want=None, bint seed=False, bint noseed=False,
    bint scrape=False, bytes item=None, bytes key=None, bytes signature=None, sequence=None, bytes salt=None,
    compare=None, bint read_only=False, bytes version=None,
):
    """Write a query.

    The names of the fields are those of :class:`librats._core.krpc.KrpcMessage`; what is None or False is left out.

    Args:
        method: Its place in :data:`librats._core.krpc.METHODS`.

    Raises:
        UsageError: There is no such method, or a number does not fit 64 bits.

    Example:
        >>> from librats._core import krpc, krpc_writer
        >>> krpc_writer.query(krpc.METHODS.index(b"ping"), b"aa", b"abcdefghij0123456789")
        b'd1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe'
    """
    cdef Writer writer
    cdef bytes name
    if not 1 <= method < len(_METHODS):
        raise UsageError("there is no such method")
    name = _METHODS[method]
    begin_writing(&writer)
    try:
        put_text(&writer, "d1:ad")
        put_integer(&writer, "3:cas", compare)
        put_bytes(&writer, "2:id", id)
        put_flag(&writer, "12:implied_port", implied_port)
        put_bytes(&writer, "9:info_hash", info_hash)
        put_bytes(&writer, "1:k", key)
        put_flag(&writer, "6:noseed", noseed)
        put_integer(&writer, "4:port", port)
        put_bytes(&writer, "4:salt", salt)
        put_flag(&writer, "6:scrape", scrape)
        put_flag(&writer, "4:seed", seed)
        put_integer(&writer, "3:seq", sequence)
        put_bytes(&writer, "3:sig", signature)
        put_bytes(&writer, "6:target", target)
        put_bytes(&writer, "5:token", token)
        put_encoded(&writer, "1:v", item)
        put_list(&writer, "4:want", want)
        put_text(&writer, "e")
        put_bytes(&writer, "1:q", name)
        put_flag(&writer, "2:ro", read_only)
        put_bytes(&writer, "1:t", transaction_id)
        put_bytes(&writer, "1:v", version)
        put_text(&writer, "1:y1:qe")
        return written(&writer)
    finally:
        end_writing(&writer)


def response(
    bytes transaction_id not None, bytes id not None, *, bytes nodes=None, bytes nodes6=None, bytes token=None,
    values=None, bytes item=None, bytes key=None, bytes signature=None, sequence=None, bytes samples=None, number=None,
    interval=None, bytes seeds_filter=None, bytes peers_filter=None, bytes seen_as=None, bytes version=None,
):
    """Write what answers a query.

    The names of the fields are those of :class:`librats._core.krpc.KrpcMessage`; what is None is left out.

    Raises:
        UsageError: A number does not fit 64 bits.

    Example:
        >>> from librats._core import krpc_writer
        >>> krpc_writer.response(b"aa", b"mnopqrstuvwxyz123456")
        b'd1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re'
    """
    cdef Writer writer
    begin_writing(&writer)
    try:
        put_text(&writer, "d")
        put_bytes(&writer, "2:ip", seen_as)
        put_text(&writer, "1:rd")
        put_bytes(&writer, "4:BFpe", peers_filter)
        put_bytes(&writer, "4:BFsd", seeds_filter)
        put_bytes(&writer, "2:id", id)
        put_integer(&writer, "8:interval", interval)
        put_bytes(&writer, "1:k", key)
        put_bytes(&writer, "5:nodes", nodes)
        put_bytes(&writer, "6:nodes6", nodes6)
        put_integer(&writer, "3:num", number)
        put_bytes(&writer, "7:samples", samples)
        put_integer(&writer, "3:seq", sequence)
        put_bytes(&writer, "3:sig", signature)
        put_bytes(&writer, "5:token", token)
        put_encoded(&writer, "1:v", item)
        put_list(&writer, "6:values", values)
        put_text(&writer, "e")
        put_bytes(&writer, "1:t", transaction_id)
        put_bytes(&writer, "1:v", version)
        put_text(&writer, "1:y1:re")
        return written(&writer)
    finally:
        end_writing(&writer)


def error(bytes transaction_id not None, code, bytes reason not None, *, bytes seen_as=None, bytes version=None):
    """Write an error.

    Args:
        transaction_id: That of the query.
        code: 201 and up, as in BEP 5 and 44.
        reason: What is wrong.
        seen_as: The compact address that the query came from.
        version: The software of the sender.

    Raises:
        UsageError: The code does not fit 64 bits.

    Example:
        >>> from librats._core import krpc_writer
        >>> krpc_writer.error(b"aa", 204, b"Method Unknown")
        b'd1:eli204e14:Method Unknowne1:t2:aa1:y1:ee'
    """
    cdef Writer writer
    begin_writing(&writer)
    try:
        put_text(&writer, "d")
        put_integer(&writer, "1:el", code)
        put_bytes(&writer, "", reason)
        put_text(&writer, "e")
        put_bytes(&writer, "2:ip", seen_as)
        put_bytes(&writer, "1:t", transaction_id)
        put_bytes(&writer, "1:v", version)
        put_text(&writer, "1:y1:ee")
        return written(&writer)
    finally:
        end_writing(&writer)
