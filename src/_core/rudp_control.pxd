"""Congestion control: a model of the path (after BBR), CUBIC (RFC 9438), two that yield (after LEDBAT). Header only.

Windows are in bytes, rates in bytes a second. Slow start of the last three ends by HyStart++ (RFC 9406).
"""

from libc.math cimport cbrt, fabs
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

cdef enum:
    MODEL = 0
    CUBIC = 1
    YIELDING = 2
    LEDBAT = 3

cdef enum:
    STARTUP = 0
    DRAIN = 1
    CRUISE = 2
    LOOK = 3  # for the least round trip, with little on its way

cdef enum:
    BEST_ROUNDS = 10
    PHASES = 8
    INITIAL_PACKETS = 10
    HYSTART_SAMPLES = 8
    HYSTART_ROUNDS = 5


cdef extern from *:
    """
    #define RUDP_LEDBAT_TARGET 0.1
    #define RUDP_LEDBAT_CAREFUL 0.9
    #define RUDP_LEDBAT_GAIN 3000.0
    """
    double LEDBAT_TARGET "RUDP_LEDBAT_TARGET"
    double LEDBAT_CAREFUL "RUDP_LEDBAT_CAREFUL"
    double LEDBAT_GAIN "RUDP_LEDBAT_GAIN"  # bytes that the window grows by in a round trip at the most


cdef struct Sample:
    # What one acknowledgement tells.
    double now
    double rate
    double rtt
    double srtt
    double least_rtt
    double queued  # seconds that what was sent has waited, by the peer's clock; below 0 where it is not told
    double acked
    double lost
    double flight
    double flight_before
    uint64_t delivered
    uint64_t delivered_before
    uint8_t limited
    uint8_t full
    uint8_t new_loss
    uint8_t in_recovery
    uint8_t late  # something has come that was taken for lost


cdef struct Control:
    uint8_t kind
    double window
    double threshold
    double rate
    double segment
    double most
    # Rounds.
    uint64_t round_end
    uint64_t rounds
    uint8_t round_started
    # HyStart++.
    double round_rtt
    double last_round_rtt
    double careful_rtt
    int round_samples
    int careful_rounds
    uint8_t careful
    # The model.
    uint8_t state
    uint8_t phase
    uint8_t filled
    uint8_t look_round_done
    int flat_rounds
    double full_rate
    double best[10]
    int best_at
    uint64_t best_round
    double least_rtt
    double least_at
    double phase_at
    double look_until
    double window_before
    double extra
    double extra_before
    double extra_bytes
    double extra_at
    uint64_t extra_round
    double round_lost
    double round_acked
    double usual_loss
    double ceiling
    # CUBIC.
    double most_before
    double origin
    double epoch
    double estimate
    double prior
    # The one that yields.
    double base[2]
    double base_at
    double rest_until
    double rest_started
    double rest_due


cdef inline void control_begin(Control* c, uint8_t kind, double segment, double most, uint32_t seed) noexcept nogil:
    cdef int i
    memset(c, 0, sizeof(Control))
    c.kind = kind
    c.segment = segment
    c.most = most
    c.window = INITIAL_PACKETS * segment
    c.threshold = most
    c.phase = <uint8_t>(seed % (PHASES - 1))
    c.least_rtt = 1e9
    c.round_rtt = 1e9
    c.last_round_rtt = 1e9
    c.ceiling = 1e18
    for i in range(2):
        c.base[i] = 1e9


cdef inline void control_segment(Control* c, double segment) noexcept nogil:
    """Let a full packet have that size from now on."""
    c.segment = segment
    c.window = max(c.window, least_window(c))


cdef inline double least_window(const Control* c) noexcept nogil:
    return (4 if c.kind == MODEL else 2) * c.segment


cdef inline void control_acked(Control* c, const Sample* s) noexcept nogil:
    c.round_started = s.delivered_before >= c.round_end
    if c.round_started:
        c.round_end = s.delivered
        c.rounds += 1
    if c.kind == MODEL:
        model_acked(c, s)
        return
    if s.new_loss:
        if c.kind == CUBIC:
            cubic_lost(c, s)
        else:
            yielding_lost(c, s)
    elif not s.in_recovery and s.acked > 0:
        if c.window < c.threshold:
            slow_start(c, s)
        elif c.kind == CUBIC:
            cubic_acked(c, s)
    if c.kind == YIELDING:
        yielding_acked(c, s)
    elif c.kind == LEDBAT:
        ledbat_acked(c, s)
    c.window = min(max(c.window, least_window(c)), c.most)
    if s.srtt > 0:
        c.rate = (2.0 if c.window < c.threshold and not c.careful else 1.25) * c.window / s.srtt


