"""What a connection over datagrams is made of: rings, packets on their way, timers. Header only.

Numbers and offsets have 64 bits here, and the lower 32 of them on the wire. A number is the sequence number of
librats 2, or, between two of ours, that of the transmission.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from librats._core.batches cimport librats_flow
from librats._core.rudp_control cimport Control
from librats._core.utp_delay cimport Delays

cdef enum:
    OPENING = 0
    OPEN = 1
    CLOSED = 2

cdef enum:
    # What a stream is told, as bits.
    TOLD_INCOMING = 1
    TOLD_OPEN = 2
    TOLD_READABLE = 4
    TOLD_WRITABLE = 8
    TOLD_END = 16
    TOLD_CLOSED = 32
    TOLD_MOVED = 64
    TOLD_DATAGRAM = 128

cdef enum:
    # Why a connection is closed.
    CAUSE_NONE = 0
    CAUSE_FINISHED = 1
    CAUSE_RESET = 2
    CAUSE_REFUSED = 3
    CAUSE_NO_ANSWER = 4
    CAUSE_IDLE = 5
    CAUSE_LOST = 6
    CAUSE_LOCAL = 7
    CAUSE_PROTOCOL = 8
    CAUSE_MEMORY = 9

cdef enum:
    # Where a packet that was sent is.
    FLYING = 1
    LOST = 2
    DONE = 3
    REPLACED = 4  # taken for lost, and its bytes, if any, went out under another number

cdef enum:
    COMPAT_PAYLOAD = 1200
    COMPAT_WINDOW = 1024
    BASE_DATAGRAM = 1220
    MOST_DATAGRAM = 65487
    MOST_NUMBERS = 64
    MOST_AHEAD = 4096
    MOST_EARLY = 32
    MOST_SENT = 131072  # packets that are remembered until they are acknowledged
    UTP_HELD = 4096  # packets behind a gap that are kept
    UTP_FIRST = 65536  # what is added to the numbers of uTP, for there is nothing below 0

cdef extern from *:
    """
    #define RUDP_NEVER 1e300
    """
    double NEVER "RUDP_NEVER"


cdef struct Ring:
    uint8_t* data
    uint64_t size


cdef struct Span:
    uint64_t start
    uint64_t stop


cdef struct Numbers:
    # A run of numbers that have come, last included, and how often the peer was told of it.
    uint64_t first
    uint64_t last
    uint32_t told


cdef struct Sent:
    uint64_t offset
    uint64_t delivered
    uint64_t order
    uint64_t before
    uint64_t after
    double sent_at
    double delivered_at
    double first_sent_at
    uint32_t size
    uint32_t sends
    uint8_t place
    uint8_t body
    uint8_t fin
    uint8_t limited
    uint8_t probing


cdef struct Held:
    uint8_t* data
    uint32_t size
    uint8_t body


cdef struct Early:
    # A packet whose tag cannot be checked yet.
    Early* after
    double at
    uint32_t size
    librats_flow flow


cdef struct Scrap:
    # A datagram of the application's, on its way out or in.
    Scrap* after
    uint32_t size


cdef struct Scraps:
    Scrap* first
    Scrap* last
    uint32_t count
    uint64_t size


cdef struct Chain:
    uint64_t first
    uint64_t last


cdef struct Conn:
    uint32_t receive_id
    uint32_t send_id
    librats_flow flow
    uint8_t state
    uint8_t cause
    uint8_t dialer
    uint8_t offered
    uint8_t extended
    uint8_t heard_extended
    uint8_t proven
    uint8_t removed
    uint8_t introduced
    void* stream
    uint32_t events
    Conn* next_dirty
    Conn* next_told
    Conn* next_dead
    uint8_t buried
    uint8_t was_told
    uint8_t is_dirty
    uint8_t is_told
    int heap_at
    double due
    double heard_at
    double spoke_at
    double linger_due
    double tidy_due
    double suspect_due
    uint64_t packets_in
    uint64_t packets_out
    uint64_t bytes_in
    uint64_t bytes_out
    uint64_t forged
    # Opening.
    int syns_left
    double syn_wait
    double syn_due
    uint8_t syn_doubles
    uint8_t retried
    uint8_t has_cookie
    uint8_t cookie[4]
    # What is to be sent, and how far it has gone.
    Ring out
    uint64_t out_start
    uint64_t out_next
    uint64_t out_end
    uint64_t out_limit
    uint64_t out_most
    uint32_t peer_window
    uint8_t fin_wanted
    uint8_t fin_sent
    uint8_t fin_acked
    uint8_t wants_room
    uint8_t reset_wanted
    uint8_t pings
    uint8_t pad_wanted
    Scraps scraps_out
    # Packets on their way.
    Sent* sent
    uint64_t sent_room
    uint64_t first
    uint64_t next
    uint64_t order
    uint64_t newest_acked
    Chain flying
    Chain lost
    uint64_t flight
    uint64_t delivered
    double delivered_at
    double first_sent_at
    double launched_at
    uint64_t limited_until
    uint64_t recover
    uint32_t reorder
    double patience
    uint8_t window_full
    uint8_t force
    # Time.
    double srtt
    double rttvar
    double latest_rtt
    double least_rtt
    uint8_t has_rtt
    double begun_at  # when the first Syn went out or came
    double syn_at  # when the last one did
    double opening  # from the first Syn to what answers it; 0 before
    double first_timeout  # until there is a measured round trip
    int timeouts
    uint8_t nudges
    double timer_at
    double loss_at
    Control control
    double tokens
    double tokens_at
    double pace_due
    # What has come.
    Ring in_
    uint64_t in_start
    uint64_t in_next
    uint64_t in_far
    uint64_t in_end
    uint8_t has_end
    uint8_t end_told
    Span* ahead
    int ahead_count
    int ahead_room
    uint64_t in_window
    uint64_t in_most
    uint64_t told_limit
    uint64_t tuned_start
    double tuned_at
    uint64_t expected
    Held* held
    int held_count
    uint32_t held_room
    uint64_t held_bytes
    uint64_t held_far
    Scraps scraps_in
    Numbers* numbers
    int number_count
    uint64_t floor
    uint64_t largest
    double largest_at
    uint8_t has_largest
    # Acknowledging.
    int ack_owed
    uint8_t ack_now
    double ack_due
    int announces
    double announce_due
    # The tag.
    uint8_t has_key
    uint8_t agreed
    uint8_t key_out[32]
    uint8_t key_in[32]
    void* long_out
    void* long_in
    uint64_t mark
    Early* early
    int early_count
    # Other ways to the peer.
    uint8_t answer_wanted
    uint8_t answer[8]
    librats_flow answer_flow
    uint8_t challenge_wanted
    uint8_t challenge_out
    uint8_t challenges_left
    uint8_t challenge[8]
    double challenge_due
    double asked_at
    librats_flow candidate
    uint8_t asked
    uint8_t has_left
    librats_flow left
    # How much a packet may hold.
    uint32_t datagram
    uint32_t datagram_most
    uint32_t probe_size
    uint32_t probe_failed
    uint64_t probe_number
    int probe_tries
    uint64_t probe_losses
    double long_at
    double probe_due
    uint64_t retransmitted
    uint64_t losses
    uint64_t late
    uint64_t sent_bytes
    uint64_t received_bytes
    # In uTP.
    uint8_t utp
    uint8_t half_open
    uint8_t heard_time
    uint8_t dup_acks
    uint8_t shrunk
    uint32_t their_delay  # of the last packet, by both clocks: told to the peer with the next one
    uint32_t span  # packets that may be on their way, for the peer keeps no more behind a gap
    Delays delays
    Conn* half_before
    Conn* half_after


cdef inline bint same_peer(const librats_flow* a, const librats_flow* b) noexcept nogil:
    cdef int i
    if a.port != b.port or a.family != b.family or a.scope != b.scope:
        return False
    for i in range(16):
        if a.remote[i] != b.remote[i]:
            return False
    return True


cdef inline uint64_t widened(uint32_t low, uint64_t near) noexcept nogil:
    """The number with those lower 32 bits that is nearest; 2**64 - something where it would be below 0."""
    return near + <uint64_t><long long><int>(low - <uint32_t>near)


cdef inline uint64_t widened_short(uint16_t low, uint64_t near) noexcept nogil:
    """The number with those lower 16 bits that is nearest."""
    return near + <uint64_t><long long><short>(low - <uint16_t>near)


# Rings: bytes by their offset.

cdef inline bint ring_hold(Ring* ring, uint64_t start, uint64_t kept, uint64_t stop) noexcept nogil:
    """Make room for start..stop, keeping start..kept. False where there is no memory."""
    cdef uint64_t size = ring.size if ring.size else 4096
    cdef uint8_t* grown
    cdef Ring old = ring[0]
    if stop - start <= ring.size:
        return True
    while size < stop - start:
        size *= 2
    grown = <uint8_t*>malloc(size)
    if grown == NULL:
        return False
    ring.data = grown
    ring.size = size
    while start < kept:
        start += ring_copy(&old, start, kept, ring)
    free(old.data)
    return True


cdef inline uint64_t ring_copy(Ring* old, uint64_t start, uint64_t stop, Ring* new) noexcept nogil:
    cdef uint64_t count = min(stop - start, old.size - (start & (old.size - 1)))
    ring_put(new, start, old.data + (start & (old.size - 1)), count)
    return count


cdef inline void ring_put(Ring* ring, uint64_t at, const uint8_t* data, uint64_t size) noexcept nogil:
    cdef uint64_t index = at & (ring.size - 1)
    cdef uint64_t head = min(size, ring.size - index)
    memcpy(ring.data + index, data, head)
    if head < size:
        memcpy(ring.data, data + head, size - head)


cdef inline void ring_get(const Ring* ring, uint64_t at, uint8_t* out, uint64_t size) noexcept nogil:
    cdef uint64_t index = at & (ring.size - 1)
    cdef uint64_t head = min(size, ring.size - index)
    memcpy(out, ring.data + index, head)
    if head < size:
        memcpy(out + head, ring.data, size - head)


cdef inline void ring_drop(Ring* ring) noexcept nogil:
    free(ring.data)
    ring.data = NULL
    ring.size = 0


# Queues of datagrams.

cdef inline bint scrap_add(Scraps* scraps, const uint8_t* data, uint32_t size) noexcept nogil:
    cdef Scrap* scrap = <Scrap*>malloc(sizeof(Scrap) + size)
    if scrap == NULL:
        return False
    scrap.after = NULL
    scrap.size = size
    memcpy(scrap + 1, data, size)
    if scraps.last == NULL:
        scraps.first = scrap
    else:
        scraps.last.after = scrap
    scraps.last = scrap
    scraps.count += 1
    scraps.size += size
    return True


cdef inline void scrap_drop(Scraps* scraps) noexcept nogil:
    """Drop the first one."""
    cdef Scrap* scrap = scraps.first
    scraps.first = scrap.after
    if scraps.first == NULL:
        scraps.last = NULL
    scraps.count -= 1
    scraps.size -= scrap.size
    free(scrap)
