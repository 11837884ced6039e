"""Batches of datagrams, from the kernel to the streams and back, without an object for each. Header only."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from librats._core.batches cimport (
    LIBRATS_HAS_LOCAL, LIBRATS_MAX_MESSAGES, librats_arrival, librats_flow, librats_message
)
from librats._core.datagram cimport Outbox
from librats._core.rudp_input cimport arrived
from librats._core.rudp_table cimport Mux

cdef enum:
    MOST_SEGMENTS = 64
    MOST_BYTES = 65487
    MOST_PARTS = 512

cdef enum:
    NONE_FOREIGN = 0
    ALL_FOREIGN = 1
    SOME_FOREIGN = 2


cdef struct Out:
    librats_flow flow
    uint32_t start
    uint32_t size


cdef inline bint same_bytes(const librats_flow* a, const librats_flow* b) noexcept nogil:
    return memcmp(a, b, sizeof(librats_flow)) == 0


cdef inline int take_arrival(Mux* m, librats_arrival* arrival, double now, uint64_t* taken) noexcept nogil:
    """Take what one message of the kernel holds; tell whether some of it is of another protocol."""
    cdef uint32_t step = arrival.segment if 0 < arrival.segment < arrival.size else arrival.size
    cdef uint32_t at = 0
    cdef uint32_t size
    cdef int ours = 0
    cdef int others = 0
    cdef librats_flow flow = arrival.flow
    if arrival.truncated or arrival.size == 0:
        return ALL_FOREIGN
    flow.marks &= LIBRATS_HAS_LOCAL
    while at < arrival.size:
        size = min(step, arrival.size - at)
        if arrived(m, arrival.data + at, size, &flow, now):
            ours += 1
        else:
            others += 1
        at += size
    taken[0] += ours
    return NONE_FOREIGN if others == 0 else (ALL_FOREIGN if ours == 0 else SOME_FOREIGN)


cdef inline int gather(Outbox* box, bint segments, uint8_t* arena, Out* out, int count) noexcept nogil:
    """Fill the outbox of a socket with packets of one family; return how many messages << 16 | packets."""
    cdef librats_message* message = NULL
    cdef bint open = False
    cdef size_t run = 0
    cdef int messages = 0
    cdef int n = 0
    while n < count and n < MOST_PARTS:
        if message != NULL and out[n].flow.family != message.flow.family:
            break
        box.parts[n].data = arena + out[n].start
        box.parts[n].size = out[n].size
        if (
            open and out[n].size <= message.segment and message.parts < MOST_SEGMENTS
            and run + out[n].size <= MOST_BYTES and same_bytes(&out[n].flow, &message.flow)
        ):
            message.parts += 1
            run += out[n].size
            open = out[n].size == message.segment
        else:
            if messages == LIBRATS_MAX_MESSAGES:
                break
            message = &box.messages[messages]
            messages += 1
            message.flow = out[n].flow
            message.first = <uint32_t>n
            message.parts = 1
            message.segment = out[n].size
            run = out[n].size
            open = segments and run <= MOST_BYTES // 2
        n += 1
    return messages << 16 | n
