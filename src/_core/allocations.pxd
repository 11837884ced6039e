from libc.stdint cimport uint32_t

from librats._core.relay_net cimport net_address
from librats._core.relay_items cimport Allocation, Bucket, Tables

cdef enum:
    ADDRESS_SIZE = 24

cdef int read_address(net_address* a, bytes address) except -1
cdef int read_optional(net_address* a, bytes address) except -1
cdef Allocation new_allocation(number, int listener, int relay_fd, double expires, bint forwards) except *
cdef int set_bucket(Bucket* bucket, double rate) except -1
cdef bytes table_keys(bytes seed)


cdef class Allocations:
    cdef Tables tables
    cdef uint32_t max_allocations
    cdef uint32_t generation
    cdef list _places

    cdef int _at_rest(self) except -1
    cdef uint32_t _find(self, number) except 0
    cdef uint32_t _add(self, const Allocation* made, const net_address* client, const net_address* local) except 0
    cdef void _forget(self, uint32_t index) noexcept
    cdef void _drop(self, uint32_t index) noexcept
    cdef uint32_t _find_client(self, int listener, bytes client, bytes local) except? 0
    cdef tuple _tell(self, uint32_t index)
