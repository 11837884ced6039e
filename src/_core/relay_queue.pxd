"""What the relay's path works on: packets queued by receiver, answers, and events for Python. Header only.

Packets of one receiver are gathered over all that a round received, and leave together.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcmp, memcpy, memset

from librats._core.gate cimport ANSWERED, GATE_ROOM, PASSED_ON, Verdict, judge, refuse_known
from librats._core.gate_state cimport GateState
from librats._core.octets cimport load_be16
from librats._core.relay_net cimport (
    net_address, net_aim, net_datagram, net_flush, net_inbox, net_is_unspecified, net_outbox, net_piece, net_poller,
    net_put, net_put_whole, net_same, net_sent, net_set_piece, net_socket, net_target,
)
from librats._core.relay_items cimport Allocation, Bucket, Tables, allocation_at, channel_at, is_peer
from librats._core.relay_tables cimport find_channel, find_peer
from librats._core.stun_index cimport StunIndex, find_counted
from librats._core.stun_layout cimport FAMILY_IPV4, FAMILY_IPV6, IpAddress, StunAttribute
from librats._core.turn_layout cimport (
    ATTRIBUTE_CHANNEL, ATTRIBUTE_FAMILY, ATTRIBUTE_MOBILITY, ATTRIBUTE_PEER, TYPE_CHANNEL_BIND, TYPE_REFRESH,
    read_xor_address,
)

cdef enum:
    PACKETS = 2048
    GROUPS = 1024
    HEAD_ROOM = 52
    MOST_PAYLOAD = 65507
    MOST_REQUEST = 8192
    MOST_REQUESTS = 256  # told of one round, so that a flood of them does not hold the packets back
    REPLIES_ROOM = 65536
    MOST_WAITING = 8388608  # bytes of events: more than the sockets of a round give

cdef enum Drop:
    DROP_MALFORMED
    DROP_NO_ALLOCATION
    DROP_NO_CHANNEL
    DROP_NO_PERMISSION
    DROP_DONT_FRAGMENT
    DROP_OVER_LIMIT
    DROP_OVERSIZED
    DROP_UNREACHABLE
    DROP_EVENTS
    DROP_IGNORED
    DROPS

cdef enum EventKind:
    EVENT_CONTROL
    EVENT_STREAM
    EVENT_SESSION


cdef struct Packet:
    uint8_t* data
    uint32_t size
    uint32_t next
    uint32_t head  # 1 + the number of a head that stands apart from the data; 0: none
    uint16_t head_size
    uint8_t padding
    uint8_t whole  # never to be fragmented


cdef struct Group:
    # Packets for one receiver.
    net_target target
    const void* owner
    net_address peer
    uint32_t first
    uint32_t last


cdef struct EventHead:
    int kind
    int listener
    uint32_t user  # the gate's number of who sent it; 0: not known
    uint64_t allocation
    net_address client
    net_address local
    uint32_t size


cdef struct Path:
    Tables* tables
    net_poller poller
    net_inbox inbox
    net_outbox* outbox
    net_sent sent
    net_socket* listeners
    int listener_count
    net_socket* shared
    int shared_count
    double now
    Bucket bucket
    # Packets of sessions, which Python takes; a rate of 0: none are taken.
    Bucket sessions
    # Queued packets. Number 0 of each is unused.
    Packet* packets
    uint32_t packet_count
    Group* groups
    uint32_t group_count
    uint8_t* heads
    uint32_t head_count
    # The sender found last.
    net_address last_client
    net_address last_local
    int last_listener
    uint32_t last_allocation
    # Answers to strangers, until they are sent; nobody answers them here where there is no gate.
    GateState* gate
    uint8_t* replies
    uint32_t replies_used
    # Events for Python.
    uint8_t* events
    size_t events_size
    size_t events_room
    uint32_t event_count
    uint64_t transaction
    uint64_t received
    uint64_t received_messages
    uint64_t to_peer
    uint64_t to_peer_bytes
    uint64_t to_client
    uint64_t to_client_bytes
    uint64_t naps
    uint32_t round
    uint64_t dropped[10]


cdef inline void send_queued(Path* s) noexcept nogil:
    """Send what is queued, receiver after receiver."""
    cdef net_piece pieces[3]
    cdef uint8_t zeros[4]
    cdef Group* g
    cdef Packet* p
    cdef uint32_t i, at
    cdef int n
    memset(zeros, 0, 4)
    for i in range(1, s.group_count + 1):
        g = &s.groups[i]
        at = g.first
        while at:
            p = &s.packets[at]
            n = 0
            if p.head:
                net_set_piece(&pieces[0], s.heads + <size_t>(p.head - 1) * HEAD_ROOM, p.head_size)
                n = 1
            net_set_piece(&pieces[n], p.data, p.size)
            n += 1
            if p.padding:
                net_set_piece(&pieces[n], zeros, p.padding)
                n += 1
            if p.whole:
                net_put_whole(s.outbox, &g.target, pieces, n)
            else:
                net_put(s.outbox, &g.target, pieces, n, p.head_size + p.size + p.padding)
            at = p.next
    net_flush(s.outbox)
    s.group_count = 0
    s.packet_count = 0
    s.head_count = 0
    s.replies_used = 0


cdef inline Packet* queue_packet(Path* s, uint32_t group) noexcept nogil:
    cdef Group* g = &s.groups[group]
    cdef Packet* p
    s.packet_count += 1
    p = &s.packets[s.packet_count]
    p.next = 0
    p.head = 0
    p.head_size = 0
    p.padding = 0
    p.whole = 0
    if g.first:
        s.packets[g.last].next = s.packet_count
    else:
        g.first = s.packet_count
    g.last = s.packet_count
    return p


cdef inline uint32_t open_group(
    Path* s, const void* owner, const net_address* to, int fd, int family, const net_address* source
) noexcept nogil:
    """A receiver's group; 0 where the socket cannot reach it."""
    cdef Group* g = &s.groups[s.group_count + 1]
    if not net_aim(&g.target, fd, family, to, source):
        return 0
    s.group_count += 1
    g.owner = owner
    g.peer = to[0]
    g.first = 0
    return s.group_count


