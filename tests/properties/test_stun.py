"""The compiled STUN codec: round trips, and against the slow oracle on random, damaged and hostile bytes."""

from __future__ import annotations

import ipaddress
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.conftest import read_set
from tests.hostile.mutations import Mutator
from tests.reference import stun as oracle

from librats._core import stun
from librats.errors import StunError, UsageError
from librats.stun.constants import Attribute

KEY = b"key of sixteen b"
GUARDS = {Attribute.MESSAGE_INTEGRITY, Attribute.MESSAGE_INTEGRITY_SHA256, Attribute.FINGERPRINT}
INTEGRITIES: list[Any] = [0x0008, 0x001C, (0x0008, 0x001C)]

ports = st.integers(0, 65535)
addresses = st.tuples(st.ip_addresses().map(str), ports)
codes = st.integers(300, 699)
# One to four bytes of UTF-8 each.
reasons = st.text("a: \n\0é€\N{GRINNING FACE}", max_size=100)
texts = st.text("a: \n\0é€\N{GRINNING FACE}", max_size=120)
octets = st.binary(max_size=70)
algorithms = st.tuples(ports, st.binary(max_size=9))
numbers = st.integers(0, 2**32 - 1)
wide_numbers = st.integers(0, 2**64 - 1)
flags = st.just(True)
families = st.sampled_from([1, 2])

VALUES: dict[int, st.SearchStrategy[Any]] = {
    Attribute.MAPPED_ADDRESS: addresses,
    Attribute.SOURCE_ADDRESS: addresses,
    Attribute.CHANGED_ADDRESS: addresses,
    Attribute.USERNAME: texts,
    Attribute.ERROR_CODE: st.tuples(codes, reasons),
    Attribute.UNKNOWN_ATTRIBUTES: st.lists(ports, max_size=9).map(tuple),
    Attribute.REALM: texts,
    Attribute.NONCE: texts,
    Attribute.PASSWORD_ALGORITHM: algorithms,
    Attribute.USERHASH: st.binary(min_size=32, max_size=32),
    Attribute.XOR_MAPPED_ADDRESS: addresses,
    Attribute.PASSWORD_ALGORITHMS: st.lists(algorithms, max_size=4).map(tuple),
    Attribute.ALTERNATE_DOMAIN: texts,
    Attribute.SOFTWARE: texts,
    Attribute.ALTERNATE_SERVER: addresses,
    Attribute.CHANNEL_NUMBER: ports,
    Attribute.LIFETIME: numbers,
    Attribute.XOR_PEER_ADDRESS: addresses,
    Attribute.DATA: octets,
    Attribute.XOR_RELAYED_ADDRESS: addresses,
    Attribute.REQUESTED_ADDRESS_FAMILY: families,
    Attribute.EVEN_PORT: st.booleans(),
    Attribute.REQUESTED_TRANSPORT: st.integers(0, 255),
    Attribute.DONT_FRAGMENT: flags,
    Attribute.RESERVATION_TOKEN: st.binary(min_size=8, max_size=8),
    Attribute.ADDITIONAL_ADDRESS_FAMILY: families,
    Attribute.ADDRESS_ERROR_CODE: st.tuples(families, codes, reasons),
    Attribute.ICMP: st.tuples(st.integers(0, 127), st.integers(0, 511), numbers),
    Attribute.CHANGE_REQUEST: numbers,
    Attribute.PADDING: octets,
    Attribute.RESPONSE_PORT: ports,
    Attribute.CACHE_TIMEOUT: numbers,
    Attribute.RESPONSE_ORIGIN: addresses,
    Attribute.OTHER_ADDRESS: addresses,
    Attribute.PRIORITY: numbers,
    Attribute.USE_CANDIDATE: flags,
    Attribute.ICE_CONTROLLED: wide_numbers,
    Attribute.ICE_CONTROLLING: wide_numbers,
    Attribute.CONNECTION_ID: numbers,
    Attribute.MOBILITY_TICKET: octets,
}
KNOWN = frozenset(int(kind) for kind in Attribute)
unknown_types = st.integers(0, 65535).filter(lambda kind: kind not in KNOWN)
known = st.one_of([st.tuples(st.just(int(kind)), values) for kind, values in VALUES.items()])
attributes = st.lists(known | st.tuples(unknown_types, octets), max_size=8)
transaction_ids = st.binary(min_size=12, max_size=12)
headers = st.tuples(st.integers(0, 0xFFF), st.integers(0, 3), transaction_ids)
signing = st.none() | st.sampled_from(INTEGRITIES)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    integrity = draw(signing)
    return stun.serialise(
        *draw(headers),
        draw(attributes),
        key=None if integrity is None else KEY,
        integrity=integrity or 0x0008,
        fingerprint=draw(st.booleans()),
    )


