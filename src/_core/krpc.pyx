"""Messages of the DHT (KRPC: BEP 5, 32, 33, 42, 43, 44, 51), read lazily.

:func:`parse` finds where the fields begin; bytes, numbers and lists are made when they are asked for. A field that has
not the type or the size that it must have is as if it were not there. :class:`KrpcMessage` never changes.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint16_t

from librats._core.bencode cimport bencode_error
from librats._core.bencode_scan cimport (
    TRAILING_BYTES, Scan, Span, begin_scan, fitting_integer, is_digit, scan_integer, scan_key, scan_string, skip_value,
)
from librats._core.krpc_fields cimport (
    TRANSACTION, KIND, METHOD, VERSION, SEEN_AS, READ_ONLY, FAULT, ARGUMENTS, RETURN_VALUES, ID, TARGET, INFO_HASH,
    NODES, NODES6, VALUES, TOKEN, PORT, IMPLIED_PORT, WANT, SEED, NO_SEED, SCRAPE, SEEDS_FILTER, PEERS_FILTER, KEY,
    SIGNATURE, SEQUENCE, COMPARE, SALT, ITEM, SAMPLES, NUMBER, INTERVAL, FIELDS, NO_FIELD, field_of_body,
    field_of_message, method_of,
)

from librats._core.bencode import decode
from librats.errors import KrpcError

QUERY = c"q"
RESPONSE = c"r"
ERROR = c"e"

METHODS = (
    None, b"ping", b"find_node", b"get_peers", b"announce_peer", b"get", b"put", b"sample_infohashes"
)

cdef enum:
    # A datagram cannot be longer, so places in it fit 16 bits.
    LARGEST = 65535
    # Containers in the dictionary of a message that may be in each other; items of BEP 44 are values of any kind.
    DEPTH = 32
    PROTOCOL_ERROR = 203
    ID_SIZE = 20
    KEY_SIZE = 32
    SIGNATURE_SIZE = 64
    FILTER_SIZE = 256
    ANY_SIZE = 0
    LARGEST_PORT = 65535


cdef struct Place:
    # Where the value begins, and how long it is; 0 where there is none, as the first byte is that of the message.
    uint16_t at
    uint16_t size


cdef struct Head:
    # Where the strings are that every message is told apart by; 0 where there is none.
    Span transaction_id
    Span kind
    Span method


cdef inline void note(Place* place, size_t start, size_t end) noexcept nogil:
    """Of equal keys the first counts."""
    if place.at == 0:
        place.at = <uint16_t>start
        place.size = <uint16_t>(end - start)


cdef bint scan_body(Scan* scan, Place* places) noexcept nogil:
    """Go through arguments or return values from behind their ``d`` to behind their ``e``."""
    cdef Span span
    cdef int field
    cdef size_t start
    while scan.at == scan.size or scan.data[scan.at] != b"e":
        if not scan_key(scan, &span):
            return False
        field = field_of_body(scan.data + span.at, span.size)
        start = scan.at
        if start < scan.size and is_digit(scan.data[start]):
            if not scan_string(scan, &span):
                return False
        elif not skip_value(scan, DEPTH - 1):
            return False
        if field != NO_FIELD:
            note(&places[field], start, scan.at)
    scan.at += 1
    return True


cdef bint scan_message(Scan* scan, Place* places, Head* head) noexcept nogil:
    """Go through a message from behind its ``d`` to behind its ``e``."""
    cdef Span span
    cdef int field
    cdef size_t start
    while scan.at == scan.size or scan.data[scan.at] != b"e":
        if not scan_key(scan, &span):
            return False
        field = field_of_message(scan.data + span.at, span.size)
        start = scan.at
        if start < scan.size and is_digit(scan.data[start]):
            if not scan_string(scan, &span):
                return False
            if field <= METHOD and places[field].at == 0:
                if field == TRANSACTION:
                    head.transaction_id = span
                elif field == KIND:
                    head.kind = span
                else:
                    head.method = span
        elif (
            (field == ARGUMENTS or field == RETURN_VALUES)
            and places[ARGUMENTS].at == 0 and places[RETURN_VALUES].at == 0
            and start < scan.size and scan.data[start] == b"d"
        ):
            scan.at += 1
            if not scan_body(scan, places):
                return False
        elif not skip_value(scan, DEPTH):
            return False
        if field != NO_FIELD:
            note(&places[field], start, scan.at)
    scan.at += 1
    return True


@cython.final
@cython.freelist(16)
cdef class KrpcMessage:
    """A message that :func:`parse` has read."""

    cdef readonly int kind
    cdef readonly int method
    cdef bytes _bytes
    cdef Place _places[FIELDS]

    def __init__(self, *args, **kwargs):
        raise TypeError("messages come from parse()")

    def __repr__(self):
        name = self.method_name
        return f"<KrpcMessage {chr(self.kind)}{'' if name is None else ' ' + repr(name)} size={len(self._bytes)}>"

    cdef bint _span_of_string(self, int field, Span* found) noexcept:
        """Find the bytes of a string; whether there is one."""
        cdef Scan scan
        cdef Place place = self._places[field]
        begin_scan(&scan, <const uint8_t*>PyBytes_AS_STRING(self._bytes) + place.at, place.size, False)
        return place.at != 0 and is_digit(scan.data[0]) and scan_string(&scan, found) and self._shift(found, place.at)

    cdef bint _shift(self, Span* found, size_t by) noexcept:
        found.at += by
        return True

    cdef object _string(self, int field, size_t size):
        cdef Span found
        if not self._span_of_string(field, &found) or (size != ANY_SIZE and found.size != size):
            return None
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(self._bytes) + found.at, found.size)

    cdef bint _number(self, int field, int64_t* number) noexcept:
        """Read an integer; whether there is one that fits 64 bits."""
        cdef Scan scan
        cdef Span found
        cdef Place place = self._places[field]
        begin_scan(&scan, <const uint8_t*>PyBytes_AS_STRING(self._bytes) + place.at, place.size, False)
        if place.at == 0 or scan.data[0] != b"i" or not scan_integer(&scan, &found):
            return False
        return fitting_integer(scan.data + found.at, found.size, number)

    cdef object _integer(self, int field, int64_t least, int64_t most):
        cdef int64_t number
        return number if self._number(field, &number) and least <= number <= most else None

    cdef bint _flag(self, int field) noexcept:
        cdef int64_t number
        return self._number(field, &number) and number != 0

    cdef list _strings(self, int field):
        """The strings of a list; what else is in it is left out."""
        cdef Place place = self._places[field]
        cdef const uint8_t* data = <const uint8_t*>PyBytes_AS_STRING(self._bytes)
        cdef list strings = []
        cdef Scan scan
        cdef Span found
        if place.at == 0 or data[place.at] != b"l":
            return strings
        begin_scan(&scan, data + place.at, place.size, False)
        scan.at = 1
        while scan.data[scan.at] != b"e":
            if not is_digit(scan.data[scan.at]):
                skip_value(&scan, DEPTH)
            elif scan_string(&scan, &found):
                strings.append(PyBytes_FromStringAndSize(<const char*>scan.data + found.at, found.size))
        return strings

    cdef object _raw(self, int field):
        cdef Place place = self._places[field]
        if place.at == 0:
            return None
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(self._bytes) + place.at, place.size)

    cdef object _decoded(self, int field):
        raw = self._raw(field)
        return None if raw is None else decode(raw, strict=False)

    @property
    def transaction_id(self):
        """What tells an answer's question."""
        return self._string(TRANSACTION, ANY_SIZE)

    @property
    def method_name(self):
        """Name of the method that is asked for, known or not, or None."""
        return self._string(METHOD, ANY_SIZE)

    @property
    def version(self):
        """The software of the sender, or None."""
        return self._string(VERSION, ANY_SIZE)

    @property
    def seen_as(self):
        """The compact address that the answerer saw us at (BEP 42), or None."""
        return self._string(SEEN_AS, ANY_SIZE)

    @property
    def read_only(self):
        """Whether the sender answers no queries (BEP 43)."""
        return self._flag(READ_ONLY)

    @property
    def fault(self):
        """Code and text of an error; (0, b"") where they are not to be read."""
        found = self._decoded(FAULT)
        if isinstance(found, list) and len(found) > 1 and isinstance(found[0], int) and isinstance(found[1], bytes):
            return found[0], found[1]
        return 0, b""

    @property
    def has_body(self):
        """Whether there are the arguments of a query, or the return values of a response."""
        cdef Place place = self._places[ARGUMENTS if self.kind == c"q" else RETURN_VALUES]
        return place.at != 0 and PyBytes_AS_STRING(self._bytes)[place.at] == c"d"

    @property
    def id(self):
        """Id of the sender's node: 20 bytes, or None."""
        return self._string(ID, ID_SIZE)

    @property
    def target(self):
        """The id that is asked for: 20 bytes, or None."""
        return self._string(TARGET, ID_SIZE)

    @property
    def info_hash(self):
        """The hash that is asked for or announced: 20 bytes, or None."""
        return self._string(INFO_HASH, ID_SIZE)

    @property
    def nodes(self):
        """Compact nodes of IPv4, 26 bytes each, or None."""
        return self._string(NODES, ANY_SIZE)

    @property
    def nodes6(self):
        """Compact nodes of IPv6, 38 bytes each (BEP 32), or None."""
        return self._string(NODES6, ANY_SIZE)

    @property
    def values(self):
        """Compact addresses of peers, 6 or 18 bytes each if the sender is right."""
        return self._strings(VALUES)

    @property
    def token(self):
        """What must be shown to announce or put, or None."""
        return self._string(TOKEN, ANY_SIZE)

    @property
    def port(self):
        """Port that is announced, 0 to 65535, or None."""
        return self._integer(PORT, 0, LARGEST_PORT)

    @property
    def implied_port(self):
        """Whether the port that the message came from is the one to announce."""
        return self._flag(IMPLIED_PORT)

    @property
    def want(self):
        """What families of nodes are asked for (BEP 32): ``b"n4"``, ``b"n6"``."""
        return self._strings(WANT)

    @property
    def seed(self):
        """Whether the announced peer has everything (BEP 33)."""
        return self._flag(SEED)

    @property
    def noseed(self):
        """Whether peers that have everything are to be left out (BEP 33)."""
        return self._flag(NO_SEED)

    @property
    def scrape(self):
        """Whether filters that tell how many peers there are are asked for (BEP 33)."""
        return self._flag(SCRAPE)

    @property
    def seeds_filter(self):
        """Bloom filter of those that have everything: 256 bytes (BEP 33), or None."""
        return self._string(SEEDS_FILTER, FILTER_SIZE)

    @property
    def peers_filter(self):
        """Bloom filter of the others: 256 bytes (BEP 33), or None."""
        return self._string(PEERS_FILTER, FILTER_SIZE)

    @property
    def key(self):
        """Public key of a mutable item: 32 bytes (BEP 44), or None."""
        return self._string(KEY, KEY_SIZE)

    @property
    def signature(self):
        """Signature of a mutable item: 64 bytes (BEP 44), or None."""
        return self._string(SIGNATURE, SIGNATURE_SIZE)

    @property
    def sequence(self):
        """Sequence number of a mutable item, or None."""
        return self._integer(SEQUENCE, 0, INT64_MAX)

    @property
    def compare(self):
        """The sequence number that is to be replaced (``cas`` of BEP 44), or None."""
        return self._integer(COMPARE, 0, INT64_MAX)

    @property
    def salt(self):
        """Salt of a mutable item (BEP 44), or None."""
        return self._string(SALT, ANY_SIZE)

    @property
    def item(self):
        """An item (BEP 44) as it is encoded, so that its signature can be checked, or None."""
        return self._raw(ITEM)

    @property
    def samples(self):
        """Hashes of a sample, 20 bytes each (BEP 51), or None."""
        return self._string(SAMPLES, ANY_SIZE)

    @property
    def number(self):
        """How many hashes the sender knows (BEP 51), or None."""
        return self._integer(NUMBER, 0, INT64_MAX)

    @property
    def interval(self):
        """Seconds until another sample is worth asking for (BEP 51), or None."""
        return self._integer(INTERVAL, 0, INT64_MAX)


