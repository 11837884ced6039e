"""The connections of a socket: found by number, woken by time, told of and heard of in queues. Header only."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc

from librats._core.batches cimport librats_flow
from librats._core.rudp_receive cimport drop_held
from librats._core.rudp_state cimport CAUSE_NO_ANSWER, CLOSED, NEVER, TOLD_CLOSED, Conn, Early, ring_drop, scrap_drop
from librats._core.rudp_tag cimport forget_keys
from librats._core.shorthash cimport short_hash

cdef enum:
    MOST_REPLIES = 64
    REPLY_SIZE = 64

cdef extern from *:
    """
    #define RUDP_SECRET_LIFE 30.0
    """
    double SECRET_LIFE "RUDP_SECRET_LIFE"


cdef struct Reply:
    librats_flow flow
    uint32_t size
    uint8_t data[64]


cdef struct Settings:
    uint32_t streams_most
    uint32_t cookie_after
    uint64_t send_buffer
    uint64_t receive_first
    uint64_t receive_most
    uint32_t datagram_most
    uint8_t control
    uint8_t extended
    uint8_t accepts
    uint8_t utp
    uint32_t half_open_most
    double idle_timeout
    double keep_alive, quiet_most
    double linger
    int syn_tries
    double syn_wait


cdef struct Counts:
    uint64_t received
    uint64_t sent
    uint64_t malformed
    uint64_t unknown
    uint64_t forged
    uint64_t refused
    uint64_t retries
    uint64_t resets
    uint64_t no_memory


cdef struct Mux:
    Conn** slots
    uint32_t mask
    uint32_t count
    uint64_t mixer
    Conn** heap
    int heap_count
    int heap_room
    Conn* dirty
    Conn* dirty_last
    Conn* told
    Conn* told_last
    Conn* dead
    Reply replies[64]
    int replies_wanted
    double replies_since
    int replies_spent
    # In uTP: connections whose other end has not shown that it is where it says, oldest first.
    Conn* half_first
    Conn* half_last
    uint32_t half_count
    double shrunk_at  # when packets seemed too long for a path
    uint8_t secrets[32]  # two keys for cookies: the one in use, and the one before it
    uint8_t noise_key[16]
    uint64_t noise_count
    double secret_at
    Settings settings
    Counts counts


cdef inline uint64_t noise(Mux* m) noexcept nogil:
    """Numbers that nobody guesses, drawn from a secret that was given at the beginning."""
    cdef uint64_t count
    m.noise_count += 1
    count = m.noise_count
    return short_hash(<const uint8_t*>&count, sizeof(count), m.noise_key)


# By number.

cdef inline uint32_t slot_of(const Mux* m, uint32_t number) noexcept nogil:
    return <uint32_t>((<uint64_t>number * m.mixer) >> 32) & m.mask


cdef inline Conn* find(const Mux* m, uint32_t number) noexcept nogil:
    cdef uint32_t at
    if m.slots == NULL:
        return NULL
    at = slot_of(m, number)
    while m.slots[at] != NULL:
        if m.slots[at].receive_id == number:
            return m.slots[at]
        at = (at + 1) & m.mask
    return NULL


cdef inline bint insert(Mux* m, Conn* c) noexcept nogil:
    cdef uint32_t old = m.mask + 1 if m.slots != NULL else 0
    cdef uint32_t i
    cdef Conn** before = m.slots
    if (m.count + 1) * 2 > old:
        m.slots = <Conn**>calloc(max(old * 2, <uint32_t>64), sizeof(Conn*))
        if m.slots == NULL:
            m.slots = before
            return False
        m.mask = max(old * 2, <uint32_t>64) - 1
        for i in range(old):
            if before[i] != NULL:
                place(m, before[i])
        free(before)
    place(m, c)
    m.count += 1
    return True


cdef inline void place(Mux* m, Conn* c) noexcept nogil:
    cdef uint32_t at = slot_of(m, c.receive_id)
    while m.slots[at] != NULL:
        at = (at + 1) & m.mask
    m.slots[at] = c


cdef inline void take_out(Mux* m, Conn* c) noexcept nogil:
    cdef uint32_t at = slot_of(m, c.receive_id)
    cdef uint32_t hole, home
    while m.slots[at] != c:
        if m.slots[at] == NULL:
            return
        at = (at + 1) & m.mask
    hole = at
    m.slots[hole] = NULL
    m.count -= 1
    while True:
        at = (at + 1) & m.mask
        if m.slots[at] == NULL:
            return
        home = slot_of(m, m.slots[at].receive_id)
        if ((at - home) & m.mask) >= ((at - hole) & m.mask):
            m.slots[hole] = m.slots[at]
            m.slots[at] = NULL
            hole = at


# By time: a heap.

cdef inline void heap_set(Mux* m, int at, Conn* c) noexcept nogil:
    m.heap[at] = c
    c.heap_at = at


cdef inline void heap_sift(Mux* m, int at, Conn* c) noexcept nogil:
    """Put a connection where it belongs, from a place that is free."""
    cdef int other
    while at > 0 and m.heap[(at - 1) >> 1].due > c.due:
        heap_set(m, at, m.heap[(at - 1) >> 1])
        at = (at - 1) >> 1
    while True:
        other = 2 * at + 1
        if other >= m.heap_count:
            break
        if other + 1 < m.heap_count and m.heap[other + 1].due < m.heap[other].due:
            other += 1
        if m.heap[other].due >= c.due:
            break
        heap_set(m, at, m.heap[other])
        at = other
    heap_set(m, at, c)


cdef inline bint heap_add(Mux* m, Conn* c) noexcept nogil:
    cdef Conn** grown
    cdef int room
    if m.heap_count == m.heap_room:
        room = m.heap_room * 2 if m.heap_room else 64
        grown = <Conn**>realloc(m.heap, room * sizeof(Conn*))
        if grown == NULL:
            return False
        m.heap = grown
        m.heap_room = room
    m.heap_count += 1
    heap_sift(m, m.heap_count - 1, c)
    return True


cdef inline void heap_remove(Mux* m, Conn* c) noexcept nogil:
    cdef int at = c.heap_at
    cdef Conn* last
    if at < 0:
        return
    c.heap_at = -1
    m.heap_count -= 1
    last = m.heap[m.heap_count]
    if last != c:
        heap_sift(m, at, last)


# Queues: who may have something to send, who has something to be told.

cdef inline void touch(Mux* m, Conn* c) noexcept nogil:
    if c.is_dirty:
        return
    c.is_dirty = True
    c.next_dirty = NULL
    if m.dirty_last == NULL:
        m.dirty = c
    else:
        m.dirty_last.next_dirty = c
    m.dirty_last = c


cdef inline Conn* next_touched(Mux* m) noexcept nogil:
    cdef Conn* c = m.dirty
    if c != NULL:
        m.dirty = c.next_dirty
        if m.dirty == NULL:
            m.dirty_last = NULL
        c.is_dirty = False
    return c


cdef inline void tell(Mux* m, Conn* c) noexcept nogil:
    if c.is_told or not c.events:
        return
    c.is_told = True
    c.next_told = NULL
    if m.told_last == NULL:
        m.told = c
    else:
        m.told_last.next_told = c
    m.told_last = c


cdef inline Conn* next_told(Mux* m) noexcept nogil:
    cdef Conn* c = m.told
    if c != NULL:
        m.told = c.next_told
        if m.told == NULL:
            m.told_last = NULL
        c.is_told = False
    return c


cdef inline void heard(Mux* m, Conn* c, uint32_t size, double now) noexcept nogil:
    """A packet has come that is the peer's."""
    c.packets_in += 1
    c.bytes_in += size
    c.heard_at = now
    c.suspect_due = NEVER
    touch(m, c)


