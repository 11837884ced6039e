"""How long what was sent has waited on its way, found from the clocks of both ends (BEP 29). Header only.

Each packet tells when it was sent by the clock of its sender, and how much later than that, by the clock of its
receiver, the last packet of the other direction came. Nobody knows how far the clocks are apart: the least difference
of the last minutes stands for an empty path. All numbers are microseconds, and go round at 2**32.
"""

from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    MINUTES = 3  # so that it is at least the last two
    RECENT = 3  # samples of which the least counts
    MOST_DRIFT = 10000

cdef extern from *:
    """
    #define UTP_STEP 60.0
    """
    double STEP_TIME "UTP_STEP"


cdef struct Delays:
    uint32_t[3] ours  # least difference of each of the last minutes, of what we sent
    uint32_t[3] theirs
    uint32_t[3] recent
    uint8_t ours_known
    uint8_t theirs_known
    uint8_t recent_count
    uint8_t recent_at
    double step_at


cdef inline uint32_t earlier(uint32_t a, uint32_t b) noexcept nogil:
    return a if <int>(a - b) < 0 else b


cdef inline uint32_t least(const uint32_t* minutes) noexcept nogil:
    return earlier(earlier(minutes[0], minutes[1]), minutes[2])


cdef inline void note_minute(uint32_t* minutes, uint8_t* known, uint32_t sample) noexcept nogil:
    cdef int i
    if not known[0]:
        known[0] = True
        for i in range(MINUTES):
            minutes[i] = sample
    minutes[0] = earlier(minutes[0], sample)


cdef inline void delays_step(Delays* d, double now) noexcept nogil:
    """Let a minute end where it is over."""
    if d.step_at == 0:
        d.step_at = now
    if now - d.step_at < STEP_TIME:
        return
    d.step_at = now
    d.ours[2] = d.ours[1]
    d.ours[1] = d.ours[0]
    d.theirs[2] = d.theirs[1]
    d.theirs[1] = d.theirs[0]
    # A minute begins with whatever comes first in it.
    d.ours[0] = d.ours[1] + <uint32_t>0x3FFFFFFF
    d.theirs[0] = d.theirs[1] + <uint32_t>0x3FFFFFFF


cdef inline void note_theirs(Delays* d, uint32_t sample, double now) noexcept nogil:
    """Take the difference of a packet that came. Where theirs shrinks, the clocks drift: ours grows by as much."""
    cdef uint32_t before, shrunk
    cdef int i
    cdef bint known = d.theirs_known
    delays_step(d, now)
    before = least(d.theirs)
    note_minute(d.theirs, &d.theirs_known, sample)
    shrunk = before - least(d.theirs)
    if known and d.ours_known and 0 < shrunk < MOST_DRIFT:
        for i in range(MINUTES):
            d.ours[i] += shrunk


cdef inline double note_ours(Delays* d, uint32_t sample, double now) noexcept nogil:
    """Take the difference that the peer tells; return for how many seconds what we send waits in queues now."""
    cdef uint32_t base, found
    cdef int i
    delays_step(d, now)
    note_minute(d.ours, &d.ours_known, sample)
    d.recent[d.recent_at] = sample
    d.recent_at = (d.recent_at + 1) % RECENT
    d.recent_count = min(d.recent_count + 1, <int>RECENT)
    found = sample
    for i in range(d.recent_count):
        found = earlier(found, d.recent[i])
    base = least(d.ours)
    return (found - base) / 1e6 if <int>(found - base) > 0 else 0.0
