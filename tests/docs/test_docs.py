"""The documentation tells the truth: its code and examples run, its links lead somewhere, its reference is whole.

Each page is run as a reader would type it in: its ``python`` blocks in order, in one namespace and one event loop.
Where a ``text`` block follows, that is what must be printed, with ``...`` for what differs from run to run. A block
behind the comment ``<!-- illustration: why -->`` is not run.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import dataclasses
import doctest
import importlib
import inspect
import io
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from tests.reference.turn_server import ReferenceServer
from tests.reference.turn_udp import TurnServerThread

import librats
import librats.blocking
import librats.testing
from librats.cli import main
from librats.runtime.network import SystemNetwork
from librats.types import Address

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

SECONDS = 20.0
FENCE = re.compile(r"^(?P<fence>`{3,}|:{3,}|~{3,})(?P<info>.*)$")
ILLUSTRATION = re.compile(r"<!-- illustration: \S.* -->")
RUNNABLE = "python"
NOT_RUN = frozenset({"text", "console", "{toctree}", "{eval-rst}"})


@dataclasses.dataclass(frozen=True)
class Block:
    language: str
    line: int
    text: str
    before: str
    """The line above it that is not empty."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    blocks: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    before, opened, start, language = "", "", 0, ""
    for number, line in enumerate(lines, start=1):
        match = FENCE.match(line)
        if opened:
            if line.strip() == opened:
                blocks.append(Block(language, start, "\n".join(lines[start : number - 1]) + "\n", before))
                opened = before = ""
        elif match:
            opened, start, language = match["fence"], number, match["info"].strip()
        elif line.strip():
            before = line.strip()
    assert not opened, f"{name_of(page)}:{start}: a block that is not closed"
    return blocks


@dataclasses.dataclass(frozen=True)
class Step:
    code: Block
    output: Block | None


def steps_of(page: Path) -> list[Step]:
    """Return the blocks that are run, each with what it must print."""
    steps = []
    blocks = blocks_of(page)
    for index, block in enumerate(blocks):
        if block.language == RUNNABLE and not ILLUSTRATION.fullmatch(block.before):
            following = blocks[index + 1] if index + 1 < len(blocks) else None
            # Nothing stands between a block and its output.
            belongs = following is not None and following.language == "text" and not following.before
            steps.append(Step(block, following if belongs else None))
    return steps


class Printed(io.StringIO):
    """What the page prints, also late and from other threads, and a way to wait for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._changed = asyncio.Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        with contextlib.suppress(RuntimeError):  # the page is over
            self._loop.call_soon_threadsafe(self._changed.set)
        return count

    async def until(self, wanted: str) -> None:
        """Wait until exactly this has been printed."""
        checker = doctest.OutputChecker()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                while not checker.check_output(wanted, self.getvalue(), doctest.ELLIPSIS):
                    self._changed.clear()
                    await self._changed.wait()
        assert checker.check_output(wanted, self.getvalue(), doctest.ELLIPSIS), (
            f"expected:\n{wanted}\nprinted:\n{self.getvalue()}"
        )


async def run_code(code: CodeType, namespace: dict[str, Any]) -> None:
    async with asyncio.timeout(SECONDS):
        await eval(code, namespace)  # noqa: S307 - the project's own documentation


def run_step(step: Step, page: Path, namespace: dict[str, Any], runner: asyncio.Runner) -> None:
    source = "\n" * step.code.line + step.code.text  # so that a traceback names the line of the page
    code = compile(source, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    printed = Printed(runner.get_loop())
    with contextlib.redirect_stdout(printed):
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(run_code(code, namespace))
        else:
            exec(code, namespace)  # noqa: S102 - the project's own documentation
        if step.output is not None:
            runner.run(printed.until(step.output.text))


@pytest.fixture
def on_loopback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Run in an empty directory, and on the loopback interface only; there is a TURN server, turn.example.org."""
    listen = SystemNetwork.listen_tcp

    async def listen_here(self: SystemNetwork, factory: Any, host: str, port: int) -> Any:
        return await listen(self, factory, host or "127.0.0.1", port)

    async def only_loopback(_self: SystemNetwork) -> list[str]:
        return ["127.0.0.1"]

    resolve = SystemNetwork.resolve
    servers = contextlib.ExitStack()

    async def resolve_here(self: SystemNetwork, address: Address) -> list[Address]:
        if address.host != "turn.example.org":
            return await resolve(self, address)
        if not turn:
            server = ReferenceServer({"ann": "secret"}, modern=True, mobility=True)
            turn.append(servers.enter_context(TurnServerThread(server)).address)
        return turn

    turn: list[Address] = []
    monkeypatch.setattr(SystemNetwork, "resolve", resolve_here)
    monkeypatch.setattr(SystemNetwork, "listen_tcp", listen_here)
    monkeypatch.setattr(SystemNetwork, "interface_addresses", only_loopback)
    monkeypatch.setenv("LIBRATS_DATA_DIR", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("librats")
    level = logger.level
    with servers:
        yield
    logger.setLevel(level)


async def tasks_left() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]


