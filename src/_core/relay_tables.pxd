"""The relay's tables: allocations, permissions and channels, in pools that grow, found by hash. Header only.

Tables and pools are sized by what is in them. Items never move, and have indexes that begin with 1; 0 is none.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

from librats._core.relay_net cimport net_address, net_hash, net_same, net_same_host

cdef enum:
    CHUNK = 256
    HASH_KEYS = 9
    SHARED_OWNER = 0x80000000
    NO_HOLDER = 0xFFFFFFFF


cdef struct Item:
    # What each item of a pool begins with.
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
    # Open addressing: a slot is the hash, then the index of the item; 0 is a free slot.
    uint64_t* slots
    uint32_t mask
    uint32_t count


cdef struct Bucket:
    double rate
    double tokens
    double filled


cdef struct Permission:
    uint32_t next
    uint32_t live
    uint32_t owner  # the allocation; on a shared socket that socket, and the peer's port counts
    uint32_t allocation
    double expires
    net_address peer
    uint32_t group


cdef struct Channel:
    uint32_t next
    uint32_t live
    uint32_t allocation
    uint32_t permission
    double expires
    net_address peer
    uint32_t group
    uint16_t number


cdef struct Allocation:
    uint32_t next
    uint32_t live
    uint64_t number
    net_address client
    net_address local
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


cdef inline void pool_free(Pool* pool) noexcept nogil:
    cdef uint32_t i
    for i in range(pool.chunk_count):
        free(pool.chunks[i])
    free(pool.chunks)
    pool.chunks = NULL
    pool.chunk_count = 0


# Hash tables.

cdef inline bint table_resize(Table* table, uint32_t size) noexcept nogil:
    cdef uint64_t* slots = <uint64_t*>calloc(size, sizeof(uint64_t))
    cdef uint32_t i, at, mask = size - 1
    if slots == NULL:
        return False
    if table.slots != NULL:
        for i in range(table.mask + 1):
            if table.slots[i]:
                at = <uint32_t>(table.slots[i] >> 32) & mask
                while slots[at]:
                    at = (at + 1) & mask
                slots[at] = table.slots[i]
        free(table.slots)
    table.slots = slots
    table.mask = mask
    return True


cdef inline bint table_put(Table* table, uint32_t hashed, uint32_t index) noexcept nogil:
    """Whether there was memory for it."""
    cdef uint32_t at
    if table.slots == NULL:
        if not table_resize(table, 64):
            return False
    elif table.count * 4 > table.mask * 3 and not table_resize(table, (table.mask + 1) * 2):
        return False
    at = hashed & table.mask
    while table.slots[at]:
        at = (at + 1) & table.mask
    table.slots[at] = (<uint64_t>hashed << 32) | index
    table.count += 1
    return True


cdef inline void table_remove(Table* table, uint32_t hashed, uint32_t index) noexcept nogil:
    cdef uint64_t wanted = (<uint64_t>hashed << 32) | index
    cdef uint32_t hole, at, home
    if table.slots == NULL:
        return
    hole = hashed & table.mask
    while table.slots[hole] != wanted:
        if not table.slots[hole]:
            return
        hole = (hole + 1) & table.mask
    at = hole
    while True:
        at = (at + 1) & table.mask
        if not table.slots[at]:
            break
        home = <uint32_t>(table.slots[at] >> 32) & table.mask
        if ((at - home) & table.mask) >= ((at - hole) & table.mask):
            table.slots[hole] = table.slots[at]
            hole = at
    table.slots[hole] = 0
    table.count -= 1
    if table.mask > 1023 and table.count * 16 < table.mask:
        table_resize(table, (table.mask + 1) // 4)


# Keys.

cdef inline uint32_t hash_client(
    const Tables* t, const net_address* client, int listener, const net_address* local
) noexcept nogil:
    cdef net_address host = local[0]
    host.port = 0
    return net_hash(t.keys, client, <uint32_t>listener, net_hash(t.keys + HASH_KEYS, &host, 0, 0))


cdef inline uint32_t hash_number(const Tables* t, uint64_t number) noexcept nogil:
    cdef net_address nothing
    memset(&nothing, 0, sizeof(nothing))
    return net_hash(t.keys, &nothing, <uint32_t>number, <uint32_t>(number >> 32))


cdef inline uint32_t hash_peer(const Tables* t, uint32_t owner, const net_address* peer) noexcept nogil:
    return net_hash(t.keys, peer, owner, 0)


cdef inline uint32_t hash_channel(const Tables* t, uint32_t owner, uint16_t number) noexcept nogil:
    cdef net_address nothing
    memset(&nothing, 0, sizeof(nothing))
    return net_hash(t.keys, &nothing, owner, number)


# Finding.

cdef inline Allocation* allocation_at(const Tables* t, uint32_t index) noexcept nogil:
    return <Allocation*>pool_at(&t.allocations, index)


cdef inline Permission* permission_at(const Tables* t, uint32_t index) noexcept nogil:
    return <Permission*>pool_at(&t.permissions, index)


cdef inline Channel* channel_at(const Tables* t, uint32_t index) noexcept nogil:
    return <Channel*>pool_at(&t.channels, index)


cdef inline uint32_t next_hit(const Table* table, uint32_t hashed, uint32_t* at) noexcept nogil:
    """The next item whose hash is this; begin with ``at`` the hash itself. 0: there are no more."""
    cdef uint64_t slot
    if table.slots == NULL:
        return 0
    while True:
        slot = table.slots[at[0] & table.mask]
        at[0] += 1
        if not slot:
            return 0
        if <uint32_t>(slot >> 32) == hashed:
            return <uint32_t>slot


cdef inline uint32_t find_client(
    const Tables* t, const net_address* client, int listener, const net_address* local
) noexcept nogil:
    """The allocation of a 5-tuple, by the address that its client sends to."""
    cdef uint32_t hashed = hash_client(t, client, listener, local)
    cdef uint32_t at = hashed
    cdef uint32_t index = next_hit(&t.by_client, hashed, &at)
    cdef Allocation* a
    while index:
        a = allocation_at(t, index)
        if a.listener == listener and net_same(&a.client, client) and net_same_host(&a.local, local):
            break
        index = next_hit(&t.by_client, hashed, &at)
    return index


cdef inline uint32_t find_number(const Tables* t, uint64_t number) noexcept nogil:
    cdef uint32_t hashed = hash_number(t, number)
    cdef uint32_t at = hashed
    cdef uint32_t index = next_hit(&t.by_number, hashed, &at)
    while index and allocation_at(t, index).number != number:
        index = next_hit(&t.by_number, hashed, &at)
    return index


cdef inline uint32_t find_permission(const Tables* t, uint32_t owner, const net_address* peer) noexcept nogil:
    """The permission for a peer, whose port is 0 but on a shared socket."""
    cdef uint32_t hashed = hash_peer(t, owner, peer)
    cdef uint32_t at = hashed
    cdef uint32_t index = next_hit(&t.by_host, hashed, &at)
    while index and not (permission_at(t, index).owner == owner and net_same(&permission_at(t, index).peer, peer)):
        index = next_hit(&t.by_host, hashed, &at)
    return index


cdef inline uint32_t find_channel(const Tables* t, uint32_t allocation, uint16_t number) noexcept nogil:
    cdef uint32_t hashed = hash_channel(t, allocation, number)
    cdef uint32_t at = hashed
    cdef uint32_t index = next_hit(&t.by_channel, hashed, &at)
    while index and not (channel_at(t, index).allocation == allocation and channel_at(t, index).number == number):
        index = next_hit(&t.by_channel, hashed, &at)
    return index


cdef inline uint32_t find_peer(const Tables* t, uint32_t allocation, const net_address* peer) noexcept nogil:
    """The channel bound to a peer."""
    cdef uint32_t hashed = hash_peer(t, allocation, peer)
    cdef uint32_t at = hashed
    cdef uint32_t index = next_hit(&t.by_peer, hashed, &at)
    while index and not (channel_at(t, index).allocation == allocation and net_same(&channel_at(t, index).peer, peer)):
        index = next_hit(&t.by_peer, hashed, &at)
    return index


# Removing.

cdef inline void drop_permission(Tables* t, uint32_t index) noexcept nogil:
    """Take a permission out of its table and pool; the list of its allocation is the caller's."""
    cdef Permission* p = permission_at(t, index)
    table_remove(&t.by_host, hash_peer(t, p.owner, &p.peer), index)
    pool_give(&t.permissions, index)


