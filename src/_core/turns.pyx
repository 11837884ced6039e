"""What a session machine does in every turn: blocks in, a small round of blocks out, and what both are counted for.

An object belongs to one thread at a time.
"""

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Contains, PyDict_DelItem, PyDict_SetItem, PyDict_Size
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from librats._core.aead cimport TAG_SIZE
from librats._core.byte_queue cimport ByteQueue
from librats._core.frame_layout cimport (
    F_ACK, F_DATAGRAM, F_ERROR, F_REPLY, F_STREAM_DATA, FRAME_COST, LENGTH_PREFIX
)
from librats._core.framing cimport BlockWriter
from librats._core.messages cimport Message, MessageRun, ReplyReceived
from librats._core.octets cimport store_be32
from librats._core.retained cimport Retained
from librats._core.unframing cimport BlockReader

from librats.errors import RemoteProtocolError

cdef enum:
    KIND_BITS = 0x03
    LAST_KIND = 2
    SMALL_ROUND = 16384  # bytes of a round that is put together here
    ACK_FRAME = 12  # bytes of an acknowledgement, frame header included
    BYTES_FOR_ACK = 65536
    BLOCKS_FOR_ACK = 32
    ACK_ALONG = 8  # blocks received from which on an acknowledgement goes along with what leaves anyway
    CONTROL_LIMIT = 1048576

cdef double DELAY_OF_ACK = 0.2
cdef double LEAST_PATIENCE = 0.8  # seconds without an acknowledgement until a path with a short round trip has stalled


ACK_BYTES = BYTES_FOR_ACK
"""Bytes received after which they are acknowledged."""

ACK_BLOCKS = BLOCKS_FOR_ACK
"""Blocks received after which they are acknowledged."""

ACK_DELAY = DELAY_OF_ACK
"""Seconds until what was received is acknowledged in any case."""

MAX_CONTROL = CONTROL_LIMIT
"""Bytes of control frames that may wait for a peer that does not read; one that makes us hold more is given up."""


cdef inline Py_ssize_t _length(ByteQueue queue) noexcept:
    return queue._end - queue._start


