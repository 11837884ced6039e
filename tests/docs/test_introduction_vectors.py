"""Introductions against the vectors that `docs/explanation/protocol.md` gives to other implementers, both ways."""

from __future__ import annotations

import re

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from tests.docs.test_protocol_vectors import PROTOCOL_PAGE, Case, read_json

from librats.introduce.letters import Letter
from librats.introduce.notices import Notice, Op
from librats.introduce.parcels import CarryEnd, Parcel
from librats.introduce.sealing import CallerSeal, TargetSeal


@pytest.mark.vectors("protocol/introductions")
def test_notices_are_written_and_read_as_the_vector_says(case: Case) -> None:
    notice = Notice.decode(bytes.fromhex(case["body"]))
    assert (notice.op, notice.number) == (case["op"], case["number"])
    assert notice.encode().hex() == case["body"]
    assert notice.letter.hex() == case.get("sealed", notice.letter.hex())


def test_letters_are_sealed_and_opened_as_the_vectors_say() -> None:
    kept = read_json("introductions")
    cases = {case["id"]: case for case in kept["cases"]}
    nodes = read_json("handshake")["cases"][0]
    ann, bob = nodes["initiator"], nodes["responder"]
    caller = CallerSeal(
        bytes.fromhex(ann["static_private"]),
        bytes.fromhex(bob["static_public"]),
        ephemeral=bytes.fromhex(ann["ephemeral_private"]),
        protocol=kept["protocol"],
    )
    target = TargetSeal(
        bytes.fromhex(bob["static_private"]),
        ephemeral=bytes.fromhex(bob["ephemeral_private"]),
        protocol=kept["protocol"],
    )
    for name, seal, opened in (
        ("offer", caller.seal, target.open),
        ("answer", target.seal, caller.open),
        ("add", caller.seal_further, target.open_further),
        ("more", target.seal_further, caller.open_further),
    ):
        letter = cases[name]["letter"].encode()
        assert seal(letter).hex() == cases[name]["sealed"]
        assert opened(bytes.fromhex(cases[name]["sealed"])) == letter
        assert Letter.decode(letter).id == "a0" * 16
    assert target.caller_id == ann["peer_id"]


def test_the_page_names_every_operation_of_an_introduction() -> None:
    page = PROTOCOL_PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| 0x([0-9a-f]{2}) \| ([A-Z_]+) \| (?:caller|introducer|target) to", page, flags=re.MULTILINE)
    assert {int(number, 16): name for number, name in rows} == {op.value: op.name for op in Op}


def test_parcels_are_written_and_read_as_the_vectors_say() -> None:
    cases = {case["id"]: Notice.decode(bytes.fromhex(case["body"])) for case in read_json("introductions")["cases"]}
    parcels = {name: Parcel.decode(notice.letter) for name, notice in cases.items() if "carr" in name}
    assert all(parcel.encode() == cases[name].letter for name, parcel in parcels.items())
    node = read_json("handshake")["cases"][0]["initiator"]
    assert parcels["carried"] == parcels["carry"]
    assert parcels["carry"].data[:4] == bytes([0, 0, 0, 32])
    assert (
        X25519PrivateKey.from_private_bytes(bytes.fromhex(node["ephemeral_private"])).public_key().public_bytes_raw()
        == parcels["carry"].data[4:]
    )
    assert parcels["carry back"].credit == 49152
    assert (parcels["carried no longer"].code, parcels["carried no longer"].words) == (CarryEnd.TIME, "over")
