"""How a relay finds what it holds, by hash, and how that is changed. Header only."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from librats._core.relay_items cimport (
    HASH_KEYS, SHARED_OWNER, Allocation, Channel, Permission, Table, Tables, address_of, allocation_at, channel_at,
    drop_peer, is_host, is_peer, keep_peer, permission_at, pool_free, pool_give, pool_size, pool_take,
)
from librats._core.relay_net cimport net_address, net_hash


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


cdef inline uint32_t owner_of(const Tables* t, uint32_t allocation) noexcept nogil:
    """Whose permissions are looked for: the allocation's, or its shared socket's, where the peer's port counts."""
    cdef int shared = allocation_at(t, allocation).shared
    return allocation if shared < 0 else <uint32_t>SHARED_OWNER | <uint32_t>shared


# Hash tables.

cdef inline uint32_t hash_item(const Tables* t, const Table* table, uint32_t index) noexcept nogil:
    cdef const Allocation* a
    cdef const Permission* p
    cdef const Channel* c
    cdef net_address peer, local
    if table == &t.by_client:
        a = allocation_at(t, index)
        peer = address_of(t, &a.client)
        local = address_of(t, &a.local)
        return hash_client(t, &peer, a.listener, &local)
    if table == &t.by_number:
        return hash_number(t, allocation_at(t, index).number)
    if table == &t.by_host:
        p = permission_at(t, index)
        peer = address_of(t, &p.peer)
        return hash_peer(t, owner_of(t, p.allocation), &peer)
    c = channel_at(t, index)
    if table == &t.by_channel:
        return hash_channel(t, c.allocation, c.number)
    peer = address_of(t, &c.peer)
    return hash_peer(t, c.allocation, &peer)


cdef inline uint32_t* chain_of(Tables* t, const Table* table, uint32_t index) noexcept nogil:
    """Where an item says which one comes after it in its chain."""
    if table == &t.by_client:
        return &allocation_at(t, index).client_chain
    if table == &t.by_number:
        return &allocation_at(t, index).number_chain
    if table == &t.by_host:
        return &permission_at(t, index).chain
    if table == &t.by_channel:
        return &channel_at(t, index).number_chain
    return &channel_at(t, index).peer_chain


cdef inline uint32_t first_of(const Table* table, uint32_t hashed) noexcept nogil:
    """The first item of a chain."""
    return table.heads[hashed & table.mask] if table.heads != NULL else 0


cdef inline bint table_resize(Tables* t, Table* table, uint32_t size) noexcept nogil:
    cdef uint32_t* heads = <uint32_t*>calloc(size, sizeof(uint32_t))
    cdef uint32_t* link
    cdef uint32_t i, at, index
    if heads == NULL:
        return False
    if table.heads != NULL:
        for i in range(table.mask + 1):
            while table.heads[i]:
                index = table.heads[i]
                link = chain_of(t, table, index)
                table.heads[i] = link[0]
                at = hash_item(t, table, index) & (size - 1)
                link[0] = heads[at]
                heads[at] = index
        free(table.heads)
    table.heads = heads
    table.mask = size - 1
    return True


cdef inline bint table_put(Tables* t, Table* table, uint32_t index) noexcept nogil:
    """Whether there was memory for it."""
    cdef uint32_t at
    if table.heads == NULL:
        if not table_resize(t, table, 64):
            return False
    elif table.count > table.mask and not table_resize(t, table, (table.mask + 1) * 2):
        return False
    at = hash_item(t, table, index) & table.mask
    chain_of(t, table, index)[0] = table.heads[at]
    table.heads[at] = index
    table.count += 1
    return True