cdef int _find_body(KrpcMessage message, Scan* scan) except -1:
    """Read the other dictionary where a message has both of them, and the wrong one came first."""
    cdef int wanted = ARGUMENTS if message.kind == c"q" else RETURN_VALUES
    cdef int other = RETURN_VALUES if message.kind == c"q" else ARGUMENTS
    cdef Place place = message._places[wanted]
    cdef Place skipped = message._places[other]
    cdef int field
    if skipped.at == 0 or (place.at and place.at < skipped.at):
        return 0
    for field in range(ID, FIELDS):
        message._places[field].at = 0
    if place.at and scan.data[place.at] == c"d":
        scan.at = place.at + 1
        scan_body(scan, message._places)
    return 0


def parse(data):
    """Read a message.

    Keys may be in any order: some programs do not sort them. Of a key that is there twice, the first one counts.

    Args:
        data: One datagram: any buffer of bytes. What is not ``bytes`` is copied.

    Raises:
        BencodeError: It is no bencode, containers are more than 32 deep in each other, or no datagram is so long.
        KrpcError: It is bencode, but no message: it has no kind, or no transaction id.

    Example:
        >>> from librats._core import krpc
        >>> message = krpc.parse(b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe")
        >>> message.kind == krpc.QUERY, krpc.METHODS[message.method], message.transaction_id, message.id
        (True, b'ping', b'aa', b'abcdefghij0123456789')
    """
    cdef bytes held = _as_bytes(data)
    cdef Scan scan
    cdef Head head
    cdef KrpcMessage message
    begin_scan(&scan, <const uint8_t*>PyBytes_AS_STRING(held), PyBytes_GET_SIZE(held), False)
    if scan.size > LARGEST:
        raise bencode_error(TRAILING_BYTES, LARGEST)
    if scan.size == 0 or scan.data[0] != b"d":
        if not skip_value(&scan, DEPTH):
            raise bencode_error(scan.flaw, scan.flaw_at)
        raise KrpcError(PROTOCOL_ERROR, "a message is a dictionary")
    message = KrpcMessage.__new__(KrpcMessage)
    message._bytes = held
    scan.at = 1
    head.transaction_id.at = head.kind.at = head.method.at = 0
    if not scan_message(&scan, message._places, &head):
        raise bencode_error(scan.flaw, scan.flaw_at)
    if scan.at != scan.size:
        raise bencode_error(TRAILING_BYTES, scan.at)
    if head.kind.at == 0 or head.kind.size != 1 or scan.data[head.kind.at] not in b"qre":
        raise KrpcError(PROTOCOL_ERROR, "a message without a kind")
    message.kind = scan.data[head.kind.at]
    if head.transaction_id.at == 0:
        raise KrpcError(PROTOCOL_ERROR, "a message without a transaction id")
    if head.method.at:
        message.method = method_of(scan.data + head.method.at, head.method.size)
    _find_body(message, &scan)
    return message


cdef bytes _as_bytes(object data):
    cdef Py_buffer view
    if PyBytes_CheckExact(data):
        return data
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return PyBytes_FromStringAndSize(<const char*>view.buf, view.len)
    finally:
        PyBuffer_Release(&view)
