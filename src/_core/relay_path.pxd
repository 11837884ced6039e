"""The relay's path from received datagrams to queued ones, and to events for Python. Header only."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

from librats._core.octets cimport load_be16, load_be32
from librats._core.relay_net cimport (
    NET_CAN_KEEP_WHOLE, net_address, net_datagram, net_is_unspecified, net_same, net_socket,
)
from librats._core.relay_queue cimport (
    DROP_DONT_FRAGMENT, DROP_IGNORED, DROP_MALFORMED, DROP_NO_ALLOCATION, DROP_NO_CHANNEL, DROP_NO_PERMISSION,
    DROP_OVER_LIMIT, DROP_OVERSIZED, DROP_UNREACHABLE, EVENT_SESSION, EVENT_STREAM, HEAD_ROOM, MOST_PAYLOAD,
    EventHead, Packet, Path, add_event, make_room, open_group, queue_packet, take_request, tell_python,
)
from librats._core.relay_items cimport (
    SHARED_OWNER, Allocation, Bucket, Channel, Permission, address_of, allocation_at, channel_at, is_peer,
    permission_at,
)
from librats._core.relay_tables cimport find_channel, find_client, find_peer, find_permission, owner_of
from librats._core.rudp_wire cimport is_ours
from librats._core.stun_layout cimport COOKIE
from librats._core.turn_layout cimport (
    CHANNEL_HEAD, CLASS_BITS, DATA_HEAD6, SEND_DONT_FRAGMENT, SEND_SOUND, TYPE_SEND,
    SendReading, is_stun_sized, padded, read_send, write_channel_head, write_data_head,
)


cdef enum:
    SESSION_PACKET = 256  # bytes that a packet of a session counts for beyond its own


cdef inline bint bucket_allows(Bucket* b, double now, uint32_t size) noexcept nogil:
    """Whether a token bucket, of one second's bytes or 64 KiB, pays for a packet."""
    cdef double most
    if b == NULL or b.rate <= 0:
        return True
    most = b.rate if b.rate > 65536 else 65536
    b.tokens += (now - b.filled) * b.rate
    if b.tokens > most:
        b.tokens = most
    b.filled = now
    if b.tokens < size:
        return False
    b.tokens -= size
    return True


cdef inline bint within_limits(Path* s, Allocation* a, uint32_t size) noexcept nogil:
    if not bucket_allows(a.bucket, s.now, size) or not bucket_allows(&s.bucket, s.now, size):
        s.dropped[<int>DROP_OVER_LIMIT] += 1
        return False
    return True


cdef inline uint32_t in_force(Path* s, uint32_t index, uint32_t permission) noexcept nogil:
    """The permission, where it is this allocation's and not over; else 0."""
    cdef Permission* p
    if permission:
        p = permission_at(s.tables, permission)
        if p.allocation == index and p.expires > s.now:
            return permission
    return 0


cdef inline uint32_t permission_for(
    Path* s, uint32_t index, Allocation* a, const net_address* peer, uint32_t guess
) noexcept nogil:
    """The permission of a peer that is in force; 0: there is none. ``guess`` is tried first."""
    cdef net_address key = peer[0]
    cdef uint32_t owner = owner_of(s.tables, index)
    cdef uint32_t found
    cdef Permission* p
    if a.shared < 0:
        key.port = 0
    if guess:
        p = permission_at(s.tables, guess)
        if p.allocation == index and (is_peer(s.tables, &p.peer, &key) or is_peer(s.tables, &p.peer, peer)):
            found = in_force(s, index, guess)
            if found:
                return found
    found = in_force(s, index, find_permission(s.tables, owner, &key))
    if not found and a.exact:
        found = in_force(s, index, find_permission(s.tables, owner, peer))
    return found


# From clients.

cdef inline void to_peer(
    Path* s, uint32_t index, Allocation* a, uint32_t channel, const net_address* peer, uint8_t* data, uint32_t size,
    bint whole,
) noexcept nogil:
    cdef Channel* c = NULL
    cdef Permission* p
    cdef uint32_t guess = 0, permission, group
    cdef uint32_t* kept
    cdef Packet* packet
    if channel:
        c = channel_at(s.tables, channel)
        guess = c.permission
    permission = permission_for(s, index, a, peer, guess)
    if not permission:
        s.dropped[<int>DROP_NO_PERMISSION] += 1
        return
    if not within_limits(s, a, size):
        return
    make_room(s)
    p = permission_at(s.tables, permission)
    if channel:
        c.permission = permission
        kept = &c.group
    else:
        kept = &p.group
    group = kept[0]
    if not (0 < group <= s.group_count and s.groups[group].owner == kept and net_same(&s.groups[group].peer, peer)):
        if peer.family == <uint32_t>a.other_family:
            group = open_group(s, kept, peer, a.other_fd, a.other_family, NULL)
        else:
            group = open_group(s, kept, peer, a.fd, a.family, NULL)
        if not group:
            s.dropped[<int>DROP_UNREACHABLE] += 1
            return
        kept[0] = group
    packet = queue_packet(s, group)
    packet.data = data
    packet.size = size
    packet.whole = whole
    a.to_peer += 1
    a.to_peer_bytes += size
    s.to_peer += 1
    s.to_peer_bytes += size