def comparable(value: Any) -> Any:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        return (ipaddress.ip_address(value[0]), value[1])
    return value


def test_every_attribute_is_tried() -> None:
    assert set(VALUES) | GUARDS == KNOWN


@given(headers, attributes, signing, st.booleans(), st.binary())
def test_what_is_written_is_read(
    header: tuple[int, int, bytes],
    items: list[tuple[int, Any]],
    integrity: Any,
    fingerprint: bool,
    key: bytes,
) -> None:
    data = stun.serialise(
        *header,
        items,
        key=None if integrity is None else key,
        integrity=integrity or 0x0008,
        fingerprint=fingerprint,
    )
    message = stun.parse(data)
    assert (message.method, message.message_class, message.transaction_id) == header
    read = [(kind, comparable(value)) for kind, value in message.values() if kind not in GUARDS]
    assert read == [(kind, comparable(value)) for kind, value in items]
    for kind, _ in items:
        same = [comparable(value) for other, value in items if other == kind]
        assert [comparable(value) for value in message.get_all(kind)] == same
        assert comparable(message.get(kind)) == same[0]
    assert message.has_fingerprint is message.check_fingerprint() is fingerprint
    assert message.check_integrity(key) is (integrity is not None)
    unknown = dict.fromkeys(kind for kind, _ in items if kind < 0x8000 and kind not in KNOWN)
    assert message.unknown_required() == tuple(unknown)
    assert all(not any(attribute.padding) for attribute in oracle.all_attributes(data))


def agrees_with_the_oracle(data: bytes, *, allow_classic: bool = False) -> bool:
    """Compare the codec with the oracle; return whether the bytes are a message."""
    try:
        wanted = oracle.parse(data, allow_classic=allow_classic)
    except oracle.Malformed:
        with pytest.raises(StunError):
            stun.parse(data, allow_classic=allow_classic)
        return False
    found = stun.parse(bytearray(data), allow_classic=allow_classic)
    assert (found.method, found.message_class) == (wanted.method, wanted.message_class)
    assert (found.transaction_id, found.is_classic) == (wanted.transaction_id, wanted.is_classic)
    assert found.size == len(data)
    assert found.types() == [attribute.kind for attribute in wanted.attributes]
    for attribute in wanted.attributes:
        first = wanted.first(attribute.kind)
        assert first is not None
        assert found.raw(attribute.kind) == first.value
    assert found.has_fingerprint is (wanted.first(oracle.FINGERPRINT) is not None)
    assert found.check_fingerprint() is wanted.check_fingerprint()
    assert found.check_integrity(KEY) is wanted.check_integrity(KEY)
    for kind in found.types():
        for call in (found.get, found.get_all):
            raises_only_stun_error(call, kind)
    raises_only_stun_error(found.values)
    return True


def raises_only_stun_error(call: Any, *args: Any) -> None:
    try:
        call(*args)
    except StunError as error:
        assert error.code == 400  # noqa: PT017 - it need not raise


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    agrees_with_the_oracle(data)
    agrees_with_the_oracle(data, allow_classic=True)
    raises_only_stun_error(stun.parse_channel_data, data)
    raises_only_stun_error(stun.frame_size, data)
    assert stun.is_stun(data) in (True, False)


@given(st.integers(0, 0x3FFF), transaction_ids, st.lists(st.tuples(st.integers(0, 65535), octets), max_size=6))
def test_any_attributes_are_read_or_refused(kind: int, transaction_id: bytes, items: list[tuple[int, bytes]]) -> None:
    body = b"".join(
        number.to_bytes(2) + len(value).to_bytes(2) + value + bytes(-len(value) % 4) for number, value in items
    )
    header = kind.to_bytes(2) + len(body).to_bytes(2) + stun.MAGIC_COOKIE.to_bytes(4) + transaction_id
    assert agrees_with_the_oracle(header + body)


