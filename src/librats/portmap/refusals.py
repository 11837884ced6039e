"""The words for what a gateway answers that is no mapping."""

from __future__ import annotations

from librats.portmap.natpmp_wire import NatPmpResult
from librats.portmap.pcp_wire import PcpResult

__all__ = ["natpmp_refusal", "pcp_refusal"]

_PCP: dict[int, tuple[str, str]] = {
    PcpResult.UNSUPP_VERSION: ("unsupported", "the gateway knows another version of PCP"),
    PcpResult.NOT_AUTHORIZED: ("not_authorized", "the gateway does not let this host map ports"),
    PcpResult.NETWORK_FAILURE: ("network_failure", "the gateway has no connection, or no address itself"),
    PcpResult.NO_RESOURCES: ("no_resources", "the gateway has no room for another mapping"),
    PcpResult.USER_EX_QUOTA: ("no_resources", "this host has as many mappings as the gateway allows"),
    PcpResult.UNSUPP_PROTOCOL: ("unsupported", "the gateway does not map this transport"),
    PcpResult.UNSUPP_OPCODE: ("unsupported", "the gateway maps no ports by PCP"),
    PcpResult.UNSUPP_OPTION: ("unsupported", "the gateway cannot promise a certain port"),
    PcpResult.CANNOT_PROVIDE_EXTERNAL: ("conflict", "the wanted external port is not to be had"),
    PcpResult.ADDRESS_MISMATCH: ("address_mismatch", "another NAT stands between this host and the gateway"),
}
_NATPMP: dict[int, tuple[str, str]] = {
    NatPmpResult.UNSUPPORTED_VERSION: ("unsupported", "the gateway knows another version of NAT-PMP"),
    NatPmpResult.NOT_AUTHORIZED: ("not_authorized", "the gateway does not let this host map ports"),
    NatPmpResult.NETWORK_FAILURE: ("network_failure", "the gateway has no connection, or no address itself"),
    NatPmpResult.OUT_OF_RESOURCES: ("no_resources", "the gateway has no room for another mapping"),
    NatPmpResult.UNSUPPORTED_OPCODE: ("unsupported", "the gateway maps no ports of this transport"),
}


def pcp_refusal(result: int) -> tuple[str, str]:
    """Return code and reason for a result of PCP.

    Example:
        >>> pcp_refusal(8)[0], pcp_refusal(99)
        ('no_resources', ('refused', 'the gateway answers with the PCP result 99'))
    """
    return _told(_PCP, result, "PCP")


def natpmp_refusal(result: int) -> tuple[str, str]:
    """Return code and reason for a result of NAT-PMP."""
    return _told(_NATPMP, result, "NAT-PMP")


def _told(words: dict[int, tuple[str, str]], result: int, name: str) -> tuple[str, str]:
    return words.get(result, ("refused", f"the gateway answers with the {name} result {result}"))
