"""STUN and TURN messages and ChannelData (RFC 8489, 8656, and 5389, 5766 before them): read and written.

:func:`parse` looks at the header and at the boundaries of the attributes only; values are decoded when asked for.
:class:`StunMessage` never changes, so threads may share it.
"""

import hmac

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.number cimport PyNumber_Index
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from librats._core.integrity cimport SHA1_SIZE, SHA256_SIZE, HmacKey, crc32, equal_bytes, hmac_sha1, make_hmac_key
from librats._core.octets cimport load_be16, load_be32, store_be16, store_be32
from librats._core.stun_index cimport (
    FINGERPRINT_XOR, NOWHERE, REQUIRED_BELOW, StunIndex, find_counted, fingerprint_fits, guarded_head, index_message,
    next_counted, sha1_fits,
)
from librats._core.stun_layout cimport (
    A_FINGERPRINT, A_MESSAGE_INTEGRITY, A_MESSAGE_INTEGRITY_SHA256, ATTRIBUTE_HEADER, CHANNEL_HEADER, COOKIE,
    FIRST_CHANNEL, LAST_CHANNEL, STUN_HEADER, TRANSACTION_ID, StunAttribute, is_channel_data, is_stun_header,
    padded_size, store_channel_header, store_padding,
)
from librats._core.stun_values cimport UNKNOWN, Output, decode_value, encode_value, form_of, reserve

from librats.errors import StunError, UsageError

MAGIC_COOKIE = COOKIE

cdef enum:
    ON_STACK = 1024
    MAX_CHANNEL_DATA = 65535
    CLASSIC_TRANSACTION_ID = 16


cdef object _malformed(str what):
    return StunError(400, f"Bad Request: {what}")