@pytest.mark.usefixtures("on_loopback")
@pytest.mark.parametrize("page", [page for page in PAGES if steps_of(page)], ids=name_of)
def test_the_code_of_a_page_runs_and_prints_what_the_page_says(page: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "__page__"}
    with asyncio.Runner() as runner:
        for step in steps_of(page):
            run_step(step, page, namespace, runner)
        assert runner.run(tasks_left()) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_a_page_is_of_a_known_language(page: Path) -> None:
    assert {block.language for block in blocks_of(page)} <= NOT_RUN | {RUNNABLE}


def test_every_howto_and_the_tutorial_have_code_that_runs() -> None:
    idle = [name_of(page) for page in PAGES if page.parent.name in {"howto", "tutorial"} and len(steps_of(page)) < 2]
    assert idle == []
    assert steps_of(README)


def test_what_a_page_promises_is_checked(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1)\n```\n\n```text\n2\n```\n", encoding="utf-8")
    [step] = steps_of(page)
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "SECONDS", 0.05)
        with pytest.raises(AssertionError, match=r"expected:\s+2\s+printed:\s+1\s"):
            run_step(step, page, {}, runner)


# Links


def anchors_of(page: Path) -> set[str]:
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    broken = []
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        prefix = "https://github.com/librats/librats-python/"
        if target.startswith(prefix):
            path = re.sub(r"^(blob|tree)/main/", "", target.removeprefix(prefix))
            exists = path.startswith("#") or (ROOT / path).exists() or path.startswith("security/")
        elif re.match(r"https?://", target):
            exists = True  # the tests contact nobody
        else:
            path, _, anchor = target.partition("#")
            file = page.parent / path if path else page
            exists = file.exists() and (not anchor or anchor in anchors_of(file))
        if not exists:
            broken.append(target)
    assert broken == []


def test_every_page_is_in_the_table_of_contents() -> None:
    index = DOCS / "index.md"
    listed = {
        line.strip() for block in blocks_of(index) if block.language == "{toctree}" for line in block.text.splitlines()
    }
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in PAGES if page not in {README, index}}
    assert pages - listed == set()


# Reference


def documented_names() -> set[str]:
    directive = re.compile(r"^\.\. auto(?:class|exception|function|data):: (librats[\w.]+)$", flags=re.MULTILINE)
    return {name for page in (DOCS / "reference").glob("*.md") for name in directive.findall(page.read_text("utf-8"))}


def test_every_public_name_is_in_the_reference() -> None:
    public = {f"librats.{name}" for name in librats.__all__}
    public |= {f"librats.blocking.{name}" for name in librats.blocking.__all__}
    public |= {f"librats.testing.{name}" for name in librats.testing.__all__}
    assert documented_names() == public


def test_every_command_and_option_is_in_the_reference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    page = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    commands = command_helps(capsys)
    assert {"demo", "id", "node", "connect", "chat"} <= set(commands)
    missing = [name for name in commands if f"## librats {name}\n" not in page]
    for name, text in commands.items():
        missing += [f"{name} {option}" for option in re.findall(r"--[a-z][a-z-]+", text) if f"`{option}" not in page]
    assert missing == []
    known = {option for text in commands.values() for option in re.findall(r"--[a-z][a-z-]+", text)}
    assert set(re.findall(r"`(--[a-z][a-z-]+)", page)) - known == {"--version"}


