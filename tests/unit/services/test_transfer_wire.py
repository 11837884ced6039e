"""Frames as a transfer gets them from its stream."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from librats.services.stream import Stream
from librats.services.transferring import wire as wires
from librats.services.transferring.wire import AT_ONCE, Wire
from librats.transfer.frames import Features, FrameType, encode_features, encode_plain

NO_STREAM = cast("Stream", None)


@pytest.mark.parametrize("flood", [encode_plain(FrameType.PAUSE), encode_features(Features.HASHES)])
async def test_others_have_their_turn_between_frames_that_have_come_at_once(
    monkeypatch: pytest.MonkeyPatch, flood: bytes
) -> None:
    async def pieces(*_: object) -> list[bytes]:
        return [flood * (AT_ONCE + 1) + encode_plain(FrameType.PAUSE)]

    monkeypatch.setattr(wires, "read_pieces", pieces)
    monkeypatch.setattr(wires, "waiting_bytes", lambda _: 0)
    turns: list[bool] = []
    asyncio.get_running_loop().call_soon(turns.append, True)
    wire = Wire(NO_STREAM)
    for _ in range(AT_ONCE + 1 if flood == encode_plain(FrameType.PAUSE) else 1):
        await wire.next()
    assert turns