# Those of uTP whose other end may not be where it says.

cdef inline void half_add(Mux* m, Conn* c) noexcept nogil:
    """Count a connection among them; where there are too many, the oldest one goes."""
    c.half_open = True
    c.half_before = m.half_last
    c.half_after = NULL
    if m.half_last == NULL:
        m.half_first = c
    else:
        m.half_last.half_after = c
    m.half_last = c
    m.half_count += 1
    if m.half_count > m.settings.half_open_most:
        m.counts.refused += 1
        close_conn(m, m.half_first, CAUSE_NO_ANSWER)


cdef inline void half_remove(Mux* m, Conn* c) noexcept nogil:
    if not c.half_open:
        return
    c.half_open = False
    if c.half_before == NULL:
        m.half_first = c.half_after
    else:
        c.half_before.half_after = c.half_after
    if c.half_after == NULL:
        m.half_last = c.half_before
    else:
        c.half_after.half_before = c.half_before
    m.half_count -= 1


# The end of a connection.

cdef inline void drop_early(Conn* c) noexcept nogil:
    cdef Early* early
    while c.early != NULL:
        early = c.early
        c.early = early.after
        free(early)
    c.early_count = 0


cdef inline void drop_sending(Conn* c) noexcept nogil:
    ring_drop(&c.out)
    free(c.sent)
    c.sent = NULL
    c.sent_room = 0
    c.first = c.next
    c.flying.first = 0
    c.flying.last = 0
    c.lost.first = 0
    c.lost.last = 0
    c.flight = 0
    while c.scraps_out.first != NULL:
        scrap_drop(&c.scraps_out)


cdef inline void remove(Mux* m, Conn* c) noexcept nogil:
    """Take a connection out of the table; what has come stays readable. It is freed when nobody holds it."""
    if c.removed:
        return
    half_remove(m, c)
    c.removed = True
    c.state = CLOSED
    take_out(m, c)
    heap_remove(m, c)
    drop_sending(c)
    drop_held(c)
    drop_early(c)
    free(c.ahead)
    c.ahead = NULL
    c.ahead_count = 0
    free(c.numbers)
    c.numbers = NULL
    c.number_count = 0
    if c.stream == NULL:
        bury(m, c)


cdef inline void bury(Mux* m, Conn* c) noexcept nogil:
    """Nobody holds it any more: it is freed with the next sweep."""
    if c.buried:
        return
    c.buried = True
    c.next_dead = m.dead
    m.dead = c


cdef inline void close_conn(Mux* m, Conn* c, uint8_t cause) noexcept nogil:
    if c.removed:
        return
    if not c.cause or not c.was_told:
        c.cause = cause
        c.was_told = True
        c.events |= TOLD_CLOSED
    remove(m, c)
    tell(m, c)


cdef inline void free_conn(Conn* c) noexcept nogil:
    drop_sending(c)
    drop_held(c)
    drop_early(c)
    forget_keys(c)
    ring_drop(&c.in_)
    while c.scraps_in.first != NULL:
        scrap_drop(&c.scraps_in)
    free(c.ahead)
    free(c.numbers)
    free(c)


cdef inline void sweep(Mux* m) noexcept nogil:
    """Free what nobody holds; what still stands in a queue waits for the next time."""
    cdef Conn* c = m.dead
    cdef Conn* after
    m.dead = NULL
    while c != NULL:
        after = c.next_dead
        if c.is_dirty or c.is_told:
            c.next_dead = m.dead
            m.dead = c
        else:
            free_conn(c)
        c = after