cdef inline void take_channel_data(
    Path* s, uint32_t index, Allocation* a, uint8_t* p, uint32_t size, uint32_t slack
) noexcept nogil:
    """ChannelData, RFC 8656, 12.6; over UDP ``slack`` bytes of padding may follow."""
    cdef uint16_t number = load_be16(p)
    cdef uint32_t length = load_be16(p + 2)
    cdef uint32_t channel = a.last_channel
    cdef Channel* c
    cdef net_address peer
    if length + CHANNEL_HEAD > size or size - length - CHANNEL_HEAD > slack:
        s.dropped[<int>DROP_MALFORMED] += 1
        return
    if not channel or channel_at(s.tables, channel).number != number:
        channel = find_channel(s.tables, index, number)
    if not channel or channel_at(s.tables, channel).expires <= s.now:
        s.dropped[<int>DROP_NO_CHANNEL] += 1
        return
    a.last_channel = channel
    c = channel_at(s.tables, channel)
    peer = address_of(s.tables, &c.peer)
    to_peer(s, index, a, channel, &peer, p + CHANNEL_HEAD, length, False)


cdef inline void take_send(Path* s, uint32_t index, Allocation* a, uint8_t* p, uint32_t size) noexcept nogil:
    cdef net_address peer
    cdef const uint8_t* data
    cdef uint32_t length = 0
    cdef SendReading reading = read_send(p, size, &peer, &data, &length)
    if reading == SEND_SOUND or (reading == SEND_DONT_FRAGMENT and NET_CAN_KEEP_WHOLE):
        to_peer(s, index, a, 0, &peer, <uint8_t*>data, length, reading == SEND_DONT_FRAGMENT)
    elif reading == SEND_DONT_FRAGMENT:
        s.dropped[<int>DROP_DONT_FRAGMENT] += 1
    else:
        s.dropped[<int>DROP_MALFORMED] += 1


cdef inline uint32_t allocation_of(Path* s, int listener, const net_datagram* d) noexcept nogil:
    """The allocation of a datagram's sender that is in force; 0: none."""
    cdef net_address anywhere
    if not (s.last_listener == listener and net_same(&s.last_client, &d.source) and net_same(&s.last_local, &d.local)):
        s.last_listener = listener
        s.last_client = d.source
        s.last_local = d.local
        s.last_allocation = find_client(s.tables, &d.source, listener, &d.local)
        if not s.last_allocation and s.listeners[listener].wildcard:
            memset(&anywhere, 0, sizeof(anywhere))
            s.last_allocation = find_client(s.tables, &d.source, listener, &anywhere)
    if s.last_allocation and allocation_at(s.tables, s.last_allocation).expires > s.now:
        return s.last_allocation
    return 0


cdef inline bint is_session(const Path* s, const uint8_t* p, uint32_t size) noexcept nogil:
    """Whether a datagram of eight bytes or more is a packet of a session over UDP, where such are taken."""
    return s.sessions.rate > 0 and is_ours(p, size) and load_be32(p + 4) != COOKIE


cdef inline void take_session(
    Path* s, int listener, const net_datagram* d, const uint8_t* p, uint32_t size
) noexcept nogil:
    """Hand a packet to Python, as many as it bears: a small one costs it nearly as much as a big one."""
    if bucket_allows(&s.sessions, s.now, size + SESSION_PACKET):
        tell_python(s, EVENT_SESSION, listener, d, p, size, 0)
    else:
        s.dropped[<int>DROP_OVER_LIMIT] += 1


cdef inline void from_client(Path* s, int listener, const net_datagram* d) noexcept nogil:
    cdef uint32_t index = allocation_of(s, listener, d)
    cdef Allocation* a = allocation_at(s.tables, index) if index else NULL
    cdef uint32_t at = 0, size, kind
    cdef uint8_t* p
    while True:
        p = d.data + at
        size = d.size - at if d.size - at < d.segment else d.segment
        s.received += 1
        if size < CHANNEL_HEAD or p[0] >= 0x80:
            s.dropped[<int>DROP_MALFORMED] += 1
        elif p[0] >= 0x40:
            if a != NULL:
                take_channel_data(s, index, a, p, size, 3)
            else:
                s.dropped[<int>DROP_NO_ALLOCATION] += 1
        elif size >= 8 and is_session(s, p, size):
            take_session(s, listener, d, p, size)
        elif not is_stun_sized(p, size):
            s.dropped[<int>DROP_MALFORMED] += 1
        else:
            kind = load_be16(p)
            if kind & CLASS_BITS == 0:
                take_request(s, listener, index, d, p, size)
            elif kind != TYPE_SEND:
                s.dropped[<int>DROP_IGNORED] += 1
            elif a != NULL:
                take_send(s, index, a, p, size)
            else:
                s.dropped[<int>DROP_NO_ALLOCATION] += 1
        at += d.segment
        if at >= d.size:
            return


