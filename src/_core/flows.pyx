"""Addresses as the batches of datagrams have them: both ends of a flow in a few bytes, and back."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy, memset

import ipaddress

from librats._core.batches cimport librats_flow

from librats.errors import UsageError
from librats.types import Address

cdef enum:
    KNOWN = 4096  # addresses remembered


@cython.final
cdef class FlowTable:
    """Addresses that were sent to, or have sent, lately."""

    def __cinit__(self):
        self._flows = {}
        self._addresses = {}

    cdef const librats_flow* of_address(self, object address) except NULL:
        """The flow to an address, and from the local end that it came to; good until the next call."""
        cdef bytes packed = self._flows.get(address)
        if packed is None:
            packed = packed_flow(address)
            if len(self._flows) >= KNOWN:
                self._flows.clear()
                self._addresses.clear()
            self._flows[address] = packed
            self._addresses[packed] = address
        return <const librats_flow*>PyBytes_AS_STRING(packed)

    cdef object address(self, const librats_flow* flow):
        """The address that led to a flow, or one equal to it."""
        cdef bytes packed = PyBytes_FromStringAndSize(<const char*>flow, sizeof(librats_flow))
        cdef object found = self._addresses.get(packed)
        cdef str host
        if found is None:
            host = str(ipaddress.ip_address((<const char*>flow.remote)[:4 if flow.family == 4 else 16]))
            found = Address(f"{host}%{flow.scope}" if flow.scope else host, flow.port)
        return found


cdef bytes packed_flow(object address):
    """An address as the batches of datagrams have it; where it came from one, with the local end."""
    cdef librats_flow flow
    cdef bytes known = getattr(address, "flow", b"")
    cdef bytes raw
    if len(known) == sizeof(librats_flow):
        return known
    try:
        host, port = address[:2]
        name, _, zone = host.partition("%")
        raw = ipaddress.ip_address(name).packed
        if not 0 < port < 65536:
            raise ValueError("no such port")
        memset(&flow, 0, sizeof(flow))
        flow.scope = int(zone) if zone else 0
    except (AttributeError, IndexError, OverflowError, TypeError, ValueError):
        raise UsageError(f"not an address that datagrams can be sent to: {address!r}") from None
    memcpy(flow.remote, PyBytes_AS_STRING(raw), len(raw))
    flow.family = 4 if len(raw) == 4 else 6
    flow.port = port
    return PyBytes_FromStringAndSize(<const char*>&flow, sizeof(flow))
