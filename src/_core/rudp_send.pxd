"""What is on its way: packets sent, acknowledged and lost; round trips (RFC 6298), timeouts, pacing. Header only."""

from libc.math cimport fabs
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from librats._core.rudp_control cimport MODEL, Sample, control_acked, control_idle, control_timeout
from librats._core.rudp_probe cimport SHRINK_AFTER, SHRINK_TIME, probe_acked, probe_lost, size_suspected
from librats._core.rudp_state cimport (
    BASE_DATAGRAM, CAUSE_LOST, COMPAT_WINDOW, DONE, FLYING, LOST, NEVER, REPLACED, TOLD_WRITABLE, Chain, Conn, Sent
)
from librats._core.rudp_wire cimport BODY_DATA, BODY_FIN, BODY_PING

cdef enum:
    REORDER = 3
    MOST_REORDER = 300
    MOST_TIMEOUTS = 12
    MOST_FIRST_TIMEOUTS = 40
    MOST_NUDGES = 6
    FEW = 2400  # bytes
    EVEN_TIMEOUTS = 8  # that do not double where few bytes are on their way
    BEGINNING = 256  # bytes of the peer's, which belong to its handshake
    TAIL_PROBES = 2
    PACKET_COST = 24  # what a packet weighs beside its payload

cdef extern from *:
    """
    #define RUDP_FIRST_TIMEOUT 0.5
    #define RUDP_LEAST_FIRST_TIMEOUT 0.06
    #define RUDP_MOST_BEGINNING 0.2
    #define RUDP_LEAST_TIMEOUT 0.1
    #define RUDP_MOST_TIMEOUT 6.0
    #define RUDP_LEAST_PROBE 0.03
    #define RUDP_PEER_ACK_DELAY 0.02
    #define RUDP_PACE_QUANTUM 0.002
    #define RUDP_LEAST_FIRST_RTT 0.001
    #define RUDP_UNKNOWN_PATH 0.25
    #define RUDP_LATE_BEGINNING 2.0
    """
    double FIRST_TIMEOUT "RUDP_FIRST_TIMEOUT"
    double LEAST_FIRST_TIMEOUT "RUDP_LEAST_FIRST_TIMEOUT"
    double MOST_BEGINNING "RUDP_MOST_BEGINNING"
    double LEAST_TIMEOUT "RUDP_LEAST_TIMEOUT"
    double MOST_TIMEOUT "RUDP_MOST_TIMEOUT"
    double LEAST_PROBE "RUDP_LEAST_PROBE"
    double PEER_ACK_DELAY "RUDP_PEER_ACK_DELAY"
    double PACE_QUANTUM "RUDP_PACE_QUANTUM"
    double LEAST_FIRST_RTT "RUDP_LEAST_FIRST_RTT"
    double UNKNOWN_PATH "RUDP_UNKNOWN_PATH"
    double LATE_BEGINNING "RUDP_LATE_BEGINNING"


cdef inline Sent* sent_at(const Conn* c, uint64_t number) noexcept nogil:
    return &c.sent[number & (c.sent_room - 1)]


cdef inline uint32_t weight(const Sent* s) noexcept nogil:
    return s.size + PACKET_COST


# Chains of packets, in the order in which they were sent or found lost.

cdef inline void chain_add(Conn* c, Chain* chain, uint64_t number) noexcept nogil:
    cdef Sent* s = sent_at(c, number)
    s.before = chain.last
    s.after = 0
    if chain.last:
        sent_at(c, chain.last).after = number
    else:
        chain.first = number
    chain.last = number


cdef inline void chain_remove(Conn* c, Chain* chain, uint64_t number) noexcept nogil:
    cdef Sent* s = sent_at(c, number)
    if s.before:
        sent_at(c, s.before).after = s.after
    else:
        chain.first = s.after
    if s.after:
        sent_at(c, s.after).before = s.before
    else:
        chain.last = s.before


cdef inline void chain_sort_in(Conn* c, Chain* chain, uint64_t number) noexcept nogil:
    """Add a packet to a chain that is in the order of the numbers; it belongs near the end."""
    cdef uint64_t before = chain.last
    cdef Sent* s = sent_at(c, number)
    while before > number:
        before = sent_at(c, before).before
    s.before = before
    s.after = sent_at(c, before).after if before else chain.first
    if before:
        sent_at(c, before).after = number
    else:
        chain.first = number
    if s.after:
        sent_at(c, s.after).before = number
    else:
        chain.last = number