def command_helps(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Return what ``--help`` of every sub-command says about its arguments."""

    def help_of(*arguments: str) -> str:
        assert main([*arguments, "--help"]) == 0
        return capsys.readouterr().out

    _, _, listed = help_of().partition("\ncommands:\n")
    names = re.findall(r"^    ([a-z]+) ", listed.partition("\n\n")[0], flags=re.MULTILINE)
    helps = {name: help_of(name) for name in names}
    for name, text in helps.items():
        _, _, actions = text.partition("\nactions:\n")
        inner = re.findall(r"^    ([a-z]+) ", actions.partition("\n\n")[0], flags=re.MULTILINE)
        helps[name] += "".join(help_of(name, action) for action in inner)
    return helps


def test_every_logger_is_on_the_page_about_logging() -> None:
    page = (DOCS / "howto" / "logging.md").read_text(encoding="utf-8")
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "src" / "librats").rglob("*.py"))
    loggers = {name for source in sources for name in re.findall(r'getLogger\("(librats\.[a-z]+)"\)', source)}
    assert len(loggers) > 3
    assert loggers == set(re.findall(r"`(librats\.[a-z]+)`", page))


def test_the_error_tree_is_that_of_the_classes() -> None:
    page = (DOCS / "reference" / "errors.md").read_text(encoding="utf-8")
    errors = importlib.import_module("librats.errors")
    parents: dict[str, str] = {}
    path: list[str] = []
    for indent, name in re.findall(r"^    ([ │├└─]*)([A-Z]\w+)", page, flags=re.MULTILINE):
        depth = len(indent) // 4
        path[depth:] = [name]
        parents[name] = path[depth - 1] if depth else "Exception"
    assert parents == {name: getattr(errors, name).__bases__[0].__name__ for name in errors.__all__}


# Examples


def run_example(name: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / f"{name}.py"), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONUTF8": "1"},
        **options,
    )


def read_lines_until(stream: Any, pattern: str) -> re.Match[str]:
    """Read lines until one matches; the end of the stream is a failure."""
    lines = []
    for line in stream:
        lines.append(line)
        if match := re.search(pattern, line):
            return match
    raise AssertionError(f"no line matches {pattern!r}: {lines}")


def end_of(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    return out, errors


@pytest.fixture
def processes() -> Iterator[contextlib.ExitStack]:
    """What is started in it is ended with the test, whatever happens."""
    with contextlib.ExitStack() as stack:
        yield stack


def started(stack: contextlib.ExitStack, process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    stack.enter_context(process)
    stack.callback(process.kill)
    return process


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_explains_itself(example: Path) -> None:
    tree = ast.parse(example.read_text(encoding="utf-8"))
    assert f"python examples/{example.name}" in (ast.get_docstring(tree) or "")


def test_request_reply_runs(processes: contextlib.ExitStack) -> None:
    out, errors = end_of(started(processes, run_example("request_reply")))
    assert re.search(r"^[0-9a-f]{8} asks for 19 characters$", out, flags=re.MULTILINE)
    assert "answer: 4 words\n" in out
    assert "error: handler_error - TypeError" in out
    assert "round trip: " in out
    assert errors == ""


def test_typed_messages_runs(processes: contextlib.ExitStack) -> None:
    out, errors = end_of(started(processes, run_example("typed_messages")))
    assert out.splitlines() == [
        "highest bid: 20, mine",
        "the auctioneer refuses a bid: Expected `int` >= 1 at $.amount",
        "the bidder hears: bad_data - Expected `int` >= 1 at $.amount",
        "not the expected answer: Object missing required field `amount`",
    ]
    assert errors == ""


def test_send_stream_sends_a_file(processes: contextlib.ExitStack, tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(bytes(range(256)) * 5000)
    folder = tmp_path / "received"
    folder.mkdir()
    receiver = started(processes, run_example("send_stream", "receive", str(folder)))
    target = read_lines_until(receiver.stdout, r"^[0-9a-f]{64}@127\.0\.0\.1:\d+$")[0].strip()
    sent, errors = end_of(started(processes, run_example("send_stream", "send", str(source), target)))
    assert errors == ""
    received, _ = end_of(receiver)
    assert received.splitlines()[-1] == sent.strip()
    assert (folder / "source.bin").read_bytes() == source.read_bytes()


def test_chat_passes_lines_both_ways(processes: contextlib.ExitStack) -> None:
    alice = started(processes, run_example("chat", "alice"))
    address = read_lines_until(alice.stdout, r"listening on.* (127\.0\.0\.1:\d+)")[1]
    bob = started(processes, run_example("chat", "bob", address))
    for process in (alice, bob):
        read_lines_until(process.stdout, r"^\* [0-9a-f]{8} joined$")
    for sender, receiver, nick in ((alice, bob, "alice"), (bob, alice, "bob")):
        assert sender.stdin is not None
        sender.stdin.write(f"hello from {nick}\x1b[2J\n")
        sender.stdin.flush()
        # The escape character is gone, so the terminal shows what would have cleared it.
        read_lines_until(receiver.stdout, rf"^{nick}: hello from {nick}\[2J$")
    end_of(bob)
    read_lines_until(alice.stdout, r"^\* [0-9a-f]{8} left: the peer shut down$")
    end_of(alice)


def test_files_of_two_that_share_them_are_listed_and_fetched(processes: contextlib.ExitStack, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4000
    targets = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "data.bin").write_bytes(content)
        os.utime(folder / "data.bin", (1e9, 1e9))  # what was changed at another time is told apart
        (folder / f"{name}.txt").write_text(name)
        sharer = started(processes, run_example("share_files", "share", str(folder)))
        targets.append(read_lines_until(sharer.stdout, r"^[0-9a-f]{64}@127\.0\.0\.1:\d+$")[0].strip())
    listed, _ = end_of(started(processes, run_example("share_files", "list", *targets)))
    assert sorted(listed.splitlines()) == [
        f"data.bin: {len(content)} bytes, from 2",
        "one.txt: 3 bytes, from 1",
        "two.txt: 3 bytes, from 1",
    ]
    fetched, errors = end_of(
        started(processes, run_example("share_files", "get", "data.bin", str(tmp_path / "new"), *targets))
    )
    assert errors.splitlines()[-1] == f"{len(content)} of {len(content)} bytes"
    assert Path(fetched.strip()).read_bytes() == content
    missing = started(processes, run_example("share_files", "get", "none", str(tmp_path / "new"), *targets))
    assert missing.communicate(timeout=SECONDS) == ("", "nobody shares none\n")
    assert missing.returncode == 1


def test_sensors_publish_to_a_collector(processes: contextlib.ExitStack) -> None:
    collector = started(processes, run_example("sensors", "collect"))
    target = read_lines_until(collector.stdout, r"^[0-9a-f]{64}@127\.0\.0\.1:\d+$")[0].strip()
    for name, line in (("attic", "21.5\n"), ("roof", "-3\n"), ("broken", "1e9\n")):
        sensor = started(processes, run_example("sensors", "sense", name, target))
        assert sensor.communicate(line, timeout=SECONDS) == ("", "")
        assert sensor.returncode == 0
    for wanted in (r"^attic 21\.5$", r"^roof -3$", r"^refused: .*1000000"):
        read_lines_until(collector.stdout, wanted)


def test_chat_by_topic_finds_the_others_in_the_dht(processes: contextlib.ExitStack) -> None:
    config = librats.RatsConfig(listen_host="127.0.0.1", dht=librats.DhtConfig(bootstrap=()))
    with librats.blocking.RatsClient(config=config, identity=librats.Identity.generate()) as node:
        node.start_dht_discovery(meet=False)
        begin = str(node.addresses[0])
        ada = started(processes, run_example("topic_chat", "ada", "garden", begin))
        read_lines_until(ada.stdout, r"^\* on topic garden$")
        bob = started(processes, run_example("topic_chat", "bob", "garden", begin))
        for process in (ada, bob):
            read_lines_until(process.stdout, r"^\* [0-9a-f]{8} is here$")
        assert bob.stdin is not None
        bob.stdin.write("hello\x1b[2J\n")
        bob.stdin.flush()
        read_lines_until(ada.stdout, r"^bob: hello\[2J$")
        end_of(bob)
        end_of(ada)