cdef inline void control_timeout(Control* c, double now) noexcept nogil:
    """Everything on its way is taken for lost."""
    if c.kind == MODEL:
        c.window_before = max(c.window_before, c.window)
        c.window = least_window(c)
        return
    c.threshold = max(c.window * (0.7 if c.kind == CUBIC else 0.5), 2 * c.segment)
    if c.kind == CUBIC:
        c.most_before = c.window
    c.window = 2 * c.segment
    c.epoch = 0
    c.careful = False


cdef inline void control_idle(Control* c, double idle, double timeout) noexcept nogil:
    """Give back half of what nobody has tried for a timeout (RFC 2861); a model keeps its rate, and paces."""
    if c.kind == MODEL:
        return
    c.epoch = 0
    while idle > timeout and c.window > INITIAL_PACKETS * c.segment:
        c.window = max(c.window / 2, INITIAL_PACKETS * c.segment)
        idle -= timeout


# Slow start.

cdef inline void slow_start(Control* c, const Sample* s) noexcept nogil:
    if s.full:
        c.window += s.acked / 4 if c.careful else s.acked
    if s.rtt > 0:
        c.round_rtt = min(c.round_rtt, s.rtt)
        c.round_samples += 1
    if c.round_samples >= HYSTART_SAMPLES and c.last_round_rtt < 1e8:
        if not c.careful and c.round_rtt >= c.last_round_rtt + min(max(c.last_round_rtt / 8, 0.004), 0.016):
            c.careful = True
            c.careful_rounds = 0
            c.careful_rtt = c.round_rtt
        elif c.careful and c.round_rtt < c.careful_rtt:
            c.careful = False
    if c.round_started:
        c.last_round_rtt = c.round_rtt
        c.round_rtt = 1e9
        c.round_samples = 0
        if c.careful:
            c.careful_rounds += 1
            if c.careful_rounds >= HYSTART_ROUNDS:
                c.threshold = c.window
                c.careful = False


# CUBIC, RFC 9438.

cdef inline void cubic_lost(Control* c, const Sample* s) noexcept nogil:
    c.prior = c.window
    # 4.7: fast convergence.
    c.most_before = c.window * 0.85 if c.window < c.most_before else c.window
    c.window = max(c.window * 0.7, 2 * c.segment)
    c.threshold = c.window
    c.epoch = 0
    c.careful = False


cdef inline void cubic_acked(Control* c, const Sample* s) noexcept nogil:
    cdef double at, target, grown
    if not s.full:
        return
    if c.epoch == 0:
        c.epoch = s.now
        c.estimate = c.window
        if c.prior == 0:
            c.prior = c.window
        if c.most_before <= c.window:
            c.most_before = c.window
            c.origin = 0
        else:
            c.origin = cbrt((c.most_before - c.window) / c.segment / 0.4)
    at = s.now - c.epoch + s.srtt - c.origin
    target = c.most_before + 0.4 * at * at * at * c.segment
    target = min(max(target, c.window), 1.5 * c.window)
    grown = c.window + (target - c.window) * s.acked / c.window
    # 4.3: 3 * (1 - 0.7) / (1 + 0.7) packets a round trip until the old window is reached, then one.
    c.estimate += (0.5294117647 if c.estimate < c.prior else 1.0) * c.segment * s.acked / c.window
    c.window = max(grown, c.estimate)


# The one that yields: RFC 6817 by round trips, with the rests of LEDBAT++.

cdef inline void yielding_lost(Control* c, const Sample* s) noexcept nogil:
    c.window = max(c.window / 2, 2 * c.segment)
    c.threshold = c.window
    c.careful = False


