"""Inner messages of librats 2: packed and sealed, opened and taken apart, many at a time.

A block is ``length:u32 | body``; the body is one inner message ``type:u8 | flags:u8 | channel:u16 | payload``, sealed
as one AEAD message, or as it is where encryption is off. All integers are big-endian.

An object belongs to one thread at a time.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from librats._core.aead cimport CIPHER_EXHAUSTED, CIPHER_OK, TAG_SIZE, Cipher
from librats._core.blocks cimport BlockBuffer
from librats._core.byte_queue cimport ByteQueue
from librats._core.frame_layout cimport FRAME_COST, KIND_JSON, LENGTH_PREFIX, RELEASE_GIL_FROM
from librats._core.messages cimport PACKED_UP_TO, MessageRun, new_run
from librats._core.octets cimport load_be16, load_be32, store_be16, store_be32

from librats.errors import LocalProtocolError

cdef enum:
    INNER_HEADER = 4
    NAME_LENGTH = 2
    MAX_TYPE_NAME = 65535
    MAX_BLOCK = 67108864
    PING_SIZE = 9
    NO_CHANNEL = -1

cdef enum:
    I_APP = 1
    I_CONTROL = 2
    I_FILE_CHUNK = 4
    I_PING = 5
    I_TYPED = 7
    I_PEX = 8
    I_PUNCH = 9


cdef uint16_t _channel_of(const uint8_t* name, Py_ssize_t size) noexcept nogil:
    cdef uint32_t value = 2166136261
    cdef Py_ssize_t at
    for at in range(size):
        value = (value ^ name[at]) * <uint32_t>16777619
    value = (value >> 16) ^ (value & 0xFFFF)
    return <uint16_t>(value if value else 1)


def channel_number(bytes name not None):
    """The 16-bit number of an App channel: FNV-1a of its name, folded; 0 becomes 1.

    Args:
        name: The channel's name, UTF-8.
    """
    return _channel_of(<const uint8_t*>PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))


@cython.final
cdef class InnerQueue(ByteQueue):
    """Inner messages that wait to be sealed, each behind its length, oldest first."""

    cdef int _add(self, uint8_t kind, uint16_t channel, const uint8_t* name, Py_ssize_t name_size,
                  object payload) except -1:
        """Queue one; name_size is -1 where there is no name."""
        cdef Py_buffer view
        PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
        try:
            return self._add_bytes(kind, channel, name, name_size, <const uint8_t*>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    cdef int _add_bytes(self, uint8_t kind, uint16_t channel, const uint8_t* name, Py_ssize_t name_size,
                        const uint8_t* payload, size_t size) except -1:
        cdef size_t head = INNER_HEADER + (NAME_LENGTH + name_size if name_size >= 0 else 0)
        cdef uint8_t* p
        if head + size + TAG_SIZE > MAX_BLOCK:
            raise ValueError(f"{size} bytes do not fit a block")
        p = self._reserve(LENGTH_PREFIX + head + size)
        store_be32(p, <uint32_t>(head + size))
        p += LENGTH_PREFIX
        p[0] = kind
        p[1] = 0
        store_be16(p + 2, channel)
        if name_size >= 0:
            store_be16(p + INNER_HEADER, <uint16_t>name_size)
            memcpy(p + INNER_HEADER + NAME_LENGTH, name, name_size)
        if size:
            memcpy(p + head, payload, size)
        self._end += LENGTH_PREFIX + head + size
        return 0

    cdef int _put_json(self, const uint8_t* name, size_t name_size, const uint8_t* text, size_t size) except -1:
        return self._add_bytes(I_TYPED, 0, name, name_size, text, size)

    def add(self, uint8_t kind, payload not None, uint16_t channel=0):
        """Queue an inner message of any type.

        Args:
            kind: Its type.
            payload: Any contiguous buffer.
            channel: Its channel; 0 for every type but App.

        Raises:
            ValueError: It does not fit a block of 64 MiB.
        """
        self._add(kind, channel, NULL, -1, payload)

    def add_app(self, bytes name not None, payload not None):
        """Queue an App message on the channel of that name.

        Args:
            name: The channel's name, UTF-8.
            payload: Any contiguous buffer.

        Raises:
            ValueError: It does not fit a block of 64 MiB.
        """
        cdef uint16_t channel = _channel_of(<const uint8_t*>PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        self._add(I_APP, channel, NULL, -1, payload)

    def add_typed(self, bytes name not None, payload not None):
        """Queue a Typed message: JSON with the name of its type.

        Args:
            name: The type, UTF-8, at most 65,535 bytes.
            payload: The JSON text: any contiguous buffer.

        Raises:
            ValueError: The name is too long, or it does not fit a block of 64 MiB.
        """
        cdef Py_ssize_t size = PyBytes_GET_SIZE(name)
        if size > MAX_TYPE_NAME:
            raise ValueError("a type has at most 65,535 bytes")
        self._add(I_TYPED, 0, <const uint8_t*>PyBytes_AS_STRING(name), size, payload)


@cython.final
cdef class InnerWriter:
    """Seals inner messages and lays them out as blocks.

    Args:
        cipher: The cipher of the sending direction; None where blocks are not encrypted. It must not be used by
            anything else from now on.
    """

    cdef Cipher _cipher
    cdef readonly uint64_t sealed

    def __cinit__(self, Cipher cipher):
        self._cipher = cipher
        self.sealed = 0

    def seal(self, InnerQueue urgent not None, InnerQueue messages not None, Py_ssize_t limit):
        """Take inner messages from two queues, whole, and return their blocks.

        Args:
            urgent: Goes first, all of it.
            messages: Of these as many as start within the limit.
            limit: Bytes of messages after which no further one is taken; at least one is.

        Returns:
            The blocks; b"" where nothing waits.

        Raises:
            LocalProtocolError: The cipher cannot go on.
        """
        cdef size_t overhead = TAG_SIZE if self._cipher is not None else 0
        cdef size_t urgent_size = urgent._end - urgent._start
        cdef size_t urgent_count = _count(urgent._data + urgent._start, urgent_size) if urgent_size else 0
        cdef size_t size = 0
        cdef size_t count = 0
        cdef size_t total
        cdef const uint8_t* source
        cdef uint8_t* target
        cdef uint8_t* behind
        cdef bytes out
        cdef int result
        # How many messages, and how long they are together.
        source = messages._data + messages._start
        while messages._start + size < messages._end and (size == 0 or <Py_ssize_t>size < limit):
            size += LENGTH_PREFIX + load_be32(source + size)
            count += 1
        total = urgent_size + size + (urgent_count + count) * overhead
        if total == 0:
            return b""
        out = PyBytes_FromStringAndSize(NULL, total)
        target = <uint8_t*>PyBytes_AS_STRING(out)
        behind = target + urgent_size + urgent_count * overhead
        if total >= RELEASE_GIL_FROM:
            with nogil:
                result = self._seal_run(target, urgent._data + urgent._start, urgent_size)
                if result == CIPHER_OK:
                    result = self._seal_run(behind, source, size)
        else:
            result = self._seal_run(target, urgent._data + urgent._start, urgent_size)
            if result == CIPHER_OK:
                result = self._seal_run(behind, source, size)
        if result != CIPHER_OK:
            raise LocalProtocolError(
                "the message counter of this key is used up" if result == CIPHER_EXHAUSTED
                else "the library could not encrypt"
            )
        urgent._taken(urgent_size)
        messages._taken(size)
        self.sealed += urgent_count + count
        return out

    cdef int _seal_run(self, uint8_t* target, const uint8_t* source, size_t size) noexcept nogil:
        """Seal every message of a run of them."""
        cdef const uint8_t* end = source + size
        cdef size_t length
        cdef int result
        if size and self._cipher is None:
            memcpy(target, source, size)
            return CIPHER_OK
        while source < end:
            length = load_be32(source)
            store_be32(target, <uint32_t>(length + TAG_SIZE))
            result = self._cipher.seal_at(target + LENGTH_PREFIX, source + LENGTH_PREFIX, length, NULL, 0)
            if result != CIPHER_OK:
                return result
            source += LENGTH_PREFIX + length
            target += LENGTH_PREFIX + length + TAG_SIZE
        return CIPHER_OK


cdef size_t _count(const uint8_t* source, size_t size) noexcept nogil:
    """How many messages a run has."""
    cdef size_t at = 0
    cdef size_t count = 0
    while at < size:
        at += LENGTH_PREFIX + load_be32(source + at)
        count += 1
    return count


@cython.final
cdef class InnerReader(BlockBuffer):
    """Takes bytes from the network, opens the blocks and takes the inner messages apart.

    Typed messages, and App messages on a channel that has a handler, come out in runs of one name,
    :class:`~librats._core.messages.MessageRun`; Control, Ping, Pex, Punch and FileChunk as ``(type, payload)``.
    Everything else is counted in ``skipped``. Whatever breaks the protocol ends the reading: :attr:`error` tells why.

    ``others`` counts the pairs, ``messages`` the messages, and ``window_used`` adds up what these and FileChunk cost.

    Args:
        cipher: The cipher of the receiving direction; None where blocks are not encrypted. It must not be used by
            anything else from now on.
        max_message: Longest payload of a message, in bytes.
        channel: Returns kind and name of the channel with a number that has a handler here, or None.
    """

    cdef Py_ssize_t _max_message
    cdef object _channel
    cdef int _last_channel
    cdef object _last_found
    cdef MessageRun _run
    cdef readonly uint64_t skipped
    cdef readonly uint64_t others
    cdef readonly uint64_t messages
    cdef readonly uint64_t window_used

    def __cinit__(self, Cipher cipher, Py_ssize_t max_message, channel not None):
        cdef Py_ssize_t overhead = TAG_SIZE if cipher is not None else 0
        self._min_block = INNER_HEADER + overhead
        self._max_block = min(MAX_BLOCK, max_message + INNER_HEADER + NAME_LENGTH + MAX_TYPE_NAME + overhead)
        self._max_message = max_message
        self._channel = channel
        self._last_channel = NO_CHANNEL
        self._last_found = None
        self._run = None
        self.skipped = 0
        self.others = 0
        self.messages = 0
        self.window_used = 0

    cdef Py_ssize_t _read_blocks(self, uint8_t* base, Py_ssize_t held, list frames) except -1:
        cdef Py_ssize_t taken
        # Handlers come and go between two calls, not within one.
        self._last_channel = NO_CHANNEL
        taken = BlockBuffer._read_blocks(self, base, held, frames)
        self._run = None  # what comes later begins a run of its own: this one is the caller's now
        return taken

    cdef int _read_frames(self, const uint8_t* p, size_t size, list frames) except -1:
        cdef uint8_t kind = p[0]
        cdef object found
        if kind == I_TYPED:
            self._read_typed(p + INNER_HEADER, size - INNER_HEADER, frames)
        elif kind == I_APP:
            found = self._find(load_be16(p + 2))
            if found is None:
                self.skipped += 1
            else:
                self._deliver(<int>found[0], <str>found[1], p + INNER_HEADER, size - INNER_HEADER, frames)
        elif (
            kind == I_CONTROL or kind == I_PEX or kind == I_PUNCH
            or (kind == I_PING and size == INNER_HEADER + PING_SIZE)
        ):
            frames.append((kind, (<const char*>p)[INNER_HEADER:size]))
            self.others += 1
            self._run = None
        elif kind == I_FILE_CHUNK:
            frames.append((kind, (<const char*>p)[INNER_HEADER:size]))
            self.others += 1
            self.window_used += FRAME_COST + size - INNER_HEADER
            self._run = None
        else:
            self.skipped += 1
        return 0

    cdef object _find(self, int number):
        if number != self._last_channel:
            self._last_found = self._channel(number)
            self._last_channel = number
        return self._last_found

    cdef int _read_typed(self, const uint8_t* p, size_t size, list frames) except -1:
        cdef size_t name_size
        cdef str name
        if size < NAME_LENGTH or size < NAME_LENGTH + <size_t>load_be16(p):
            self.skipped += 1
            return 0
        name_size = load_be16(p)
        p += NAME_LENGTH
        name = self._name_at(p, name_size)
        if name is None:
            self.skipped += 1
            return 0
        return self._deliver(KIND_JSON, name, p + name_size, size - NAME_LENGTH - name_size, frames)

    cdef int _deliver(self, int kind, str name, const uint8_t* payload, size_t size, list frames) except -1:
        """Add a message to the run that it continues, or begin one."""
        cdef MessageRun run = self._run
        cdef bint packed = kind == KIND_JSON and size <= PACKED_UP_TO
        if <Py_ssize_t>size > self._max_message:
            self.error = f"a message longer than {self._max_message} bytes"
            return 0
        if run is None or run.name is not name or run.kind != kind or (run._payloads is None) != packed:
            run = self._run = new_run(kind, name, FRAME_COST, packed)
            frames.append(run)
        run.append(payload, size)
        self.messages += 1
        self.window_used += FRAME_COST + size
        return 0
