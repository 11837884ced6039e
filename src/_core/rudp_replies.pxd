"""Answers to those who have no connection, few and short. Header only."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from librats._core.batches cimport librats_flow
from librats._core.octets cimport store_be16, store_be32
from librats._core.rudp_table cimport MOST_REPLIES, Mux, Reply
from librats._core.shorthash cimport short_hash

cdef extern from *:
    """
    #define RUDP_REPLY_TIME 0.02
    """
    double REPLY_TIME "RUDP_REPLY_TIME"


cdef inline bint may_reply(Mux* m, double now) noexcept nogil:
    """Resets and Retrys are limited, as in librats 2: 64 in 20 ms."""
    if now - m.replies_since >= REPLY_TIME:
        m.replies_since = now
        m.replies_spent = 0
    if m.replies_spent >= MOST_REPLIES or m.replies_wanted >= MOST_REPLIES:
        return False
    m.replies_spent += 1
    return True


cdef inline Reply* new_reply(Mux* m, const librats_flow* flow) noexcept nogil:
    cdef Reply* reply
    if m.replies_wanted >= MOST_REPLIES:
        return NULL
    reply = &m.replies[m.replies_wanted]
    m.replies_wanted += 1
    reply.flow = flow[0]
    return reply


cdef inline uint32_t cookie_for(
    const Mux* m, const librats_flow* flow, uint32_t number, const uint8_t* secret
) noexcept nogil:
    cdef uint8_t text[28]
    memset(text, 0, sizeof(text))
    memcpy(text, flow.remote, 16)
    store_be32(text + 16, flow.scope)
    store_be16(text + 20, flow.port)
    text[22] = flow.family
    store_be32(text + 24, number)
    return <uint32_t>short_hash(text, sizeof(text), secret)
