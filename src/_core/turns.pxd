from libc.stdint cimport int64_t, uint32_t, uint64_t

from librats._core.framing cimport BlockWriter, FrameQueue
from librats._core.requests cimport RequestNumbers
from librats._core.retained cimport Retained
from librats._core.unframing cimport BlockReader


cdef class SessionTurns:
    cdef public BlockReader _reader
    cdef public BlockWriter _writer
    cdef public FrameQueue _control
    cdef public FrameQueue _replies
    cdef public FrameQueue _messages
    cdef public RequestNumbers requests
    cdef public Retained retained
    cdef public dict _ready_streams
    cdef public object _events
    cdef public object _last_words
    cdef public object failed
    cdef public bint _going
    cdef public object round_trip
    cdef public object streams
    cdef public double _ack_due
    cdef public double _last_received
    cdef public double _rekey_interval
    cdef public double _rekeyed_at
    cdef public double _stall_told
    cdef public int64_t _acks_queued
    cdef public int64_t _answers_sent
    cdef public int64_t _beyond_window
    cdef public int64_t _kept_room
    cdef public int64_t _max_events
    cdef public int64_t _max_payload
    cdef public int64_t _send_credit
    cdef public int64_t _sent
    cdef public int64_t _skipped
    cdef public int64_t _told_at
    cdef public int64_t _unhandled
    cdef public int64_t _window
    cdef public int64_t _window_granted
    cdef public int64_t _window_seen
    cdef public int64_t bytes_received
    cdef public int64_t bytes_sent
    cdef public int64_t messages_received
    cdef public uint64_t _rekey_messages
    cdef public uint64_t _rekeyed_count
    cdef public uint64_t _sealed_before
    cdef public uint64_t _told_blocks

    cdef int64_t _take_frames(self, list frames, double now) except -1
    cdef int _request_arrived(self, uint32_t number) except -1
    cdef int _reply_arrived(self, uint32_t number, int flags, bytes payload) except -1
    cdef int _note_blocks(self, bint elicits, double now) except -1
    cdef int _acknowledge_now(self) except -1
    cdef int _acknowledge_along(self) except -1
    cdef bint _wants_to_grant(self) noexcept
    cdef bytes _small_round(self, double now)
    cdef bytes _finish_blocks(self, bint begins_with_rekey, double now)
    cdef double _stalls_at(self) except -1
