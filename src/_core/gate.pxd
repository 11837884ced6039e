from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from librats._core.stun_layout cimport IpAddress

cdef enum:
    GATE_ROOM = 1280  # bytes of the longest answer
    GATE_METHODS = 16
    GATE_CODES = 5


cdef enum Verdict:
    PASSED_ON  # Python answers
    ANSWERED
    DROPPED


cdef struct KnownUser:
    uint64_t hashed
    uint8_t* name
    uint32_t name_size
    uint32_t sole  # whether no other key is good for the name
    uint8_t key[16]


cdef struct GateState:
    uint8_t realm[764]
    uint32_t realm_size
    bint asks  # whether credentials are asked for
    bint binding  # whether Binding requests are answered here
    double amplification
    uint8_t nonce_key[32]
    uint32_t nonce_lifetime
    # How many answers each source got in this second.
    uint16_t* sources
    uint32_t source_answers
    double sources_until
    uint64_t seeds[4]
    # Users whose key is known; a slot of the table is the number of one, 0 is a free slot.
    KnownUser* users
    uint32_t* slots
    uint32_t user_count
    uint64_t malformed
    uint64_t unanswered
    uint64_t answers[GATE_METHODS][GATE_CODES]


cdef Verdict judge(
    GateState* g, const IpAddress* client, const uint8_t* data, size_t size, double now, uint8_t* out,
    uint32_t* out_size, uint32_t* known
) noexcept nogil


cdef class Gate:
    cdef GateState state
    cdef list known