cdef class SessionTurns:
    """The compiled part of :class:`librats.session.machine.Session`, which has everything that is rarer.

    The attributes are the session's own, and described there.
    """

    def __cinit__(self, *args, **kwargs):
        self._ack_due = INFINITY
        self._stall_told = -INFINITY

    # Bytes in

    def buffer_updated(self, Py_ssize_t count, *, double now, list frames=None):
        """Take the bytes that were written to what ``get_buffer`` returned.

        Args:
            count: How many.
            now: Monotonic seconds.
            frames: What the reader has made of them, where it has already.
        """
        cdef BlockReader reader = self._reader
        cdef int64_t work = 0
        self.bytes_received += count
        if frames is None:
            frames = reader._received(count)
        if self.failed is not None:
            return
        self._last_received = now
        self.streams.now = now
        try:
            work = self._take_frames(frames, now)
            self._note_blocks(PyList_GET_SIZE(frames) > 0, now)
        except RemoteProtocolError as error:
            self._broken(str(error))
            return
        if reader.error is not None:
            self._unreadable(reader.error)
        elif work or <int64_t>reader.skipped != self._skipped:
            self._check_work(work + <int64_t>reader.skipped - self._skipped, now)
        if <int64_t>reader.window_used != self._window_seen and self.failed is None:
            self._window_seen = reader.window_used
            if (
                self._beyond_window or reader._parts is not None or reader._reply_parts is not None
                or self._window_seen > self._window_granted
                or self._window_granted - self._window_seen + self._unhandled > self._window
            ):
                self._check_window()
        if _length(self._control) > CONTROL_LIMIT or len(self._events) > self._max_events:
            self._give_up_on_queues()

    cdef int64_t _take_frames(self, list frames, double now) except -1:
        """Turn frames into events; return how many made work without carrying data."""
        cdef Py_ssize_t place
        cdef int64_t work = 0
        cdef object item
        cdef tuple frame
        cdef int kind
        for place in range(PyList_GET_SIZE(frames)):
            item = <object>PyList_GET_ITEM(frames, place)
            if type(item) is MessageRun:
                self.messages_received += (<MessageRun>item)._count
                self._unhandled += (<MessageRun>item).cost
                self._events.append(item)
            elif type(item) is Message:
                self.messages_received += 1
                self._unhandled += (<Message>item).cost
                self._request_arrived((<Message>item).request_id)
                self._events.append(item)
            else:
                frame = <tuple?>item
                kind = frame[0]
                if kind == F_REPLY:
                    self.messages_received += 1
                    self._reply_arrived(frame[2], frame[1], frame[3])
                else:
                    work += kind != F_STREAM_DATA and kind != F_DATAGRAM and kind != F_ERROR
                    self._take_frame(frame, now)
        return work

    cdef int _request_arrived(self, uint32_t number) except -1:
        cdef dict theirs = self.requests.theirs
        if PyDict_Contains(theirs, number):
            raise RemoteProtocolError(f"request {number} was sent twice")
        if PyDict_Size(theirs) >= self.requests._limit:
            self.requests.refuse(number)
        else:
            PyDict_SetItem(theirs, number, None)
        return 0

    cdef int _reply_arrived(self, uint32_t number, int flags, bytes payload) except -1:
        """Take note of an answer. One that nobody waits for is late, and dropped."""
        cdef ReplyReceived reply
        if self.requests._has_replied(number):
            if (flags & KIND_BITS) > LAST_KIND:
                raise RemoteProtocolError("a reply of unknown kind")
            reply = ReplyReceived.__new__(ReplyReceived)
            reply.request_id = number
            reply.kind = flags & KIND_BITS
            reply.payload = payload
            self._events.append(reply)
        return 0

    cdef int _note_blocks(self, bint elicits, double now) except -1:
        """Take note of blocks that have come, and of what they acknowledge.

        Raises:
            RemoteProtocolError: It acknowledges what was never sent.
        """
        cdef BlockReader reader = self._reader
        if self.retained is None:
            return 0
        if reader.acknowledged > self.retained.acknowledged:  # what is sent again tells old counts
            self.retained._acknowledge(reader.acknowledged, now)
        if reader.opened - self._told_blocks >= BLOCKS_FOR_ACK or self.bytes_received - self._told_at >= BYTES_FOR_ACK:
            self._acknowledge_now()
        elif elicits and self._ack_due == INFINITY:
            self._ack_due = now + DELAY_OF_ACK
        return 0

    cdef int _acknowledge_now(self) except -1:
        cdef uint8_t body[8]
        self._told_blocks = self._reader.opened
        self._told_at = self.bytes_received
        self._ack_due = INFINITY
        self._acks_queued += ACK_FRAME
        store_be32(body, <uint32_t>(self._told_blocks >> 32))
        store_be32(body + 4, <uint32_t>(self._told_blocks & 0xFFFFFFFF))
        return self._control._add(F_ACK, 0, NULL, 0, body, sizeof(body))

    cdef int _acknowledge_along(self) except -1:
        """Acknowledge with what is about to leave, where that is worth it."""
        if self.retained is not None and self._reader.opened - self._told_blocks >= ACK_ALONG:
            self._acknowledge_now()
        return 0

    def acknowledge(self, *, bint along=False):
        """Tell the peer how many blocks have come.

        Args:
            along: With what is about to leave, and only where that is worth it.
        """
        if along:
            self._acknowledge_along()
        else:
            self._acknowledge_now()

    def consumed(self, Py_ssize_t cost):
        """Take note that handlers have finished a message: the peer may send that much more."""
        self._unhandled -= cost
        if self._beyond_window and not self._has_memory():
            return
        if self._wants_to_grant():
            self._grant_messages()

    cdef bint _wants_to_grant(self) noexcept:
        # What was used is what may be granted at the most.
        return <int64_t>self._reader.window_used + self._window - self._window_granted >= self._window // 4

    # Verbs

    def send_request(self, tuple payload not None, bytes name not None, *, timeout, double now):
        """Queue a request.

        Args:
            payload: Kind and content.
            name: Its type, UTF-8.
            timeout: Seconds until the answer is no longer wanted, or None.
            now: Monotonic seconds.

        Returns:
            The request's number, which its answer or its expiry will name.

        Raises:
            PeerNotConnected: The session is closed.
            UsageError: It is too long for one side, or too many requests wait for their answers.
        """
        cdef uint32_t number
        if self._going or self.failed is not None:
            self._check_open()
        if len(payload[1]) > self._max_payload:
            self.check_size(len(payload[1]))
        number = self.requests._begin(payload, name, timeout, now)
        if number == 0:
            self.requests.refuse_ours()
        self._sent += 1
        return number

    def send_reply(self, uint32_t number, tuple payload not None):
        """Queue the answer to a request; nothing happens where the peer has cancelled it.

        Args:
            number: The request's number.
            payload: Kind and content.

        Raises:
            UsageError: It is too long for one side.
        """
        cdef dict theirs = self.requests.theirs
        if len(payload[1]) > self._max_payload:
            self.check_size(len(payload[1]))
        if self.failed is None and PyDict_Contains(theirs, number):
            PyDict_DelItem(theirs, number)
            self._replies._add_id(F_REPLY, payload[0], number, payload[1])
            self._sent += 1
            self._answers_sent += 1

    # Bytes out

    def data_to_send(self, *, double now):
        """Return the next blocks for the network, at most a quarter of a MiB, or b"" where there are none.

        Control frames go first, then replies, messages as far as the peer's window allows, and streams in turn.

        Args:
            now: Monotonic seconds.
        """
        cdef bytes data = self._small_round(now)
        return self.big_round(now) if data is None else data

    cdef bytes _small_round(self, double now):
        """The next blocks where they are few and nothing else is to be looked at; None where there is more to it."""
        cdef Retained kept = self.retained
        cdef BlockWriter writer = self._writer
        cdef Py_ssize_t control, replies, messages, total
        cdef uint64_t sealed
        if self._last_words is not None or PyDict_Size(self._ready_streams):
            return None
        if kept is not None and (kept.size >= self._kept_room or kept._is_stale()):
            return None
        control = _length(self._control)
        replies = _length(self._replies)
        messages = _length(self._messages) if self._send_credit > FRAME_COST else 0
        total = control + replies + messages
        if total == 0:
            return b""
        sealed = writer.sealed - self._rekeyed_count
        if (
            total > SMALL_ROUND or (replies and (messages or self._wants_to_grant()))
            or (messages and PyDict_Size(self.requests.early))
            or (sealed and (sealed >= self._rekey_messages or now - self._rekeyed_at >= self._rekey_interval))
        ):
            return None
        self._acknowledge_along()
        writer._begin(LENGTH_PREFIX + _length(self._control) + replies + messages + TAG_SIZE)
        writer._put_queue(self._control, -1)
        writer._put_queue(self._replies, -1)
        if messages:
            self._send_credit -= writer._put_queue(self._messages, self._send_credit)
        return self._finish_blocks(False, now)

    cdef bytes _finish_blocks(self, bint begins_with_rekey, double now):
        cdef BlockWriter writer = self._writer
        cdef bytes data = writer._finish()
        self.bytes_sent += PyBytes_GET_SIZE(data)
        if self.retained is not None and PyBytes_GET_SIZE(data):
            self.retained._add(
                data, self._sealed_before + writer.sealed, begins_with_rekey,
                <int64_t>writer.packed > self._acks_queued, now,
            )
            self._acks_queued = 0
        return data

    def finish_round(self, *, bint begins_with_rekey, double now):
        """Return the blocks of the round at hand, and keep them until they are acknowledged where they are kept.

        Args:
            begins_with_rekey: Whether the first of them changed the key.
            now: Monotonic seconds.
        """
        return self._finish_blocks(begins_with_rekey, now)

    @property
    def replies_queued(self):
        """Bytes of replies that wait for the network."""
        return _length(self._replies)

    @property
    def wants_to_send(self):
        """True where ``data_to_send`` may have something."""
        cdef Retained kept = self.retained
        cdef bint has_control = _length(self._control) > 0
        if kept is not None:
            if kept._is_stale():
                return True
            if kept.size >= self._kept_room and not self._has_room_on_the_way():
                return has_control
        return (
            has_control or _length(self._replies) > 0
            or (_length(self._messages) > 0 and self._send_credit > FRAME_COST)
            or PyDict_Size(self._ready_streams) > 0
            or (self._last_words is not None and not _length(self._messages))
        )

    # Time

    def paths_timer(self):
        """Return when an acknowledgement is due that nothing has carried yet, or the path counts as stalled."""
        return min(self._ack_due, self._stalls_at())

    def stalls_at(self):
        """Return when the path counts as stalled where nothing is acknowledged until then; infinity for never."""
        return self._stalls_at()

    cdef double _stalls_at(self) except -1:
        cdef Retained kept = self.retained
        cdef object smoothed
        if kept is None or not kept.awaited or self._stall_told >= kept.progress_at:
            return INFINITY
        smoothed = self.round_trip.smoothed
        return kept.progress_at + LEAST_PATIENCE + 3 * (0.0 if smoothed is None else <double>smoothed)
