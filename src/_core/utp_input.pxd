"""What comes in uTP: which connection a datagram is for, and what it does there. Header only.

Who does not see the packets of a connection can end or disturb it only by guessing its id, and what has been sent: a
packet that acknowledges what was not sent, or what was acknowledged long ago, is dropped, whatever its kind.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from librats._core.batches cimport librats_flow
from librats._core.rudp_acks cimport bytes_there
from librats._core.rudp_begin cimport new_conn, utp_number
from librats._core.rudp_control cimport Sample
from librats._core.rudp_receive cimport owe_ack, take_in_turn
from librats._core.rudp_replies cimport may_reply, new_reply
from librats._core.rudp_send cimport (
    TAIL_PROBES, ack_begun, ack_done, arrived_there, given_up, note_answer, note_rtt, sent_at
)
from librats._core.rudp_state cimport (
    CAUSE_REFUSED, CAUSE_RESET, DONE, FLYING, NEVER, OPEN, OPENING, TOLD_INCOMING, TOLD_OPEN, UTP_FIRST, Conn,
    same_peer, widened_short
)
from librats._core.rudp_table cimport Mux, Reply, close_conn, find, half_add, half_remove, heard, noise, tell
from librats._core.rudp_wire cimport BODY_DATA, BODY_FIN
from librats._core.utp_delay cimport note_ours, note_theirs
from librats._core.utp_output cimport microseconds
from librats._core.utp_wire cimport (
    UTP_DATA, UTP_FIN, UTP_RESET, UTP_STATE, UTP_SYN, UtpPacket, is_utp, read_utp, write_utp
)

cdef enum:
    OLD_ACKS = 1024  # packets by which an acknowledgement may be late
    DUP_ACKS = 3
    BYTES_HELD = 1100  # of the peer's window for each packet that it keeps behind a gap, as libtorrent counts
    MOST_SPAN = 1000  # libutp keeps 1024, whatever its window is
    UNKNOWN_DELAY = 0x7FFFFFFF  # uTorrent says so where it does not know


cdef inline bint arrived_utp(
    Mux* m, const uint8_t* data, uint32_t size, const librats_flow* flow, double now
) noexcept nogil:
    """Take a datagram; False where it is not of this protocol."""
    cdef UtpPacket p
    cdef Conn* c
    if not is_utp(data, size):
        return False
    m.counts.received += 1
    if not read_utp(data, size, &p):
        m.counts.malformed += 1
        return True
    if p.kind == UTP_SYN:
        take_syn(m, &p, flow, now)
        return True
    c = find(m, utp_number(m, flow, p.conn_id))
    if c == NULL or not same_peer(&c.flow, flow):
        utp_stranger(m, &p, flow, now)
    elif not c.reset_wanted:
        take_utp(m, c, &p, now)
    return True


# Those without a connection.

cdef inline void utp_stranger(Mux* m, const UtpPacket* p, const librats_flow* flow, double now) noexcept nogil:
    cdef Conn* c
    cdef int i
    m.counts.unknown += 1
    if p.kind != UTP_RESET:
        refuse(m, flow, p.conn_id, p.number, now)
        return
    # Who does not know a connection resets it under the id that it was spoken to with.
    for i in range(2):
        c = find(m, utp_number(m, flow, <uint16_t>(p.conn_id - 1 if i == 0 else p.conn_id + 1)))
        if c != NULL and <uint16_t>c.send_id == p.conn_id and same_peer(&c.flow, flow) and not c.reset_wanted:
            take_utp(m, c, p, now)
            return


cdef inline void refuse(
    Mux* m, const librats_flow* flow, uint16_t conn_id, uint16_t number, double now
) noexcept nogil:
    cdef Reply* reply
    if not may_reply(m, now):
        return
    reply = new_reply(m, flow)
    write_utp(reply.data, UTP_RESET, conn_id, microseconds(now), 0, 0, <uint16_t>noise(m), number)
    reply.size = 20
    m.counts.resets += 1


cdef inline void take_syn(Mux* m, const UtpPacket* p, const librats_flow* flow, double now) noexcept nogil:
    """Make a connection; of those that may be forged only so many are kept."""
    cdef uint32_t number = utp_number(m, flow, <uint16_t>(p.conn_id + 1))
    cdef Conn* c = find(m, number)
    if c != NULL:
        if (
            same_peer(&c.flow, flow) and not c.dialer and c.in_next == 0 and not c.reset_wanted
            and <uint16_t>(c.expected - 1) == p.number
        ):
            c.syn_at = now
            heard(m, c, p.whole, now)
            owe_ack(c, True, now)
        return
    if not m.settings.accepts or m.count >= m.settings.streams_most:
        m.counts.refused += 1
        refuse(m, flow, p.conn_id, p.number, now)
        return
    c = new_conn(m, number, p.conn_id, flow, now)
    if c == NULL:
        return
    c.state = OPEN
    c.expected = UTP_FIRST + p.number + 1
    c.events |= TOLD_INCOMING | TOLD_OPEN
    half_add(m, c)
    heard(m, c, p.whole, now)
    note_time(c, p, now)
    owe_ack(c, True, now)
    tell(m, c)


# A connection.

cdef inline void take_utp(Mux* m, Conn* c, const UtpPacket* p, double now) noexcept nogil:
    cdef uint64_t ack
    if c.state == OPENING:
        utp_answered(m, c, p, now)
        return
    ack = widened_short(p.ack, c.first - 1)
    if (
        <long long>(ack - c.next) >= 0 or <long long>(c.first - 1 - ack) > (OLD_ACKS if c.proven else 0)
        or (p.kind == UTP_DATA or p.kind == UTP_FIN)
        and widened_short(p.number, c.expected) >= c.expected + c.held_room
    ):
        m.counts.forged += 1
        c.forged += 1
        return
    if p.kind == UTP_RESET:
        close_conn(m, c, CAUSE_RESET)
        return
    if not c.proven:
        c.proven = True
        half_remove(m, c)
        note_answer(c, now)
    heard(m, c, p.whole, now)
    utp_acked(c, p, ack, now)
    if p.kind == UTP_DATA:
        take_in_turn(c, widened_short(p.number, c.expected), BODY_DATA, p.payload, p.size, now)
    elif p.kind == UTP_FIN:
        take_in_turn(c, widened_short(p.number, c.expected), BODY_FIN, NULL, 0, now)
    tell(m, c)


cdef inline void utp_answered(Mux* m, Conn* c, const UtpPacket* p, double now) noexcept nogil:
    """Take the answer to a Syn. Data may be ahead of it, and does not tell with which number the stream begins."""
    if p.ack != <uint16_t>c.next:
        m.counts.forged += 1
        return
    if p.kind == UTP_RESET:
        close_conn(m, c, CAUSE_REFUSED)
        return
    if p.kind != UTP_STATE:
        return
    c.state = OPEN
    c.proven = True
    c.syn_due = NEVER
    c.events |= TOLD_OPEN
    if c.first_sent_at > 0:
        note_rtt(c, now - c.first_sent_at)
    note_answer(c, now)
    c.first += 1
    c.next = c.first
    c.expected = UTP_FIRST + p.number
    heard(m, c, p.whole, now)
    note_time(c, p, now)
    note_window(c, p.window)
    tell(m, c)


cdef inline void note_time(Conn* c, const UtpPacket* p, double now) noexcept nogil:
    if p.sent_us:
        c.their_delay = microseconds(now) - p.sent_us
        note_theirs(&c.delays, c.their_delay, now)


cdef inline void note_window(Conn* c, uint32_t window) noexcept nogil:
    c.peer_window = window
    c.span = max(c.span, min(<uint32_t>(window / BYTES_HELD), <uint32_t>MOST_SPAN))


cdef inline void utp_acked(Conn* c, const UtpPacket* p, uint64_t ack, double now) noexcept nogil:
    """Take what a packet tells of those that we sent, and of the path."""
    cdef uint64_t newest = 0
    cdef uint64_t number = c.first
    cdef uint64_t head = c.first - 1
    cdef Sample sample
    cdef uint32_t bit
    cdef bint same_window = p.window == c.peer_window
    cdef bint repeated = False
    ack_begun(c, &sample, now)
    note_time(c, p, now)
    if p.delay_us and p.delay_us != UNKNOWN_DELAY:
        sample.queued = note_ours(&c.delays, p.delay_us, now)
    while <long long>(ack - number) >= 0:
        repeated = repeated or (sent_at(c, number).place != DONE and sent_at(c, number).sends > 1)
        arrived_there(c, number, now, &sample, &newest)
        number += 1
    if repeated:
        sample.rtt = 0  # what was behind the gap may have been there for long
    for bit in range(8 * p.mask_size):
        number = ack + 2 + bit
        if number >= c.next:
            break
        if p.mask[bit >> 3] >> (bit & 7) & 1 and number >= c.first:
            arrived_there(c, number, now, &sample, &newest)
    if newest <= c.newest_acked:
        sample.rtt = 0  # it was there before what was sent later, and nobody told
    if <long long>(ack - head) >= 0:
        note_window(c, p.window)
    if ack != head or sample.acked > 0:
        c.dup_acks = 0
    elif p.kind == UTP_STATE and not p.mask_size and same_window and c.flying.first:
        # Who sends no masks tells by repeating itself.
        c.dup_acks += 1
        if c.dup_acks == DUP_ACKS and sent_at(c, c.first).place == FLYING and sent_at(c, c.first).sends == 1:
            given_up(c, c.first, &sample, now)
    if c.peer_window < c.datagram:
        # It is there, and has no room: that is no silence.
        c.timeouts = min(c.timeouts, <int>TAIL_PROBES)
    bytes_there(c)
    ack_done(c, &sample, newest, 0)
