"""Session frames, outbound: packed and sealed many at a time.

The layout is that of ``docs/explanation/protocol.md``: blocks ``length:u32 | ciphertext``, each one Noise transport
message, holding frames ``type:u8 | flags:u8 | length:u16 | body`` back to back. A frame whose body does not fit one
Noise message goes out as fragments. All integers are big-endian.

An object belongs to one thread at a time.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from librats._core.aead cimport CIPHER_EXHAUSTED, CIPHER_OK, OPENSSL_FROM, TAG_SIZE, Cipher
from librats._core.byte_queue cimport ByteQueue
from librats._core.frame_layout cimport (
    F_ERROR, F_FRAGMENT, F_MESSAGE, F_REKEY, F_REPLY, F_REQUEST, F_STREAM_DATA, FRAGMENT_LAST, FRAGMENT_REPLY,
    FRAME_COST, HEADER, KIND_JSON, LENGTH_PREFIX, MAX_BODY, MAX_NAME, MAX_PLAINTEXT, RELEASE_GIL_FROM,
)
from librats._core.octets cimport load_be16, store_be16, store_be32

from librats.errors import LocalProtocolError


@cython.final
cdef class FrameQueue(ByteQueue):
    """Frames that wait to be sealed, packed back to back, oldest first.

    Messages and requests of any length may be queued, and in a queue of replies replies and errors; every other frame
    has at most 65,515 bytes of body.

    Args:
        replies: Whether fragments of big frames travel in the lane of replies rather than in that of messages.
    """

    def __cinit__(self, bint replies=False):
        self._lane = FRAGMENT_REPLY if replies else 0

    cdef int _add(self, uint8_t kind, uint8_t flags, const uint8_t* head, size_t head_size,
                  const uint8_t* body, size_t body_size) except -1:
        cdef size_t total = head_size + body_size
        cdef uint8_t* p
        if total > MAX_BODY:
            return self._add_fragments(kind, flags, head, head_size, body, body_size)
        p = self._reserve(HEADER + total)
        p[0] = kind
        p[1] = flags
        store_be16(p + 2, <uint16_t>total)
        if head_size:
            memcpy(p + HEADER, head, head_size)
        if body_size:
            memcpy(p + HEADER + head_size, body, body_size)
        self._end += HEADER + total
        return 0

    cdef int _add_fragments(self, uint8_t kind, uint8_t flags, const uint8_t* head, size_t head_size,
                            const uint8_t* body, size_t body_size) except -1:
        cdef size_t room = MAX_BODY
        cdef size_t taken, piece
        cdef uint8_t* p
        cdef size_t pieces = (2 + head_size + body_size + MAX_BODY - 1) // MAX_BODY
        cdef bint splits
        if self._lane:
            splits = kind == F_REPLY or kind == F_ERROR
        else:
            splits = kind == F_MESSAGE or kind == F_REQUEST
        if not splits:
            raise ValueError(f"a frame of type {kind} has at most {MAX_BODY} bytes here, not {head_size + body_size}")
        self._reserve(2 + head_size + body_size + pieces * HEADER)
        # The first fragment starts with the big frame's type and flags; head_size is far below a fragment's room.
        piece = room - 2 - head_size
        p = self._data + self._end
        p[0] = F_FRAGMENT
        p[1] = self._lane
        store_be16(p + 2, MAX_BODY)
        p[4] = kind
        p[5] = flags
        if head_size:
            memcpy(p + 6, head, head_size)
        memcpy(p + 6 + head_size, body, piece)
        self._end += HEADER + MAX_BODY
        taken = piece
        while taken < body_size:
            piece = min(room, body_size - taken)
            p = self._data + self._end
            p[0] = F_FRAGMENT
            p[1] = self._lane | (FRAGMENT_LAST if taken + piece == body_size else 0)
            store_be16(p + 2, <uint16_t>piece)
            memcpy(p + HEADER, body + taken, piece)
            self._end += HEADER + piece
            taken += piece
        return 0

    cdef int _add_named(self, uint8_t flags, const uint8_t* name, size_t name_size, const uint8_t* body,
                        size_t size) except -1:
        cdef uint8_t head[1 + MAX_NAME]
        head[0] = <uint8_t>name_size
        memcpy(head + 1, name, name_size)
        return self._add(F_MESSAGE, flags, head, 1 + name_size, body, size)

    cdef int _put_json(self, const uint8_t* name, size_t name_size, const uint8_t* text, size_t size) except -1:
        return self._add_named(KIND_JSON, name, name_size, text, size)

    def add(self, uint8_t kind, uint8_t flags, body not None):
        """Queue a frame whose body is at hand.

        Args:
            kind: Frame type.
            flags: Frame flags.
            body: Any contiguous buffer.

        Raises:
            ValueError: It is too long for a frame of that type.
        """
        cdef Py_buffer view
        PyObject_GetBuffer(body, &view, PyBUF_SIMPLE)
        try:
            self._add(kind, flags, NULL, 0, <const uint8_t*>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    def add_id(self, uint8_t kind, uint8_t flags, uint32_t number, body not None):
        """Queue a frame that starts with a request or stream number.

        Args:
            kind: Frame type.
            flags: Frame flags.
            number: The request or stream.
            body: Any contiguous buffer: what follows the number.

        Raises:
            ValueError: It is too long for a frame of that type.
        """
        self._add_id(kind, flags, number, body)

    cdef int _add_id(self, uint8_t kind, uint8_t flags, uint32_t number, object body) except -1:
        cdef Py_buffer view
        cdef uint8_t head[4]
        store_be32(head, number)
        PyObject_GetBuffer(body, &view, PyBUF_SIMPLE)
        try:
            self._add(kind, flags, head, 4, <const uint8_t*>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        return 0

    def add_message(self, uint8_t flags, bytes name not None, payload not None):
        """Queue a message.

        Args:
            flags: Frame flags: the kind of payload.
            name: Its type, at most 255 bytes.
            payload: Any contiguous buffer.

        Raises:
            ValueError: The name is too long.
        """
        cdef Py_buffer view
        cdef Py_ssize_t size = PyBytes_GET_SIZE(name)
        if size > MAX_NAME:
            raise ValueError("a name has at most 255 bytes")
        PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
        try:
            self._add_named(flags, <const uint8_t*>PyBytes_AS_STRING(name), size, <const uint8_t*>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    def add_request(self, uint8_t flags, uint32_t number, uint32_t timeout_ms, bytes name not None, payload not None):
        """Queue a request.

        Args:
            flags: Frame flags: the kind of payload.
            number: The request's number.
            timeout_ms: Milliseconds until the caller gives up; 0 for never.
            name: Its type, at most 255 bytes.
            payload: Any contiguous buffer.

        Raises:
            ValueError: The name is too long.
        """
        self._add_request(flags, number, timeout_ms, name, payload)

    cdef int _add_request(self, uint8_t flags, uint32_t number, uint32_t timeout_ms, bytes name,
                          object payload) except -1:
        cdef Py_buffer view
        cdef uint8_t head[9 + MAX_NAME]
        cdef Py_ssize_t size = PyBytes_GET_SIZE(name)
        if size > MAX_NAME:
            raise ValueError("a name has at most 255 bytes")
        store_be32(head, number)
        store_be32(head + 4, timeout_ms)
        head[8] = <uint8_t>size
        memcpy(head + 9, PyBytes_AS_STRING(name), size)
        PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
        try:
            self._add(F_REQUEST, flags, head, 9 + size, <const uint8_t*>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        return 0


cdef const uint8_t* _bytes_of(object chunk) except NULL:
    if isinstance(chunk, bytes):
        return <const uint8_t*>PyBytes_AS_STRING(chunk)
    if isinstance(chunk, bytearray):
        return <const uint8_t*>PyByteArray_AS_STRING(chunk)
    raise TypeError(f"a chunk is bytes or a bytearray, not {type(chunk).__name__}")


@cython.final
cdef class BlockWriter:
    """Packs frames into Noise messages, seals them, and lays them out as blocks.

    Use it in rounds: :meth:`begin`, any number of ``put`` calls until one finds no more room, :meth:`finish`.

    Args:
        cipher: The cipher of the sending direction. It must not be used by anything else from now on.
    """

    def __cinit__(self, Cipher cipher not None):
        self._cipher = cipher
        self._out = None
        self._base = NULL
        self._apart = NULL
        self._size = 0
        self._capacity = 0
        self._plain = 0
        self._open = False
        self.sealed = 0
        self.packed = 0

    def __dealloc__(self):
        free(self._apart)

    def begin(self, Py_ssize_t capacity):
        """Start a round.

        Args:
            capacity: Most bytes that :meth:`finish` will return; at least 65,539 lets every frame through.
        """
        self._begin(max(capacity, 64))

    cdef int _begin(self, size_t capacity) except -1:
        if self._out is not None:
            raise LocalProtocolError("the last round was not finished")
        self._out = PyBytes_FromStringAndSize(NULL, capacity)
        self._base = <uint8_t*>PyBytes_AS_STRING(self._out)
        self._capacity = PyBytes_GET_SIZE(self._out)
        self._size = 0
        self.packed = 0
        self._open = False
        if self._cipher.uses_openssl(self._capacity):
            # OpenSSL seals from one buffer into another.
            self._apart = <uint8_t*>malloc(min(<size_t>MAX_PLAINTEXT, self._capacity))
            if self._apart == NULL:
                raise MemoryError()
        return 0

    cdef uint8_t* _plaintext(self) noexcept:
        """Where the frames of the open message are packed."""
        return self._apart if self._apart != NULL else self._base + self._size + LENGTH_PREFIX

    cdef uint8_t* _room(self, size_t frame) except? NULL:
        """Where a frame of that size may be written, or NULL where it does not fit any more."""
        if self._open and self._plain + frame > MAX_PLAINTEXT:
            self._close()
        if not self._open:
            if self._size + LENGTH_PREFIX + frame + TAG_SIZE > self._capacity:
                return NULL
            self._open = True
            self._plain = 0
        elif self._size + LENGTH_PREFIX + self._plain + frame + TAG_SIZE > self._capacity:
            return NULL
        return self._plaintext() + self._plain

    cdef size_t _space(self) noexcept:
        """Bytes that one more frame may take, header included; 0 where not even a small one fits."""
        cdef size_t used = self._size + LENGTH_PREFIX + TAG_SIZE
        cdef size_t space
        if self._open:
            used += self._plain
            # A nearly full message is closed rather than topped up with a crumb.
            if self._plain + 512 > MAX_PLAINTEXT:
                used += LENGTH_PREFIX + TAG_SIZE
                space = MAX_PLAINTEXT
            else:
                space = MAX_PLAINTEXT - self._plain
        else:
            space = MAX_PLAINTEXT
        if used + HEADER >= self._capacity:
            return 0
        return min(space, self._capacity - used)

    cdef int _close(self) except -1:
        cdef uint8_t* block = self._base + self._size
        cdef const uint8_t* plaintext = self._plaintext()
        cdef size_t plain = self._plain
        cdef int result
        if self._apart != NULL and plain >= OPENSSL_FROM:
            result = self._cipher.seal_apart(block + LENGTH_PREFIX, plaintext, plain, None)
        elif plain >= RELEASE_GIL_FROM:
            with nogil:
                result = self._cipher.seal_at(block + LENGTH_PREFIX, plaintext, plain, NULL, 0)
        else:
            result = self._cipher.seal_at(block + LENGTH_PREFIX, plaintext, plain, NULL, 0)
        if result != CIPHER_OK:
            raise LocalProtocolError(
                "the message counter of this key is used up" if result == CIPHER_EXHAUSTED
                else "the library could not encrypt"
            )
        store_be32(block, <uint32_t>(plain + TAG_SIZE))
        self._size += LENGTH_PREFIX + plain + TAG_SIZE
        self.packed += plain
        self._open = False
        self._plain = 0
        self.sealed += 1
        return 0

    def put_queue(self, FrameQueue queue not None, Py_ssize_t credit=-1):
        """Move whole frames from a queue, oldest first, while there is room.

        Args:
            queue: Where they wait.
            credit: How much of the peer's message window they may take, each 64 and its body's length; -1 for no limit.

        Returns:
            What they took of the window.
        """
        return self._put_queue(queue, credit)

    cdef Py_ssize_t _put_queue(self, FrameQueue queue, Py_ssize_t credit) except -1:
        cdef Py_ssize_t spent = 0
        cdef size_t frame, run, plain_room
        cdef Py_ssize_t cost
        cdef uint8_t* source
        cdef uint8_t* target
        while queue._start < queue._end:
            # As many frames as fit the open message go in one copy.
            if self._open:
                plain_room = MAX_PLAINTEXT - self._plain
                if self._size + LENGTH_PREFIX + self._plain + TAG_SIZE >= self._capacity:
                    break
                plain_room = min(plain_room, self._capacity - self._size - LENGTH_PREFIX - self._plain - TAG_SIZE)
            else:
                if self._size + LENGTH_PREFIX + TAG_SIZE >= self._capacity:
                    break
                plain_room = min(<size_t>MAX_PLAINTEXT, self._capacity - self._size - LENGTH_PREFIX - TAG_SIZE)
            source = queue._data + queue._start
            run = 0
            while queue._start + run < queue._end:
                frame = HEADER + load_be16(source + run + 2)
                cost = FRAME_COST + frame - HEADER
                if run + frame > plain_room:
                    break
                if credit >= 0 and spent + cost > credit:
                    break
                run += frame
                spent += cost
            if run == 0:
                frame = HEADER + load_be16(source + 2)
                if credit >= 0 and spent + FRAME_COST + <Py_ssize_t>frame - HEADER > credit:
                    break
                if not self._open:
                    break
                # The message at hand is too full for it: seal that one and look again.
                self._close()
                continue
            target = self._room(run)
            memcpy(target, source, run)
            self._plain += run
            queue._taken(run)
        return spent

    def put_chunks(self, uint32_t number, uint8_t flags, chunks not None, Py_ssize_t offset, Py_ssize_t size):
        """Add one frame of stream data that lies in several pieces, as long as the room allows.

        Args:
            number: The stream.
            flags: Frame flags, for the case that all the data fits; 0 is sent where it does not.
            chunks: ``bytes`` and ``bytearray`` objects, one behind the other.
            offset: Where in the first of them to start.
            size: How many bytes to send at the most; there are so many.

        Returns:
            How many bytes were taken; -1 where there was no room for a frame.
        """
        cdef Py_ssize_t piece, part
        cdef Py_ssize_t left
        cdef const uint8_t* source
        cdef uint8_t* target
        if offset < 0 or size < 0:
            raise ValueError("offset and size lie outside the data")
        target = self._begin_stream(number, flags, size, &piece)
        if target == NULL:
            return piece
        left = piece
        for chunk in chunks:
            if left == 0:
                break
            source = _bytes_of(chunk)
            part = max(0, min(left, <Py_ssize_t>len(chunk) - offset))
            memcpy(target, source + offset, part)
            target += part
            left -= part
            offset = 0
        if left:
            memset(target, 0, left)
            raise ValueError("the chunks hold less than was said")
        return piece

    cdef uint8_t* _begin_stream(self, uint32_t number, uint8_t flags, Py_ssize_t size, Py_ssize_t* piece) except? NULL:
        """Lay out the head of a frame of stream data; return where the data goes, and in ``piece`` how much of it."""
        cdef size_t space = self._space()
        cdef uint8_t* target
        piece[0] = -1
        if space < HEADER + 4 + (1 if size else 0):
            return NULL
        piece[0] = min(size, <Py_ssize_t>(space - HEADER - 4))
        target = self._room(HEADER + 4 + piece[0])
        if target == NULL:
            piece[0] = -1
            return NULL
        target[0] = F_STREAM_DATA
        target[1] = flags if piece[0] == size else 0
        store_be16(target + 2, <uint16_t>(4 + piece[0]))
        store_be32(target + 4, number)
        self._plain += HEADER + 4 + piece[0]
        return target + HEADER + 4

    def put_rekey(self):
        """Announce the next key, seal what is packed, and go over to that key.

        Returns:
            False where there was no room.
        """
        cdef uint8_t* target = self._room(HEADER)
        if target == NULL:
            return False
        target[0] = F_REKEY
        target[1] = 0
        store_be16(target + 2, 0)
        self._plain += HEADER
        self._close()
        if self._cipher.rekey_at() != CIPHER_OK:
            raise LocalProtocolError("libsodium could not derive the next key")
        return True

    def finish(self):
        """Seal what is packed and return the round's blocks, which may be none."""
        return self._finish()

    cdef bytes _finish(self):
        cdef bytes out
        cdef size_t size
        if self._out is None:
            raise LocalProtocolError("no round was begun")
        if self._open:
            self._close()
        out = self._out
        size = self._size
        self._out = None
        self._base = NULL
        self._size = 0
        self._capacity = 0  # so that nothing finds room before the next round
        free(self._apart)
        self._apart = NULL
        if size == <size_t>PyBytes_GET_SIZE(out):
            return out
        return out[:size]