cdef inline void make_room(Path* s) noexcept nogil:
    if s.packet_count == PACKETS - 1 or s.group_count == GROUPS - 1:
        send_queued(s)


cdef inline uint8_t* add_event(Path* s, const EventHead* head) noexcept nogil:
    """Room for an event's ``head.size`` bytes; NULL where too much waits already."""
    cdef size_t wanted = s.events_size + sizeof(EventHead) + head.size
    cdef size_t room
    cdef uint8_t* events
    if wanted > s.events_room:
        room = s.events_room * 2 if s.events_room else 16384
        while room < wanted:
            room *= 2
        events = <uint8_t*>realloc(s.events, room) if room <= MOST_WAITING else NULL
        if events == NULL:
            s.dropped[<int>DROP_EVENTS] += 1
            return NULL
        s.events = events
        s.events_room = room
    memcpy(s.events + s.events_size, head, sizeof(EventHead))
    events = s.events + s.events_size + sizeof(EventHead)
    s.events_size = wanted
    s.event_count += 1
    return events


cdef inline void tell_python(
    Path* s, EventKind kind, int listener, const net_datagram* d, const uint8_t* p, uint32_t size, uint32_t user
) noexcept nogil:
    cdef EventHead head
    cdef uint8_t* room
    if s.event_count >= MOST_REQUESTS:
        s.dropped[<int>DROP_EVENTS] += 1
        return
    memset(&head, 0, sizeof(head))
    head.kind = kind
    head.listener = listener
    head.user = user
    head.client = d.source
    head.local = d.local
    head.size = size
    room = add_event(s, &head)
    if room != NULL:
        memcpy(room, p, size)