cdef inline void drop_channel(Tables* t, uint32_t index) noexcept nogil:
    cdef Channel* c = channel_at(t, index)
    table_remove(&t.by_channel, hash_channel(t, c.allocation, c.number), index)
    table_remove(&t.by_peer, hash_peer(t, c.allocation, &c.peer), index)
    pool_give(&t.channels, index)


cdef inline void drop_allocation(Tables* t, uint32_t index) noexcept nogil:
    cdef Allocation* a = allocation_at(t, index)
    cdef uint32_t at
    while a.permissions:
        at = a.permissions
        a.permissions = permission_at(t, at).next
        drop_permission(t, at)
    while a.channels:
        at = a.channels
        a.channels = channel_at(t, at).next
        drop_channel(t, at)
    table_remove(&t.by_client, hash_client(t, &a.client, a.listener, &a.local), index)
    table_remove(&t.by_number, hash_number(t, a.number), index)
    free(a.bucket)
    pool_give(&t.allocations, index)


cdef inline void drop_expired(Tables* t, Allocation* a, double now) noexcept nogil:
    """Drop an allocation's permissions and channels that are over."""
    cdef uint32_t* link = &a.permissions
    cdef uint32_t index
    while link[0]:
        index = link[0]
        if permission_at(t, index).expires <= now:
            link[0] = permission_at(t, index).next
            drop_permission(t, index)
        else:
            link = &permission_at(t, index).next
    link = &a.channels
    while link[0]:
        index = link[0]
        if channel_at(t, index).expires <= now:
            link[0] = channel_at(t, index).next
            drop_channel(t, index)
            if a.last_channel == index:
                a.last_channel = 0
        else:
            link = &channel_at(t, index).next