cdef inline Sent* new_sent(Conn* c) noexcept nogil:
    """The entry of the next number; NULL where there is no memory. The number is used up by `launched`."""
    cdef Sent* grown
    cdef Sent* s
    cdef uint64_t room, number
    if c.next - c.first >= c.sent_room:
        room = c.sent_room * 2 if c.sent_room else 16
        grown = <Sent*>calloc(room, sizeof(Sent))
        if grown == NULL:
            return NULL
        number = c.first
        while number != c.next:
            grown[number & (room - 1)] = c.sent[number & (c.sent_room - 1)]
            number += 1
        free(c.sent)
        c.sent = grown
        c.sent_room = room
    s = sent_at(c, c.next)
    memset(s, 0, sizeof(Sent))
    return s


cdef inline void launched(Conn* c, uint64_t number, double now) noexcept nogil:
    """A packet goes out, for the first time or again."""
    cdef Sent* s = sent_at(c, number)
    if number == c.next:
        c.next += 1
    if c.flying.first == 0:
        if s.body != BODY_PING and c.order and now - c.launched_at > timeout_of(c):
            control_idle(&c.control, now - c.launched_at, timeout_of(c))
        c.first_sent_at = now
        c.delivered_at = now
    c.launched_at = now
    c.order += 1
    s.order = c.order
    s.place = FLYING
    s.sends += 1
    s.sent_at = now
    s.delivered = c.delivered
    s.delivered_at = c.delivered_at
    s.first_sent_at = c.first_sent_at
    s.limited = c.limited_until != 0
    chain_add(c, &c.flying, number)
    c.flight += weight(s)
    c.tokens -= weight(s)
    c.sent_bytes += s.size
    c.force = False
    if s.sends > 1 or s.probing:
        c.retransmitted += 1
    if c.flying.first == number:  # until now the timer was for something less urgent, or for nothing
        c.timer_at = min(c.timer_at, now + timeout_of(c))


cdef inline double patient_timeout(const Conn* c) noexcept nogil:
    """The timeout of a peer that knows little of the path, RFC 6298, 2."""
    return min(c.srtt + max(4 * c.rttvar, 0.00375) + PEER_ACK_DELAY, MOST_TIMEOUT) if c.has_rtt else c.first_timeout


cdef inline double timeout_of(const Conn* c) noexcept nogil:
    """Seconds of silence until the next probe of the tail (RFC 8985, 7.2), or the timeout (RFC 6298, 2)."""
    cdef double whole = c.first_timeout
    cdef double probe
    cdef int _
    cdef int doublings = c.timeouts - TAIL_PROBES
    if is_thin(c) and c.timeouts <= even_timeouts(c):
        if not c.has_rtt:
            return c.first_timeout
        if begins(c):
            return max(LEAST_PROBE, c.srtt / 2 if loses(c) else 1.25 * c.srtt + PEER_ACK_DELAY)
        probe = c.srtt + min(4 * c.rttvar, c.srtt) + PEER_ACK_DELAY
        return min(max(probe / 2 if c.timeouts else probe, LEAST_PROBE), MOST_TIMEOUT)
    if c.has_rtt:
        whole = min(max(c.srtt + 4 * c.rttvar, LEAST_TIMEOUT), MOST_TIMEOUT)
    if c.timeouts < TAIL_PROBES:
        return min(max(patient_timeout(c) * (1 << c.timeouts), LEAST_PROBE), whole)
    if is_thin(c):
        doublings = c.timeouts - even_timeouts(c)
    for _ in range(doublings):
        whole = min(whole * 2, MOST_TIMEOUT)
    if begins(c):
        whole = min(whole, max(MOST_BEGINNING, 2 * c.srtt))
    return whole


cdef inline int even_timeouts(const Conn* c) noexcept nogil:
    """How many timeouts of few bytes do not double: but few where it is not known how long a round trip takes."""
    return EVEN_TIMEOUTS if c.has_rtt else <int>(UNKNOWN_PATH / c.first_timeout)