cdef inline void yielding_acked(Control* c, const Sample* s) noexcept nogil:
    cdef double base, target, queued, gain, change
    if s.rtt > 0:
        if s.now - c.base_at > 60:
            c.base_at = s.now
            c.base[1] = c.base[0]
            c.base[0] = s.rtt
        c.base[0] = min(c.base[0], s.rtt)
        c.round_rtt = min(c.round_rtt, s.rtt)
    if s.now < c.rest_until:
        c.window = 2 * c.segment
        return
    base = min(c.base[0], c.base[1])
    target = min(max(base / 4, 0.004), 0.025)
    if c.window < c.threshold:
        if s.rtt > 0 and s.rtt - base > 0.75 * target:
            c.threshold = c.window
        elif c.rest_due == 0 or s.now < c.rest_due:
            return
    if c.rest_due == 0:
        c.rest_due = s.now + 2 * s.srtt
    if s.now >= c.rest_due:
        # A rest of two round trips shows the path without us; the next one when nine times as long has gone by.
        c.threshold = max(c.window, 2 * c.segment)
        c.rest_until = s.now + 2 * s.srtt
        c.rest_due = c.rest_until + 9 * max(6 * s.srtt, c.rest_until - c.rest_started if c.rest_started else 0)
        c.rest_started = 0
        c.window = 2 * c.segment
        return
    if s.acked <= 0 or s.rtt <= 0:
        return
    queued = max(s.rtt - base, 0)
    if queued < target:
        if s.full:
            gain = 1 / min(16.0, max(1.0, 2 * target / base))
            c.window += gain * c.segment * s.acked / c.window
    else:
        change = min(c.window * (queued / target - 1), c.window / 2)
        c.window -= change * s.acked / c.window


# BEP 29: the one of uTP, by the delay that the peer measures.

cdef inline void ledbat_acked(Control* c, const Sample* s) noexcept nogil:
    cdef double off
    if s.queued < 0:
        return
    if c.window < c.threshold:
        if s.queued > LEDBAT_CAREFUL * LEDBAT_TARGET:
            c.threshold = c.window
        return
    if s.acked <= 0 or s.in_recovery:
        return
    off = max((LEDBAT_TARGET - s.queued) / LEDBAT_TARGET, -1.0)
    if off < 0 or s.full:
        c.window += LEDBAT_GAIN * off * s.acked / max(s.flight_before, s.acked)
        c.threshold = c.window  # less than it was is no reason to begin anew


# The model.

cdef inline double model_rate(const Control* c) noexcept nogil:
    cdef double best = 0
    cdef int i
    for i in range(BEST_ROUNDS):
        best = max(best, c.best[i])
    return best


cdef inline double model_gain(const Control* c) noexcept nogil:
    if c.state == STARTUP:
        return 2.77
    if c.state == DRAIN:
        return 0.36
    if c.state == LOOK:
        return 1.0
    return 1.25 if c.phase == 0 else (0.75 if c.phase == 1 else 1.0)


cdef inline void model_acked(Control* c, const Sample* s) noexcept nogil:
    cdef double best = model_rate(c)
    cdef double path, target, quantum
    if s.rate > 0 and (s.rate >= best or not s.limited):
        if c.round_started and c.best_round != c.rounds:
            c.best_round = c.rounds
            c.best_at = (c.best_at + 1) % BEST_ROUNDS
            c.best[c.best_at] = 0
        c.best[c.best_at] = max(c.best[c.best_at], s.rate)
        best = model_rate(c)
    if s.rtt > 0 and (s.rtt <= c.least_rtt or s.now - c.least_at > 10):
        c.least_rtt = s.rtt
        c.least_at = s.now
    if best <= 0 or c.least_rtt > 1e8:
        c.window = min(c.window + s.acked, c.most)
        if s.srtt > 0:
            c.rate = 2.77 * c.window / s.srtt
        return
    path = best * c.least_rtt
    model_losses(c, s, path)
    model_extra(c, s, best)
    model_step(c, s, best, path)
    c.rate = model_gain(c) * best * 0.99
    if c.state == STARTUP:
        c.rate = max(c.rate, 2.77 * INITIAL_PACKETS * c.segment / max(s.srtt, 0.001))
    quantum = min(max(c.rate * 0.001, 2 * c.segment), 262144.0)
    if c.state == LOOK:
        target = max(0.5 * path, least_window(c))
        c.window = min(c.window, target)
        return
    target = 2.0 * path + 3 * quantum + (c.extra if c.extra > c.extra_before else c.extra_before)
    target = min(target, max(c.ceiling, least_window(c)))
    if c.window_before > 0 and s.acked > 0:
        # Something came after a timeout: go on from where we were.
        c.window = max(c.window, min(c.window_before, target))
        c.window_before = 0
    if c.filled:
        c.window = min(c.window + s.acked, target)
    elif c.window < target or s.delivered < INITIAL_PACKETS * c.segment:
        c.window += s.acked
    c.window = min(max(c.window, least_window(c)), c.most)


