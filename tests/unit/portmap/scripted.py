"""One mapper, the gateway's answers written by hand, and a clock that the test moves: no socket."""

from __future__ import annotations

from librats.portmap.mapper import PortMapper
from librats.portmap.mapper_events import MapperEvent
from librats.portmap.natpmp_wire import NatPmpResponse, encode_natpmp_response
from librats.portmap.pcp_wire import (
    PCP_VERSION,
    MapData,
    MapRequest,
    Opcode,
    PcpResponse,
    PcpResult,
    decode_pcp_request,
    encode_pcp_response,
)
from librats.testing.entropy import SeededEntropy
from librats.types import Address, MappedTransport

GATEWAY, LOCAL, PUBLIC = "192.168.1.1", "192.168.1.11", "203.0.113.7"
GATEWAY6, LOCAL6 = "fe80::1%eth0", "2001:db8:1::11"
ANY = "0.0.0.0"  # noqa: S104 - stands for any address
SERVER = Address(GATEWAY, 5351)
TCP, UDP = MappedTransport.TCP, MappedTransport.UDP
UNSUPPORTED = bytes.fromhex("0000 0001 00000064")
"""How a gateway that knows NAT-PMP alone answers to PCP (RFC 6886, 3.5)."""


class Rig:
    """Moves the clock, collects what the mapper sends and tells, and answers in the gateway's place."""

    def __init__(self, gateway: str = GATEWAY, local: str = LOCAL, seed: int = 1) -> None:
        self.now = 1000.0
        self.server = Address(gateway, 5351)
        self.mapper = PortMapper(gateway, local, entropy=SeededEntropy(seed), now=self.now)
        self.events: list[MapperEvent] = []

    def add(self, transport: MappedTransport = UDP, port: int = 8080, **options: int | bool) -> int:
        return self.mapper.add(transport, port, now=self.now, **options)  # type: ignore[arg-type]

    def sent(self) -> list[bytes]:
        found = self.mapper.datagrams_to_send()
        assert all(address == self.server for _, address in found)
        return [data for data, _ in found]

    def requests(self) -> list[MapRequest]:
        """Take what was sent by PCP."""
        return [decode_pcp_request(data) for data in self.sent() if data[0] == PCP_VERSION]

    def data(self) -> MapData:
        """Take the one MAP request that was sent, and return what it is about."""
        [request] = self.requests()
        assert request.data is not None
        return request.data

    def hear(self, data: bytes, sender: Address | None = None) -> None:
        self.mapper.receive_datagram(data, sender or self.server, now=self.now)
        self.collect()

    def hear_natpmp(self, response: NatPmpResponse) -> None:
        self.hear(encode_natpmp_response(response))

    def answer(
        self,
        data: MapData,
        *,
        external: Address | None = None,
        lifetime: int = 7200,
        epoch: int | None = None,
        result: int = PcpResult.SUCCESS,
        nonce: bytes | None = None,
    ) -> None:
        """Answer a MAP request."""
        granted = MapData(
            nonce=data.nonce if nonce is None else nonce,
            transport=data.transport,
            internal_port=data.internal_port,
            external=external or Address(PUBLIC, data.internal_port),
        )
        self.hear(
            encode_pcp_response(
                PcpResponse(
                    version=PCP_VERSION,
                    opcode=Opcode.MAP,
                    result=result,
                    lifetime=lifetime,
                    epoch=int(self.now) if epoch is None else epoch,
                    data=granted,
                )
            )
        )

    def collect(self) -> None:
        while (event := self.mapper.next_event()) is not None:
            self.events.append(event)

    def told(self) -> list[MapperEvent]:
        """Take the events."""
        events, self.events = self.events, []
        return events

    def next(self) -> float:
        """Go to when something is due, do it, and return how long that was."""
        due = self.mapper.next_timer()
        assert due is not None
        before, self.now = self.now, max(due, self.now)
        self.mapper.handle_timer(now=self.now)
        self.collect()
        return self.now - before

    def go(self, seconds: float) -> list[tuple[float, bytes]]:
        """Let time pass, and return what was sent when, in seconds from the beginning of it."""
        began, found = self.now, []
        while (due := self.mapper.next_timer()) is not None and due <= began + seconds:
            self.now = max(self.now, due)
            self.mapper.handle_timer(now=self.now)
            self.collect()
            found += [(self.now - began, data) for data in self.sent()]
        self.now = began + seconds
        return found

    def asked_within(self, seconds: float) -> list[MapData]:
        """Let time pass, and return what the MAP requests of that time were about."""
        requests = [decode_pcp_request(data) for _, data in self.go(seconds) if data[0] == PCP_VERSION]
        return [request.data for request in requests if request.data is not None]

    def held(self, transport: MappedTransport = UDP, port: int = 8080) -> tuple[int, MapData]:
        """Have a mapping granted by PCP, and return its key and what was asked."""
        key = self.add(transport, port)
        data = self.data()
        self.answer(data)
        self.told()
        return key, data