cdef inline int most_timeouts(const Conn* c) noexcept nogil:
    if begins(c):
        return MOST_FIRST_TIMEOUTS
    return MOST_TIMEOUTS + (even_timeouts(c) - TAIL_PROBES if is_thin(c) else 0)


cdef inline bint is_thin(const Conn* c) noexcept nogil:
    """Whether so little is on its way, as is of a conversation, that nothing but silence tells what is lost. It
    congests nothing: timeouts of such connections do not double at first, as those of TCP do not in Linux where it is
    asked to (tcp_thin_linear_timeouts)."""
    return c.extended and c.out_next - c.out_start <= FEW


cdef inline bint waits_for_answer(const Conn* c) noexcept nogil:
    """Whether the peer may have used up what it may send to an address that is not proven (RFC 9002, 6.2.2.1): it can
    have heard of all that it has sent only where it goes on."""
    return c.dialer and c.extended and c.in_next < BEGINNING


cdef inline bint begins(const Conn* c) noexcept nogil:
    """Whether the peer has sent hardly anything yet, on a path of which it is known how long that takes."""
    return c.has_rtt and c.extended and c.in_next < BEGINNING


cdef inline bint loses(const Conn* c) noexcept nogil:
    """Whether packets were lost already: few bytes may go again then before their acknowledgement can have come. Not
    what is but a question whether the peer is there: it would never end."""
    return c.out_next != c.out_start and (c.retransmitted > 0 or c.opening > 1.5 * c.srtt)


cdef inline void note_answer(Conn* c, double now) noexcept nogil:
    """The peer has answered one of several Syns, nobody knows which. From the first on it is more than a round trip;
    from the last on too little for a measurement (RFC 6298, 3), and enough for when to repeat what comes first."""
    c.opening = now - c.begun_at
    if not c.has_rtt:
        c.first_timeout = min(FIRST_TIMEOUT, max(LEAST_FIRST_TIMEOUT, 3 * (now - c.syn_at) + PEER_ACK_DELAY))


cdef inline void note_rtt(Conn* c, double rtt) noexcept nogil:
    rtt = max(rtt, 1e-6)
    c.latest_rtt = rtt
    if not c.has_rtt:
        c.has_rtt = True
        c.srtt = rtt
        c.rttvar = rtt / 2
        c.least_rtt = rtt
        return
    c.least_rtt = min(c.least_rtt, rtt)
    c.rttvar = 0.75 * c.rttvar + 0.25 * fabs(c.srtt - rtt)
    c.srtt = 0.875 * c.srtt + 0.125 * rtt


cdef inline void given_up(Conn* c, uint64_t number, Sample* sample, double now) noexcept nogil:
    """A packet on its way is taken for lost."""
    cdef Sent* s = sent_at(c, number)
    chain_remove(c, &c.flying, number)
    c.flight -= weight(s)
    c.losses += 1
    if s.body == BODY_DATA or s.body == BODY_FIN:
        s.place = LOST
        chain_sort_in(c, &c.lost, number)
    else:
        s.place = REPLACED if c.extended else DONE
    if c.probe_number == number:
        probe_lost(c, now)
        return  # longer than the path takes: it says nothing of congestion
    if s.size > BASE_DATAGRAM:
        if s.sends >= SHRINK_AFTER and now - c.long_at > max(4 * c.srtt, SHRINK_TIME):
            size_suspected(c, now)
    sample.lost += weight(s)
    if s.order > c.recover:
        c.recover = c.order
        sample.new_loss = True


cdef inline bint may_be_latest(const Conn* c, const Sent* s, double now) noexcept nogil:
    """Of what was sent again under its old number, nobody knows which of the two came: not the second one where that
    would have been too quick (RFC 8985, 6.2). Alone on its way a packet is quicker than it was among others."""
    return s.probing or 2 * (now - s.sent_at) >= c.least_rtt


