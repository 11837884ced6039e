"""What comes in: putting the stream together, which numbers have come, what to acknowledge and when. Header only."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove

from librats._core.octets cimport store_be16, store_be32
from librats._core.rudp_state cimport (
    CAUSE_PROTOCOL, COMPAT_PAYLOAD, COMPAT_WINDOW, MOST_AHEAD, MOST_NUMBERS, NEVER, TOLD_DATAGRAM, TOLD_END,
    TOLD_READABLE, Conn, Held, Numbers, Span, ring_hold, ring_put, scrap_add, widened
)
from librats._core.rudp_wire cimport (
    BODY_DATA, BODY_DATAGRAM, BODY_FIN, BODY_NONE, DATA, DELAY_UNIT, EXTENDED_ACK, EXTENDED_RANGE, FIN, FLAG_FIN,
    Packet
)

cdef enum:
    ACK_EVERY = 2
    NUMBER_TELLS = 10
    MOST_SCRAPS = 256
    MOST_SCRAP_BYTES = 262144
    WINDOW_ANNOUNCES = 4

cdef extern from *:
    """
    #define RUDP_ACK_DELAY 0.02
    """
    double ACK_DELAY "RUDP_ACK_DELAY"


cdef inline uint16_t compat_window(const Conn* c) noexcept nogil:
    """Packets of librats 2 that there is room for."""
    cdef uint64_t used = c.held_count + (c.in_next - c.in_start) / COMPAT_PAYLOAD
    return 0 if used >= COMPAT_WINDOW else <uint16_t>(COMPAT_WINDOW - used)


cdef inline uint32_t compat_sack(const Conn* c) noexcept nogil:
    cdef uint32_t bits = 0
    cdef uint32_t i
    if not c.held_count:
        return 0
    for i in range(32):
        if c.held[(c.expected + 1 + i) & (c.held_room - 1)].body:
            bits |= <uint32_t>1 << i
    return bits


cdef inline uint64_t byte_window(const Conn* c) noexcept nogil:
    """Bytes that the peer may send us by uTP."""
    cdef uint64_t used = c.in_next - c.in_start + c.held_bytes
    return 0 if used >= c.in_window else c.in_window - used


cdef inline bint may_append(const Conn* c, uint32_t size) noexcept nogil:
    """Whether there is room for what comes in order: what waits behind the gap must not be in its way."""
    return c.in_next - c.in_start + size <= c.in_window if c.utp else compat_window(c) != 0


cdef inline bint may_hold(const Conn* c, uint32_t size) noexcept nogil:
    """Whether there is room for what comes behind a gap."""
    return byte_window(c) >= size if c.utp else compat_window(c) != 0


cdef inline bint ack_wanted(const Conn* c, double now) noexcept nogil:
    if c.ack_now or c.announce_due <= now:
        return True
    # To an address that may be forged, what is owed goes with data or not at all: one packet for one.
    return c.ack_due <= now and (c.proven or c.packets_out + 1 < c.packets_in)


cdef inline void owe_ack(Conn* c, bint at_once, double now) noexcept nogil:
    c.ack_owed += 1
    if at_once or c.ack_owed >= ACK_EVERY:
        c.ack_now = True
    elif c.ack_due >= NEVER:
        c.ack_due = now + ACK_DELAY


cdef inline void ack_settled(Conn* c) noexcept nogil:
    c.ack_owed = 0
    c.ack_now = False
    c.ack_due = NEVER


cdef inline void check_end(Conn* c) noexcept nogil:
    if c.has_end and c.in_next == c.in_end and not c.end_told:
        c.end_told = True
        c.events |= TOLD_END


# In librats 2's format, and in uTP: a number for each packet.

cdef inline bint append_bytes(Conn* c, const uint8_t* data, uint32_t size) noexcept nogil:
    if not size:
        return True
    if not ring_hold(&c.in_, c.in_start, c.in_next, c.in_next + size):
        return False
    ring_put(&c.in_, c.in_next, data, size)
    c.in_next += size
    c.in_far = c.in_next
    c.received_bytes += size
    c.events |= TOLD_READABLE
    return True


cdef inline void take_numbered(Conn* c, const Packet* p, double now) noexcept nogil:
    """Take a Data or Fin packet of librats 2."""
    cdef uint8_t body = BODY_DATA if p.kind == DATA else BODY_FIN
    take_in_turn(c, widened(p.number, c.expected), body, p.payload, p.size, now)


cdef inline void take_in_turn(
    Conn* c, uint64_t number, uint8_t body, const uint8_t* data, uint32_t size, double now
) noexcept nogil:
    """Take the bytes or the end that a number stands for, or keep them until what is before them has come."""
    cdef Held* held
    if <long long>(number - c.expected) < 0 or c.has_end:
        owe_ack(c, True, now)
        return
    c.announces = 0
    c.announce_due = NEVER
    if number - c.expected >= c.held_room:
        return
    if number != c.expected:
        hold_numbered(c, number, body, data, size)
        owe_ack(c, True, now)
        return
    if body == BODY_DATA and not (may_append(c, size) and append_bytes(c, data, size)):
        owe_ack(c, True, now)  # no room: it is to be sent again
        return
    c.expected += 1
    if body == BODY_FIN:
        c.has_end = True
        c.in_end = c.in_next
    owe_ack(c, body == BODY_FIN or c.held_count > 0, now)
    while c.held_count and not c.has_end:
        held = &c.held[c.expected & (c.held_room - 1)]
        if not held.body or (held.body == BODY_DATA and not append_bytes(c, held.data, held.size)):
            break
        if held.body == BODY_FIN:
            c.has_end = True
            c.in_end = c.in_next
        free(held.data)
        held.data = NULL
        held.body = 0
        c.held_count -= 1
        c.held_bytes -= held.size
        c.expected += 1
    if not c.held_count or c.has_end:
        drop_held(c)
    check_end(c)


cdef inline void hold_numbered(
    Conn* c, uint64_t number, uint8_t body, const uint8_t* data, uint32_t size
) noexcept nogil:
    cdef Held* held
    if c.has_end or not may_hold(c, size):
        return
    if c.held == NULL:
        c.held = <Held*>calloc(c.held_room, sizeof(Held))
        if c.held == NULL:
            return
    held = &c.held[number & (c.held_room - 1)]
    if held.body:
        return
    if size:
        held.data = <uint8_t*>malloc(size)
        if held.data == NULL:
            return
        memcpy(held.data, data, size)
    held.size = size
    held.body = body
    c.held_far = number if c.held_count == 0 else max(c.held_far, number)
    c.held_count += 1
    c.held_bytes += size


cdef inline void drop_held(Conn* c) noexcept nogil:
    cdef uint32_t i
    if c.held == NULL:
        return
    if c.held_count:
        for i in range(c.held_room):
            free(c.held[i].data)
    free(c.held)
    c.held = NULL
    c.held_count = 0
    c.held_bytes = 0


# Between two of ours: offsets in the stream, and numbers of transmissions.

cdef inline bint has_come(const Conn* c, uint64_t number) noexcept nogil:
    """Whether a number was noted, or is too old to tell."""
    cdef int i = c.number_count - 1
    if number <= c.floor:
        return True
    while i >= 0 and number < c.numbers[i].first:
        i -= 1
    return i >= 0 and number <= c.numbers[i].last


cdef inline bint note_number(Conn* c, uint64_t number, double now) noexcept nogil:
    """Note that a number has come that had not; False where there is no room to remember it."""
    cdef int i = c.number_count - 1
    if c.numbers == NULL:
        c.numbers = <Numbers*>malloc(MOST_NUMBERS * sizeof(Numbers))
        if c.numbers == NULL:
            return False
    while i >= 0 and number < c.numbers[i].first:
        i -= 1
    if i >= 0 and number == c.numbers[i].last + 1:
        c.numbers[i].last = number
        c.numbers[i].told = 0
        if i + 1 < c.number_count and c.numbers[i + 1].first == number + 1:
            c.numbers[i].last = c.numbers[i + 1].last
            remove_numbers(c, i + 1)
    elif i + 1 < c.number_count and c.numbers[i + 1].first == number + 1:
        c.numbers[i + 1].first = number
        c.numbers[i + 1].told = 0
    else:
        if c.number_count == MOST_NUMBERS:
            if i < 0:
                return False
            forget_numbers(c)
            i -= 1
        memmove(&c.numbers[i + 2], &c.numbers[i + 1], (c.number_count - i - 1) * sizeof(Numbers))
        c.numbers[i + 1].first = number
        c.numbers[i + 1].last = number
        c.numbers[i + 1].told = 0
        c.number_count += 1
    if not c.has_largest or number > c.largest:
        c.has_largest = True
        c.largest = number
        c.largest_at = now
    return True


cdef inline void remove_numbers(Conn* c, int i) noexcept nogil:
    c.number_count -= 1
    memmove(&c.numbers[i], &c.numbers[i + 1], (c.number_count - i) * sizeof(Numbers))


cdef inline void forget_numbers(Conn* c) noexcept nogil:
    """Forget the oldest run: what is as old counts as come from now on."""
    c.floor = c.numbers[0].last
    remove_numbers(c, 0)


cdef inline bint fits_window(const Conn* c, const Packet* p) noexcept nogil:
    """Whether the bytes of a packet lie where the peer may send."""
    return <long long>(widened(p.offset, c.in_next) + p.size - c.in_start) <= <long long>c.in_window


cdef inline int take_bytes(Conn* c, const Packet* p) noexcept nogil:
    """Take stream data that fits the window; False where there is no memory for it, or the peer breaks the rules."""
    cdef uint64_t start = widened(p.offset, c.in_next)
    cdef uint64_t stop = start + p.size
    cdef const uint8_t* data = p.payload
    if p.flags & FLAG_FIN:
        if (c.has_end and c.in_end != stop) or <long long>(c.in_far - stop) > 0:
            c.cause = CAUSE_PROTOCOL
            return False
    elif c.has_end and <long long>(stop - c.in_end) > 0:
        c.cause = CAUSE_PROTOCOL
        return False
    if <long long>(start - c.in_next) < 0:
        if <long long>(stop - c.in_next) > 0:
            data += c.in_next - start
        start = c.in_next
    if <long long>(stop - start) > 0:
        if not ring_hold(&c.in_, c.in_start, c.in_far, max(stop, c.in_far)):
            return False
        if start > c.in_next:
            if not note_ahead(c, start, stop):
                return False
            ring_put(&c.in_, start, data, stop - start)
        else:
            ring_put(&c.in_, start, data, stop - start)
            c.in_next = stop
            c.events |= TOLD_READABLE
            close_gap(c)
        c.in_far = max(c.in_far, stop)
        c.received_bytes += stop - start
    if p.flags & FLAG_FIN:
        c.has_end = True
        c.in_end = stop
    check_end(c)
    return True


cdef inline void close_gap(Conn* c) noexcept nogil:
    cdef int gone = 0
    while gone < c.ahead_count and c.ahead[gone].start <= c.in_next:
        c.in_next = max(c.in_next, c.ahead[gone].stop)
        gone += 1
    if gone:
        c.ahead_count -= gone
        memmove(c.ahead, c.ahead + gone, c.ahead_count * sizeof(Span))


cdef inline bint note_ahead(Conn* c, uint64_t start, uint64_t stop) noexcept nogil:
    """Note bytes behind a gap, joined with those that they touch."""
    cdef int low = c.ahead_count
    cdef int high
    cdef int room
    cdef Span* grown
    while low > 0 and c.ahead[low - 1].stop >= start:
        low -= 1
    high = low
    while high < c.ahead_count and c.ahead[high].start <= stop:
        start = min(start, c.ahead[high].start)
        stop = max(stop, c.ahead[high].stop)
        high += 1
    if high == low:
        if c.ahead_count == c.ahead_room:
            room = c.ahead_room * 2 if c.ahead_room else 16
            if room > MOST_AHEAD:
                return False
            grown = <Span*>realloc(c.ahead, room * sizeof(Span))
            if grown == NULL:
                return False
            c.ahead = grown
            c.ahead_room = room
        memmove(&c.ahead[low + 1], &c.ahead[low], (c.ahead_count - low) * sizeof(Span))
        c.ahead_count += 1
    elif high > low + 1:
        memmove(&c.ahead[low + 1], &c.ahead[high], (c.ahead_count - high) * sizeof(Span))
        c.ahead_count -= high - low - 1
    c.ahead[low].start = start
    c.ahead[low].stop = stop
    return True


cdef inline void take_scrap(Conn* c, const Packet* p) noexcept nogil:
    """Take an unreliable datagram, or drop it where too many wait to be read."""
    if c.scraps_in.count < MOST_SCRAPS and c.scraps_in.size + p.size <= MOST_SCRAP_BYTES:
        if scrap_add(&c.scraps_in, p.payload, p.size):
            c.events |= TOLD_DATAGRAM


cdef inline uint32_t write_ack(Conn* c, uint8_t* out, uint32_t room, double now) noexcept nogil:
    """Write the acknowledgement of one of our packets; 0 where there is nothing to acknowledge, or no room."""
    cdef int i = c.number_count - 1
    cdef int lowest = 0
    cdef uint32_t ranges = 0
    cdef uint64_t gap, length
    cdef double waited
    if i < 0 or room < EXTENDED_ACK:
        return 0
    waited = max(now - c.largest_at, 0) * 1e6 / DELAY_UNIT
    c.told_limit = c.in_start + c.in_window
    store_be32(out, <uint32_t>c.in_next)
    store_be32(out + 4, <uint32_t>(c.told_limit - c.in_next))
    store_be32(out + 8, <uint32_t>c.numbers[i].last)
    store_be16(out + 12, <uint16_t>min(waited, 65535.0))
    length = c.numbers[i].last - c.numbers[i].first
    store_be16(out + 14, <uint16_t>min(length, <uint64_t>65535))
    room -= EXTENDED_ACK
    while lowest < i and c.numbers[lowest].told >= NUMBER_TELLS:
        lowest += 1
    while i > lowest and length <= 65535 and room >= EXTENDED_RANGE:
        i -= 1
        gap = c.numbers[i + 1].first - c.numbers[i].last - 1
        length = c.numbers[i].last - c.numbers[i].first
        if gap > 65535:
            break
        store_be16(out + EXTENDED_ACK + EXTENDED_RANGE * ranges, <uint16_t>gap)
        store_be16(out + EXTENDED_ACK + EXTENDED_RANGE * ranges + 2, <uint16_t>min(length, <uint64_t>65535))
        c.numbers[i].told += 1
        ranges += 1
        room -= EXTENDED_RANGE
    return EXTENDED_ACK + EXTENDED_RANGE * ranges


# The window.

cdef inline void tune_window(Conn* c, double now) noexcept nogil:
    if c.in_start - c.tuned_start >= c.in_window / 2:
        if now - c.tuned_at < 2 * (c.srtt if c.has_rtt else 0.1):
            c.in_window = min(c.in_window * 2, c.in_most)
        c.tuned_start = c.in_start
        c.tuned_at = now


cdef inline void utp_read(Conn* c, double now) noexcept nogil:
    cdef uint64_t room
    tune_window(c, now)
    room = byte_window(c)
    if c.told_limit < c.datagram and room >= c.in_window / 4:
        if c.announces == 0:
            c.announces = WINDOW_ANNOUNCES
            c.announce_due = now
    elif c.told_limit + c.in_window / 4 <= room:
        c.ack_now = True


cdef inline void window_read(Conn* c, double now) noexcept nogil:
    """After the application has read: let the window grow with what it takes, and tell the peer of room."""
    cdef uint64_t limit
    cdef uint32_t room
    if c.utp:
        utp_read(c, now)
        return
    if not c.extended:
        room = compat_window(c)
        if c.told_limit == 0 and room and c.announces == 0:
            c.announces = WINDOW_ANNOUNCES
            c.announce_due = now
        elif c.told_limit + COMPAT_WINDOW / 2 <= room:
            c.ack_now = True
        return
    tune_window(c, now)
    limit = c.in_start + c.in_window
    if c.number_count and limit - c.told_limit >= c.in_window / 4:
        if <long long>(c.told_limit - c.in_far) < 4 * <long long>c.datagram:
            c.pings = 1  # the peer may be waiting for it: it has to be acknowledged
        c.ack_now = True
