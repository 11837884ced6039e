from librats._core.batches cimport librats_flow


cdef class FlowTable:
    cdef dict _flows
    cdef dict _addresses

    cdef const librats_flow* of_address(self, object address) except NULL
    cdef object address(self, const librats_flow* flow)
