"""What goes out: the next packet of a connection. Header only."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from librats._core.batches cimport librats_flow
from librats._core.rudp_probe cimport next_size, probe_wanted
from librats._core.rudp_receive cimport ack_settled, ack_wanted, compat_sack, compat_window, write_ack
from librats._core.rudp_send cimport (
    chain_remove, compat_window_allows, drop_done, launched, new_sent, pace_allows, sent_at, timeout_of, weight,
    window_allows
)
from librats._core.rudp_state cimport (
    BASE_DATAGRAM, COMPAT_PAYLOAD, COMPAT_WINDOW, DONE, MOST_SENT, NEVER, OPENING, REPLACED, Conn, Sent, ring_get,
    scrap_drop
)
from librats._core.rudp_table cimport Mux, remove
from librats._core.rudp_tag cimport must_tag, write_tag
from librats._core.rudp_wire cimport (
    ACK, BODY_CHALLENGE, BODY_DATA, BODY_DATAGRAM, BODY_FIN, BODY_NONE, BODY_PING, BODY_RESET, BODY_RESPONSE, COOKIE,
    DATA, EXTENDED_ACK, EXTENDED_HEADER, FIN, FLAG_ACK, FLAG_EXTENDED, FLAG_FIN, FLAG_TAG, RESET, SYN, TAG,
    write_extended, write_packet
)
from librats._core.utp_output cimport next_utp, write_utp_head
from librats._core.utp_wire cimport UTP_RESET, UTP_SYN

cdef enum:
    OFFSET = 4
    CHALLENGE_TRIES = 5

cdef extern from *:
    """
    #define RUDP_CHALLENGE_WAIT 0.3
    """
    double CHALLENGE_WAIT "RUDP_CHALLENGE_WAIT"


cdef inline uint32_t next_packet(Mux* m, Conn* c, double now, uint8_t* out, librats_flow* to) noexcept nogil:
    """Write the next packet that may go now; 0 where there is none. There is room for the longest."""
    cdef uint32_t size = 0
    if c.removed:
        return 0
    to[0] = c.flow
    if c.reset_wanted:
        if c.proven or c.packets_out < c.packets_in:
            size = write_reset(c, now, out)
        remove(m, c)
        return size
    if c.state == OPENING:
        size = next_syn(c, now, out)
    elif not c.proven and c.packets_out >= c.packets_in:
        return 0
    elif c.utp:
        size = next_utp(c, now, out)
    elif not c.extended:
        size = next_numbered(c, now, out)
    elif c.ack_now and not c.dialer and not c.heard_extended:
        size = next_ack(c, now, out)  # to a Syn: it says that we are one of ours
    else:
        size = next_way(c, now, out, to)
        if not size:
            size = next_extended(m, c, now, out)
    if size:
        c.packets_out += 1
        c.bytes_out += size
        c.spoke_at = now
    return size


cdef inline uint32_t write_reset(Conn* c, double now, uint8_t* out) noexcept nogil:
    cdef uint32_t size
    if c.utp:
        return write_utp_head(c, UTP_RESET, c.next, now, out)
    if not c.agreed:
        return write_packet(out, RESET, 0, 0, c.send_id, 0, 0, 0)
    size = begin_extended(c, 0, BODY_RESET, now, out, False)
    out[size] = 0
    return untracked(c, out, size + 1, True)


cdef inline uint32_t next_syn(Conn* c, double now, uint8_t* out) noexcept nogil:
    cdef uint32_t size
    if c.syn_due > now or c.syns_left == 0:
        return 0
    c.syns_left -= 1
    c.syn_at = now
    c.syn_due = now + c.syn_wait
    if c.syn_doubles:
        c.syn_wait *= 2
    c.first_sent_at = now if c.packets_out == 0 else 0
    if c.utp:
        return write_utp_head(c, UTP_SYN, c.next, now, out)
    size = write_packet(out, SYN, FLAG_EXTENDED if c.offered else 0, COMPAT_WINDOW, c.send_id, 1, 0, 0)
    if c.has_cookie:
        memcpy(out + size, c.cookie, COOKIE)
        size += COOKIE
    return size


# In librats 2's format.

cdef inline uint32_t next_numbered(Conn* c, double now, uint8_t* out) noexcept nogil:
    cdef uint64_t number = c.lost.first
    cdef uint64_t ready = c.out_end - c.out_next
    cdef Sent* s
    if number:
        # The packets that the head holds up may have come, and only its repair lets the peer say so.
        if (number == c.first or window_allows(c, weight(sent_at(c, number)))) and pace_allows(c, now):
            chain_remove(c, &c.lost, number)
            return write_numbered(c, number, now, out)
        return next_ack(c, now, out)
    if ready and compat_window_allows(c) and window_allows(c, COMPAT_PAYLOAD) and pace_allows(c, now):
        s = new_sent(c)
        if s == NULL:
            return 0
        s.body = BODY_DATA
        s.offset = c.out_next
        s.size = <uint32_t>min(ready, <uint64_t>COMPAT_PAYLOAD)
        c.out_next += s.size
        return write_numbered(c, c.next, now, out)
    if not ready and c.fin_wanted and not c.fin_sent:
        s = new_sent(c)
        if s == NULL:
            return 0
        s.body = BODY_FIN
        s.fin = True
        s.offset = c.out_next
        c.fin_sent = True
        return write_numbered(c, c.next, now, out)
    if not ready and not c.limited_until and c.flight < c.control.window:
        c.limited_until = c.delivered + c.flight + 1
    return next_ack(c, now, out)


cdef inline uint32_t write_numbered(Conn* c, uint64_t number, double now, uint8_t* out) noexcept nogil:
    cdef Sent* s = sent_at(c, number)
    cdef uint32_t size = write_header(c, DATA if s.body == BODY_DATA else FIN, number, out)
    if s.size:
        ring_get(&c.out, s.offset, out + size, s.size)
    size += s.size
    launched(c, number, now)
    return size


cdef inline uint32_t write_header(Conn* c, uint8_t kind, uint64_t number, uint8_t* out) noexcept nogil:
    cdef uint16_t window = compat_window(c)
    cdef uint8_t flags = FLAG_EXTENDED if c.extended else 0
    c.told_limit = window
    ack_settled(c)
    return write_packet(
        out, kind, flags, window, c.send_id, <uint32_t>number, <uint32_t>(c.expected - 1), compat_sack(c)
    )


cdef inline uint32_t next_ack(Conn* c, double now, uint8_t* out) noexcept nogil:
    if not c.pings and not ack_wanted(c, now):
        return 0
    c.pings = 0
    if c.announce_due <= now:
        c.announces -= 1
        c.announce_due = now + timeout_of(c) if c.announces > 0 else NEVER
    return write_header(c, ACK, c.next, out)


# Between two of ours.

cdef inline bint may_send(const Conn* c, uint32_t size) noexcept nogil:
    """To an address that may be forged goes at most a quarter more than came from it."""
    return c.proven or c.bytes_out + size <= c.bytes_in + c.bytes_in / 4


cdef inline uint32_t begin_extended(
    Conn* c, uint8_t flags, uint8_t body, double now, uint8_t* out, bint acks
) noexcept nogil:
    """Write the header, and the acknowledgement where one is owed or asked for; return their size."""
    cdef uint32_t size = 0
    write_extended(out, flags, body, c.send_id, <uint32_t>c.next)
    if acks:
        size = write_ack(c, out + EXTENDED_HEADER, EXTENDED_ACK + 4 * 64, now)
        if size:
            out[1] |= FLAG_ACK
            out[2] = <uint8_t>((size - EXTENDED_ACK) >> 2)
            ack_settled(c)
    return EXTENDED_HEADER + size


cdef inline uint32_t seal_extended(Conn* c, uint8_t* out, uint32_t size, bint tagged) noexcept nogil:
    if not tagged:
        return size
    out[1] |= FLAG_TAG
    return size + TAG if write_tag(c, out, size, c.next) else 0


cdef inline uint32_t untracked(Conn* c, uint8_t* out, uint32_t size, bint tagged) noexcept nogil:
    """Finish a packet that is not to be acknowledged; its number is used up."""
    cdef Sent* s = new_sent(c)
    if s == NULL:
        return 0
    s.place = DONE
    size = seal_extended(c, out, size, tagged)
    if c.first == c.next:
        c.first += 1
    c.next += 1
    return size


cdef inline uint32_t next_way(Conn* c, double now, uint8_t* out, librats_flow* to) noexcept nogil:
    """A question to another address, or the answer to one."""
    cdef uint32_t size
    if c.answer_wanted:
        c.answer_wanted = False
        to[0] = c.answer_flow
        size = begin_extended(c, 0, BODY_RESPONSE, now, out, False)
        memcpy(out + size, c.answer, 8)
        return untracked(c, out, size + 8, c.agreed)
    if c.challenge_wanted:
        c.challenge_wanted = False
        c.challenge_out = True
        c.challenge_due = NEVER
        if c.challenges_left:
            c.challenges_left -= 1
            c.challenge_due = now + CHALLENGE_WAIT
        to[0] = c.candidate
        size = begin_extended(c, 0, BODY_CHALLENGE, now, out, False)
        memcpy(out + size, c.challenge, 8)
        return untracked(c, out, size + 8, c.agreed)
    return 0


cdef inline uint32_t next_extended(Mux* m, Conn* c, double now, uint8_t* out) noexcept nogil:
    cdef uint64_t ready = min(c.out_end, c.out_limit) - c.out_next if c.out_next < c.out_limit else 0
    cdef bint fin = c.fin_wanted and not c.fin_sent and c.out_next + ready == c.out_end
    if not may_send(c, c.datagram) or c.next - c.first >= MOST_SENT:
        return next_small(c, now, out)
    if c.pad_wanted:
        c.pad_wanted = False
        return write_ping(c, now, out, BASE_DATAGRAM)
    while c.lost.first:
        if delivered_already(c, c.lost.first):
            continue
        if not (window_allows(c, c.datagram) and pace_allows(c, now)):
            return next_small(c, now, out)
        return write_again(c, c.lost.first, now, out)
    if probe_wanted(c, now) and next_size(c) and pace_allows(c, now) and window_allows(c, next_size(c)):
        return write_probe(c, now, out)
    if c.scraps_out.first != NULL and window_allows(c, c.scraps_out.first.size) and pace_allows(c, now):
        return write_scrap(c, now, out)
    if (ready or fin) and window_allows(c, <uint32_t>min(ready, <uint64_t>c.datagram)) and pace_allows(c, now):
        return write_data(c, c.out_next, ready, fin, NULL, now, out)
    if not ready and not c.limited_until and c.flight < c.control.window:
        c.limited_until = c.delivered + c.flight + 1
    return next_small(c, now, out)


cdef inline uint32_t next_small(Conn* c, double now, uint8_t* out) noexcept nogil:
    """A question whether the peer is there, or an acknowledgement."""
    cdef uint32_t size
    if c.pings:
        c.pings = 0
        return write_ping(c, now, out, 0) if may_send(c, 64) else 0
    if not ack_wanted(c, now):
        return 0
    c.announce_due = NEVER
    if not c.proven:
        return write_ping(c, now, out, 0)  # who acknowledges this is where it says
    size = begin_extended(c, 0, BODY_NONE, now, out, True)
    ack_settled(c)
    return untracked(c, out, size, must_tag(c, BODY_NONE, 0))


cdef inline bint delivered_already(Conn* c, uint64_t number) noexcept nogil:
    """Whether what was lost is not to be sent again, for the peer has it by another packet; it is done with then."""
    cdef Sent* s = sent_at(c, number)
    if s.offset + s.size > c.out_start or (s.fin and not c.fin_acked):
        return False
    chain_remove(c, &c.lost, number)
    s.place = REPLACED
    return True


cdef inline uint32_t write_again(Conn* c, uint64_t number, double now, uint8_t* out) noexcept nogil:
    """Send lost bytes under a new number, in pieces where a packet holds less now."""
    cdef Sent* s = sent_at(c, number)
    cdef uint64_t skipped = c.out_start - s.offset if c.out_start > s.offset else 0
    skipped = min(skipped, <uint64_t>s.size)
    return write_data(c, s.offset + skipped, s.size - skipped, s.fin, s, now, out)


cdef inline uint32_t write_data(
    Conn* c, uint64_t offset, uint64_t ready, bint fin, Sent* again, double now, uint8_t* out
) noexcept nogil:
    """Write a packet of stream data: new data, or what a packet that was lost still owes."""
    cdef uint64_t old = 0
    cdef uint32_t at, count
    cdef bint tagged = must_tag(c, BODY_DATA, offset)
    cdef uint32_t sends = 0
    cdef bint probing = False
    cdef Sent* s
    if again != NULL:
        old = c.lost.first
        sends = again.sends
        probing = again.probing
    s = new_sent(c)
    if s == NULL:
        return 0
    at = begin_extended(c, 0, BODY_DATA, now, out, c.ack_owed > 0 or c.ack_now)
    out[at] = <uint8_t>(offset >> 24 & 255)
    out[at + 1] = <uint8_t>(offset >> 16 & 255)
    out[at + 2] = <uint8_t>(offset >> 8 & 255)
    out[at + 3] = <uint8_t>(offset & 255)
    at += OFFSET
    count = <uint32_t>min(ready, <uint64_t>(c.datagram - at - (TAG if tagged else 0)))
    if c.has_key and not tagged and offset + count > c.mark:
        count = <uint32_t>(c.mark - offset)  # the rest needs a tag
    fin = fin and count == ready
    if fin:
        out[1] |= FLAG_FIN
        c.fin_sent = True
    if count:
        ring_get(&c.out, offset, out + at, count)
    s.body = BODY_DATA
    s.offset = offset
    s.size = count
    s.fin = fin
    s.sends = sends
    s.probing = probing
    if again == NULL:
        c.out_next += count
    elif count == ready:
        chain_remove(c, &c.lost, old)
        sent_at(c, old).place = REPLACED
    else:
        again = sent_at(c, old)
        again.size -= <uint32_t>(offset + count - again.offset)
        again.offset = offset + count
    at = seal_extended(c, out, at + count, tagged)
    launched(c, c.next, now)
    drop_done(c, now)
    return at


cdef inline uint32_t write_ping(Conn* c, double now, uint8_t* out, uint32_t whole) noexcept nogil:
    """Write a packet that only asks to be acknowledged, padded to a size."""
    cdef bint tagged = must_tag(c, BODY_PING, 0)
    cdef Sent* s = new_sent(c)
    cdef uint32_t size, padding
    if s == NULL:
        return 0
    size = begin_extended(c, 0, BODY_PING, now, out, True)
    padding = whole - size - (TAG if tagged else 0) if whole > size + TAG else 0
    memset(out + size, 0, padding)
    s.body = BODY_PING
    s.size = padding
    size = seal_extended(c, out, size + padding, tagged)
    launched(c, c.next, now)
    return size


cdef inline uint32_t write_probe(Conn* c, double now, uint8_t* out) noexcept nogil:
    cdef uint64_t number = c.next
    c.probe_size = next_size(c)
    cdef uint32_t size = write_ping(c, now, out, c.probe_size)
    if size:
        c.probe_number = number
        c.probe_losses = c.losses
    return size


cdef inline uint32_t write_scrap(Conn* c, double now, uint8_t* out) noexcept nogil:
    """Write an unreliable datagram, or drop it where it has become too long for the path."""
    cdef bint tagged = must_tag(c, BODY_DATAGRAM, 0)
    cdef uint32_t count = c.scraps_out.first.size
    cdef Sent* s
    cdef uint32_t size
    if count + EXTENDED_HEADER + TAG > c.datagram:
        scrap_drop(&c.scraps_out)
        return next_small(c, now, out)
    s = new_sent(c)
    if s == NULL:
        return 0
    size = begin_extended(c, 0, BODY_DATAGRAM, now, out, False)
    memcpy(out + size, c.scraps_out.first + 1, count)
    scrap_drop(&c.scraps_out)
    s.body = BODY_DATAGRAM
    s.size = count
    size = seal_extended(c, out, size + count, tagged)
    launched(c, c.next, now)
    return size
