"""What goes out in uTP: data and ends under numbers of their own, states with masks. Header only."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from librats._core.rudp_probe cimport WORTH, next_size
from librats._core.rudp_receive cimport ack_settled, ack_wanted, byte_window
from librats._core.rudp_send cimport (
    chain_remove, launched, new_sent, pace_allows, sent_at, timeout_of, weight, window_allows
)
from librats._core.rudp_state cimport NEVER, Conn, Sent, ring_get
from librats._core.rudp_wire cimport BODY_DATA, BODY_FIN
from librats._core.utp_wire cimport (
    EXTENSION_HEAD, EXTENSION_SACK, MOST_MASK, UTP_DATA, UTP_FIN, UTP_HEADER, UTP_STATE, UTP_SYN, add_extension,
    add_padding, write_utp
)


cdef inline uint32_t microseconds(double now) noexcept nogil:
    """The time as packets tell it."""
    return <uint32_t>(<uint64_t>(now * 1e6) & 0xFFFFFFFFU)


cdef inline uint32_t write_utp_head(Conn* c, uint8_t kind, uint64_t number, double now, uint8_t* out) noexcept nogil:
    """Write a packet without extensions and payload."""
    cdef uint64_t window = min(byte_window(c), <uint64_t>0xFFFFFFFF)
    # A Syn alone carries the id under which its sender is spoken to.
    cdef uint16_t conn_id = <uint16_t>(c.receive_id if kind == UTP_SYN else c.send_id)
    c.told_limit = window
    write_utp(
        out, kind, conn_id, microseconds(now), c.their_delay, <uint32_t>window, <uint16_t>number,
        <uint16_t>(c.expected - 1)
    )
    return UTP_HEADER


cdef inline uint32_t mask_size(const Conn* c, uint32_t room) noexcept nogil:
    """Bytes of the mask that tells what has come behind the gap, in fours; 0 where there is nothing, or no room."""
    cdef uint64_t size
    if not c.held_count or room < EXTENSION_HEAD + 4:
        return 0
    size = ((c.held_far - c.expected - 1) // 32 + 1) * 4
    return <uint32_t>min(min(size, <uint64_t>MOST_MASK), <uint64_t>((room - EXTENSION_HEAD) & ~3U))


cdef inline void write_mask(const Conn* c, uint8_t* out, uint32_t size) noexcept nogil:
    cdef uint64_t number = c.expected + 1
    cdef uint32_t i, bit
    for i in range(size):
        out[i] = 0
        for bit in range(8):
            if number <= c.held_far and c.held[number & (c.held_room - 1)].body:
                out[i] |= <uint8_t>(1 << bit)
            number += 1


cdef inline uint32_t next_utp(Conn* c, double now, uint8_t* out) noexcept nogil:
    cdef uint64_t number = c.lost.first
    cdef uint64_t ready = c.out_end - c.out_next
    cdef uint32_t most = c.datagram - UTP_HEADER
    cdef Sent* s
    if not c.proven:
        return next_state(c, now, out)  # from the first of these the peer learns with which number we begin
    if number:
        # What is behind the gap may have come, and only its repair lets the stream go on.
        if (number == c.first or window_allows(c, weight(sent_at(c, number)))) and pace_allows(c, now):
            chain_remove(c, &c.lost, number)
            return write_turn(c, number, now, out)
        return next_state(c, now, out)
    if ready:
        most = <uint32_t>min(ready, <uint64_t>peer_allows(c, most))
        if most and window_allows(c, most) and pace_allows(c, now):
            s = new_sent(c)
            if s == NULL:
                return 0
            s.body = BODY_DATA
            s.offset = c.out_next
            s.size = most
            c.out_next += most
            return write_turn(c, c.next, now, out)
        ready = most
    elif c.fin_wanted and not c.fin_sent:
        s = new_sent(c)
        if s == NULL:
            return 0
        s.body = BODY_FIN
        s.fin = True
        s.offset = c.out_next
        c.fin_sent = True
        return write_turn(c, c.next, now, out)
    if not ready and not c.limited_until and c.flight < c.control.window:
        c.limited_until = c.delivered + c.flight + 1
    return next_state(c, now, out)


cdef inline uint32_t peer_allows(const Conn* c, uint32_t most) noexcept nogil:
    """Bytes of the next packet that the peer has room for: a full packet, or nothing while others are on their way."""
    if c.next - c.first >= c.span:
        return 0
    if c.force or c.flight + most <= c.peer_window:
        return most
    return min(most, c.peer_window) if c.flight == 0 else 0


cdef inline uint32_t write_turn(Conn* c, uint64_t number, double now, uint8_t* out) noexcept nogil:
    """Write a packet of data or the end, for the first time or again."""
    cdef Sent* s = sent_at(c, number)
    cdef uint32_t at = write_utp_head(c, UTP_DATA if s.body == BODY_DATA else UTP_FIN, number, now, out)
    cdef uint32_t link = 1
    cdef uint32_t size = mask_size(c, c.datagram - at - s.size if c.datagram > at + s.size else 0)
    if size:
        write_mask(c, add_extension(out, &at, &link, EXTENSION_SACK, size), size)
    if size or not c.held_count:
        ack_settled(c)
    if number == c.next and s.body == BODY_DATA and probe_due(c, at + s.size, now):
        # A longer packet of the same bytes: where it does not get through, they go without what makes it long.
        c.probe_size = next_size(c)
        c.probe_number = number
        c.probe_losses = c.losses
        add_padding(out, &at, &link, c.probe_size - s.size)
    if s.size:
        ring_get(&c.out, s.offset, out + at, s.size)
    at += s.size
    launched(c, number, now)
    return at


cdef inline bint probe_due(const Conn* c, uint32_t size, double now) noexcept nogil:
    return (
        c.probe_due <= now and c.probe_number == 0 and c.sent_bytes >= WORTH and c.datagram < c.datagram_most
        and c.newest_acked >= c.recover and next_size(c) > size + EXTENSION_HEAD
    )


cdef inline uint32_t next_state(Conn* c, double now, uint8_t* out) noexcept nogil:
    """What has come, and the window: where that is owed, or to say that we are there."""
    cdef uint32_t at, size
    cdef uint32_t link = 1
    if not c.pings and not ack_wanted(c, now):
        return 0
    c.pings = 0
    if c.announce_due <= now:
        c.announces -= 1
        c.announce_due = now + timeout_of(c) if c.announces > 0 else NEVER
    at = write_utp_head(c, UTP_STATE, c.next, now, out)
    size = mask_size(c, c.datagram - at)
    if size:
        write_mask(c, add_extension(out, &at, &link, EXTENSION_SACK, size), size)
    ack_settled(c)
    return at
