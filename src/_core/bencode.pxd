"""What other readers of bencode need of :mod:`librats._core.bencode`."""

cdef object bencode_error(int flaw, size_t at)
