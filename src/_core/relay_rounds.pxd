"""The relay's rounds, and what goes between its path and Python. Header only."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from librats._core.relay_net cimport net_address, net_is_unspecified, net_receive, net_socket
from librats._core.relay_path cimport from_client, from_peer
from librats._core.relay_queue cimport (
    DROP_DONT_FRAGMENT, DROP_EVENTS, DROP_IGNORED, DROP_MALFORMED, DROP_NO_ALLOCATION, DROP_NO_CHANNEL,
    DROP_NO_PERMISSION, DROP_OVER_LIMIT, DROP_OVERSIZED, DROP_UNREACHABLE, EVENT_CONTROL, GROUPS, EventHead, Packet,
    Path, open_group, queue_packet, send_queued,
)
from librats._core.relay_sieve cimport sieve_dropped
from librats._core.relay_tables cimport Allocation, allocation_at

cdef enum:
    ADDRESS_SIZE = 24
    MOST_ANSWERS = 262144  # bytes
    EVENTS_ENOUGH = 1048576  # bytes
    LISTENER_TAG = 1
    ALLOCATION_TAG = 2
    SHARED_TAG = 3
    OTHER_TAG = 4


cdef inline uint64_t tag_of(int kind, uint32_t generation, uint32_t index) noexcept nogil:
    return (<uint64_t>kind << 60) | ((<uint64_t>generation & 0xFFFFFFF) << 32) | index


cdef inline void forward_ready(Path* s, int batch, const uint64_t* tags, int count) noexcept nogil:
    """Receive from each socket that can be read, ``batch`` datagrams at most, and send what that gives."""
    cdef int i, k, got, wanted, used = 0
    cdef uint32_t index, kind
    cdef Allocation* a
    cdef net_socket relay
    cdef net_socket* source
    for i in range(count):
        if s.events_size > EVENTS_ENOUGH:
            break  # the other sockets stay ready
        kind = <uint32_t>(tags[i] >> 60)
        index = <uint32_t>tags[i]
        wanted = batch
        if kind == LISTENER_TAG:
            source = &s.listeners[index]
        elif kind == SHARED_TAG:
            source = &s.shared[index]
        else:
            a = allocation_at(&s.tables, index)
            if not a.live or tag_of(kind, a.generation, index) != tags[i]:
                continue
            relay.fd = a.other_fd if kind == OTHER_TAG else a.fd
            relay.family = a.other_family if kind == OTHER_TAG else a.family
            relay.wildcard = 0
            source = &relay
            if s.poller.portable:
                wanted = 1  # to learn that there is no more would cost a system call
        if used and batch - used <= batch // 4:
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
    send_queued(s)


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
    }
