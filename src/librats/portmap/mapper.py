"""Asking one gateway to map ports: by PCP (RFC 6887), or by NAT-PMP (RFC 6886) where it knows only that."""

from __future__ import annotations

import math
from collections import deque

from librats.errors import DecodeError, UsageError
from librats.portmap.epochs import GatewayClock
from librats.portmap.mapper_events import (
    GatewaySilent,
    MapperCounters,
    MapperEvent,
    MappingGranted,
    MappingLost,
    MappingRefused,
)
from librats.portmap.mapping import REMOVAL_TRIES, Phase, WantedMapping
from librats.portmap.natpmp_asking import NatPmpAsking
from librats.portmap.natpmp_wire import (
    NATPMP_VERSION,
    NatPmpMapping,
    NatPmpPublicAddress,
    NatPmpResponse,
    NatPmpResult,
    decode_natpmp_response,
)
from librats.portmap.pacing import PcpPace, refusal_pause, usable_lifetime
from librats.portmap.pcp_wire import (
    NONCE_SIZE,
    PCP_PORT,
    PCP_VERSION,
    Opcode,
    PcpResponse,
    PcpResult,
    announce_request,
    decode_pcp_response,
    encode_map_request,
)
from librats.portmap.reach import is_usable_host
from librats.portmap.refusals import natpmp_refusal, pcp_refusal
from librats.types import Address, Entropy, MappedTransport, PortMappingProtocol

__all__ = ["LIFETIME", "PortMapper"]

LIFETIME = 7200
"""Seconds that a mapping is asked for (RFC 6886, 3.3)."""

NATPMP_AFTER = 0.5
"""Seconds after which a gateway that does not answer to PCP is asked by NAT-PMP as well: old ones are silent then."""

PATIENCE = 10.0
WATCH_INTERVAL = 120.0
"""Seconds between questions whether the gateway still has its state."""

REBUILD_WITHIN = 5.0
LOST_AFTER = 60.0
"""Seconds that a mapping counts as there while it is asked for again, because the gateway has lost its state."""

SILENCE_PAUSE = 300.0
ABSURD_PAUSE = 60.0
SHORTEST_LIFETIME = 10.0
"""Seconds below which a mapping is of no use: it would have to be renewed all the time."""

_PCP, _NATPMP = PortMappingProtocol.PCP, PortMappingProtocol.NAT_PMP