@cython.final
cdef class StunMessage:
    """A message that :func:`parse` has read."""

    cdef readonly int method
    cdef readonly int message_class
    cdef readonly bint is_classic
    cdef bytes _bytes
    cdef StunIndex _index

    def __init__(self, *args, **kwargs):
        raise TypeError("messages come from parse()")

    def __repr__(self):
        return f"<StunMessage method=0x{self.method:03X} class={self.message_class} size={self._index.size}>"

    @property
    def size(self):
        """Bytes of the message, header and all."""
        return self._index.size

    @property
    def transaction_id(self):
        """The transaction id: 12 bytes; 16 where the message is classic."""
        cdef size_t at = 4 if self.is_classic else 8
        return PyBytes_FromStringAndSize(<const char*>self._index.data + at, STUN_HEADER - at)

    @property
    def has_fingerprint(self):
        """Whether there is a FINGERPRINT, right or wrong."""
        return self._index.fingerprint != NOWHERE

    @property
    def integrity_type(self):
        """The attribute that check_integrity looks at: 0x001C, 0x0008 or None."""
        if self._index.integrity_sha256 != NOWHERE:
            return A_MESSAGE_INTEGRITY_SHA256
        return A_MESSAGE_INTEGRITY if self._index.integrity != NOWHERE else None

    cdef object _decoded(self, const StunAttribute* found):
        return decode_value(found.type, found.value, found.size, self._index.data + 4)

    def types(self):
        """Return the types of the attributes in their order; what must be ignored behind the integrity is left out."""
        cdef size_t at = STUN_HEADER
        cdef StunAttribute found
        cdef list types = []
        while next_counted(&self._index, &at, &found):
            types.append(found.type)
        return types

    def get(self, int type):
        """Return the first value of that type, decoded, or None.

        Raises:
            StunError: The value is malformed; with code 400.
        """
        cdef StunAttribute found
        return self._decoded(&found) if find_counted(&self._index, type, &found) else None

    def get_all(self, int type):
        """Return every value of that type, decoded.

        Raises:
            StunError: One of them is malformed; with code 400.
        """
        cdef size_t at = STUN_HEADER
        cdef StunAttribute found
        cdef list values = []
        while next_counted(&self._index, &at, &found):
            if found.type == type:
                values.append(self._decoded(&found))
        return values

    def raw(self, int type):
        """Return the bytes of the first value of that type, padding left out, or None."""
        cdef StunAttribute found
        if not find_counted(&self._index, type, &found):
            return None
        return PyBytes_FromStringAndSize(<const char*>found.value, found.size)

    def values(self):
        """Return type and decoded value of every attribute, in order.

        Raises:
            StunError: A value is malformed; with code 400.
        """
        cdef size_t at = STUN_HEADER
        cdef StunAttribute found
        cdef list values = []
        while next_counted(&self._index, &at, &found):
            values.append((found.type, self._decoded(&found)))
        return values

    def unknown_required(self):
        """Return the comprehension-required types that this codec does not know, each once (RFC 8489, 6.3.1)."""
        cdef size_t at = STUN_HEADER
        cdef StunAttribute found
        cdef dict unknown = None
        while next_counted(&self._index, &at, &found):
            if found.type < REQUIRED_BELOW and form_of(found.type) == UNKNOWN:
                if unknown is None:
                    unknown = {}
                unknown[found.type] = None
        return () if unknown is None else tuple(unknown)

    def check_fingerprint(self):
        """Whether a FINGERPRINT ends the message, and is right."""
        return fingerprint_fits(&self._index)

    def check_integrity(self, bytes key not None):
        """Whether the message is of one who has the key.

        MESSAGE-INTEGRITY-SHA256 is looked at where it is there, and must be whole; else MESSAGE-INTEGRITY. The
        comparison takes the same time wherever the two differ.

        Args:
            key: For short-term credentials the password; for long-term ones see
                :func:`librats.stun.credentials.long_term_key`.

        Returns:
            False where neither is there, or what is there is wrong; always for a classic message.
        """
        cdef const StunIndex* index = &self._index
        cdef size_t at = index.integrity_sha256
        cdef uint8_t head[STUN_HEADER]
        cdef HmacKey made
        cdef bytes digest
        if self.is_classic:
            return False
        if at == NOWHERE:
            make_hmac_key(&made, <const uint8_t*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
            return sha1_fits(index, &made)
        if load_be16(index.data + at + 2) != SHA256_SIZE:
            return False
        guarded_head(index, at, SHA256_SIZE, head)
        digest = _hmac_sha256(key, head, index.data + STUN_HEADER, at - STUN_HEADER)
        return equal_bytes(
            <const uint8_t*>PyBytes_AS_STRING(digest), index.data + at + ATTRIBUTE_HEADER, SHA256_SIZE
        )


cdef bytes _hmac_sha256(bytes key, const uint8_t* head, const uint8_t* rest, size_t rest_size):
    cdef bytes joined = PyBytes_FromStringAndSize(NULL, STUN_HEADER + rest_size)
    memcpy(PyBytes_AS_STRING(joined), head, STUN_HEADER)
    memcpy(PyBytes_AS_STRING(joined) + STUN_HEADER, rest, rest_size)
    return hmac.digest(key, joined, "sha256")


cdef bytes _as_bytes(object data):
    cdef Py_buffer view
    if PyBytes_CheckExact(data):
        return data
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return PyBytes_FromStringAndSize(<const char*>view.buf, view.len)
    finally:
        PyBuffer_Release(&view)


def parse(data, *, bint allow_classic=False):
    """Read a message: its header, and where its attributes begin and end.

    Args:
        data: Exactly one message. What is not ``bytes`` is copied.
        allow_classic: Take messages without the magic cookie (RFC 3489), too.

    Raises:
        StunError: It is not a STUN message, is cut short, or an attribute runs past its end; with code 400.
    """
    cdef bytes held = _as_bytes(data)
    cdef const uint8_t* head = <const uint8_t*>PyBytes_AS_STRING(held)
    cdef size_t size = PyBytes_GET_SIZE(held)
    cdef size_t flaw
    cdef unsigned int kind
    cdef StunMessage message
    if size < STUN_HEADER:
        raise _malformed("shorter than a header")
    if head[0] & 0xC0:
        raise _malformed("no STUN message begins with this byte")
    if load_be32(head + 4) != COOKIE and not allow_classic:
        raise _malformed("no magic cookie")
    if head[3] & 3 or STUN_HEADER + <size_t>load_be16(head + 2) != size:
        raise _malformed("the length does not fit")
    message = StunMessage.__new__(StunMessage)
    kind = load_be16(head)
    message.method = (kind & 0xF) | (kind >> 1 & 0x70) | (kind >> 2 & 0xF80)
    message.message_class = (kind >> 4 & 1) | (kind >> 7 & 2)
    message.is_classic = load_be32(head + 4) != COOKIE
    message._bytes = held
    flaw = index_message(&message._index, head, size)
    if flaw:
        raise _malformed(f"an attribute runs past the end, at byte {flaw}")
    return message


cdef unsigned int _type_of(object number) except? 0xDEAD:
    cdef long type
    try:
        type = PyNumber_Index(number)
    except OverflowError:
        type = -1
    if not 0 <= type <= 0xFFFF:
        raise UsageError("a type is a number from 0 to 0xFFFF")
    return <unsigned int>type


cdef int _add_attribute(unsigned int type, object value, Output* out) except -1:
    cdef size_t at = out.size
    cdef size_t size
    cdef uint8_t mask[16]
    cdef uint8_t* to
    if type == A_MESSAGE_INTEGRITY or type == A_MESSAGE_INTEGRITY_SHA256:
        raise UsageError(f"attribute 0x{type:04X}: comes of key=")
    memcpy(mask, out.data + 4, 16)
    reserve(out, ATTRIBUTE_HEADER)
    encode_value(type, value, mask, out)
    size = out.size - at - ATTRIBUTE_HEADER
    store_be16(out.data + at, <uint16_t>type)
    store_be16(out.data + at + 2, <uint16_t>size)
    if size & 3:
        to = reserve(out, padded_size(size) - size)
        store_padding(to, size)
    return 0


cdef uint8_t* _add_guard(unsigned int type, uint16_t size, Output* out) except NULL:
    """Add the head of an attribute that covers the message, whose length is set to include it; return its value."""
    cdef uint8_t* to = reserve(out, ATTRIBUTE_HEADER + size)
    store_be16(to, <uint16_t>type)
    store_be16(to + 2, size)
    store_be16(out.data + 2, <uint16_t>(out.size - STUN_HEADER))
    return to + ATTRIBUTE_HEADER


cdef int _add_integrity(unsigned int type, bytes key, Output* out) except -1:
    cdef size_t covered = out.size
    cdef uint8_t* to
    cdef bytes digest
    if type == A_MESSAGE_INTEGRITY:
        to = _add_guard(type, SHA1_SIZE, out)
        hmac_sha1(
            <const uint8_t*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), out.data, STUN_HEADER,
            out.data + STUN_HEADER, covered - STUN_HEADER, to
        )
        return 0
    to = _add_guard(type, SHA256_SIZE, out)
    digest = _hmac_sha256(key, out.data, out.data + STUN_HEADER, covered - STUN_HEADER)
    memcpy(to, PyBytes_AS_STRING(digest), SHA256_SIZE)
    return 0


