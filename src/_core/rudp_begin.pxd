"""How a connection begins: all that is known of it before anything has come. Header only."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from librats._core.batches cimport librats_flow
from librats._core.octets cimport store_be16, store_be32
from librats._core.rudp_control cimport control_begin
from librats._core.rudp_send cimport FIRST_TIMEOUT, REORDER
from librats._core.rudp_state cimport BASE_DATAGRAM, COMPAT_WINDOW, NEVER, UTP_FIRST, UTP_HELD, Conn
from librats._core.rudp_table cimport Mux, find, heap_add, insert, noise, take_out
from librats._core.shorthash cimport short_hash

cdef enum:
    MOST_DRAWS = 256
    LEAST_SPAN = 16


cdef inline Conn* new_conn(
    Mux* m, uint32_t receive_id, uint32_t send_id, const librats_flow* flow, double now
) noexcept nogil:
    cdef Conn* c = <Conn*>calloc(1, sizeof(Conn))
    if c == NULL:
        m.counts.no_memory += 1
        return NULL
    c.receive_id = receive_id
    c.send_id = send_id
    c.flow = flow[0]
    c.heap_at = -1
    c.due = now
    c.heard_at = now
    c.spoke_at = now
    c.linger_due = NEVER
    c.tidy_due = NEVER
    c.suspect_due = NEVER
    c.syn_due = NEVER
    c.timer_at = NEVER
    c.loss_at = NEVER
    c.pace_due = NEVER
    c.ack_due = NEVER
    c.announce_due = NEVER
    c.challenge_due = NEVER
    c.tokens_at = now
    c.out_most = m.settings.send_buffer
    c.in_most = m.settings.receive_most
    c.in_window = min(m.settings.receive_first, c.in_most)
    c.told_limit = COMPAT_WINDOW
    c.tuned_at = now
    c.reorder = REORDER
    c.patience = 1.125
    c.begun_at = now
    c.syn_at = now
    c.first_timeout = FIRST_TIMEOUT
    c.datagram = BASE_DATAGRAM
    c.datagram_most = m.settings.datagram_most
    c.probe_failed = 65536
    c.probe_due = now
    c.held_room = COMPAT_WINDOW
    c.peer_window = COMPAT_WINDOW
    c.first = 1
    c.next = 1
    c.expected = 1
    control_begin(
        &c.control, m.settings.control, BASE_DATAGRAM, <double>m.settings.send_buffer * 2, <uint32_t>noise(m)
    )
    if m.settings.utp:
        c.utp = True
        c.held_room = UTP_HELD
        c.told_limit = c.in_window
        c.peer_window = BASE_DATAGRAM
        c.span = LEAST_SPAN
        c.first = UTP_FIRST + (noise(m) & 0xFFFF)
        c.next = c.first
    if not insert(m, c):
        free(c)
        m.counts.no_memory += 1
        return NULL
    if not heap_add(m, c):
        take_out(m, c)
        free(c)
        m.counts.no_memory += 1
        return NULL
    return c


cdef inline uint32_t utp_number(const Mux* m, const librats_flow* flow, uint16_t conn_id) noexcept nogil:
    """Under which number a connection of uTP stands: its id, which is the peer's own, and the peer, by a secret."""
    cdef uint8_t text[24]
    memset(text, 0, sizeof(text))
    memcpy(text, flow.remote, 16)
    store_be32(text + 16, flow.scope)
    store_be16(text + 20, flow.port)
    text[22] = flow.family
    return <uint32_t>(short_hash(text, sizeof(text), m.noise_key) & 0xFFFF) << 16 | conn_id


cdef inline Conn* dialled(Mux* m, const librats_flow* flow, double now) noexcept nogil:
    """A new connection under numbers that are free; NULL where there is none, or no memory."""
    cdef uint32_t number, other
    cdef int _
    for _ in range(MOST_DRAWS):
        number = <uint32_t>noise(m)
        other = number + 1
        if m.settings.utp:
            number = utp_number(m, flow, <uint16_t>number)
            other = <uint16_t>(number + 1)
        elif number == 0 or other == 0 or find(m, other) != NULL:
            continue
        if find(m, number) == NULL:
            return new_conn(m, number, other, flow, now)
    return NULL