cdef inline void table_remove(Tables* t, Table* table, uint32_t index) noexcept nogil:
    cdef uint32_t* link
    if table.heads == NULL:
        return
    link = &table.heads[hash_item(t, table, index) & table.mask]
    while link[0] != index:
        if not link[0]:
            return
        link = chain_of(t, table, link[0])
    link[0] = chain_of(t, table, index)[0]
    table.count -= 1
    if table.mask > 1023 and table.count * 8 < table.mask:
        table_resize(t, table, (table.mask + 1) // 4)


# Finding.

cdef inline uint32_t find_client(
    const Tables* t, const net_address* client, int listener, const net_address* local
) noexcept nogil:
    """The allocation of a 5-tuple, by the address that its client sends to."""
    cdef uint32_t index = first_of(&t.by_client, hash_client(t, client, listener, local))
    cdef const Allocation* a
    while index:
        a = allocation_at(t, index)
        if a.listener == listener and is_peer(t, &a.client, client) and is_host(t, &a.local, local):
            break
        index = a.client_chain
    return index


cdef inline uint32_t find_number(const Tables* t, uint64_t number) noexcept nogil:
    cdef uint32_t index = first_of(&t.by_number, hash_number(t, number))
    while index and allocation_at(t, index).number != number:
        index = allocation_at(t, index).number_chain
    return index


cdef inline uint32_t find_permission(const Tables* t, uint32_t owner, const net_address* peer) noexcept nogil:
    """The permission for a peer, whose port is 0 but on a shared socket and where it is for that port only."""
    cdef uint32_t index = first_of(&t.by_host, hash_peer(t, owner, peer))
    cdef const Permission* p
    while index:
        p = permission_at(t, index)
        if is_peer(t, &p.peer, peer) and owner_of(t, p.allocation) == owner:
            break
        index = p.chain
    return index


cdef inline uint32_t find_channel(const Tables* t, uint32_t allocation, uint16_t number) noexcept nogil:
    cdef uint32_t index = first_of(&t.by_channel, hash_channel(t, allocation, number))
    cdef const Channel* c
    while index:
        c = channel_at(t, index)
        if c.allocation == allocation and c.number == number:
            break
        index = c.number_chain
    return index


cdef inline uint32_t find_peer(const Tables* t, uint32_t allocation, const net_address* peer) noexcept nogil:
    """The channel bound to a peer."""
    cdef uint32_t index = first_of(&t.by_peer, hash_peer(t, allocation, peer))
    cdef const Channel* c
    while index:
        c = channel_at(t, index)
        if c.allocation == allocation and is_peer(t, &c.peer, peer):
            break
        index = c.peer_chain
    return index


# Removing.

cdef inline void drop_permission(Tables* t, uint32_t index) noexcept nogil:
    """Take a permission out of its table and pool; the list of its allocation is the caller's."""
    table_remove(t, &t.by_host, index)
    drop_peer(t, &permission_at(t, index).peer)
    pool_give(&t.permissions, index)


cdef inline void drop_channel(Tables* t, uint32_t index) noexcept nogil:
    table_remove(t, &t.by_channel, index)
    table_remove(t, &t.by_peer, index)
    drop_peer(t, &channel_at(t, index).peer)
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
    table_remove(t, &t.by_client, index)
    table_remove(t, &t.by_number, index)
    drop_peer(t, &a.client)
    drop_peer(t, &a.local)
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
        free(tables[i].heads)
        tables[i].heads = NULL
    pool_free(&t.allocations)
    pool_free(&t.permissions)
    pool_free(&t.channels)
    pool_free(&t.hosts)


cdef inline size_t tables_size(const Tables* t) noexcept nogil:
    """The bytes of all that has grown."""
    cdef size_t size = pool_size(&t.allocations) + pool_size(&t.permissions) + pool_size(&t.channels)
    size += pool_size(&t.hosts) + table_size(&t.by_client) + table_size(&t.by_number) + table_size(&t.by_host)
    return size + table_size(&t.by_channel) + table_size(&t.by_peer)


cdef inline size_t table_size(const Table* table) noexcept nogil:
    return 0 if table.heads == NULL else (<size_t>table.mask + 1) * sizeof(uint32_t)


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
    cdef uint32_t owner = owner_of(t, index)
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
        p.allocation = index
        if not keep_peer(t, &p.peer, peer) or not table_put(t, &t.by_host, found):
            drop_peer(t, &p.peer)
            pool_give(&t.permissions, found)
            return NO_MEMORY
        p.next = a.permissions
        a.permissions = found
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
        if not keep_peer(t, &c.peer, peer):
            pool_give(&t.channels, found)
            return NO_MEMORY
        if not table_put(t, &t.by_channel, found) or not table_put(t, &t.by_peer, found):
            drop_channel(t, found)
            return NO_MEMORY
        c.next = a.channels
        a.channels = found
    channel_at(t, found).expires = expires
    return CHANGED