cdef int _add_integrities(object integrity, bytes key, Output* out) except -1:
    if isinstance(integrity, tuple):
        if set(integrity) != {A_MESSAGE_INTEGRITY, A_MESSAGE_INTEGRITY_SHA256}:
            raise UsageError("integrity is 0x0008, 0x001C, or both of them")
        _add_integrity(A_MESSAGE_INTEGRITY, key, out)
        _add_integrity(A_MESSAGE_INTEGRITY_SHA256, key, out)
    elif integrity == A_MESSAGE_INTEGRITY or integrity == A_MESSAGE_INTEGRITY_SHA256:
        _add_integrity(integrity, key, out)
    else:
        raise UsageError("integrity is 0x0008, 0x001C, or both of them")
    return 0


cdef int _begin(int method, int message_class, bytes transaction_id, Output* out) except -1:
    cdef const uint8_t* identity = <const uint8_t*>PyBytes_AS_STRING(transaction_id)
    if not 0 <= method <= 0xFFF:
        raise UsageError("a method is a number from 0 to 0xFFF")
    if not 0 <= message_class <= 3:
        raise UsageError("a class is a number from 0 to 3")
    reserve(out, STUN_HEADER)
    store_be16(out.data, <uint16_t>(
        (method & 0xF) | (method & 0x70) << 1 | (method & 0xF80) << 2 | (message_class & 1) << 4
        | (message_class & 2) << 7
    ))
    store_be32(out.data + 4, COOKIE)
    if PyBytes_GET_SIZE(transaction_id) == TRANSACTION_ID:
        memcpy(out.data + 8, identity, TRANSACTION_ID)
    elif PyBytes_GET_SIZE(transaction_id) == CLASSIC_TRANSACTION_ID:
        memcpy(out.data + 4, identity, CLASSIC_TRANSACTION_ID)
    else:
        raise UsageError("a transaction id has 12 bytes; 16 for an answer to a classic message")
    return 0


