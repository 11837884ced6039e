"""The relay's rounds, and what goes between its path and Python. Header only."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from librats._core.allocations cimport ADDRESS_SIZE
from librats._core.relay_net cimport (
    NET_EVENTS, net_address, net_be_punctual, net_is_unspecified, net_leave, net_nap, net_now, net_receive,
    net_socket, net_wait,
)
from librats._core.relay_path cimport from_client, from_peer
from librats._core.relay_queue cimport (
    DROP_DONT_FRAGMENT, DROP_EVENTS, DROP_IGNORED, DROP_MALFORMED, DROP_NO_ALLOCATION, DROP_NO_CHANNEL,
    DROP_NO_PERMISSION, DROP_OVER_LIMIT, DROP_OVERSIZED, DROP_UNREACHABLE, EVENT_CONTROL, EVENT_SESSION, GROUPS,
    EventHead, Packet, Path, open_group, queue_packet, send_queued,
)
from librats._core.relay_sieve cimport sieve_dropped
from librats._core.relay_items cimport Allocation, allocation_at

cdef enum:
    ANSWERS_TOGETHER = 24
    EVENTS_ENOUGH = 1048576  # bytes
    FEW_READY = 8  # sockets
    LISTENER_TAG = 1
    ALLOCATION_TAG = 2
    SHARED_TAG = 3
    OTHER_TAG = 4
    FLOOD_NAP = 200  # microseconds
    FLOOD_PAUSE = 1000  # between two rounds of a flood, at most
    FLOOD_PERCENT = 75  # of what comes in a flood, at least this much is dropped or refused


cdef inline uint64_t tag_of(int kind, uint32_t generation, uint32_t index) noexcept nogil:
    return (<uint64_t>kind << 60) | ((<uint64_t>generation & 0xFFFFFFF) << 32) | index


cdef inline void forward_ready(Path* s, int batch, const uint64_t* tags, int count) noexcept nogil:
    """Receive from each socket that can be read, ``batch`` datagrams at most, and send what that gives.

    What comes from few sockets leaves socket by socket: none waits until the others are read.
    """
    cdef int i, k, got, wanted, used = 0
    cdef uint32_t index, kind
    cdef Allocation* a
    cdef net_socket relay
    cdef net_socket* source
    s.round += 1
    for i in range(count):
        kind = <uint32_t>(tags[i] >> 60)
        index = <uint32_t>tags[i]
        wanted = batch
        if kind == LISTENER_TAG:
            source = &s.listeners[index]
        elif kind == SHARED_TAG:
            source = &s.shared[index]
        else:
            a = allocation_at(s.tables, index)
            if not a.live or tag_of(kind, a.generation, index) != tags[i]:
                continue
            relay.fd = a.other_fd if kind == OTHER_TAG else a.fd
            relay.family = a.other_family if kind == OTHER_TAG else a.family
            relay.wildcard = 0
            source = &relay
            if s.events_size > EVENTS_ENOUGH:
                net_leave(&s.poller, relay.fd, tags[i])
                continue
            if s.poller.portable and a.round != s.round - 1:
                wanted = 1  # to learn that there is no more would cost a system call
            a.round = s.round
        if s.events_size > EVENTS_ENOUGH:
            continue  # it stays ready
        if used and (count <= FEW_READY or batch - used <= batch // 4):
            send_queued(s)
            used = 0
        if wanted > batch - used:
            wanted = batch - used
        got = net_receive(&s.inbox, source, used, wanted)
        s.received_messages += got
        for k in range(used, used + got):
            if kind == LISTENER_TAG:
                from_client(s, index, &s.inbox.datagrams[k])
            elif kind == SHARED_TAG:
                from_peer(s, 0, index, &s.inbox.datagrams[k])
            else:
                from_peer(s, index, -1, &s.inbox.datagrams[k])
        used += got
        if s.inbox.left and source == &relay:
            net_leave(&s.poller, relay.fd, tags[i])
    send_queued(s)


cdef struct Pace:
    int batch
    int nap  # microseconds
    bint punctual  # whether naps of the thread end in time
    double last_round
    double useless  # the part of what came lately that was neither forwarded nor passed on


cdef inline int pause_after(Pace* pace, double now, uint64_t came, uint64_t useful) noexcept nogil:
    """The microseconds from a round to the next: packets gather where it brought little, or little but a flood."""
    cdef double since = (now - pace.last_round) * 1e6
    cdef double weight = came / 64.0 if came < 64 else 1.0
    cdef int pause = 0
    pace.last_round = now
    if came:
        pace.useless += weight * (1.0 - useful / <double>came - pace.useless)
    if came < <uint64_t>pace.batch and since < 4.0 * pace.nap:
        pause = pace.nap
    if pace.useless * 100 > FLOOD_PERCENT and since < FLOOD_PAUSE and pause < FLOOD_NAP:
        pause = FLOOD_NAP
    return pause


cdef inline void nap_until(Path* s, Pace* pace, double end) noexcept nogil:
    cdef int left = <int>((end - net_now()) * 1e6)
    if left <= 0:
        return
    if not pace.punctual:
        pace.punctual = True
        net_be_punctual()
    net_nap(left)
    s.naps += 1


cdef inline uint64_t served(const Path* s) noexcept nogil:
    """What was forwarded, and what was told its address."""
    return s.to_peer + s.to_client + (s.gate.answers[1][0] if s.gate != NULL else 0)


cdef inline bint go_round(Path* s, Pace* pace, double deadline) noexcept nogil:
    """Wait for datagrams and forward them; whether to go on."""
    cdef uint64_t tags[NET_EVENTS]
    cdef uint64_t came = s.received
    cdef uint64_t before = served(s)
    cdef double left = deadline - net_now()
    cdef int ready, pause
    if left <= 0:
        ready = net_wait(&s.poller, tags, 0)
    else:
        ready = net_wait(&s.poller, tags, 2000000000 if left > 2000000 else <int>(left * 1000) + 1)
    if ready < 0:
        return False
    s.now = net_now()
    if ready:
        forward_ready(s, pace.batch, tags, ready)
    pause = pause_after(pace, s.now, s.received - came, served(s) - before + s.event_count)
    if s.poller.woken:
        s.poller.woken = 0
        return False
    if s.event_count or s.now >= deadline:
        return False
    if pause:
        nap_until(s, pace, s.now + pause * 1e-6)
    return True


cdef struct Answer:
    int listener
    uint32_t size
    net_address client
    net_address local


cdef inline list take_events(Path* s, list users):
    """Take the events out; ``users`` are those that the gate knows by number."""
    cdef list events = []
    cdef EventHead head
    cdef size_t at = 0
    cdef bytes data
    while at < s.events_size:
        memcpy(&head, s.events + at, sizeof(EventHead))
        at += sizeof(EventHead)
        data = PyBytes_FromStringAndSize(<char*>s.events + at, head.size)
        at += head.size
        if head.kind == EVENT_CONTROL:
            events.append((
                "control", head.listener, PyBytes_FromStringAndSize(<char*>&head.client, ADDRESS_SIZE),
                PyBytes_FromStringAndSize(<char*>&head.local, ADDRESS_SIZE), data, users[head.user],
            ))
        elif head.kind == EVENT_SESSION:
            events.append((
                "session", head.listener, PyBytes_FromStringAndSize(<char*>&head.client, ADDRESS_SIZE),
                PyBytes_FromStringAndSize(<char*>&head.local, ADDRESS_SIZE), data,
            ))
        else:
            events.append(("stream", head.allocation, data))
    s.events_size = 0
    s.event_count = 0
    if s.events_room > EVENTS_ENOUGH:
        free(s.events)
        s.events = NULL
        s.events_room = 0
    return events

cdef inline int queue_answers(Path* s, bytearray answers) except -1:
    """Send the answers that Python gave, and forget them."""
    cdef const net_address* source
    cdef net_socket* listener
    cdef Answer answer
    cdef char* data
    cdef size_t at = 0, size = len(answers)
    cdef uint32_t group
    cdef Packet* packet
    if not size:
        return 0
    data = answers
    with nogil:
        while at < size:
            memcpy(&answer, data + at, sizeof(Answer))
            at += sizeof(Answer)
            if s.group_count >= GROUPS - 1:
                send_queued(s)
            listener = &s.listeners[answer.listener]
            source = &answer.local if listener.wildcard and not net_is_unspecified(&answer.local) else NULL
            group = open_group(s, NULL, &answer.client, listener.fd, listener.family, source)
            if group:
                packet = queue_packet(s, group)
                packet.data = <uint8_t*>data + at
                packet.size = answer.size
            at += answer.size
        send_queued(s)
    answers.clear()
    return 0

cdef inline dict read_statistics(Path* s):
    cdef uint64_t unseen = 0
    cdef int i
    for i in range(s.listener_count):
        unseen += sieve_dropped(s.listeners[i].fd)
    return {
        "allocations": s.tables.allocations.live,
        "permissions": s.tables.permissions.live,
        "channels": s.tables.channels.live,
        "received": s.received,
        "received_messages": s.received_messages,
        "to_peer": s.to_peer,
        "to_peer_bytes": s.to_peer_bytes,
        "to_client": s.to_client,
        "to_client_bytes": s.to_client_bytes,
        "sent": s.sent.sent,
        "sent_joined": s.sent.joined,
        "sent_apart": s.sent.split,
        "refused": s.sent.refused + s.inbox.refused,
        "dropped_no_room": s.sent.no_room,
        "dropped_send_error": s.sent.failed,
        "dropped_malformed": s.dropped[<int>DROP_MALFORMED],
        "dropped_no_allocation": s.dropped[<int>DROP_NO_ALLOCATION],
        "dropped_no_channel": s.dropped[<int>DROP_NO_CHANNEL],
        "dropped_no_permission": s.dropped[<int>DROP_NO_PERMISSION],
        "dropped_dont_fragment": s.dropped[<int>DROP_DONT_FRAGMENT],
        "dropped_over_limit": s.dropped[<int>DROP_OVER_LIMIT],
        "dropped_oversized": s.dropped[<int>DROP_OVERSIZED],
        "dropped_unreachable": s.dropped[<int>DROP_UNREACHABLE],
        "dropped_by_kernel": unseen,
        "dropped_events": s.dropped[<int>DROP_EVENTS],
        "ignored": s.dropped[<int>DROP_IGNORED],
        "naps": s.naps,
    }
