"""What comes: which connection a datagram is for, and what it does there. Header only."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from librats._core.batches cimport librats_flow
from librats._core.octets cimport load_be32, store_be32
from librats._core.rudp_acks cimport acked_by_numbers, acked_by_sequence
from librats._core.rudp_begin cimport new_conn
from librats._core.rudp_probe cimport size_forgotten
from librats._core.rudp_control cimport control_begin
from librats._core.rudp_receive cimport (
    fits_window, has_come, note_number, owe_ack, take_bytes, take_numbered, take_scrap
)
from librats._core.rudp_send cimport FIRST_TIMEOUT, given_up, note_answer, note_rtt, timeout_of
from librats._core.rudp_state cimport (
    BASE_DATAGRAM, CAUSE_NONE, CAUSE_PROTOCOL, CAUSE_REFUSED, CAUSE_RESET, MOST_EARLY, NEVER, OPEN, OPENING,
    TOLD_INCOMING, TOLD_MOVED, TOLD_OPEN, Conn, Early, same_peer, widened
)
from librats._core.rudp_replies cimport cookie_for, may_reply, new_reply
from librats._core.rudp_table cimport Mux, Reply, close_conn, find, heard, noise, tell, touch
from librats._core.rudp_tag cimport check_tag
from librats._core.rudp_wire cimport (
    ACK, BODY_CHALLENGE, BODY_DATA, BODY_DATAGRAM, BODY_NONE, BODY_PING, BODY_RESET, BODY_RESPONSE, COOKIE, DATA,
    EXTENDED, FIN, FLAG_ACK, HEADER, FLAG_EXTENDED, FLAG_FIN, FLAG_TAG, Packet, RESET, RETRY, SYN, is_ours, read_packet,
    write_packet
)
from librats._core.utp_input cimport arrived_utp

cdef enum:
    MOST_EARLY_SIZE = 2048

cdef extern from *:
    """
    #define RUDP_SUSPECT_WAIT 2.0
    #define RUDP_CHALLENGE_SPACING 0.05
    """
    double SUSPECT_WAIT "RUDP_SUSPECT_WAIT"
    double CHALLENGE_SPACING "RUDP_CHALLENGE_SPACING"


cdef inline bint arrived(
    Mux* m, const uint8_t* data, uint32_t size, const librats_flow* flow, double now
) noexcept nogil:
    """Take a datagram; False where it is not of this protocol."""
    cdef Packet p
    cdef Conn* c
    if m.settings.utp:
        return arrived_utp(m, data, size, flow, now)
    if not is_ours(data, size):
        return False
    m.counts.received += 1
    if not read_packet(data, size, &p):
        m.counts.malformed += 1
        return True
    c = find(m, p.conn_id)
    if c == NULL:
        stranger(m, &p, flow, now)
        return True
    if c.reset_wanted:
        return True
    if p.kind == EXTENDED:
        take_extended(m, c, &p, flow, now)
    elif same_peer(&c.flow, flow):
        take_compat(m, c, &p, now)
    return True


# Those without a connection.

cdef inline void stranger(Mux* m, const Packet* p, const librats_flow* flow, double now) noexcept nogil:
    cdef Conn* c
    cdef int i
    if p.kind == SYN:
        admit(m, p, flow, now)
        return
    if p.kind != RESET:
        m.counts.unknown += 1
        if p.whole >= HEADER:  # nobody is to get more than came in his name
            send_reset(m, flow, p.conn_id, now)
        return
    # A Reset for a connection that the peer does not know comes back under the number that it is sent with.
    for i in range(2):
        c = find(m, p.conn_id - 1 if i == 0 else p.conn_id + 1)
        if c != NULL and c.send_id == p.conn_id and same_peer(&c.flow, flow):
            take_reset(m, c, now)
            return


cdef inline void send_reset(Mux* m, const librats_flow* flow, uint32_t number, double now) noexcept nogil:
    cdef Reply* reply
    if not may_reply(m, now):
        return
    reply = new_reply(m, flow)
    reply.size = write_packet(reply.data, RESET, 0, 0, number, 0, 0, 0)
    m.counts.resets += 1


cdef inline void admit(Mux* m, const Packet* p, const librats_flow* flow, double now) noexcept nogil:
    """Make a connection of a Syn, or refuse it before anything is kept of it."""
    cdef bint proven = False
    cdef uint32_t cookie
    cdef Reply* reply
    cdef Conn* c
    if m.count >= m.settings.streams_most or not m.settings.accepts:
        m.counts.refused += 1
        send_reset(m, flow, p.conn_id - 1, now)
        return
    if p.size == COOKIE:
        cookie = load_be32(p.payload)
        proven = (
            cookie == cookie_for(m, flow, p.conn_id, m.secrets)
            or cookie == cookie_for(m, flow, p.conn_id, m.secrets + 16)
        )
    if not proven and m.count >= m.settings.cookie_after:
        if may_reply(m, now):
            reply = new_reply(m, flow)
            reply.size = write_packet(reply.data, RETRY, 0, 0, p.conn_id - 1, 0, 0, 0) + COOKIE
            store_be32(reply.data + reply.size - COOKIE, cookie_for(m, flow, p.conn_id, m.secrets))
            m.counts.retries += 1
        return
    if p.number != 1:
        return
    c = new_conn(m, p.conn_id, p.conn_id - 1, flow, now)
    if c == NULL:
        return
    c.state = OPEN
    c.proven = proven
    c.expected = 2
    c.peer_window = p.window
    c.events |= TOLD_INCOMING | TOLD_OPEN
    if p.flags & FLAG_EXTENDED and m.settings.extended:
        begin_numbers(m, c)
    heard(m, c, p.whole, now)
    owe_ack(c, True, now)
    tell(m, c)


cdef inline void begin_numbers(Mux* m, Conn* c) noexcept nogil:
    """The peer is one of ours. Numbers begin anywhere: who acknowledges one has got it."""
    c.extended = True
    c.first = (noise(m) & 0x3FFFFFFF) + 1
    c.next = c.first
    c.told_limit = c.in_window
    c.out_limit = BASE_DATAGRAM * 32  # until the peer tells


# A connection in librats 2's format.

cdef inline void take_compat(Mux* m, Conn* c, const Packet* p, double now) noexcept nogil:
    if p.kind == RESET:
        take_reset(m, c, now)
        return
    if c.agreed:
        m.counts.forged += 1
        return
    if p.kind == RETRY:
        take_retry(m, c, p, now)
        return
    if p.kind == SYN:
        if not c.dialer and p.number == 1:
            c.syn_at = now
            heard(m, c, p.whole, now)
            owe_ack(c, True, now)
        return
    if c.state == OPENING:
        if p.ack != 1:
            return
        opened(m, c, p.flags & FLAG_EXTENDED and c.offered, now)
    if c.extended:
        heard(m, c, p.whole, now)
        return
    heard(m, c, p.whole, now)
    if not acked_by_sequence(c, p, now) and p.kind == ACK:
        return
    if p.kind == DATA or p.kind == FIN:
        take_numbered(c, p, now)
    tell(m, c)


cdef inline void opened(Mux* m, Conn* c, bint extended, double now) noexcept nogil:
    c.state = OPEN
    c.proven = True
    c.syn_due = NEVER
    c.events |= TOLD_OPEN
    if c.first_sent_at > 0:
        note_rtt(c, now - c.first_sent_at)
    note_answer(c, now)
    if extended:
        begin_numbers(m, c)
        c.pad_wanted = True
    else:
        c.first = 2
        c.next = 2


cdef inline void take_reset(Mux* m, Conn* c, double now) noexcept nogil:
    """Between two of ours anybody may have made it: see whether the peer is still there."""
    if not c.agreed:
        close_conn(m, c, CAUSE_REFUSED if c.state == OPENING else CAUSE_RESET)
        return
    m.counts.forged += 1
    if c.suspect_due >= NEVER:
        c.suspect_due = now + max(SUSPECT_WAIT, 4 * timeout_of(c))
        c.pings = 1
        touch(m, c)


cdef inline void take_retry(Mux* m, Conn* c, const Packet* p, double now) noexcept nogil:
    if c.state != OPENING or c.retried or p.size != COOKIE:
        return
    c.retried = True
    c.has_cookie = True
    memcpy(c.cookie, p.payload, COOKIE)
    c.syn_due = now
    c.syns_left += 1
    c.begun_at = now
    c.heard_at = now
    touch(m, c)


# A connection between two of ours.

cdef inline void take_extended(
    Mux* m, Conn* c, const Packet* p, const librats_flow* flow, double now
) noexcept nogil:
    cdef bint here = same_peer(&c.flow, flow)
    cdef bint tagged = p.flags & FLAG_TAG
    cdef bint newest
    cdef uint64_t number
    if c.state == OPENING:
        if not here or not c.offered:
            return
        opened(m, c, True, now)
    if not c.extended:
        return
    number = widened(p.number, c.largest) if c.has_largest else p.number
    if tagged:
        if not c.has_key:
            if here:
                keep_early(c, p, flow, now)
                heard(m, c, p.whole, now)
            return
        if not check_tag(c, p.data, p.whole, number):
            c.forged += 1
            m.counts.forged += 1
            return
        c.agreed = True
    elif c.agreed or not here:
        c.forged += 1
        m.counts.forged += 1
        return
    if c.dialer and not c.heard_extended:
        c.pings = 1  # so that what proves our address to the peer arrives for certain
    if not c.heard_extended and not c.dialer:
        note_answer(c, now)
    c.heard_extended = True
    heard(m, c, p.whole, now)
    if has_come(c, number):
        if p.body != BODY_NONE:
            owe_ack(c, True, now)
        return
    newest = not c.has_largest or number > c.largest
    if p.body == BODY_DATA:
        if not fits_window(c, p):
            return
        if not take_bytes(c, p):
            if c.cause == CAUSE_PROTOCOL:
                close_conn(m, c, CAUSE_PROTOCOL)
            return
    if p.body != BODY_NONE:
        owe_ack(c, number != c.largest + 1 or p.body == BODY_PING or p.flags & FLAG_FIN, now)
    if not note_number(c, number, now):
        return
    if p.flags & FLAG_ACK:
        acked_by_numbers(c, p, now)
    take_body(m, c, p, flow, now)
    if newest and not here and not c.removed:
        peer_moved(m, c, flow, now)
    if not c.removed:
        tell(m, c)


cdef inline void take_body(Mux* m, Conn* c, const Packet* p, const librats_flow* flow, double now) noexcept nogil:
    if p.body == BODY_DATAGRAM:
        take_scrap(c, p)
    elif p.body == BODY_CHALLENGE:
        c.answer_wanted = True
        c.answer_flow = flow[0]
        memcpy(c.answer, p.payload, 8)
    elif p.body == BODY_RESPONSE:
        if c.challenge_out and memcmp(c.challenge, p.payload, 8) == 0:
            moved(m, c, now)
    elif p.body == BODY_RESET:
        close_conn(m, c, CAUSE_RESET)


cdef inline void keep_early(Conn* c, const Packet* p, const librats_flow* flow, double now) noexcept nogil:
    """Keep a packet that came before the key did: the peer's handshake ends earlier than ours."""
    cdef Early* early
    cdef Early** last = &c.early
    if c.early_count >= MOST_EARLY or p.whole > MOST_EARLY_SIZE:
        return
    early = <Early*>malloc(sizeof(Early) + p.whole)
    if early == NULL:
        return
    early.after = NULL
    early.at = now
    early.size = p.whole
    early.flow = flow[0]
    memcpy(early + 1, p.data, p.whole)
    while last[0] != NULL:
        last = &last[0].after
    last[0] = early
    c.early_count += 1