def serialise(
    int method, int message_class, bytes transaction_id not None, attributes=(), *, bytes key=None,
    integrity=A_MESSAGE_INTEGRITY, bint fingerprint=False
):
    """Write a message.

    Args:
        method: 12 bits; see :class:`librats.stun.constants.Method`.
        message_class: 0 request, 1 indication, 2 success response, 3 error response.
        transaction_id: 12 bytes; 16 to answer a classic message.
        attributes: Type and value of each, in order; values as :meth:`StunMessage.get` gives them.
        key: For integrity; None for a message without.
        integrity: With a key: 0x0008 for MESSAGE-INTEGRITY, 0x001C for MESSAGE-INTEGRITY-SHA256, or both as a tuple.
        fingerprint: End the message with a FINGERPRINT.

    Raises:
        UsageError: Something is out of its range, a value does not fit its type, or the whole is too long.
    """
    cdef uint8_t stacked[ON_STACK]
    cdef Output out
    cdef size_t covered
    cdef uint8_t* to
    out.data = stacked
    out.size = 0
    out.capacity = ON_STACK
    out.allocated = NULL
    try:
        _begin(method, message_class, transaction_id, &out)
        for number, value in attributes:
            _add_attribute(_type_of(number), value, &out)
        store_be16(out.data + 2, <uint16_t>(out.size - STUN_HEADER))
        if key is not None:
            _add_integrities(integrity, key, &out)
        if fingerprint:
            covered = out.size
            to = _add_guard(A_FINGERPRINT, 4, &out)
            store_be32(to, crc32(0, out.data, covered) ^ <uint32_t>FINGERPRINT_XOR)
        return PyBytes_FromStringAndSize(<const char*>out.data, out.size)
    finally:
        free(out.allocated)


def channel_data(int number, data, *, bint padded=False):
    """Write a ChannelData message (RFC 8656, 12.4).

    Args:
        number: The channel, 0x4000 to 0x4FFF.
        data: At most 65,535 bytes.
        padded: End with zeros up to a multiple of four bytes, as streams need it (12.5).

    Raises:
        UsageError: The channel or the data's length is out of its range.
    """
    cdef Py_buffer view
    cdef bytes out
    cdef uint8_t* to
    cdef size_t padding
    if not FIRST_CHANNEL <= number <= LAST_CHANNEL:
        raise UsageError("channels go from 0x4000 to 0x4FFF")
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if view.len > MAX_CHANNEL_DATA:
            raise UsageError("ChannelData carries at most 65,535 bytes")
        padding = -view.len & 3 if padded else 0
        out = PyBytes_FromStringAndSize(NULL, CHANNEL_HEADER + view.len + padding)
        to = <uint8_t*>PyBytes_AS_STRING(out)
        store_channel_header(to, <uint16_t>number, <uint16_t>view.len)
        memcpy(to + CHANNEL_HEADER, view.buf, view.len)
        memset(to + CHANNEL_HEADER + view.len, 0, padding)
        return out
    finally:
        PyBuffer_Release(&view)


def parse_channel_data(data):
    """Read a ChannelData message and return its channel and its data.

    Padding may follow the data, in a datagram too (RFC 8656, 12.5), but no more than that.

    Raises:
        StunError: The channel is reserved, the data is cut short, or too much follows it; with code 400.
    """
    cdef Py_buffer view
    cdef const uint8_t* at
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        at = <const uint8_t*>view.buf
        if not is_channel_data(at, view.len):
            raise _malformed("not a ChannelData message")
        return load_be16(at), PyBytes_FromStringAndSize(<const char*>at + CHANNEL_HEADER, load_be16(at + 2))
    finally:
        PyBuffer_Release(&view)


def frame_size(head):
    """Return how many bytes the STUN or ChannelData message has that begins here, on a stream (RFC 8656, 12.5).

    Args:
        head: The first bytes of it, as many as there are.

    Returns:
        Header, body and padding together; 0 where less than 4 bytes are there.

    Raises:
        StunError: Neither of the two begins here; with code 400.
    """
    cdef Py_buffer view
    cdef const uint8_t* at
    PyObject_GetBuffer(head, &view, PyBUF_SIMPLE)
    try:
        at = <const uint8_t*>view.buf
        if view.len < 4:
            return 0
        if at[0] >> 4 == 4:
            return CHANNEL_HEADER + padded_size(load_be16(at + 2))
        if at[0] & 0xC0 or at[3] & 3 or (view.len >= 8 and load_be32(at + 4) != COOKIE):
            raise _malformed("neither a STUN nor a ChannelData message begins here")
        return STUN_HEADER + load_be16(at + 2)
    finally:
        PyBuffer_Release(&view)


def is_stun(data):
    """Whether a STUN message begins here, to tell it from other protocols on a socket (RFC 7983, 7)."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return is_stun_header(<const uint8_t*>view.buf, view.len)
    finally:
        PyBuffer_Release(&view)