class PortMapper:
    """Asks one gateway for mappings of one local address, keeps them alive, and removes them.

    Over IPv6 a mapping is a hole in the gateway's firewall.

    Args:
        gateway: The gateway's IP address.
        local: The address of this host that is mapped; what is sent has to come from it.
        entropy: For nonces and delays.
        now: When it begins.
        lifetime: Seconds to ask for.
    """

    def __init__(self, gateway: str, local: str, *, entropy: Entropy, now: float, lifetime: int = LIFETIME) -> None:
        self.gateway = Address(gateway, PCP_PORT)
        """Where the requests go."""
        self.local = local
        """The address of this host."""
        self.protocol: PortMappingProtocol | None = None
        """How the gateway is spoken to; None until it has answered."""
        self.counters = MapperCounters()
        """What did not belong to it."""
        self._entropy = entropy
        self._lifetime = lifetime
        self._is_ipv6 = ":" in local
        self._mappings: dict[int, WantedMapping] = {}
        self._serial = 0
        self._clock = GatewayClock()
        self._events: deque[MapperEvent] = deque()
        self._outgoing: list[tuple[bytes, Address]] = []
        self._natpmp = NatPmpAsking()
        self._public_host = ""
        self._began = now
        self._silent_at = now + PATIENCE
        self._watch_at = math.inf
        self._asked_at = -math.inf
        if not self._is_ipv6:
            self._natpmp.ask_address(now + NATPMP_AFTER)

    # What is wanted

    def __len__(self) -> int:
        """How many mappings are wanted, or not yet removed."""
        return len(self._mappings)

    def add(
        self, transport: MappedTransport, internal_port: int, *, now: float, external_port: int = 0, exact: bool = False
    ) -> int:
        """Ask for a mapping.

        Args:
            transport: ``"tcp"`` or ``"udp"``.
            internal_port: The port of this host.
            now: Current time.
            external_port: The one that is wanted outside; 0 for the same.
            exact: Whether no other will do; by PCP alone.

        Returns:
            The key by which events tell of it.

        Raises:
            UsageError: The port is none, or is mapped already.
        """
        if not 0 < internal_port < 1 << 16 or not 0 <= external_port < 1 << 16:
            raise UsageError("a port is 1 to 65535")
        there = self._find(transport, internal_port)
        if there is not None and there.phase is not Phase.REMOVING:
            raise UsageError(f"{transport} port {internal_port} is mapped already")
        if self.protocol is None and self._silent_at == math.inf:
            self._silent_at = now + PATIENCE
        if there is not None:
            # The gateway would not give another nonce what it may still hold for this one.
            self._natpmp.drop(there, now)
            there.external_port, there.exact = external_port, exact
            self._ask(there, now)
            return there.key
        self._serial += 1
        mapping = WantedMapping(
            key=self._serial,
            transport=transport,
            internal_port=internal_port,
            external_port=external_port,
            exact=exact,
            nonce=self._entropy.token_bytes(NONCE_SIZE),
            unspecified="::" if self._is_ipv6 else "0.0.0.0",  # noqa: S104 - stands for any address
        )
        self._mappings[mapping.key] = mapping
        self._ask(mapping, now)
        return mapping.key

    def remove(self, key: int, *, now: float) -> None:
        """Remove a mapping. Nothing more is told of it."""
        mapping = self._mappings.get(key)
        if mapping is None or mapping.phase is Phase.REMOVING:
            return
        self._natpmp.drop(mapping, now)
        mapping.remove(now)
        if self.protocol is None:
            # Nobody has answered, and a lost answer is not waited for; what was asked for is taken back all the same.
            if mapping.was_sent:
                self._send_pcp(mapping, now)
            del self._mappings[key]
        elif not mapping.was_sent:
            del self._mappings[key]
        elif self.protocol is _PCP:
            self._send_pcp(mapping, now)
        else:
            mapping.due = math.inf
            self._natpmp.ask(mapping, now)

    def remove_all(self, *, now: float) -> None:
        """Remove every mapping."""
        for key in list(self._mappings):
            self.remove(key, now=now)

    # The verbs of a machine

    def next_timer(self) -> float | None:
        """Return when :meth:`handle_timer` has something to do; None where nothing is wanted."""
        if not self._mappings:
            return None
        due = min(min(mapping.due, mapping.expires) for mapping in self._mappings.values())
        due = min(due, self._natpmp.due, self._silent_at, self._watch_at)
        return None if due == math.inf else due

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""
        for mapping in list(self._mappings.values()):
            if mapping.expires <= now:
                self._lose(mapping, now)
            if mapping.due <= now:
                self._act(mapping, now)
        if self._natpmp.due <= now:
            self._advance_natpmp(now)
        if self._silent_at <= now:
            self._silent_at = math.inf
            self._events.append(GatewaySilent(waited=now - self._began))
        if self._watch_at <= now:
            self._watch(now)

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        """Take what is to be sent."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def next_event(self) -> MapperEvent | None:
        """Take the next event; None where there is none."""
        return self._events.popleft() if self._events else None

    def receive_datagram(self, data: bytes, addr: Address, *, now: float) -> None:
        """Take a datagram. What did not come from the gateway, or is no answer to what was asked, is counted."""
        if addr.port != PCP_PORT or addr.host.partition("%")[0] != self.gateway.host.partition("%")[0]:
            self.counters.foreign += 1
            return
        try:
            if data[:1] == bytes([NATPMP_VERSION]) and not self._is_ipv6:
                self._heard_natpmp(decode_natpmp_response(data), now)
            else:
                self._heard_pcp(decode_pcp_response(data), now)
        except DecodeError:
            self.counters.malformed += 1

    # Asking

    def _ask(self, mapping: WantedMapping, now: float) -> None:
        """Begin to ask for a mapping, in the way that the gateway knows."""
        mapping.ask(now)
        self._act(mapping, now)

    def _act(self, mapping: WantedMapping, now: float) -> None:
        """Do what is due about a mapping."""
        if mapping.phase is Phase.REFUSED:
            self._ask(mapping, now)
        elif mapping.phase is Phase.REMOVING and mapping.tries >= REMOVAL_TRIES:
            self._mappings.pop(mapping.key, None)
        elif self.protocol is _NATPMP:
            mapping.due = math.inf
            self._natpmp.ask(mapping, now)
            self._advance_natpmp(now)
        else:
            self._send_pcp(mapping, now)

    def _send_pcp(self, mapping: WantedMapping, now: float) -> None:
        removing = mapping.phase is Phase.REMOVING
        request = encode_map_request(
            mapping.map_data,
            client=self.local,
            lifetime=0 if removing else self._lifetime,
            prefer_failure=mapping.exact and not removing,
        )
        self._outgoing.append((request, self.gateway))
        mapping.was_sent = True
        mapping.tries += 1
        if removing:
            mapping.due = now + mapping.removal_delay()
        elif mapping.phase is Phase.HELD:
            mapping.renew_later(now, self._entropy)
        else:
            mapping.pace = mapping.pace or PcpPace(self._entropy)
            mapping.due = now + mapping.pace.next_delay()

    def _advance_natpmp(self, now: float) -> None:
        """Send what is next by NAT-PMP; where nothing was answered for too long, give that up."""
        natpmp = self._natpmp
        while natpmp.due <= now and natpmp.is_exhausted:
            failed = natpmp.give_up(now)
            if failed is not None:
                self._unanswered(failed, now)
        if natpmp.due <= now:
            self._outgoing.append((natpmp.next_request(self._lifetime, now), self.gateway))

    def _unanswered(self, mapping: WantedMapping, now: float) -> None:
        """Take note that the gateway does not answer by NAT-PMP any more."""
        if mapping.phase is Phase.REMOVING:
            self._mappings.pop(mapping.key, None)
        elif mapping.phase is Phase.HELD:
            mapping.renew_later(now, self._entropy)
        else:
            self._refuse(mapping, "no_answer", "the gateway does not answer any more", SILENCE_PAUSE, now)
            if not self._holds_any:  # it may be another gateway by now
                self.protocol = None
                self._natpmp.ask_address(now + SILENCE_PAUSE + NATPMP_AFTER)

    @property
    def _holds_any(self) -> bool:
        return any(mapping.phase is Phase.HELD for mapping in self._mappings.values())

    def _watch(self, now: float) -> None:
        """Ask whether the gateway still has its state, and the same public address."""
        self._watch_at = now + WATCH_INTERVAL
        if self.protocol is _NATPMP:
            self._natpmp.ask_address(now)
            self._advance_natpmp(now)
        else:
            self._asked_at = now
            self._outgoing.append((announce_request(self.local), self.gateway))

    # What the gateway says

    def _speaks(self, protocol: PortMappingProtocol, now: float) -> bool:
        """Take note of how the gateway answers; False where it is asked otherwise already."""
        if self.protocol is protocol:
            return True
        if self.protocol is not None and self._holds_any:
            return False
        self.protocol = protocol
        self._silent_at = math.inf
        self._watch_at = now + WATCH_INTERVAL
        self._clock.forget()
        self._natpmp.clear()
        for mapping in list(self._mappings.values()):
            if protocol is _NATPMP and mapping.phase is Phase.ASKING:
                mapping.ask(math.inf)
                self._natpmp.ask(mapping, now)
            elif mapping.due == math.inf and mapping.phase is not Phase.HELD:
                mapping.due = now
        return True

    def _heard_pcp(self, response: PcpResponse, now: float) -> None:
        if response.version != PCP_VERSION or response.result == PcpResult.UNSUPP_VERSION:
            self._unsupported(now)
            return
        if response.opcode == Opcode.ANNOUNCE:
            if self.protocol is _PCP:
                was_asked = self._asked_at > -math.inf
                self._asked_at = -math.inf
                self._check_clock(response.epoch, now, within=0.0 if was_asked else REBUILD_WITHIN)
            return
        data = response.data
        mapping = None if data is None else self._find(data.transport, data.internal_port)
        if data is None or mapping is None or mapping.nonce != data.nonce or not mapping.was_sent:
            self.counters.unmatched += 1
            return
        if not self._speaks(_PCP, now):
            return
        if response.result != PcpResult.SUCCESS:
            code, reason = pcp_refusal(response.result)
            self._heard_no(mapping, code, reason, response.lifetime, now)
        else:
            self._heard_yes(mapping, data.external, response.lifetime, now)
        self._check_clock(response.epoch, now, besides=mapping)

    def _unsupported(self, now: float) -> None:
        """Hear that the gateway knows another version than ours: NAT-PMP, as its version is 0, or nothing we speak."""
        if self.protocol is not None:
            self.counters.unmatched += 1
        elif not self._is_ipv6:
            self._natpmp.hurry(now)
            self._advance_natpmp(now)
        else:
            for mapping in list(self._mappings.values()):
                self._heard_no(mapping, *pcp_refusal(PcpResult.UNSUPP_VERSION), refusal_pause(math.inf), now)

    def _heard_natpmp(self, response: NatPmpResponse, now: float) -> None:
        if isinstance(response, NatPmpPublicAddress):
            if not self._natpmp.answered_address(now) and self.protocol is not _NATPMP:
                self.counters.unmatched += 1
                return
            if self._speaks(_NATPMP, now):
                self._heard_public_address(response.host, now)
                self._check_clock(response.epoch, now)
        elif isinstance(response, NatPmpMapping):
            mapping = self._natpmp.answered(response.transport, response.internal_port, now)
            if mapping is None:
                self.counters.unmatched += 1
                return
            external = Address(self._public_host, response.external_port)
            self._heard_yes(mapping, external, response.lifetime, now)
            self._check_clock(response.epoch, now, besides=mapping)
        elif response.result == NatPmpResult.UNSUPPORTED_VERSION and self.protocol is None:
            self._natpmp.hurry(now)  # it does not know PCP (RFC 6887, Appendix A)
        elif response.transport is None:
            if self._natpmp.answered_address(now) and self._speaks(_NATPMP, now):
                self._refuse_all(*natpmp_refusal(response.result), now)
            else:
                self.counters.unmatched += 1
        else:
            mapping = self._natpmp.answered(response.transport, response.internal_port, now)
            if mapping is None:
                self.counters.unmatched += 1
            else:
                self._heard_no(mapping, *natpmp_refusal(response.result), 0.0, now)
        self._advance_natpmp(now)

    def _heard_public_address(self, host: str, now: float) -> None:
        if not is_usable_host(host):
            self._public_host = ""
            self._refuse_all("network_failure", "the gateway has no public address", now)
        elif host != self._public_host:
            self._public_host = host
            for mapping in list(self._mappings.values()):
                if mapping.phase is Phase.HELD and mapping.external is not None:
                    external = Address(host, mapping.external.port)
                    self._grant(mapping, external, mapping.lifetime)
                    self._ask(mapping, now)  # it may have gone with the old address

    def _refuse_all(self, code: str, reason: str, now: float) -> None:
        for mapping in [each for each in self._mappings.values() if each.phase is Phase.ASKING]:
            self._natpmp.drop(mapping, now)
            self._heard_no(mapping, code, reason, 0.0, now)

    def _find(self, transport: MappedTransport, port: int) -> WantedMapping | None:
        for mapping in self._mappings.values():
            if mapping.transport is transport and mapping.internal_port == port:
                return mapping
        return None

    # What comes of it

    def _heard_yes(self, mapping: WantedMapping, external: Address, lifetime: float, now: float) -> None:
        if mapping.phase is Phase.REMOVING:
            if not lifetime:
                self._mappings.pop(mapping.key, None)
            elif self.protocol is _NATPMP:
                self._natpmp.ask(mapping, now)  # that was the answer to an earlier request
        elif not lifetime:
            self._heard_no(mapping, "refused", "the gateway has removed the mapping", 0.0, now)
        elif not external.host or not is_usable_host(external.host) or not external.port:
            self._heard_nonsense(mapping, "the gateway tells an address at which nobody can be reached", now)
        elif lifetime < SHORTEST_LIFETIME:
            self._heard_nonsense(mapping, f"the gateway maps for {lifetime:g} seconds only", now)
        else:
            lifetime = usable_lifetime(lifetime)
            mapping.hold(mapping.external or external, lifetime, now, self._entropy)
            self._grant(mapping, external, lifetime)

    def _heard_nonsense(self, mapping: WantedMapping, reason: str, now: float) -> None:
        self.counters.absurd += 1
        self._refuse(mapping, "absurd_answer", reason, ABSURD_PAUSE, now)

    def _grant(self, mapping: WantedMapping, external: Address, lifetime: float) -> None:
        mapping.external = external
        protocol = self.protocol or _PCP
        self._events.append(MappingGranted(key=mapping.key, external=external, lifetime=lifetime, protocol=protocol))

    def _heard_no(self, mapping: WantedMapping, code: str, reason: str, lifetime: float, now: float) -> None:
        if mapping.phase is Phase.REMOVING:
            self._mappings.pop(mapping.key, None)
        else:
            self._refuse(mapping, code, reason, refusal_pause(lifetime), now)

    def _refuse(self, mapping: WantedMapping, code: str, reason: str, pause: float, now: float) -> None:
        mapping.refuse(now + pause)
        self._silent_at = math.inf
        protocol = self.protocol or _PCP
        self._events.append(
            MappingRefused(key=mapping.key, code=code, reason=reason, retry_in=pause, protocol=protocol)
        )

    def _lose(self, mapping: WantedMapping, now: float) -> None:
        """Take note that a mapping is over."""
        mapping.expires = math.inf
        mapping.external = None
        self._events.append(MappingLost(key=mapping.key, reason="it was not renewed in time"))
        if mapping.phase is Phase.HELD:
            self._natpmp.drop(mapping, now)
            self._ask(mapping, now)

    def _check_clock(
        self, epoch: int, now: float, *, besides: WantedMapping | None = None, within: float = 0.0
    ) -> None:
        """Compare the gateway's count with the clock; where it has begun anew, ask for all mappings again."""
        is_pcp = self.protocol is _PCP
        clock = self._clock
        if clock.is_steady_pcp(epoch, now) if is_pcp else clock.is_steady_natpmp(epoch, now):
            return
        for mapping in list(self._mappings.values()):
            if mapping.phase is Phase.HELD and mapping is not besides:
                mapping.expires = min(mapping.expires, now + LOST_AFTER)
                if within:
                    mapping.ask(now)
                    mapping.due = now + self._entropy.uniform(0.0, within)
                else:
                    self._ask(mapping, now)
