"""Session frames, inbound: opened and unpacked many at a time. See :mod:`librats._core.framing` for the layout.

An object belongs to one thread at a time.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t

from librats._core.aead cimport CIPHER_OK, TAG_SIZE, Cipher
from librats._core.blocks cimport BlockBuffer
from librats._core.frame_layout cimport (
    F_ACK, F_CANCEL, F_DATAGRAM, F_ERROR, F_FOLLOWS, F_FRAGMENT, F_GO_AWAY, F_HELLO, F_INTRODUCE, F_MESSAGE, F_PEERS,
    F_PING, F_PONG, F_REKEY, F_REPLY, F_REQUEST, F_STREAM_DATA, F_STREAM_OPEN, F_STREAM_STOP, F_STREAM_WINDOW,
    F_SUCCESSION,
    FRAGMENT_LAST, FRAGMENT_REPLY, FRAME_COST, HEADER, KIND_JSON, MAX_NOISE,
)
from librats._core.messages cimport Message, MessageRun, new_run
from librats._core.octets cimport load_be16, load_be32, load_be64

cdef enum:
    KIND_BITS = 0x03
    REQUEST_HEAD = 9  # number, deadline and the length of the name
    FOLLOWED = 24  # id of a link and a count
    MAX_FOLLOWED = 64

cdef str NOT_UTF8 = "a name that is not UTF-8"


@cython.final
cdef class BlockReader(BlockBuffer):
    """Takes bytes from the network, opens the blocks and unpacks the frames.

    Messages come out in runs of one name, :class:`~librats._core.messages.MessageRun`, requests as a
    :class:`~librats._core.messages.Message`, other frames as tuples that begin with type and flags:

    =============================== ==================================
    reply                           number, payload
    error, stream reset, stop       number, code, text
    cancel                          number
    stream open                     number, window, name
    stream data                     number, data
    stream window                   number, credit
    go away                         code, text
    ping, pong, datagram, hello     body
    peers, succession, introduce    body
    follows                         body, what it took of the window
    =============================== ==================================

    What the peer acknowledges is no frame of the list, but :attr:`acknowledged`: the newest of its counts. Unknown
    types are counted in ``skipped``. Whatever breaks the protocol ends the reading: :attr:`error` tells why.

    Args:
        cipher: The cipher of the receiving direction. It must not be used by anything else from now on.
        max_message: Longest payload of a message, request or reply, in bytes.
    """

    def __cinit__(self, Cipher cipher not None, Py_ssize_t max_message):
        self._min_block = TAG_SIZE
        self._max_block = MAX_NOISE
        self._max_message = max_message
        self._parts = None
        self._reply_parts = None
        self._parts_cost = 0
        self._run = None
        self.skipped = 0
        self.window_used = 0
        self.acknowledged = 0

    @property
    def assembling(self):
        """Bytes of big frames, of both lanes, of which the last fragment has not come."""
        cdef Py_ssize_t size = 0
        if self._parts is not None:
            size += len(self._parts)
        if self._reply_parts is not None:
            size += len(self._reply_parts)
        return size

    cdef Py_ssize_t _read_blocks(self, uint8_t* base, Py_ssize_t held, list frames) except -1:
        cdef Py_ssize_t taken = BlockBuffer._read_blocks(self, base, held, frames)
        self._run = None  # what comes later begins a run of its own: this one is the caller's now
        return taken

    cdef int _read_frames(self, const uint8_t* p, size_t size, list frames) except -1:
        cdef const uint8_t* end = p + size
        cdef size_t length
        cdef uint8_t kind, flags
        cdef bytes data
        while p < end:
            if end - p < HEADER:
                self.error = "a truncated frame header"
                return 0
            kind = p[0]
            flags = p[1]
            length = load_be16(p + 2)
            p += HEADER
            if <size_t>(end - p) < length:
                self.error = "a frame longer than its block"
                return 0
            if kind == F_MESSAGE or kind == F_REQUEST or kind == F_FOLLOWS:
                if self._parts is not None:
                    self.error = "a message among the fragments of another"
                    return 0
                self.window_used += FRAME_COST + length
                if kind == F_MESSAGE:
                    self._read_message(flags, p, length, 0, frames)
                    p += length
                    if self.error is not None:
                        return 0
                    continue
                if kind == F_REQUEST:
                    self._read_request(flags, p, length, FRAME_COST + length, frames)
                elif length % FOLLOWED or length > MAX_FOLLOWED * FOLLOWED:
                    self.error = "a list of links that breaks off or is too long"
                    return 0
                else:
                    frames.append((F_FOLLOWS, flags, (<const char*>p)[:length], FRAME_COST + length))
            elif kind == F_STREAM_DATA:
                if length < 4:
                    self.error = "stream data without its number"
                    return 0
                data = PyBytes_FromStringAndSize(<const char*>p + 4, length - 4)
                frames.append((F_STREAM_DATA, flags, load_be32(p), data))
            elif kind == F_FRAGMENT:
                self._read_fragment(flags, p, length, frames)
            elif kind == F_REKEY:
                if p + length != end:
                    self.error = "frames behind a change of key"
                    return 0
                if self._cipher.rekey_at() != CIPHER_OK:
                    self.error = "libsodium could not derive the next key"
                    return 0
                frames.append((F_REKEY, flags))
            else:
                self._read_other(kind, flags, p, length, frames)
            if self.error is not None:
                return 0
            self._run = None
            p += length
        return 0

    cdef int _read_message(self, uint8_t flags, const uint8_t* p, size_t size, Py_ssize_t fragments_cost,
                           list frames) except -1:
        """Add a message to the run that it continues, or begin one. ``fragments_cost`` is 0 where it came whole."""
        cdef MessageRun run = self._run
        cdef size_t name_size, payload_size
        cdef str name
        if size < 1 or size < 1 + <size_t>p[0]:
            self.error = "a message shorter than its name"
            return 0
        name_size = p[0]
        payload_size = size - 1 - name_size
        if <Py_ssize_t>payload_size > self._max_message:
            self.error = f"a message longer than {self._max_message} bytes"
            return 0
        name = self._name_at(p + 1, name_size)
        if name is None:
            self.error = NOT_UTF8
            return 0
        if fragments_cost:
            run = new_run(flags & KIND_BITS, name, fragments_cost - payload_size, False)
            frames.append(run)
        elif run is None or run.name is not name or run.kind != flags & KIND_BITS:
            run = self._run = new_run(
                flags & KIND_BITS, name, FRAME_COST + 1 + name_size, (flags & KIND_BITS) == KIND_JSON
            )
            frames.append(run)
        run.append(p + 1 + name_size, payload_size)
        return 0

    cdef int _read_request(self, uint8_t flags, const uint8_t* p, size_t size, Py_ssize_t cost, list frames) except -1:
        cdef Message message
        cdef size_t payload_size
        if size < REQUEST_HEAD or size < REQUEST_HEAD + <size_t>p[REQUEST_HEAD - 1]:
            self.error = "a message shorter than its name"
            return 0
        payload_size = size - REQUEST_HEAD - p[REQUEST_HEAD - 1]
        if <Py_ssize_t>payload_size > self._max_message:
            self.error = f"a message longer than {self._max_message} bytes"
            return 0
        message = Message.__new__(Message)
        message.name = self._name_at(p + REQUEST_HEAD, p[REQUEST_HEAD - 1])
        if message.name is None:
            self.error = NOT_UTF8
            return 0
        message.request_id = load_be32(p)
        message.timeout_ms = load_be32(p + 4)
        if message.request_id == 0:
            self.error = "a request without a number"
            return 0
        message.kind = flags & KIND_BITS
        message.cost = cost
        message.payload = PyBytes_FromStringAndSize(<const char*>p + size - payload_size, payload_size)
        frames.append(message)
        return 0

    cdef int _read_fragment(self, uint8_t flags, const uint8_t* p, size_t size, list frames) except -1:
        cdef bint is_reply = flags & FRAGMENT_REPLY
        cdef bytearray parts = self._reply_parts if is_reply else self._parts
        cdef const uint8_t* whole
        cdef Py_ssize_t total
        cdef Py_ssize_t cost = 0
        if parts is None:
            parts = bytearray()
            if is_reply:
                self._reply_parts = parts
            else:
                self._parts = parts
                self._parts_cost = 0
        # 266: the longest head of a frame, type and flags included.
        if <Py_ssize_t>len(parts) + <Py_ssize_t>size > self._max_message + 266:
            self.error = f"a message longer than {self._max_message} bytes"
            return 0
        parts += (<const char*>p)[:size]
        if not is_reply:
            self.window_used += FRAME_COST + size
            self._parts_cost += FRAME_COST + size
        if not flags & FRAGMENT_LAST:
            return 0
        total = len(parts)
        if is_reply:
            self._reply_parts = None
        else:
            self._parts = None
            cost = self._parts_cost
        whole = <const uint8_t*>PyByteArray_AS_STRING(parts)
        if total < 2:
            self.error = "a fragmented frame without a type"
        elif not is_reply and whole[0] == F_MESSAGE:
            self._read_message(whole[1], whole + 2, total - 2, cost, frames)
        elif not is_reply and whole[0] == F_REQUEST:
            self._read_request(whole[1], whole + 2, total - 2, cost, frames)
        elif is_reply and (whole[0] == F_REPLY or whole[0] == F_ERROR):
            self._read_other(whole[0], whole[1], whole + 2, total - 2, frames)
        else:
            self.error = f"fragments of a frame of type {whole[0]}"
        return 0

    cdef int _read_other(self, uint8_t kind, uint8_t flags, const uint8_t* p, size_t size, list frames) except -1:
        cdef const char* text = <const char*>p
        if (kind == F_PING or kind == F_PONG or kind == F_DATAGRAM or kind == F_HELLO or kind == F_PEERS
                or kind == F_SUCCESSION or kind == F_INTRODUCE):
            if kind <= F_PONG and kind >= F_PING and size != 8:
                self.error = "a ping without eight bytes"
                return 0
            frames.append((kind, flags, text[:size]))
        elif kind == F_ACK:
            if size != 8:
                self.error = "an acknowledgement without eight bytes"
            else:
                self.acknowledged = load_be64(p)
        elif kind == F_GO_AWAY:
            self._read_reason(kind, flags, -1, p, size, frames)
        elif (kind == F_REPLY or kind == F_ERROR) and self._reply_parts is not None:
            self.error = "a reply among the fragments of another"
        elif (kind >= F_REPLY and kind <= F_CANCEL) or (kind >= F_STREAM_OPEN and kind <= F_STREAM_STOP):
            if size < 4:
                self.error = f"a frame of type {kind} without its number"
                return 0
            self._read_numbered(kind, flags, load_be32(p), p + 4, size - 4, frames)
        else:
            self.skipped += 1
        return 0

    cdef int _read_numbered(self, uint8_t kind, uint8_t flags, uint32_t number, const uint8_t* p, size_t size,
                            list frames) except -1:
        cdef str name
        if kind == F_REPLY:
            if <Py_ssize_t>size > self._max_message:
                self.error = f"a reply longer than {self._max_message} bytes"
                return 0
            frames.append((kind, flags, number, (<const char*>p)[:size]))
        elif kind == F_CANCEL:
            frames.append((kind, flags, number))
        elif kind == F_STREAM_WINDOW:
            if size < 4:
                self.error = "a window without its credit"
                return 0
            frames.append((kind, flags, number, load_be32(p)))
        elif kind == F_STREAM_OPEN:
            if size < 5 or size < 5 + <size_t>p[4]:
                self.error = "a stream shorter than its name"
                return 0
            name = self._name_at(p + 5, p[4])
            if name is None:
                self.error = NOT_UTF8
            else:
                frames.append((kind, flags, number, load_be32(p), name))
        else:
            self._read_reason(kind, flags, number, p, size, frames)
        return 0

    cdef int _read_reason(self, uint8_t kind, uint8_t flags, int64_t number, const uint8_t* p, size_t size,
                          list frames) except -1:
        cdef str code, text
        if size < 1 or size < 1 + <size_t>p[0]:
            self.error = "a reason shorter than its code"
            return 0
        code = (<const char*>p)[1:1 + p[0]].decode("ascii", "replace")
        text = (<const char*>p)[1 + p[0]:size].decode("utf-8", "replace")
        if number < 0:
            frames.append((kind, flags, code, text))
        else:
            frames.append((kind, flags, <uint32_t>number, code, text))
        return 0