cdef inline void model_losses(Control* c, const Sample* s, double path) noexcept nogil:
    """Tell losses by a queue that is full from those that come at any rate: the former grow with the rate."""
    cdef double share
    c.round_lost += s.lost
    c.round_acked += s.acked
    if not c.round_started:
        return
    if c.round_acked + c.round_lost >= 30 * c.segment:
        share = c.round_lost / (c.round_acked + c.round_lost)
        if c.state == STARTUP and share > 0.15:
            c.flat_rounds = 3  # no path loses that many by itself: its queue is full
        if c.filled and share > 2 * c.usual_loss + 0.04:
            c.ceiling = max(0.9 * min(c.ceiling, s.flight_before), 0.9 * path)
        elif c.ceiling < 1e17:
            c.ceiling = 1e18 if c.ceiling > 2 * path else c.ceiling + 0.04 * path
        c.usual_loss += (share - c.usual_loss) / 16
    c.round_lost = 0
    c.round_acked = 0


cdef inline void model_extra(Control* c, const Sample* s, double best) noexcept nogil:
    """What comes acknowledged at once beyond the rate of the path: acknowledgements that were held up together."""
    cdef double wanted = best * (s.now - c.extra_at)
    if c.rounds >= c.extra_round + 10:
        c.extra_round = c.rounds
        c.extra_before = c.extra
        c.extra = 0
    if c.extra_at == 0 or c.extra_bytes <= wanted:
        c.extra_at = s.now
        c.extra_bytes = 0
        wanted = 0
    c.extra_bytes = min(c.extra_bytes + s.acked, max(c.window, c.segment) + wanted)
    c.extra = max(c.extra, min(c.extra_bytes - wanted, best * 0.1))


cdef inline void model_step(Control* c, const Sample* s, double best, double path) noexcept nogil:
    if c.state == STARTUP:
        if c.round_started and not s.limited:
            if best >= c.full_rate * 1.25:
                c.full_rate = best
                c.flat_rounds = 0
            else:
                c.flat_rounds += 1
        if c.flat_rounds >= 3:
            c.filled = True
            c.state = DRAIN
            c.phase_at = s.now
    if c.state == DRAIN and (s.flight <= path or s.now - c.phase_at > 4 * max(c.least_rtt, 0.01)):
        c.state = CRUISE
        c.phase = 2 + c.phase % (PHASES - 2)
        c.phase_at = s.now
    if c.state == CRUISE:
        model_cycle(c, s, path)
        if s.now - c.least_at > 5 and not s.limited and c.least_rtt > 0.002:
            c.state = LOOK
            c.window_before = c.window
            c.look_until = 0
            c.look_round_done = False
    if c.state == LOOK:
        if c.look_until == 0:
            if s.flight <= max(0.5 * path, least_window(c)):
                c.look_until = s.now + 0.2
                c.round_end = s.delivered
                c.least_rtt = s.rtt if s.rtt > 0 else c.least_rtt
        else:
            if c.round_started:
                c.look_round_done = True
            if s.now >= c.look_until and c.look_round_done:
                c.least_at = s.now
                c.state = CRUISE
                c.phase = 2
                c.phase_at = s.now


cdef inline void model_cycle(Control* c, const Sample* s, double path) noexcept nogil:
    cdef bint over = s.now - c.phase_at > c.least_rtt
    if c.phase == 0:
        over = over and (s.lost > 0 or s.flight_before >= 1.2 * path or s.limited)
    elif c.phase == 1:
        over = over or s.flight_before <= path
    if over:
        c.phase = (c.phase + 1) % PHASES
        c.phase_at = s.now