cdef inline void arrived_there(Conn* c, uint64_t number, double now, Sample* sample, uint64_t* newest) noexcept nogil:
    """The peer has told that a packet came."""
    cdef Sent* s = sent_at(c, number)
    if s.place == DONE:
        return
    if s.place == FLYING:
        chain_remove(c, &c.flying, number)
        c.flight -= weight(s)
    else:
        if s.place == LOST:
            chain_remove(c, &c.lost, number)
        if not s.probing and c.newest_acked > s.order:
            # It was not lost but late: wait longer from now on (RFC 8985, 6.2).
            c.reorder = <uint32_t>min(max(c.newest_acked - s.order + 1, <uint64_t>c.reorder), <uint64_t>MOST_REORDER)
            c.patience = min(c.patience + 0.25, 2.0)
            c.late += 1
        if s.place == REPLACED:
            s.place = DONE
            if c.extended and s.order > newest[0]:
                newest[0] = s.order
                sample.late = True
                sample.rtt = now - s.sent_at
            return
    s.place = DONE
    c.delivered += weight(s)
    c.delivered_at = now
    sample.acked += weight(s)
    if s.fin:
        c.fin_acked = True
    if s.size > BASE_DATAGRAM:
        c.long_at = now
    if number == c.probe_number:
        probe_acked(c, now)
    if s.order > newest[0] and (c.extended or s.sends == 1 or (c.utp and may_be_latest(c, s, now))):
        newest[0] = s.order
        sample.delivered_before = s.delivered
        sample.limited = s.limited
        sample.rate = max(s.sent_at - s.first_sent_at, now - s.delivered_at)
        c.first_sent_at = s.sent_at
        sample.rtt = now - s.sent_at if c.extended or s.sends == 1 else 0


cdef inline void drop_done(Conn* c, double now) noexcept nogil:
    """Forget the oldest packets that are done with, and those replaced that are not to be heard of any more."""
    cdef double late = 2 * c.srtt if c.has_rtt and not begins(c) else LATE_BEGINNING
    cdef Sent* s
    while c.first != c.next:
        s = sent_at(c, c.first)
        if s.place != DONE and (s.place != REPLACED or now - s.sent_at < late):
            return
        c.first += 1


cdef inline void ack_begun(Conn* c, Sample* sample, double now) noexcept nogil:
    memset(sample, 0, sizeof(Sample))
    sample.now = now
    sample.queued = -1
    sample.flight_before = c.flight


cdef inline void ack_done(Conn* c, Sample* sample, uint64_t newest, double delay) noexcept nogil:
    """Draw the conclusions of one acknowledgement: round trip, losses, rate, window, timer."""
    cdef double now = sample.now
    cdef double interval = sample.rate
    sample.rate = 0
    if newest > c.newest_acked:
        c.newest_acked = newest
    drop_done(c, now)
    if sample.acked > 0 or sample.late:
        if sample.rtt > 0:
            # Keep the delay of the peer out of it, unless that would give less than the least seen; of the first one it
            # is much where earlier acknowledgements were lost.
            if sample.rtt - delay >= (c.least_rtt if c.has_rtt else LEAST_FIRST_RTT):
                sample.rtt -= delay
            note_rtt(c, sample.rtt)
        if c.timeouts > TAIL_PROBES:
            c.recover = c.order
        c.timeouts = 0
        if interval > 0 and interval >= 0.9 * c.least_rtt:
            sample.rate = (c.delivered - sample.delivered_before) / interval
        if c.limited_until and c.delivered > c.limited_until:
            c.limited_until = 0
    find_lost(c, sample, now)
    if not c.extended:
        find_lost_again(c, sample, now)
    sample.in_recovery = c.newest_acked < c.recover
    sample.srtt = c.srtt
    sample.least_rtt = c.least_rtt
    sample.flight = c.flight
    sample.delivered = c.delivered
    sample.full = c.window_full or sample.flight_before * 2 >= c.control.window
    if sample.acked > 0 or sample.lost > 0:
        control_acked(&c.control, sample)
        c.window_full = False
    if sample.acked > 0 or sample.lost > 0 or sample.late:
        c.timer_at = now + timeout_of(c) if c.flying.first or c.lost.first else NEVER
        if c.timer_at >= NEVER and waits_for_answer(c) and c.nudges < MOST_NUDGES:
            c.timer_at = now + timeout_of(c) * (1 << c.nudges)
            c.nudges += 1
    if c.wants_room and (c.out_end - c.out_start) * 2 <= out_room(c):
        c.wants_room = False
        c.events |= TOLD_WRITABLE