cdef inline void free_tables(Tables* t) noexcept nogil:
    cdef Table* tables[5]
    cdef uint32_t at
    cdef int i
    for at in range(1, t.allocations.used + 1):
        if allocation_at(t, at).live:
            free(allocation_at(t, at).bucket)
    tables[0] = &t.by_client
    tables[1] = &t.by_number
    tables[2] = &t.by_host
    tables[3] = &t.by_channel
    tables[4] = &t.by_peer
    for i in range(5):
        free(tables[i].slots)
        tables[i].slots = NULL
    pool_free(&t.allocations)
    pool_free(&t.permissions)
    pool_free(&t.channels)


# Changing.

cdef enum Change:
    CHANGED
    CONFLICT
    NO_MEMORY


cdef inline Change permit(
    Tables* t, uint32_t index, const net_address* peer, double expires, double now
) noexcept nogil:
    """Make a permission, or let it last. On a shared socket a peer belongs to one allocation at a time."""
    cdef Allocation* a = allocation_at(t, index)
    cdef uint32_t owner = index if a.shared < 0 else <uint32_t>SHARED_OWNER | <uint32_t>a.shared
    cdef uint32_t found = find_permission(t, owner, peer)
    cdef Permission* p
    if found and permission_at(t, found).allocation != index:
        if permission_at(t, found).expires > now:
            return CONFLICT
        drop_expired(t, allocation_at(t, permission_at(t, found).allocation), now)
        found = 0
    if not found:
        found = pool_take(&t.permissions)
        if not found:
            return NO_MEMORY
        p = permission_at(t, found)
        p.owner = owner
        p.allocation = index
        p.peer = peer[0]
        p.next = a.permissions
        a.permissions = found
        if not table_put(&t.by_host, hash_peer(t, owner, peer), found):
            a.permissions = p.next
            pool_give(&t.permissions, found)
            return NO_MEMORY
    permission_at(t, found).expires = expires
    return CHANGED


cdef inline Change bind(
    Tables* t, uint32_t index, uint16_t number, const net_address* peer, double expires, double now
) noexcept nogil:
    """Bind a channel, or let the binding last. A number has one peer, and a peer one number."""
    cdef Allocation* a = allocation_at(t, index)
    cdef uint32_t found = find_channel(t, index, number)
    cdef Channel* c
    if found != find_peer(t, index, peer):
        drop_expired(t, a, now)
        found = find_channel(t, index, number)
        if found != find_peer(t, index, peer):
            return CONFLICT
    if not found:
        found = pool_take(&t.channels)
        if not found:
            return NO_MEMORY
        c = channel_at(t, found)
        c.allocation = index
        c.number = number
        c.peer = peer[0]
        c.next = a.channels
        a.channels = found
        if not table_put(&t.by_channel, hash_channel(t, index, number), found) or not table_put(
            &t.by_peer, hash_peer(t, index, peer), found
        ):
            a.channels = c.next
            drop_channel(t, found)
            return NO_MEMORY
    channel_at(t, found).expires = expires
    return CHANGED
