from libc.stdint cimport uint8_t, uint32_t

from librats._core.gate_state cimport GateState
from librats._core.stun_index cimport StunIndex
from librats._core.stun_layout cimport IpAddress

cdef enum:
    GATE_ROOM = 1280  # bytes of the longest answer


cdef enum Verdict:
    PASSED_ON  # Python answers
    ANSWERED
    DROPPED


cdef Verdict judge(
    GateState* g, const IpAddress* client, StunIndex* index, const uint8_t* data, size_t size, bint allocated,
    double now, uint8_t* out, uint32_t* out_size, uint32_t* known
) noexcept nogil
cdef void refuse_known(
    GateState* g, const StunIndex* index, uint32_t user, int code, uint8_t* out, uint32_t* size
) noexcept nogil


cdef class Gate:
    cdef GateState state
    cdef list known
