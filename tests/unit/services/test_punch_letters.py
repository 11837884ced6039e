from __future__ import annotations

import asyncio

import pytest

from librats.errors import IntroductionError
from librats.introduce.letters import Letter
from librats.punch import PunchReason
from librats.services.punch.letters import PunchLetters

ID = "0f" * 16


def test_messages_go_in_letters_and_come_in_order() -> None:
    async def scenario() -> None:
        sent: list[Letter] = []

        def send(letter: Letter) -> bool:
            sent.append(letter)
            return True

        letters = PunchLetters(ID, send)
        await letters.send({"v": 1, "go": 1})
        letters.end(PunchReason.NOT_NEEDED)
        assert [Letter.decode(letter.encode()).punch for letter in sent] == [
            {"v": 1, "go": 1},
            {"v": 1, "end": "not-needed"},
        ]
        assert {letter.id for letter in sent} == {ID}
        letters.heard({"number": 1})
        letters.heard({"number": 2})
        assert [await letters.receive(), await letters.receive()] == [{"number": 1}, {"number": 2}]

    asyncio.run(scenario())


def test_where_the_introducer_is_gone_sending_fails() -> None:
    async def scenario() -> None:
        letters = PunchLetters(ID, lambda _: False)
        letters.end(PunchReason.NOT_NEEDED)
        with pytest.raises(IntroductionError, match="gone"):
            await letters.send({})

    asyncio.run(scenario())


def test_a_flood_is_dropped() -> None:
    async def scenario() -> None:
        letters = PunchLetters(ID, lambda _: True)
        for number in range(1000):
            letters.heard({"number": number})
        taken = 0
        while True:
            try:
                async with asyncio.timeout(0.01):
                    await letters.receive()
            except TimeoutError:
                break
            taken += 1
        assert taken == 64

    asyncio.run(scenario())