cdef inline uint64_t out_room(const Conn* c) noexcept nogil:
    """Bytes that the application may have written and the peer not acknowledged: twice the window, within limits."""
    cdef double wanted = 2 * c.control.window
    if c.control.kind == MODEL:
        wanted *= 1.5
    return <uint64_t>min(max(wanted, 262144.0), <double>c.out_most)


cdef inline void find_lost(Conn* c, Sample* sample, double now) noexcept nogil:
    """RFC 9002, 6.1: what was sent well before something that has come."""
    cdef double late = max(c.patience * max(c.srtt, c.latest_rtt), 0.001)
    cdef uint64_t number = c.flying.first
    cdef uint64_t after
    cdef Sent* s
    c.loss_at = NEVER
    while number:
        s = sent_at(c, number)
        after = s.after
        if s.order >= c.newest_acked:
            return
        if s.order + c.reorder > c.newest_acked and s.sent_at + late > now:
            c.loss_at = s.sent_at + late
            return
        given_up(c, number, sample, now)
        number = after


cdef inline void find_lost_again(Conn* c, Sample* sample, double now) noexcept nogil:
    """The hole at the head, sent again longer ago than its acknowledgement takes: in librats 2 nothing else tells."""
    cdef Sent* s
    if c.first == c.next or c.newest_acked == 0:
        return
    s = sent_at(c, c.first)
    if s.place == FLYING and s.sends > 1 and now - s.sent_at > 1.25 * max(c.srtt, c.latest_rtt) + 0.01:
        given_up(c, c.first, sample, now)


cdef inline void loss_time_come(Conn* c, double now) noexcept nogil:
    cdef Sample sample
    ack_begun(c, &sample, now)
    ack_done(c, &sample, 0, 0)


cdef inline void timeout_come(Conn* c, double now) noexcept nogil:
    """Nothing was heard for too long: ask by the last packet first, or by all where they are few, and take all for lost
    when that did not help."""
    cdef Sample sample
    cdef uint64_t number = c.flying.last
    cdef uint64_t before
    cdef bint found = False, few = is_thin(c)
    cdef Sent* s
    c.timeouts += 1
    if c.timeouts > most_timeouts(c):
        c.cause = CAUSE_LOST
        return
    c.timer_at = now + timeout_of(c)
    c.force = True
    if c.has_key and not c.agreed:
        c.pings = 1  # the peer may have agreed, and drop what has no tag
    if waits_for_answer(c):
        c.pad_wanted = True
    if c.timeouts <= TAIL_PROBES:
        if c.lost.first == 0:
            while number and (few or not found):
                s = sent_at(c, number)
                before = s.before
                if s.body == BODY_DATA or s.body == BODY_FIN:
                    found = True
                    chain_remove(c, &c.flying, number)
                    c.flight -= weight(s)
                    s.place = LOST
                    s.probing = True
                    chain_sort_in(c, &c.lost, number)
                number = before
            if not found:
                c.pings = 1
        return
    ack_begun(c, &sample, now)
    while c.flying.first:
        given_up(c, c.flying.first, &sample, now)
    drop_done(c, now)
    if c.lost.first == 0:
        c.pings = 1
    c.loss_at = NEVER
    c.recover = c.order
    control_timeout(&c.control, now)
    if c.timeouts > TAIL_PROBES + 1:
        size_suspected(c, now)


# What may go now.

cdef inline bint window_allows(Conn* c, uint32_t size) noexcept nogil:
    if c.force or c.flight == 0 or c.flight + size <= c.control.window:
        return True
    c.window_full = True
    return False


cdef inline bint pace_allows(Conn* c, double now) noexcept nogil:
    cdef double rate = c.control.rate
    cdef double burst
    if c.force or rate <= 0:
        return True
    burst = max(rate * PACE_QUANTUM, 10 * c.control.segment)
    c.tokens = min(c.tokens + rate * max(now - c.tokens_at, 0), burst)
    c.tokens_at = now
    if c.tokens > 0 or c.flight == 0:
        return True
    c.pace_due = now + (-c.tokens + 2 * c.control.segment) / rate
    return False


cdef inline bint compat_window_allows(const Conn* c) noexcept nogil:
    cdef uint64_t out = c.next - c.first
    return out < c.peer_window and out < COMPAT_WINDOW