@given(messages(), st.integers(0, 2**32))
def test_damaged_messages_are_read_as_the_oracle_reads_them(data: bytes, seed: int) -> None:
    mutator = Mutator(seed)
    for _ in range(10):
        damaged = mutator.mutate(data)
        agrees_with_the_oracle(damaged)
        # Its length put right, it is not turned away at once.
        whole = damaged[:2] + (len(damaged) - 20).to_bytes(2) + damaged[4:] if 20 <= len(damaged) < 65536 else damaged
        agrees_with_the_oracle(whole)


@cache
def samples() -> list[tuple[bytes, bytes | None]]:
    cases = [*read_set("stun/messages_standard")["cases"], *read_set("stun/messages_generated")["cases"][::7]]
    return [
        (bytes.fromhex(case["raw"]), bytes.fromhex(case["integrity_key"]) if case.get("integrity_key") else None)
        for case in cases
    ]


def test_a_message_cut_at_any_byte_is_refused() -> None:
    for data, _ in samples():
        for size in range(len(data)):
            with pytest.raises(StunError):
                stun.parse(data[:size])
        with pytest.raises(StunError):
            stun.parse(data + b"\0\0\0\0")


def test_any_bit_turned_over_is_noticed_where_the_message_is_guarded() -> None:
    tried = 0
    for data, key in samples():
        guarded = stun.parse(data)
        if key is None and not guarded.has_fingerprint:
            continue
        for bit in range(8 * len(data)):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 0x80 >> bit % 8
            try:
                message = stun.parse(damaged)
            except StunError:
                continue
            passes = not guarded.has_fingerprint or message.check_fingerprint()
            assert not (passes and (key is None or message.check_integrity(key))), bit
            tried += 1
    assert tried > 1000


@given(st.integers(0x4000, 0x4FFF), st.binary(max_size=300), st.booleans(), st.integers(0, 8))
def test_channel_data_is_written_and_read(number: int, data: bytes, padded: bool, extra: int) -> None:
    written = stun.channel_data(number, data, padded=padded)
    padding = -len(data) % 4
    assert written == number.to_bytes(2) + len(data).to_bytes(2) + data + bytes(padding if padded else 0)
    assert stun.parse_channel_data(written) == (number, data)
    assert stun.frame_size(written) == 4 + len(data) + padding
    longer = written[: 4 + len(data)] + bytes(extra)
    if extra < 4:
        assert stun.parse_channel_data(longer) == (number, data)
    else:
        with pytest.raises(StunError):
            stun.parse_channel_data(longer)
    for size in range(4 + len(data)):
        with pytest.raises(StunError):
            stun.parse_channel_data(written[:size])


@given(messages(), st.integers(0, 30))
def test_frames_are_found_on_a_stream(data: bytes, taken: int) -> None:
    if data[0] <= 0x3F:
        assert stun.frame_size(data[:taken]) == (len(data) if taken >= 4 else 0)


@given(st.ip_addresses())
@example(ipaddress.ip_address("::"))
@example(ipaddress.ip_address("::1"))
@example(ipaddress.ip_address("1::"))
@example(ipaddress.ip_address("0:0:1::"))
@example(ipaddress.ip_address("1:0:0:2:0:0:0:3"))
@example(ipaddress.ip_address("1:0:0:2:0:0:3:4"))
@example(ipaddress.ip_address("1:0:2:3:4:5:6:7"))
@example(ipaddress.ip_address("::102:304"))
def test_addresses_are_written_as_text(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    message = stun.parse(stun.serialise(1, 2, bytes(12), [(0x20, (str(address), 7)), (1, (address.exploded, 8))]))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    text = str(address) if mapped is None else f"::ffff:{mapped}"
    assert message.values() == [(0x20, (text, 7)), (1, (text, 8))]


@given(
    st.text("0123456789abcdefF:.g", max_size=24)
    | st.lists(st.sampled_from(["0", "ff", ":", "::", "1.2.3.4", "."])).map("".join)
)
def test_a_host_is_accepted_where_ipaddress_accepts_it(host: str) -> None:
    try:
        wanted = ipaddress.ip_address(host)
    except ValueError:
        with pytest.raises(UsageError):
            stun.serialise(1, 2, bytes(12), [(1, (host, 1))])
        return
    message = stun.parse(stun.serialise(1, 2, bytes(12), [(1, (host, 1))]))
    assert ipaddress.ip_address(message.get(1)[0]) == wanted