# From peers.

cdef inline uint8_t* take_head(Path* s) noexcept nogil:
    s.head_count += 1
    return s.heads + <size_t>(s.head_count - 1) * HEAD_ROOM


cdef inline void tell_stream(
    Path* s, Allocation* a, const net_address* peer, Channel* c, const uint8_t* p, uint32_t size
) noexcept nogil:
    cdef EventHead head
    cdef uint8_t scratch[HEAD_ROOM]
    cdef uint32_t used
    cdef uint8_t* room
    if c != NULL:
        used = write_channel_head(scratch, c.number, size)
    else:
        used = write_data_head(scratch, peer, size, s.transaction)
    memset(&head, 0, sizeof(head))
    head.kind = EVENT_STREAM
    head.allocation = a.number
    head.size = used + padded(size)
    room = add_event(s, &head)
    if room != NULL:
        memcpy(room, scratch, used)
        memcpy(room + used, p, size)
        memset(room + used + size, 0, padded(size) - size)


cdef inline uint32_t client_group(Path* s, Allocation* a) noexcept nogil:
    cdef net_socket* listener
    cdef const net_address* source = NULL
    cdef net_address client, local
    if 0 < a.group <= s.group_count and s.groups[a.group].owner == a:
        return a.group
    listener = &s.listeners[a.listener]
    client = address_of(s.tables, &a.client)
    local = address_of(s.tables, &a.local)
    if listener.wildcard and not net_is_unspecified(&local):
        source = &local
    a.group = open_group(s, a, &client, listener.fd, listener.family, source)
    return a.group


cdef inline void to_client(
    Path* s, Allocation* a, const net_address* peer, Channel* c, uint8_t* p, uint32_t size, bint headroom
) noexcept nogil:
    """Queue a peer's packet; ``headroom``: the bytes before it are free."""
    cdef Packet* packet
    cdef uint32_t group, used
    cdef uint8_t* head
    s.transaction = s.transaction * 6364136223846793005ULL + 1442695040888963407ULL
    if a.listener < 0:
        tell_stream(s, a, peer, c, p, size)
        return
    make_room(s)
    group = client_group(s, a)
    if not group:
        s.dropped[<int>DROP_UNREACHABLE] += 1
        return
    packet = queue_packet(s, group)
    packet.data = p
    packet.size = size
    if c != NULL and headroom:
        write_channel_head(p - CHANNEL_HEAD, c.number, size)
        packet.data = p - CHANNEL_HEAD
        packet.size = size + CHANNEL_HEAD
        return
    head = take_head(s)
    if c != NULL:
        used = write_channel_head(head, c.number, size)
    else:
        used = write_data_head(head, peer, size, s.transaction)
        packet.padding = <uint8_t>(padded(size) - size)
    packet.head = s.head_count
    packet.head_size = <uint16_t>used


cdef inline void from_peer(Path* s, uint32_t index, int shared, const net_datagram* d) noexcept nogil:
    """A datagram on a relay socket; ``index`` is 0 on a shared one."""
    cdef uint32_t at = 0, size, permission = 0, channel = 0, segments
    cdef Allocation* a
    cdef Channel* c = NULL
    if not index:
        permission = find_permission(s.tables, <uint32_t>SHARED_OWNER | <uint32_t>shared, &d.source)
        index = permission_at(s.tables, permission).allocation if permission else 0
    segments = (d.size + d.segment - 1) // d.segment if d.size else 1
    s.received += segments
    a = allocation_at(s.tables, index) if index else NULL
    if a == NULL or a.expires <= s.now:
        s.dropped[<int>(DROP_NO_ALLOCATION if a != NULL else DROP_NO_PERMISSION)] += segments
        return
    channel = a.last_channel
    if not channel or not is_peer(s.tables, &channel_at(s.tables, channel).peer, &d.source):
        channel = find_peer(s.tables, index, &d.source)
    if channel and channel_at(s.tables, channel).expires > s.now:
        a.last_channel = channel
        c = channel_at(s.tables, channel)
        permission = c.permission
    permission = permission_for(s, index, a, &d.source, permission)
    if not permission:
        s.dropped[<int>DROP_NO_PERMISSION] += segments
        return
    if c != NULL:
        c.permission = permission
    while True:
        size = d.size - at if d.size - at < d.segment else d.segment
        if size > MOST_PAYLOAD - (CHANNEL_HEAD if c != NULL else DATA_HEAD6 + 3):
            s.dropped[<int>DROP_OVERSIZED] += 1
        elif within_limits(s, a, size):
            a.to_client += 1
            a.to_client_bytes += size
            s.to_client += 1
            s.to_client_bytes += size
            to_client(s, a, &d.source, c, d.data + at, size, at == 0)
        at += d.segment
        if at >= d.size:
            return
