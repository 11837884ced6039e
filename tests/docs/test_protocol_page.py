"""The page of the protocol: what it quotes, names and counts is what the code has."""

from __future__ import annotations

import re

import pytest
from tests.docs.test_protocol_vectors import KIB, MIB, PROTOCOL_PAGE, VECTORS

from librats._core import turns
from librats.config import MIN_MESSAGE_WINDOW, RatsConfig, SessionConfig
from librats.introduce.notices import Refusal
from librats.introduce.parcels import CarryEnd
from librats.peers import hello
from librats.session import frames, greeting
from librats.session.frames import FragmentFlag, FrameType, Kind, Reason
from librats.session.librats2_wire import InnerType
from librats.session.opening import BARE_SIZES
from librats.session.path_keys import JOIN_SIZE


def test_what_the_page_quotes_is_in_the_vectors() -> None:
    kept = "".join(path.read_text(encoding="utf-8") for path in VECTORS.iterdir())
    page = PROTOCOL_PAGE.read_text(encoding="utf-8")
    quoted = [digits for digits in re.findall(r"\b[0-9a-f]{24,}\b", page) if re.search(r"\d", digits)]
    assert len(quoted) >= 20
    assert [digits for digits in quoted if digits not in kept] == []


def test_the_page_names_every_frame_type_with_its_number() -> None:
    page = PROTOCOL_PAGE.read_text(encoding="utf-8")
    rows = dict(
        re.findall(
            r"^\| 0x([0-9a-f]{2}) \| ([A-Z_]+) \|(?! (?:caller|introducer|target) to )", page, flags=re.MULTILINE
        )
    )
    assert {int(number, 16): name for number, name in rows.items()} == {kind.value: kind.name for kind in FrameType}


def page_text() -> str:
    """Return the page with its line breaks taken out."""
    return re.sub(r"\s+", " ", PROTOCOL_PAGE.read_text(encoding="utf-8"))


def row(first: str) -> list[str]:
    """Return the cells of the only row of the page's tables that begins with a cell."""
    lines = PROTOCOL_PAGE.read_text(encoding="utf-8").splitlines()
    [cells] = [line.strip("| ").split(" | ") for line in lines if line.startswith(f"| {first} |")]
    return cells[1:]


SESSION = SessionConfig()


@pytest.mark.parametrize(
    ("limit", "told", "kept"),
    [
        ("handshake, both hellos included", "15 s", f"{SESSION.handshake_timeout:g} s"),
        ("longest payload of a message, request or reply", "64 MiB", f"{SESSION.max_message_size // MIB} MiB"),
        ("message window", "4 MiB", f"{SESSION.message_window // MIB} MiB"),
        ("stream window at first", "256 KiB", f"{SESSION.stream_window // KIB} KiB"),
        ("streams that the peer may have open", "256", str(SESSION.max_incoming_streams)),
        ("requests under way", "4,096", f"{SESSION.max_requests:,}"),
        ("handshakes under way, incoming", "1,024", f"{RatsConfig().max_half_open:,}"),
    ],
)
def test_the_limits_of_the_page_are_the_defaults(limit: str, told: str, kept: str) -> None:
    assert told == kept
    assert re.match(rf"{told}(?!\d|,\d)", row(limit)[0])


@pytest.mark.parametrize("step", [1, 2, 3])
def test_the_lengths_of_handshake_messages_are_those_of_the_page(step: int) -> None:
    bare = BARE_SIZES[step - 1]
    assert row(f"handshake, message {step}") == ["Noise message", f"{bare} to {bare + greeting.MAX_GREETING}"]


def test_the_items_of_a_greeting_have_the_tags_of_the_page() -> None:
    tags = {
        greeting.TAG_INCARNATION: f"incarnation: {greeting.INCARNATION_SIZE} random bytes",
        greeting.TAG_MESSAGE_WINDOW: f"message window: u32, bytes, at least {MIN_MESSAGE_WINDOW:,}",
        greeting.TAG_MAX_MESSAGE: "longest message that the sender takes: u32",
        greeting.TAG_AGENT: f"name and version of the software, for people: up to {greeting.MAX_AGENT} bytes",
    }
    rows = dict(re.findall(r"^\| (\d) \| (.*) \| (?:yes|no) \|$", PROTOCOL_PAGE.read_text("utf-8"), flags=re.MULTILINE))
    assert {int(tag) for tag in rows} == set(tags)
    assert all(rows[str(tag)].startswith(words) for tag, words in tags.items())


def test_the_numbers_in_the_text_of_the_page_are_those_of_the_code() -> None:
    text = page_text()
    for sentence in (
        f"`version` is {greeting.VERSION};",
        f"The whole greeting has at most {greeting.MAX_GREETING} bytes.",
        f"every block is one Noise transport message of at most {frames.MAX_BLOCK:,} bytes",
        f"The plaintext holds whole frames back to back, at most {frames.MAX_BLOCK - 16:,} bytes.",
        f"so a body has at most {frames.MAX_BLOCK - 16 - 4:,} bytes",
        f"at most {frames.MAX_CODE} bytes; `words` are UTF-8 for people, at most {frames.MAX_WORDS:,} bytes when sent",
        f"at most {hello.MAX_ADDRESSES} texts of at most {hello.MAX_TEXT} characters",
        f"channel of bytes and text; at most {frames.MAX_NAME} bytes",
        f"above {SESSION.max_json_size // MIB} MiB or {SESSION.max_json_depth} levels of nesting",
        f"{frames.FRAME_COST} + length of its body",
        f"after {SESSION.rekey_messages:,} messages, or after {SESSION.rekey_interval:g} seconds",
        f"Nodes ping every {SESSION.ping_interval:g} seconds. "
        f"A peer from whom nothing was heard for {SESSION.idle_timeout:g} seconds",
        f"the low two bits of the flags: {Kind.JSON} JSON, {Kind.BYTES} bytes, {Kind.TEXT} text",
        f"at most {JOIN_SIZE} bytes, fewer than any handshake message",
        f"after {turns.ACK_BLOCKS} blocks or {turns.ACK_BYTES // 1024} KiB, and after {turns.ACK_DELAY:g} seconds",
        f"The last piece has flag {FragmentFlag.LAST:d}.",
        f"that of replies and errors (flag {FragmentFlag.REPLY_LANE:d} set)",
    ):
        assert sentence in text
    told = re.search(r"Of its types, a node here sends and takes (.*?); it skips the others", text)
    assert told is not None
    numbers = {name: int(number) for name, number in re.findall(r"(\w+) \((\d+)", told[1])}
    assert {name.upper(): number for name, number in numbers.items()}.items() <= InnerType.__members__.items()


def test_every_code_of_the_page_is_one_of_the_code() -> None:
    codes = set(re.findall(r"^\| `([a-z_]+)` \|", PROTOCOL_PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    words = {code for code in codes if code in set(Reason)}
    assert {"no_handler", "handler_error", "bad_data", "limit", "closed", "refused", "superseded"} <= words
    keys = {"v", "id", "p", "n"}  # of the announcement
    ends = set(CarryEnd) - words - set(Refusal)
    assert codes - words == keys | (set(Refusal) - words) | ends
