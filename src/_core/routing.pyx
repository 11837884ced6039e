"""The routing table of a node of the DHT (BEP 5), and the order of ids: see :mod:`librats._core.nearest`.

Nodes are in buckets by how many bits their id has in common with ours at the beginning. The first buckets, which hold
half of all nodes, a quarter and so on, have more places than the others, so that a lookup begins nearer to its target.
Who is left over waits as a spare. Times are what the caller says; the table looks at no clock.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy, memmove

from librats._core.compact_address cimport IPV4_SIZE, IPV6_SIZE, network_size
from librats._core.id_order cimport (
    ID_BITS, ID_BYTES, Found, Id, Nearest, bits_in_common, distance_between, is_same, load_id, store_id, take_if_near,
    with_bit_flipped,
)

from librats._core import nearest as order_of_ids
from librats.errors import UsageError

SortedIds = order_of_ids.SortedIds
closest = order_of_ids.closest
distance = order_of_ids.distance
shared_bits = order_of_ids.shared_bits

cdef enum:
    LARGEST_BUCKET = 1000
    MOST_WANTED = 64
    MOST_FAILURES = 3
    WIDE_BUCKETS = 4

REFUSED, ADDED, KNOWN, SPARE = range(4)

cdef enum:
    VERDICT_REFUSED
    VERDICT_ADDED
    VERDICT_KNOWN
    VERDICT_SPARE


cdef struct Node:
    Id id
    uint8_t address[IPV6_SIZE]
    bint answered
    int failures
    double heard


cdef struct Bucket:
    Node* nodes
    Node* spares
    size_t count
    size_t spare_count
    # When somebody new or known answered.
    double changed


cdef int _append(Node** nodes, size_t* count, const Node* node) except -1:
    """Put a node at the end. Room is made in powers of two."""
    cdef Node* grown
    if count[0] & (count[0] - 1) == 0:
        grown = <Node*>PyMem_Realloc(nodes[0], max(<size_t>1, count[0] * 2) * sizeof(Node))
        if grown == NULL:
            raise MemoryError
        nodes[0] = grown
    nodes[0][count[0]] = node[0]
    count[0] += 1
    return 0


cdef void _remove(Node* nodes, size_t* count, size_t place) noexcept:
    count[0] -= 1
    memmove(&nodes[place], &nodes[place + 1], (count[0] - place) * sizeof(Node))


cdef Py_ssize_t _find(const Node* nodes, size_t count, const Id* id) noexcept:
    cdef size_t place
    for place in range(count):
        if is_same(&nodes[place].id, id):
            return place
    return -1


cdef Py_ssize_t _find_network(const Node* nodes, size_t count, const uint8_t* address, size_t size) noexcept:
    cdef size_t place
    for place in range(count):
        if memcmp(nodes[place].address, address, size) == 0:
            return place
    return -1


cdef bint _is_worse(const Node* one, const Node* other) noexcept:
    """Whether one has not answered and the other has, or else is the older one."""
    return one.heard < other.heard if one.answered == other.answered else other.answered


@cython.final
cdef class RoutingTable:
    """The nodes that we know, most of them near us. It is of one thread at a time.

    Args:
        own_id: Id of our node.
        size: Places of a bucket; the first four have 16, 8, 4 and 2 times as many. As many may wait as spares.
        address_size: Bytes of an address: 6 for IPv4 (4 and a port), 18 for IPv6.

    Raises:
        UsageError: The id has not 20 bytes, or a size cannot be.

    Example:
        >>> from librats._core.routing import ADDED, RoutingTable
        >>> table = RoutingTable(bytes(20))
        >>> table.heard(b"a" * 20, bytes([192, 0, 2, 7, 26, 225]), now=1.0) == ADDED
        True
        >>> table.closest(b"b" * 20)
        b'aaaaaaaaaaaaaaaaaaaa\\xc0\\x00\\x02\\x07\\x1a\\xe1'
    """

    cdef Id _own
    cdef readonly size_t size
    cdef readonly size_t address_size
    cdef size_t _count
    cdef Bucket _buckets[ID_BITS]

    def __init__(self, bytes own_id not None, *, Py_ssize_t size=8, Py_ssize_t address_size=IPV4_SIZE):
        if address_size != IPV4_SIZE and address_size != IPV6_SIZE:
            raise UsageError(f"an address has {IPV4_SIZE} or {IPV6_SIZE} bytes")
        if not 1 <= size <= LARGEST_BUCKET:
            raise UsageError(f"a bucket has 1 to {LARGEST_BUCKET} places")
        if self.size:
            raise UsageError("the table is made already")
        self._own = _id_of(own_id)
        self.size = size
        self.address_size = address_size

    def __dealloc__(self):
        cdef int number
        for number in range(ID_BITS):
            PyMem_Free(self._buckets[number].nodes)
            PyMem_Free(self._buckets[number].spares)

    def __len__(self):
        return self._count

    @property
    def own_id(self):
        """Id of our node."""
        return _id_bytes(&self._own)

    @property
    def spares(self):
        """How many nodes wait for a place."""
        cdef size_t spares = 0
        cdef int number
        for number in range(ID_BITS):
            spares += self._buckets[number].spare_count
        return spares

    cdef size_t _places(self, int number) noexcept:
        return self.size << (WIDE_BUCKETS - number) if number < WIDE_BUCKETS else self.size

    cdef int _read_address(self, bytes address, uint8_t* to) except -1:
        if <size_t>PyBytes_GET_SIZE(address) != self.address_size:
            raise UsageError(f"an address has {self.address_size} bytes here, not {len(address)}")
        memcpy(to, PyBytes_AS_STRING(address), self.address_size)
        return 0

    def heard(self, bytes id not None, bytes address not None, *, double now, bint answered=True):
        """Take note of a node.

        A node has a place once it has answered us, so that nobody gets in under an address that is not his; before that
        it may be a spare. In a bucket there is one node of a network (IPv4 address, IPv6 /64), spares included; on the
        host itself (127.0.0.0/8, ::1) each port counts as one.

        Args:
            id: Its id.
            address: Its compact address.
            now: Seconds.
            answered: Whether it answered a query of ours, rather than sent one or was told of by others.

        Returns:
            ``ADDED``, ``KNOWN``, ``SPARE``, or ``REFUSED``: it is ourselves, its network has a node in the bucket, or
            its id is of another address that still answers.

        Raises:
            UsageError: The id or the address has not the right size.
        """
        cdef Node node
        cdef Id own = self._own
        cdef Bucket* bucket
        cdef int number
        node.id = _id_of(id)
        self._read_address(address, node.address)
        node.answered = answered
        node.failures = 0
        node.heard = now
        number = bits_in_common(&own, &node.id)
        if number == ID_BITS:
            return VERDICT_REFUSED
        bucket = &self._buckets[number]
        known = self._known(bucket, &node)
        if known != VERDICT_ADDED:
            return known
        if not answered:
            return self._wait(bucket, &node)
        bucket.changed = now
        if bucket.count >= self._places(number) and not self._give_up_worst(bucket):
            return self._wait(bucket, &node)
        _append(&bucket.nodes, &bucket.count, &node)
        self._count += 1
        return VERDICT_ADDED

    cdef int _known(self, Bucket* bucket, const Node* node) except -1:
        """What there is to say of a node that is in its bucket, or whose network is; VERDICT_ADDED where neither is."""
        cdef Py_ssize_t place = _find(bucket.nodes, bucket.count, &node.id)
        cdef Node* there
        cdef size_t network
        if place >= 0:
            there = &bucket.nodes[place]
            if memcmp(there.address, node.address, self.address_size) == 0:
                if node.answered:
                    there.heard = bucket.changed = node.heard
                    there.failures = 0
                return VERDICT_KNOWN
            if not node.answered or not there.failures:
                return VERDICT_REFUSED
            self._drop(bucket, place)
        network = network_size(node.address, self.address_size)
        place = _find_network(bucket.nodes, bucket.count, node.address, network)
        if place >= 0:
            # Another id at the very same address, and it answered: the node began anew.
            if not node.answered or memcmp(bucket.nodes[place].address, node.address, self.address_size) != 0:
                return VERDICT_REFUSED
            self._drop(bucket, place)
        place = _find_network(bucket.spares, bucket.spare_count, node.address, network)
        if place >= 0:
            if bucket.spares[place].answered and not node.answered:
                return VERDICT_SPARE
            _remove(bucket.spares, &bucket.spare_count, place)
        return VERDICT_ADDED

    cdef int _drop(self, Bucket* bucket, size_t place) except -1:
        _remove(bucket.nodes, &bucket.count, place)
        self._count -= 1
        return 0

    cdef bint _give_up_worst(self, Bucket* bucket) except -1:
        """Remove the node that failed most often; whether any has."""
        cdef size_t place
        cdef size_t worst = 0
        for place in range(bucket.count):
            if bucket.nodes[place].failures > bucket.nodes[worst].failures:
                worst = place
        if not bucket.nodes[worst].failures:
            return False
        self._drop(bucket, worst)
        return True

    cdef int _wait(self, Bucket* bucket, const Node* node) except -1:
        """Let a node be a spare: where there are enough, instead of one that has not answered, or the oldest."""
        cdef size_t place
        cdef size_t worst = 0
        if bucket.spare_count >= self.size:
            for place in range(1, bucket.spare_count):
                if _is_worse(&bucket.spares[place], &bucket.spares[worst]):
                    worst = place
            if bucket.spares[worst].answered and not node.answered:
                return VERDICT_REFUSED
            _remove(bucket.spares, &bucket.spare_count, worst)
        _append(&bucket.spares, &bucket.spare_count, node)
        return VERDICT_SPARE

    def failed(self, bytes id not None, bytes address not None):
        """Take note that a node did not answer. It goes at once where a spare has answered, else with the third time.

        Args:
            id: Its id.
            address: Its compact address.

        Returns:
            Whether it is in the table no more.

        Raises:
            UsageError: The id or the address has not the right size.
        """
        cdef uint8_t at[IPV6_SIZE]
        cdef Id wanted = _id_of(id)
        cdef Id own = self._own
        cdef Bucket* bucket
        cdef Py_ssize_t place
        cdef int number = bits_in_common(&own, &wanted)
        self._read_address(address, at)
        if number == ID_BITS:
            return True
        bucket = &self._buckets[number]
        place = _find(bucket.spares, bucket.spare_count, &wanted)
        if place >= 0 and memcmp(bucket.spares[place].address, at, self.address_size) == 0:
            _remove(bucket.spares, &bucket.spare_count, place)
        place = _find(bucket.nodes, bucket.count, &wanted)
        if place < 0 or memcmp(bucket.nodes[place].address, at, self.address_size) != 0:
            return True
        bucket.nodes[place].failures += 1
        if not self._replace(bucket, place) and bucket.nodes[place].failures < MOST_FAILURES:
            return False
        self._drop(bucket, place)
        return True

    cdef bint _replace(self, Bucket* bucket, size_t place) except -1:
        """Give a place at the end to the spare that answered last; whether there is one."""
        cdef Py_ssize_t best = -1
        cdef size_t index
        for index in range(bucket.spare_count):
            if bucket.spares[index].answered and (best < 0 or bucket.spares[index].heard > bucket.spares[best].heard):
                best = index
        if best < 0:
            return False
        _append(&bucket.nodes, &bucket.count, &bucket.spares[best])
        self._count += 1
        _remove(bucket.spares, &bucket.spare_count, best)
        return True

    cdef void _gather(self, int number, size_t first, const Id* target, Nearest* nearest) noexcept:
        """Take the nearest of a bucket that answer, behind the first ones."""
        cdef const Bucket* bucket = &self._buckets[number]
        cdef size_t place
        cdef Id away
        for place in range(bucket.count):
            if not bucket.nodes[place].failures:
                away = distance_between(&bucket.nodes[place].id, target)
                take_if_near(nearest, first, &away, number * (LARGEST_BUCKET << WIDE_BUCKETS) + place)

    def closest(self, bytes target not None, Py_ssize_t count=8):
        """Return the nearest nodes to a target, nearest first, without those that failed to answer.

        Args:
            target: An id.
            count: How many, if there are so many; at most 64.

        Returns:
            Compact nodes, as answers have them: id and address of one behind the other.

        Raises:
            UsageError: The target has not 20 bytes, or the number cannot be.
        """
        cdef Found found[MOST_WANTED]
        cdef Nearest nearest
        cdef Id wanted = _id_of(target)
        cdef Id own = self._own
        cdef size_t first
        cdef int common
        cdef int number
        if not 0 <= count <= MOST_WANTED:
            raise UsageError(f"at most {MOST_WANTED} nodes are returned")
        nearest.found = found
        nearest.count = 0
        nearest.wanted = count
        common = bits_in_common(&own, &wanted)
        # The bucket that the target falls into is nearest to it, then all those of nodes that are nearer to us, and
        # then one bucket after the other of those that are farther from us.
        if common < ID_BITS:
            self._gather(common, 0, &wanted, &nearest)
        if nearest.count < nearest.wanted:
            first = nearest.count
            for number in range(common + 1, ID_BITS):
                if self._buckets[number].count:
                    self._gather(number, first, &wanted, &nearest)
        number = common
        while number > 0 and nearest.count < nearest.wanted:
            number -= 1
            self._gather(number, nearest.count, &wanted, &nearest)
        return self._compact(&nearest)

    cdef bytes _compact(self, const Nearest* nearest):
        cdef size_t each = ID_BYTES + self.address_size
        cdef bytes nodes = PyBytes_FromStringAndSize(NULL, nearest.count * each)
        cdef uint8_t* to = <uint8_t*>PyBytes_AS_STRING(nodes)
        cdef const Node* node
        cdef size_t index
        cdef size_t bucket_size = LARGEST_BUCKET << WIDE_BUCKETS
        for index in range(nearest.count):
            node = &self._buckets[nearest.found[index].number // bucket_size].nodes[
                nearest.found[index].number % bucket_size
            ]
            store_id(to, &node.id)
            memcpy(to + ID_BYTES, node.address, self.address_size)
            to += each
        return nodes

    def nodes(self):
        """Return id, compact address and time of the last answer of every node, farthest from us first."""
        cdef const Bucket* bucket
        cdef size_t place
        cdef int number
        cdef list nodes = []
        for number in range(ID_BITS):
            bucket = &self._buckets[number]
            for place in range(bucket.count):
                nodes.append(self._told(&bucket.nodes[place]) + (bucket.nodes[place].heard,))
        return nodes

    cdef tuple _told(self, const Node* node):
        return _id_bytes(&node.id), PyBytes_FromStringAndSize(<const char*>node.address, self.address_size)

    def quiet(self, *, double now, double seconds):
        """Return id and address of the node of each bucket that was silent longest, if for that long: those to ping.

        Args:
            now: Seconds.
            seconds: How long a node may be silent.
        """
        cdef const Bucket* bucket
        cdef size_t place
        cdef size_t oldest
        cdef int number
        cdef list nodes = []
        for number in range(ID_BITS):
            bucket = &self._buckets[number]
            oldest = 0
            for place in range(1, bucket.count):
                if bucket.nodes[place].heard < bucket.nodes[oldest].heard:
                    oldest = place
            if bucket.count and now - bucket.nodes[oldest].heard >= seconds:
                nodes.append(self._told(&bucket.nodes[oldest]))
        return nodes

    def waiting(self, *, double now, double seconds):
        """Return id and address of spares that have not answered and that a bucket has use for: those to ping.

        Args:
            now: Seconds.
            seconds: A bucket has use for them where a place is free, a node failed, or was silent for that long.
        """
        cdef const Bucket* bucket
        cdef size_t place
        cdef int number
        cdef bint useful
        cdef list nodes = []
        for number in range(ID_BITS):
            bucket = &self._buckets[number]
            useful = bucket.count < self._places(number)
            for place in range(bucket.count):
                useful = useful or bucket.nodes[place].failures or now - bucket.nodes[place].heard >= seconds
            for place in range(bucket.spare_count):
                if useful and not bucket.spares[place].answered:
                    nodes.append(self._told(&bucket.spares[place]))
        return nodes

    def stale(self, *, double now, double seconds):
        """Return the numbers of the buckets in which nobody answered for that long: those to refresh (BEP 5).

        Buckets nearer to us than the nearest node are left out: who is there is found by asking for ourselves.

        Args:
            now: Seconds.
            seconds: How long a bucket may be unchanged.
        """
        cdef int last = ID_BITS - 1
        cdef int number
        while last >= 0 and not self._buckets[last].count:
            last -= 1
        return [number for number in range(last + 1) if now - self._buckets[number].changed >= seconds]

    def target_in(self, int number, bytes chance not None):
        """Return an id that falls into a bucket.

        Args:
            number: Number of the bucket: how many bits the id has in common with ours.
            chance: 20 random bytes, which it is made of.

        Raises:
            UsageError: There is no such bucket, or the bytes are not 20.
        """
        cdef Id id = _id_of(chance)
        cdef Id own = self._own
        cdef int common
        if not 0 <= number < ID_BITS:
            raise UsageError(f"buckets are numbered from 0 to {ID_BITS - 1}")
        common = bits_in_common(&own, &id)
        while common < number:
            id = with_bit_flipped(&id, common)
            common = bits_in_common(&own, &id)
        if common > number:
            id = with_bit_flipped(&id, number)
        return _id_bytes(&id)


cdef Id _id_of(bytes data) except *:
    if PyBytes_GET_SIZE(data) != ID_BYTES:
        raise UsageError(f"an id has {ID_BYTES} bytes, not {len(data)}")
    return load_id(<const uint8_t*>PyBytes_AS_STRING(data))


cdef bytes _id_bytes(const Id* id):
    cdef bytes data = PyBytes_FromStringAndSize(NULL, ID_BYTES)
    store_id(<uint8_t*>PyBytes_AS_STRING(data), id)
    return data
