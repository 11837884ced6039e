"""Blocks, inbound: the buffer that they are received in, cut apart and opened. What they hold is for the subclasses.

An object belongs to one thread at a time.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memmove

from librats._core.aead cimport CIPHER_EXHAUSTED, CIPHER_OK, OPENSSL_FROM, TAG_SIZE
from librats._core.frame_layout cimport LENGTH_PREFIX, RELEASE_GIL_FROM
from librats._core.octets cimport load_be32

cdef enum:
    MIN_BUFFER = 4096
    MAX_APART = 262144  # longest block for which OpenSSL gets a buffer
    MAX_BUFFER = 262144  # beyond it the buffer grows only for a block that needs it
    KEEP_BUFFER = 4194304  # and what it grew by beyond this goes back as soon as that block is read


cdef class BlockBuffer:
    """Takes bytes from the network, cuts them into blocks ``length:u32 | body`` and opens these.

    Whatever breaks the protocol ends the reading: :attr:`error` tells why, and :attr:`is_forged` whether anybody on the
    way can have done it.

    Args:
        cipher: The cipher of the receiving direction; None where blocks are not encrypted. It must not be used by
            anything else from now on.
        min_block: Shortest body, in bytes.
        max_block: Longest body, in bytes.
    """

    def __cinit__(self, Cipher cipher, *args, **kwargs):
        self._cipher = cipher
        self._min_block = 0
        self._max_block = 0
        self._buffer = bytearray()
        self._scratch = None
        self._start = 0
        self._end = 0
        self._peak = 0
        self._name_bytes = b""
        self._name = ""
        self._was_filled = False
        self._lent = False
        self._trim_wanted = False
        self.error = None
        self.is_forged = False
        self.opened = 0

    @property
    def buffer_size(self):
        """Bytes that the receive buffer takes; none where nothing had to be kept since it was last given back."""
        return len(self._buffer)

    @property
    def held(self):
        """Bytes of the block that is arriving, as far as it has come."""
        return self._end - self._start

    cdef size_t _pending(self) noexcept:
        """Bytes of the block that is arriving, its length included; 0 where that is not known yet."""
        if self._end - self._start < LENGTH_PREFIX:
            return 0
        return LENGTH_PREFIX + load_be32(<uint8_t*>PyByteArray_AS_STRING(self._buffer) + self._start)

    cdef int _resize(self, Py_ssize_t capacity) except -1:
        cdef Py_ssize_t held = self._end - self._start
        cdef bytearray other = bytearray(capacity)
        memcpy(PyByteArray_AS_STRING(other), PyByteArray_AS_STRING(self._buffer) + self._start, held)
        self._buffer = other
        self._start = 0
        self._end = held
        return 0

    def get_buffer(self, bytearray scratch=None):
        """Where the next bytes from the network go. Tell :meth:`received` how many came.

        Args:
            scratch: A buffer of the caller's that nobody else uses until then. It is returned where no part of a block
                is held, so that a peer that is idle, or sends whole blocks, needs no buffer of its own.
        """
        if self.error is not None:
            self._start = self._end  # nothing of it will be read any more
        if self._end == self._start:
            self._start = 0
            self._end = 0
            if scratch is not None:
                if self._trim_wanted or len(self._buffer) > KEEP_BUFFER:
                    self._shrink()
                self._scratch = scratch
                return scratch
        self._make_room()
        self._lent = True
        return memoryview(self._buffer)[self._end:]

    cdef int _make_room(self) except -1:
        cdef Py_ssize_t capacity = len(self._buffer)
        cdef Py_ssize_t held = self._end - self._start
        cdef Py_ssize_t pending
        if self._trim_wanted or (capacity > KEEP_BUFFER and held <= MAX_BUFFER and self._pending() <= MAX_BUFFER):
            self._shrink()
            capacity = len(self._buffer)
        pending = self._pending() if self._was_filled else 0
        # It grows with what arrives, never by what a peer announces.
        if capacity < MIN_BUFFER:
            self._resize(MIN_BUFFER)
        elif self._was_filled and capacity < MAX_BUFFER:
            self._resize(capacity * 2)
        elif pending > capacity:
            self._resize(min(capacity * 2, pending))
        elif self._start and capacity - self._end < capacity // 2:
            memmove(PyByteArray_AS_STRING(self._buffer), PyByteArray_AS_STRING(self._buffer) + self._start, held)
            self._start = 0
            self._end = held
        self._was_filled = False
        return 0

    def go_on(self, Cipher cipher not None):
        """Read on from another connection, from the beginning of a block; also behind one that was forged.

        Args:
            cipher: The cipher of the receiving direction there. It must not be used by anything else from now on.
        """
        if self.is_forged:
            self.is_forged = False
            self.error = None
        self._cipher = cipher
        self._start = 0
        self._end = 0
        self._scratch = None
        self._was_filled = False

    def trim(self):
        """Give memory back that the traffic since the last call did not need; later where the buffer is lent."""
        # A proactor loop holds the buffer while it waits for bytes.
        self._trim_wanted = True
        if not self._lent:
            self._shrink()

    cdef int _shrink(self) except -1:
        cdef Py_ssize_t held = self._end - self._start
        cdef Py_ssize_t wanted = MIN_BUFFER if held or self._peak else 0
        while wanted < MAX_BUFFER and wanted < self._peak:
            wanted *= 2
        while held and wanted < held + 1:
            wanted *= 2
        if wanted < len(self._buffer):
            self._resize(wanted)
        self._peak = 0
        self._trim_wanted = False
        return 0

    def received(self, Py_ssize_t count):
        """Unpack what the buffer of :meth:`get_buffer` now holds.

        Args:
            count: Bytes that were written to it.

        Returns:
            The frames that are complete.
        """
        return self._received(count)

    cdef list _received(self, Py_ssize_t count):
        cdef list frames = []
        if self._scratch is not None:
            self._read_scratch(count, frames)
            return frames
        if count < 0 or self._end + count > len(self._buffer):
            raise ValueError("more bytes than the buffer has")
        self._lent = False
        if self.error is not None:
            return frames
        self._end += count
        self._was_filled = self._end == len(self._buffer)
        self._peak = max(self._peak, self._end - self._start)
        self._start += self._read_blocks(
            <uint8_t*>PyByteArray_AS_STRING(self._buffer) + self._start, self._end - self._start, frames
        )
        return frames

    cdef int _read_scratch(self, Py_ssize_t count, list frames) except -1:
        """Unpack from the caller's buffer, and keep what is left of it in our own."""
        cdef bytearray scratch = self._scratch
        cdef uint8_t* base = <uint8_t*>PyByteArray_AS_STRING(scratch)
        cdef Py_ssize_t taken, left, wanted
        self._scratch = None
        if count < 0 or count > len(scratch):
            raise ValueError("more bytes than the buffer has")
        if self.error is not None:
            return 0
        taken = self._read_blocks(base, count, frames)
        left = count - taken
        if left and self.error is None:
            wanted = MAX_BUFFER if count >= MAX_BUFFER else MIN_BUFFER
            while wanted < 2 * left:
                wanted *= 2
            if len(self._buffer) < wanted:
                self._buffer = bytearray(wanted)
            memcpy(PyByteArray_AS_STRING(self._buffer), base + taken, left)
            self._start = 0
            self._end = left
            self._peak = max(self._peak, left)
        return 0

    def feed(self, data not None):
        """Unpack from a buffer of the caller's.

        Args:
            data: Any contiguous buffer, of any length.

        Returns:
            The frames that are complete.
        """
        cdef Py_buffer view
        cdef Py_ssize_t taken = 0
        cdef Py_ssize_t piece
        cdef list frames = []
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            while taken < view.len and self.error is None:
                if self._end == self._start:
                    piece = min(view.len - taken, <Py_ssize_t>MAX_BUFFER)
                    self._scratch = PyByteArray_FromStringAndSize(<const char*>view.buf + taken, piece)
                else:
                    piece = min(view.len - taken, <Py_ssize_t>len(self.get_buffer()))
                    memcpy(PyByteArray_AS_STRING(self._buffer) + self._end, <const uint8_t*>view.buf + taken, piece)
                taken += piece
                frames += self._received(piece)
        finally:
            PyBuffer_Release(&view)
        return frames

    cdef Py_ssize_t _read_blocks(self, uint8_t* base, Py_ssize_t held, list frames) except -1:
        """Open and unpack the complete blocks, in place or in a buffer for it; return how many bytes they took."""
        cdef uint8_t* apart = NULL
        if self._cipher is not None and self._cipher.uses_openssl(held):
            apart = <uint8_t*>malloc(min(held, <Py_ssize_t>MAX_APART))
            if apart == NULL:
                raise MemoryError()
        try:
            return self._open_blocks(base, held, apart, frames)
        finally:
            free(apart)

    cdef Py_ssize_t _open_blocks(self, uint8_t* base, Py_ssize_t held, uint8_t* apart, list frames) except -1:
        cdef Cipher cipher = self._cipher
        cdef uint8_t* body
        cdef Py_ssize_t at = 0
        cdef size_t size
        cdef int result
        while held - at >= LENGTH_PREFIX:
            size = load_be32(base + at)
            if size > self._max_block or size < self._min_block:
                self.error = f"a block of {size} bytes"
                self.is_forged = cipher is not None
                break
            if <size_t>(held - at) < LENGTH_PREFIX + size:
                break
            body = base + at + LENGTH_PREFIX
            at += LENGTH_PREFIX + size
            if cipher is not None:
                if apart != NULL and size >= OPENSSL_FROM and size <= MAX_APART:
                    result = cipher.open_apart(apart, body, size, None)
                    body = apart
                elif size >= RELEASE_GIL_FROM:
                    with nogil:
                        result = cipher.open_at(body, body, size, NULL, 0)
                else:
                    result = cipher.open_at(body, body, size, NULL, 0)
                if result != CIPHER_OK:
                    self.error = (
                        "the message counter of this key is used up" if result == CIPHER_EXHAUSTED
                        else "a block does not authenticate"
                    )
                    self.is_forged = result != CIPHER_EXHAUSTED
                    break
                size -= TAG_SIZE
            self.opened += 1
            self._read_frames(body, size, frames)
            if self.error is not None:
                break
        return at

    cdef str _name_at(self, const uint8_t* p, size_t size):
        """The name at p, or None where it is not UTF-8. Those of one type get the same object, decoded once."""
        cdef const uint8_t* last = <const uint8_t*>PyBytes_AS_STRING(self._name_bytes)
        if <size_t>PyBytes_GET_SIZE(self._name_bytes) == size and memcmp(last, p, size) == 0:
            return self._name
        try:
            self._name = PyUnicode_DecodeUTF8(<const char*>p, size, NULL)
        except UnicodeDecodeError:
            return None
        self._name_bytes = PyBytes_FromStringAndSize(<const char*>p, size)
        return self._name

    cdef int _read_frames(self, const uint8_t* p, size_t size, list frames) except -1:
        raise TypeError("what a block holds is for a subclass to read")
