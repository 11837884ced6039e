"""Ids of 160 bits: how far they are from each other (Kademlia's XOR), and which of many are nearest to a target.

:func:`closest` looks through a buffer of ids. :class:`SortedIds` keeps them in order: in that order, what has a
beginning in common with a target stands around the place where the target would be, so that finding the nearest of
100,000 takes about as long as of 1,000.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.stdint cimport uint8_t
from libc.stdlib cimport qsort
from libc.string cimport memmove

from librats._core.id_order cimport (
    ID_BITS, ID_BYTES, Found, Id, Nearest, bits_in_common, distance_between, is_less, is_same, load_id, store_id,
    take_if_near, with_bit_flipped,
)

from librats.errors import UsageError

cdef enum:
    FOUND_ON_STACK = 32
    # So few are compared one by one.
    FEW = 12
    FIRST_ROOM = 16
    PATIENCE = 48


cdef int load_one(Id* id, bytes data) except -1:
    if PyBytes_GET_SIZE(data) != ID_BYTES:
        raise UsageError(f"an id has {ID_BYTES} bytes, not {len(data)}")
    id[0] = load_id(<const uint8_t*>PyBytes_AS_STRING(data))
    return 0


def distance(bytes one not None, bytes other not None):
    """Return how far two ids are from each other: the number that their XOR is.

    Raises:
        UsageError: An id has not 20 bytes.

    Example:
        >>> from librats._core.routing import distance
        >>> distance(bytes(20), bytes(18) + b"\\x01\\x02")
        258
    """
    cdef Id first
    cdef Id second
    cdef uint8_t together[ID_BYTES]
    load_one(&first, one)
    load_one(&second, other)
    first = distance_between(&first, &second)
    store_id(together, &first)
    return int.from_bytes(together[:ID_BYTES], "big")


def shared_bits(bytes one not None, bytes other not None):
    """Return how many bits two ids have in common at their beginning: 160 where they are the same.

    Raises:
        UsageError: An id has not 20 bytes.
    """
    cdef Id first
    cdef Id second
    load_one(&first, one)
    load_one(&second, other)
    return bits_in_common(&first, &second)


cdef size_t _wanted(Py_ssize_t count, size_t there) except? 0:
    if count < 0:
        raise UsageError("less than none are wanted")
    return min(<size_t>count, there)


cdef Found* _room_for(size_t wanted, Found* on_stack) except NULL:
    cdef Found* room = on_stack
    if wanted > FOUND_ON_STACK:
        room = <Found*>PyMem_Malloc(wanted * sizeof(Found))
        if room == NULL:
            raise MemoryError
    return room


cdef size_t _ids_in(const Py_buffer* view) except? 0:
    if view.len % ID_BYTES:
        raise UsageError(f"ids have {ID_BYTES} bytes each; {view.len} bytes are not a number of ids")
    return view.len // ID_BYTES


def closest(ids, bytes target not None, Py_ssize_t count=8):
    """Find the nearest ones in a buffer of ids, looking at each.

    Args:
        ids: Any buffer: ids of 20 bytes behind each other; a numpy array of bytes of the shape (n, 20), too.
        target: To what they are to be near.
        count: How many, if there are so many.

    Returns:
        Their numbers in the buffer, nearest first.

    Raises:
        UsageError: The target, or an id, has not 20 bytes.

    Example:
        >>> from librats._core.routing import closest
        >>> closest(b"a" * 20 + b"b" * 20 + b"c" * 20, b"b" * 19 + b"c", 2)
        [1, 2]
    """
    cdef Found on_stack[FOUND_ON_STACK]
    cdef Nearest nearest
    cdef Py_buffer view
    cdef Id wanted
    cdef Id one
    cdef size_t index
    cdef size_t there
    load_one(&wanted, target)
    PyObject_GetBuffer(ids, &view, PyBUF_SIMPLE)
    try:
        there = _ids_in(&view)
        nearest.wanted = _wanted(count, there)
        nearest.count = 0
        nearest.found = _room_for(nearest.wanted, on_stack)
        for index in range(there if nearest.wanted else 0):
            one = load_id(<const uint8_t*>view.buf + index * ID_BYTES)
            one = distance_between(&one, &wanted)
            take_if_near(&nearest, 0, &one, index)
        numbers = [nearest.found[index].number for index in range(nearest.count)]
        if nearest.found != on_stack:
            PyMem_Free(nearest.found)
        return numbers
    finally:
        PyBuffer_Release(&view)


cdef int _compare(const void* one, const void* other) noexcept nogil:
    if is_less(<const Id*>one, <const Id*>other):
        return -1
    return is_less(<const Id*>other, <const Id*>one)


cdef size_t _place_of(const Id* ids, size_t low, size_t high, const Id* id) noexcept nogil:
    """The first place between low and high whose id is not less."""
    cdef size_t middle
    while low < high:
        middle = (low + high) >> 1
        if is_less(&ids[middle], id):
            low = middle + 1
        else:
            high = middle
    return low


cdef size_t _end_to_the_right(const Id* ids, size_t low, size_t high, const Id* target, int bits) noexcept nogil:
    """Where those end that have so many bits in common with the target; the one at ``low`` does."""
    cdef size_t step = 1
    cdef size_t middle
    while low + step < high and bits_in_common(&ids[low + step], target) >= bits:
        low += step
        step *= 2
    high = min(high, low + step)
    low += 1
    while low < high:
        middle = (low + high) >> 1
        if bits_in_common(&ids[middle], target) >= bits:
            low = middle + 1
        else:
            high = middle
    return low


cdef size_t _end_to_the_left(const Id* ids, size_t low, size_t high, const Id* target, int bits) noexcept nogil:
    """Where those begin that have so many bits in common with the target; the one below ``high`` does."""
    cdef size_t step = 1
    cdef size_t middle
    high -= 1
    while low + step <= high and bits_in_common(&ids[high - step], target) >= bits:
        high -= step
        step *= 2
    if low + step <= high:
        low = high - step + 1
    while low < high:
        middle = (low + high) >> 1
        if bits_in_common(&ids[middle], target) >= bits:
            high = middle
        else:
            low = middle + 1
    return high


cdef void _gather(const Id* ids, size_t low, size_t high, Id target, Nearest* nearest) noexcept nogil:
    """Take the nearest of a part, all of which are farther away than what was taken before."""
    cdef size_t first = nearest.count
    cdef size_t left
    cdef size_t right
    cdef size_t end
    cdef int bits_left
    cdef int bits_right
    cdef Id one
    if high - low <= FEW:
        for left in range(low, high):
            one = distance_between(&ids[left], &target)
            take_if_near(nearest, first, &one, left)
        return
    left = right = _place_of(ids, low, high, &target)
    while nearest.count < nearest.wanted and (left > low or right < high):
        bits_left = bits_in_common(&ids[left - 1], &target) if left > low else -1
        bits_right = bits_in_common(&ids[right], &target) if right < high else -1
        # Those that have as many bits in common and not one more are all on the same side. Among them the order is that
        # of the distances from the target with its next bit turned, which is among them.
        if bits_right == ID_BITS:
            _gather(ids, right, right + 1, target, nearest)
            right += 1
        elif bits_right > bits_left:
            end = _end_to_the_right(ids, right, high, &target, bits_right)
            _gather(ids, right, end, with_bit_flipped(&target, bits_right), nearest)
            right = end
        else:
            end = _end_to_the_left(ids, low, left, &target, bits_left)
            _gather(ids, end, left, with_bit_flipped(&target, bits_left), nearest)
            left = end


cdef bint _step_outwards(const Id* ids, size_t count, const Id* target, Nearest* nearest) noexcept nogil:
    """Take the nearest one by one from where the target would be: quicker than _gather() where ids are spread evenly.

    Returns:
        False where too many have as many bits in common for that; what was taken counts for nothing then.
    """
    cdef size_t right = _place_of(ids, 0, count, target)
    cdef size_t left = right
    cdef size_t first = 0
    cdef size_t patience = PATIENCE + 2 * nearest.wanted
    cdef size_t number
    cdef int bits_left = bits_in_common(&ids[left - 1], target) if left else -1
    cdef int bits_right = bits_in_common(&ids[right], target) if right < count else -1
    cdef int bits = ID_BITS + 1
    cdef int most
    cdef Id away
    while True:
        most = max(bits_left, bits_right)
        if most < bits:
            if most < 0 or nearest.count == nearest.wanted:
                return True
            first = nearest.count
            bits = most
        if patience == 0:
            return False
        patience -= 1
        if bits_right == most:
            number = right
            right += 1
            bits_right = bits_in_common(&ids[right], target) if right < count else -1
        else:
            left -= 1
            number = left
            bits_left = bits_in_common(&ids[left - 1], target) if left else -1
        away = distance_between(&ids[number], target)
        take_if_near(nearest, first, &away, number)


@cython.final
cdef class SortedIds:
    """A set of ids in their order. It is of one thread at a time.

    Args:
        ids: What is in it at first: any buffer, as for :meth:`update`.

    Raises:
        UsageError: The bytes are not a number of ids.

    Example:
        >>> from librats._core.routing import SortedIds
        >>> ids = SortedIds(b"c" * 20 + b"a" * 20)
        >>> ids.add(b"b" * 20), ids.add(b"b" * 20), len(ids)
        (True, False, 3)
        >>> ids.closest(b"b" * 20, 1)
        b'bbbbbbbbbbbbbbbbbbbb'
    """

    cdef Id* _ids
    cdef size_t _count
    cdef size_t _room

    def __init__(self, ids=b""):
        self._count = 0
        self.update(ids)

    def __dealloc__(self):
        PyMem_Free(self._ids)

    def __len__(self):
        return self._count

    def __contains__(self, bytes id not None):
        cdef Id one
        cdef size_t place
        load_one(&one, id)
        place = _place_of(self._ids, 0, self._count, &one)
        return place < self._count and is_same(&self._ids[place], &one)

    cdef int _make_room(self, size_t more) except -1:
        cdef size_t room = max(self._room, <size_t>FIRST_ROOM)
        cdef Id* grown
        while room - self._count < more:
            room *= 2
        if room == self._room:
            return 0
        grown = <Id*>PyMem_Realloc(self._ids, room * sizeof(Id))
        if grown == NULL:
            raise MemoryError
        self._ids = grown
        self._room = room
        return 0

    def update(self, ids):
        """Add all the ids of a buffer, which costs less than adding one after the other.

        Args:
            ids: Any buffer: ids of 20 bytes behind each other.

        Raises:
            UsageError: The bytes are not a number of ids.
        """
        cdef Py_buffer view
        cdef size_t more
        cdef size_t index
        cdef size_t kept = 0
        PyObject_GetBuffer(ids, &view, PyBUF_SIMPLE)
        try:
            more = _ids_in(&view)
            self._make_room(more)
            for index in range(more):
                self._ids[self._count + index] = load_id(<const uint8_t*>view.buf + index * ID_BYTES)
        finally:
            PyBuffer_Release(&view)
        if not more:
            return
        self._count += more
        qsort(self._ids, self._count, sizeof(Id), _compare)
        for index in range(1, self._count):
            if not is_same(&self._ids[kept], &self._ids[index]):
                kept += 1
                self._ids[kept] = self._ids[index]
        self._count = kept + 1

    def add(self, bytes id not None):
        """Add an id; whether it was not there before.

        Raises:
            UsageError: It has not 20 bytes.
        """
        cdef Id one
        cdef size_t place
        load_one(&one, id)
        place = _place_of(self._ids, 0, self._count, &one)
        if place < self._count and is_same(&self._ids[place], &one):
            return False
        self._make_room(1)
        memmove(&self._ids[place + 1], &self._ids[place], (self._count - place) * sizeof(Id))
        self._ids[place] = one
        self._count += 1
        return True

    def discard(self, bytes id not None):
        """Remove an id; whether it was there.

        Raises:
            UsageError: It has not 20 bytes.
        """
        cdef Id one
        cdef size_t place
        load_one(&one, id)
        place = _place_of(self._ids, 0, self._count, &one)
        if place == self._count or not is_same(&self._ids[place], &one):
            return False
        self._count -= 1
        memmove(&self._ids[place], &self._ids[place + 1], (self._count - place) * sizeof(Id))
        return True

    def closest(self, bytes target not None, Py_ssize_t count=8):
        """Return the nearest ids behind each other, nearest first.

        Args:
            target: To what they are to be near; one that is in the set itself is the nearest.
            count: How many, if there are so many.

        Raises:
            UsageError: The target has not 20 bytes.
        """
        cdef Found on_stack[FOUND_ON_STACK]
        cdef Nearest nearest
        cdef Id wanted
        cdef size_t index
        cdef bytes ids
        load_one(&wanted, target)
        nearest.wanted = _wanted(count, self._count)
        nearest.count = 0
        nearest.found = _room_for(nearest.wanted, on_stack)
        if not _step_outwards(self._ids, self._count, &wanted, &nearest):
            nearest.count = 0
            _gather(self._ids, 0, self._count, wanted, &nearest)
        ids = PyBytes_FromStringAndSize(NULL, nearest.count * ID_BYTES)
        for index in range(nearest.count):
            store_id(
                <uint8_t*>PyBytes_AS_STRING(ids) + index * ID_BYTES, &self._ids[nearest.found[index].number]
            )
        if nearest.found != on_stack:
            PyMem_Free(nearest.found)
        return ids