cdef inline void queue_reply(Path* s, int listener, const net_datagram* d, uint32_t size) noexcept nogil:
    """Queue an answer that stands at the end of the replies, from the address that was asked."""
    cdef net_socket* asked = &s.listeners[listener]
    cdef const net_address* source = NULL
    cdef Packet* packet
    cdef uint32_t group
    if asked.wildcard and not net_is_unspecified(&d.local):
        source = &d.local
    group = open_group(s, NULL, &d.source, asked.fd, asked.family, source)
    if not group:
        s.dropped[<int>DROP_UNREACHABLE] += 1
        return
    packet = queue_packet(s, group)
    packet.data = s.replies + s.replies_used
    packet.size = size
    s.replies_used += size


cdef inline int refusal_of(Path* s, uint32_t at, Allocation* a, const StunIndex* index) noexcept nogil:
    """Why an allocation cannot take a request that is sound by itself; 0 where Python has to look."""
    cdef unsigned int kind = load_be16(index.data)
    cdef StunAttribute found
    cdef net_address peer
    cdef uint32_t channel
    if kind == TYPE_REFRESH:
        if find_counted(index, ATTRIBUTE_MOBILITY, &found) or not find_counted(index, ATTRIBUTE_FAMILY, &found):
            return 0
        kind = 4 if found.value[0] == FAMILY_IPV4 else 6 if found.value[0] == FAMILY_IPV6 else 0
        return 0 if kind and (kind == <unsigned int>a.family or kind == <unsigned int>a.other_family) else 443
    if kind != TYPE_CHANNEL_BIND or not find_counted(index, ATTRIBUTE_PEER, &found):
        return 0
    if not read_xor_address(found.value, found.size, index.data, &peer):
        return 0
    if not find_counted(index, ATTRIBUTE_CHANNEL, &found):
        return 0
    channel = find_channel(s.tables, at, load_be16(found.value))
    if channel and channel_at(s.tables, channel).expires > s.now:
        return 0 if is_peer(s.tables, &channel_at(s.tables, channel).peer, &peer) else 400
    channel = find_peer(s.tables, at, &peer)
    return 400 if channel and channel_at(s.tables, channel).expires > s.now else 0


cdef inline void take_request(
    Path* s, int listener, uint32_t at, const net_datagram* d, const uint8_t* p, uint32_t size
) noexcept nogil:
    """Answer a request that came to a listener, or tell Python of it; ``at`` is the sender's allocation, or 0."""
    cdef Allocation* a = allocation_at(s.tables, at) if at else NULL
    cdef IpAddress client
    cdef StunIndex index
    cdef Verdict verdict
    cdef uint32_t user = 0, answer = 0
    cdef int code
    cdef bint other
    if size > MOST_REQUEST:
        s.dropped[<int>DROP_OVERSIZED] += 1
        return
    if s.gate != NULL:
        make_room(s)
        if REPLIES_ROOM - s.replies_used < GATE_ROOM:
            send_queued(s)
        client.family = FAMILY_IPV4 if d.source.family == 4 else FAMILY_IPV6
        client.port = load_be16(<const uint8_t*>&d.source.port)
        memcpy(client.host, d.source.host, 16)
        # What Python has answered lately, and may have been lost, is its own to answer again.
        other = a != NULL and a.asked and memcmp(p + 8, a.transaction, 12) != 0
        verdict = judge(
            s.gate, &client, &index, p, size, other, s.now, s.replies + s.replies_used, &answer, &user
        )
        if verdict == PASSED_ON and user and other:
            code = refusal_of(s, at, a, &index)
            if code:
                refuse_known(s.gate, &index, user, code, s.replies + s.replies_used, &answer)
                verdict = ANSWERED
        if verdict == ANSWERED:
            queue_reply(s, listener, d, answer)
        if verdict != PASSED_ON:
            return
    if a != NULL:
        a.asked = 1
        memcpy(a.transaction, p + 8, 12)
    tell_python(s, EVENT_CONTROL, listener, d, p, size, user)
