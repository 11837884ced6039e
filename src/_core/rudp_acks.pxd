"""Acknowledgements: which packets the peer has, in the form of librats 2 and in ours. Header only."""

from libc.stdint cimport uint32_t, uint64_t

from librats._core.octets cimport load_be16
from librats._core.rudp_control cimport Sample
from librats._core.rudp_send cimport ack_begun, ack_done, arrived_there, sent_at
from librats._core.rudp_state cimport DONE, Conn, widened
from librats._core.rudp_wire cimport BODY_DATA, DELAY_UNIT, EXTENDED_RANGE, FLAG_SACK, Packet


cdef inline bint acked_by_sequence(Conn* c, const Packet* p, double now) noexcept nogil:
    """Take the acknowledgement of a packet of librats 2; False where it is old or acknowledges what was never sent."""
    cdef uint64_t ack = widened(p.ack, c.first - 1)
    cdef uint64_t newest = 0
    cdef uint64_t number
    cdef Sample sample
    cdef uint32_t i
    if <long long>(ack - (c.first - 1)) < 0 or <long long>(ack - c.next) >= 0:
        return False
    c.peer_window = p.window
    ack_begun(c, &sample, now)
    number = c.first
    while number <= ack:
        arrived_there(c, number, now, &sample, &newest)
        number += 1
    if p.flags & FLAG_SACK:
        for i in range(32):
            number = ack + 2 + i
            if p.sack >> i & 1 and number < c.next:
                arrived_there(c, number, now, &sample, &newest)
    if sample.acked > 0:
        c.proven = True
    bytes_there(c)
    ack_done(c, &sample, newest, 0)
    return True


cdef inline void bytes_there(Conn* c) noexcept nogil:
    """Let go of the bytes that the peer has, where each packet keeps its number."""
    cdef uint64_t number = c.first
    while number != c.next and sent_at(c, number).place == DONE:
        if sent_at(c, number).body == BODY_DATA:
            c.out_start = sent_at(c, number).offset + sent_at(c, number).size
        number += 1


cdef inline bint acked_by_numbers(Conn* c, const Packet* p, double now) noexcept nogil:
    """Take the acknowledgement of one of our packets; False where it speaks of what was never sent."""
    cdef uint64_t largest = widened(p.largest, c.next)
    cdef uint64_t heard = widened(p.heard, c.out_start)
    cdef uint64_t limit = heard + p.room
    cdef uint64_t newest = 0
    cdef uint64_t low, high
    cdef Sample sample
    cdef int i
    if largest >= c.next or <long long>(heard - c.out_next) > 0:
        return False
    ack_begun(c, &sample, now)
    if <long long>(heard - c.out_start) > 0:
        c.out_start = heard
    if <long long>(limit - c.out_limit) > 0:
        c.out_limit = limit
    high = largest
    low = high - min(<uint64_t>p.first_range, high)
    for i in range(-1, p.ranges):
        if i >= 0:
            if low < <uint64_t>load_be16(p.more + EXTENDED_RANGE * i) + 1 + c.first:
                break
            high = low - 1 - load_be16(p.more + EXTENDED_RANGE * i)
            low = high - min(<uint64_t>load_be16(p.more + EXTENDED_RANGE * i + 2), high)
        if high < c.first:
            break
        acked_run(c, max(low, c.first), high, now, &sample, &newest)
    if sample.acked > 0 or sample.late:
        c.proven = True
    ack_done(c, &sample, newest, <double>p.delay * DELAY_UNIT / 1e6)
    return True


cdef inline void acked_run(
    Conn* c, uint64_t low, uint64_t high, double now, Sample* sample, uint64_t* newest
) noexcept nogil:
    """Take a run of numbers: those on their way and those given up, found by their chains."""
    cdef uint64_t number, before
    # Both chains are in ascending order here: go from the end that is nearer.
    number = c.flying.first
    if number and high - low < 64:
        number = low
        while number <= high:
            arrived_there(c, number, now, sample, newest)
            number += 1
        return
    while number and number <= high:
        before = sent_at(c, number).after
        if number >= low:
            arrived_there(c, number, now, sample, newest)
        number = before
    number = c.lost.first
    while number and number <= high:
        before = sent_at(c, number).after
        if number >= low:
            arrived_there(c, number, now, sample, newest)
        number = before
