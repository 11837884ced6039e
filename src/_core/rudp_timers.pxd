"""What the timers of a connection ask for, and when they do. Header only."""

from libc.stdlib cimport free

from librats._core.rudp_send cimport drop_done, loss_time_come, patient_timeout, timeout_come, timeout_of
from librats._core.rudp_state cimport (
    CAUSE_FINISHED, CAUSE_IDLE, CAUSE_LOCAL, CAUSE_LOST, CAUSE_NO_ANSWER, CAUSE_RESET, NEVER, OPENING, TOLD_CLOSED,
    Conn, ring_drop
)
from librats._core.rudp_table cimport Mux, close_conn, heap_sift, tell, touch
from librats._core.rudp_tag cimport drop_contexts

cdef extern from *:
    """
    #define RUDP_FINISHED_LINGER 2.0
    #define RUDP_TIDY_AFTER 2.0
    #define RUDP_BLOCKED_WAIT 0.5
    #define RUDP_GAP_SILENCE 60.0
    """
    double FINISHED_LINGER "RUDP_FINISHED_LINGER"
    double TIDY_AFTER "RUDP_TIDY_AFTER"
    double BLOCKED_WAIT "RUDP_BLOCKED_WAIT"
    double GAP_SILENCE "RUDP_GAP_SILENCE"


cdef inline void give_up(Mux* m, Conn* c) noexcept nogil:
    """End a connection at once: a Reset goes out with the next round, and nothing is heard of it any more."""
    if c.removed:
        return
    if not c.was_told:
        c.was_told = True
        c.cause = CAUSE_LOCAL
    c.reset_wanted = True
    touch(m, c)


cdef inline double gone_at(const Mux* m, const Conn* c) noexcept nogil:
    """When the silence of a peer has been long enough. In uTP one that owes what is before a gap is not silent long:
    libtorrent forgets a connection without a word when a packet was lost three times."""
    cdef double wait = m.settings.idle_timeout
    return c.heard_at + (min(wait, GAP_SILENCE) if c.utp and c.held_count else wait)


cdef inline double speaks_at(const Mux* m, const Conn* c) noexcept nogil:
    """When something is to be sent for the sake of NATs. Peers with librats 2 hear from us as often as they
    are used to: nothing but that shows them that we are there."""
    cdef double quiet = m.settings.quiet_most
    return c.spoke_at + (quiet if c.extended else min(quiet, m.settings.keep_alive))


cdef inline double due_of(const Mux* m, const Conn* c) noexcept nogil:
    """When a connection is to be looked at next."""
    cdef double due = gone_at(m, c)
    if c.state == OPENING:
        return min(due, c.syn_due)
    due = min(due, speaks_at(m, c))
    due = min(min(due, c.ack_due if c.proven else NEVER), min(c.announce_due, c.timer_at))
    due = min(min(due, c.loss_at), min(c.pace_due, c.challenge_due))
    return min(min(due, c.linger_due), min(c.suspect_due, c.tidy_due))


cdef inline void rearm(Mux* m, Conn* c) noexcept nogil:
    if c.heap_at >= 0:
        c.due = due_of(m, c)
        heap_sift(m, c.heap_at, c)


cdef inline void time_come(Mux* m, Conn* c, double now) noexcept nogil:
    """Do what a connection's timers ask for; what is to be sent goes out with the next round."""
    if now >= gone_at(m, c):
        close_conn(m, c, CAUSE_IDLE)
        return
    if c.state == OPENING:
        if c.syn_due <= now and c.syns_left == 0:
            close_conn(m, c, CAUSE_NO_ANSWER)
        return
    if c.linger_due <= now:
        close_conn(m, c, CAUSE_FINISHED)
        return
    if c.suspect_due <= now:
        close_conn(m, c, CAUSE_RESET)
        return
    if c.timer_at <= now:
        timeout_come(c, now)
        if c.cause == CAUSE_LOST and not c.was_told:
            close_conn(m, c, CAUSE_LOST)
            return
    if c.loss_at <= now:
        loss_time_come(c, now)
    if c.pace_due <= now:
        c.pace_due = NEVER
    if c.challenge_due <= now:
        c.challenge_due = NEVER
        c.challenge_wanted = c.challenges_left > 0
        c.asked = c.challenge_wanted
    if now >= speaks_at(m, c):
        if not c.extended or c.proven:
            c.pings = 1
        c.spoke_at = now
    if c.tidy_due <= now:
        tidy(c, now)


cdef inline void times_come(Mux* m, double now) noexcept nogil:
    """Do what is due of every connection."""
    cdef Conn* c
    cdef int left = m.heap_count
    while left > 0 and m.heap_count and m.heap[0].due <= now:
        left -= 1
        c = m.heap[0]
        time_come(m, c, now)
        if not c.removed:
            touch(m, c)
            c.due = NEVER  # it is armed again when it has had its turn
            heap_sift(m, c.heap_at, c)


cdef inline void quiet_at_most(Mux* m, double seconds) noexcept nogil:
    """Have no connection be silent for longer than that, from now on."""
    cdef int at = 0
    m.settings.quiet_most = seconds
    while m.slots != NULL and at <= <int>m.mask:
        if m.slots[at] != NULL:
            rearm(m, m.slots[at])
        at += 1


cdef inline void tidy(Conn* c, double now) noexcept nogil:
    """Give back memory that is not in use."""
    c.tidy_due = NEVER
    drop_contexts(c)
    if c.out_start == c.out_end:
        ring_drop(&c.out)
    if c.in_start == c.in_far:
        ring_drop(&c.in_)
    drop_done(c, now)
    if c.first == c.next:
        free(c.sent)
        c.sent = NULL
        c.sent_room = 0


cdef inline void after_round(Mux* m, Conn* c, double now) noexcept nogil:
    """When nothing more of a connection goes now: wait for the next thing."""
    if c.removed:
        return
    window_blocked(c, now)
    if c.shrunk:
        c.shrunk = False
        m.shrunk_at = now
    if c.introduced and c.stream == NULL and c.linger_due >= NEVER:
        if not c.fin_wanted:
            c.reset_wanted = True
            touch(m, c)
        c.linger_due = now + m.settings.linger
    if c.fin_acked and c.out_start == c.out_end and c.end_told and not c.was_told:
        c.was_told = True
        c.cause = CAUSE_FINISHED
        c.events |= TOLD_CLOSED
        c.linger_due = min(c.linger_due, now + max(FINISHED_LINGER, 3 * patient_timeout(c)))
    if c.tidy_due >= NEVER and (c.out.size or c.in_.size or c.sent_room):
        c.tidy_due = now + TIDY_AFTER
    tell(m, c)
    rearm(m, c)


cdef inline void window_blocked(Conn* c, double now) noexcept nogil:
    """Where the peer's window is shut and nothing is on its way, ask from time to time whether it is."""
    if c.timer_at < NEVER or c.out_end == c.out_next:
        return
    if c.extended and c.out_next >= c.out_limit or c.utp and c.proven:
        c.timer_at = now + max(timeout_of(c), BLOCKED_WAIT)
