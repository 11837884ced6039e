"""What a relay holds: allocations, permissions and channels, in pools that grow. Header only.

Items never move, and have indexes that begin with 1; 0 is none. Millions of them may be held: a peer takes 8 bytes of
one, and a host of IPv6 stands apart.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

from librats._core.relay_net cimport net_address

cdef enum:
    CHUNK = 256
    HASH_KEYS = 9
    SHARED_OWNER = 0x80000000


cdef struct Item:
    # What each item of a pool begins with: the next of its list, and 0 where it is free.
    uint32_t next
    uint32_t live


cdef struct Pool:
    char** chunks
    size_t size
    uint32_t chunk_count
    uint32_t used
    uint32_t spare
    uint32_t live


cdef struct Table:
    # The first items of chains, by hash; the chains go through the items.
    uint32_t* heads
    uint32_t mask
    uint32_t count


cdef struct Bucket:
    double rate
    double tokens
    double filled


cdef struct Host6:
    uint32_t next
    uint32_t live
    uint32_t scope
    uint8_t host[16]


cdef struct Peer:
    # An address in short: the bytes of an IPv4 host, or the index of a Host6.
    uint32_t host
    uint16_t port
    uint16_t family


cdef struct Permission:
    uint32_t next
    uint32_t allocation
    uint32_t chain
    uint32_t group
    Peer peer
    double expires


cdef struct Channel:
    uint32_t next
    uint32_t allocation
    uint32_t number_chain
    uint32_t peer_chain
    uint32_t permission
    uint32_t group
    Peer peer
    double expires
    uint16_t number


cdef struct Allocation:
    uint32_t next
    uint32_t live
    uint32_t client_chain
    uint32_t number_chain
    uint64_t number
    Peer client
    Peer local
    double expires
    int fd
    int other_fd  # a relay socket of the other family; other_family is 0 where there is none
    int listener  # negative: the client is on a stream
    int shared  # -1: a relay socket of its own
    uint8_t family
    uint8_t other_family
    uint8_t exact  # whether some of its permissions are for one port only
    uint8_t asked  # whether a request was passed on since it was made
    uint32_t generation
    uint32_t permissions
    uint32_t channels
    uint32_t last_channel
    uint32_t group
    uint32_t round  # the last in which something came from a peer
    uint8_t transaction[12]  # of the last request that was passed on
    uint64_t to_peer
    uint64_t to_peer_bytes
    uint64_t to_client
    uint64_t to_client_bytes
    Bucket* bucket  # NULL: no limit
    # What only the server's machine asks for.
    void* username  # references to Python's strings, and to the bytes of the last answer; NULL where there is none
    void* owner
    void* answer
    uint32_t answered  # when that was given, in seconds
    uint32_t lifetime
    uint32_t ticket
    uint16_t ports[2]
    uint16_t places[2]
    uint8_t relay_count
    uint8_t transport
    uint8_t forwards  # whether its sockets are read here


cdef struct Tables:
    uint64_t keys[18]
    Pool allocations
    Pool permissions
    Pool channels
    Pool hosts
    Table by_client
    Table by_number
    Table by_host
    Table by_channel
    Table by_peer


# Pools.

cdef inline void* pool_at(const Pool* pool, uint32_t index) noexcept nogil:
    return pool.chunks[index // CHUNK] + (index % CHUNK) * pool.size


cdef inline uint32_t pool_take(Pool* pool) noexcept nogil:
    """A zeroed item; 0 where there is no memory."""
    cdef uint32_t index = pool.spare
    cdef char** chunks
    cdef Item* item
    if index:
        item = <Item*>pool_at(pool, index)
        pool.spare = item.next
    else:
        index = pool.used + 1
        if index // CHUNK >= pool.chunk_count:
            chunks = <char**>realloc(pool.chunks, (pool.chunk_count + 1) * sizeof(char*))
            if chunks == NULL:
                return 0
            pool.chunks = chunks
            chunks[pool.chunk_count] = <char*>calloc(CHUNK, pool.size)
            if chunks[pool.chunk_count] == NULL:
                return 0
            pool.chunk_count += 1
        pool.used = index
        item = <Item*>pool_at(pool, index)
    memset(item, 0, pool.size)
    item.live = 1
    pool.live += 1
    return index


cdef inline void pool_give(Pool* pool, uint32_t index) noexcept nogil:
    cdef Item* item = <Item*>pool_at(pool, index)
    item.live = 0
    item.next = pool.spare
    pool.spare = index
    pool.live -= 1


cdef inline size_t pool_size(const Pool* pool) noexcept nogil:
    """The bytes of its chunks."""
    return <size_t>pool.chunk_count * (CHUNK * pool.size + sizeof(char*))


cdef inline void pool_free(Pool* pool) noexcept nogil:
    cdef uint32_t i
    for i in range(pool.chunk_count):
        free(pool.chunks[i])
    free(pool.chunks)
    pool.chunks = NULL
    pool.chunk_count = 0


cdef inline Allocation* allocation_at(const Tables* t, uint32_t index) noexcept nogil:
    return <Allocation*>pool_at(&t.allocations, index)


cdef inline Permission* permission_at(const Tables* t, uint32_t index) noexcept nogil:
    return <Permission*>pool_at(&t.permissions, index)


cdef inline Channel* channel_at(const Tables* t, uint32_t index) noexcept nogil:
    return <Channel*>pool_at(&t.channels, index)


# Peers.

cdef inline bint keep_peer(Tables* t, Peer* peer, const net_address* a) noexcept nogil:
    """Write a peer in short; whether there was memory for it."""
    cdef Host6* six
    peer.family = a.family
    peer.port = a.port
    if a.family != 6:  # 0 where it is not known
        memcpy(&peer.host, a.host, 4)
        return True
    peer.host = pool_take(&t.hosts)
    if not peer.host:
        return False
    six = <Host6*>pool_at(&t.hosts, peer.host)
    six.scope = a.scope
    memcpy(six.host, a.host, 16)
    return True


cdef inline void drop_peer(Tables* t, Peer* peer) noexcept nogil:
    if peer.family == 6 and peer.host:
        pool_give(&t.hosts, peer.host)


cdef inline bint is_host(const Tables* t, const Peer* peer, const net_address* a) noexcept nogil:
    cdef const Host6* six
    if peer.family != a.family:
        return False
    if a.family != 6:
        return memcmp(&peer.host, a.host, 4) == 0
    six = <const Host6*>pool_at(&t.hosts, peer.host)
    return six.scope == a.scope and memcmp(six.host, a.host, 16) == 0


cdef inline bint is_peer(const Tables* t, const Peer* peer, const net_address* a) noexcept nogil:
    return peer.port == a.port and is_host(t, peer, a)


cdef inline net_address address_of(const Tables* t, const Peer* peer) noexcept nogil:
    cdef net_address a
    cdef const Host6* six
    memset(&a, 0, sizeof(a))
    a.family = peer.family
    a.port = peer.port
    if peer.family != 6:
        memcpy(a.host, &peer.host, 4)
    else:
        six = <const Host6*>pool_at(&t.hosts, peer.host)
        a.scope = six.scope
        memcpy(a.host, six.host, 16)
    return a