cdef inline void take_early(Mux* m, Conn* c) noexcept nogil:
    """Take what waited for the key, as of when it came: how long a round trip takes is learnt from it."""
    cdef Early* early = c.early
    cdef Early* after
    cdef Packet p
    c.early = NULL
    c.early_count = 0
    while early != NULL:
        after = early.after
        if not c.removed and read_packet(<uint8_t*>(early + 1), early.size, &p):
            take_extended(m, c, &p, &early.flow, early.at)
        free(early)
        early = after


# Other addresses of the peer.

cdef inline void ask_way(Mux* m, Conn* c, const librats_flow* flow) noexcept nogil:
    cdef uint64_t token = noise(m)
    c.candidate = flow[0]
    memcpy(c.challenge, &token, 8)
    c.challenge_wanted = True
    c.challenge_out = False
    touch(m, c)


cdef inline void peer_moved(Mux* m, Conn* c, const librats_flow* flow, double now) noexcept nogil:
    """The newest packet came from elsewhere: ask there, once for each packet at most, before anything else goes."""
    if c.asked or (c.has_left and same_peer(&c.left, flow)):
        return  # it may go on sending from where it is after we have chosen another way to it
    if c.challenge_out and same_peer(&c.candidate, flow) and now - c.asked_at < CHALLENGE_SPACING:
        return
    c.asked_at = now
    ask_way(m, c, flow)


cdef inline void moved(Mux* m, Conn* c, double now) noexcept nogil:
    """The peer is heard at another address, and answers there."""
    c.challenge_out = False
    c.challenge_due = NEVER
    c.challenges_left = 0
    c.has_left = c.asked
    c.left = c.flow
    c.asked = False
    if same_peer(&c.flow, &c.candidate):
        return
    c.flow = c.candidate
    c.events |= TOLD_MOVED
    c.has_rtt = False
    c.first_timeout = FIRST_TIMEOUT
    c.least_rtt = 1e9
    c.timeouts = 0
    control_begin(&c.control, c.control.kind, BASE_DATAGRAM, c.control.most, <uint32_t>noise(m))
    size_forgotten(c, now)
    c.loss_at = NEVER
    c.timer_at = now  # what was on its way went elsewhere: ask at once
