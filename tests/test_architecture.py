"""The floors: which part of librats may import which, checked on the sources themselves.

Each rule is a function from sources to complaints. It runs on the whole tree, and on made-up sources that
break it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.sources import Import, Source, unit_of, without_strings_and_comments

ROOT = Path(__file__).parents[1]

# Floors from the ground up. On one floor, a unit may import what stands left of it; a nested tuple holds
# units that may import each other (never in a cycle).
FLOORS: tuple[tuple[str | tuple[str, ...], ...], ...] = (
    (
        (
            *("reasons", "nat_words", "errors", "types", "peer_ids", "checks", "web_uris", "servers", "tickets"),
            *("nat_config", "dht_config", "files_config", "config"),
        ),
    ),
    ("_core",),
    (
        *("stun", "noise", "rudp", "session"),
        *("turn", "dht", "pubsub", "transfer", "portmap", "bittorrent"),
        *("ice", "punch", "codes"),
        "doctor",
        "introduce",
        "web",
    ),
    ("runtime",),
    ("services", "peers"),
    (
        *("attempts", "connector", "hole_punching", "introducers", "relay"),
        *("introductions", "discovery", "memory"),
        *("verbs", "client", "torrents"),
    ),
    (("__init__", "__main__", "blocking", "testing", "cli"),),
)

PURE_FLOORS = 3
MAX_LINES = 500
VAGUE_NAMES = frozenset({"common", "helper", "helpers", "misc", "util", "utils"})
SOCKET_UNITS = frozenset({"runtime", "testing", "cli"})

IMPURE = frozenset(
    [
        *("asyncio", "select", "selectors", "socket", "ssl", "threading", "os"),
        *("datetime", "time", "cpython.datetime", "cpython.time", "libc.time", "posix.time"),
        *("random", "secrets", "uuid", "nacl.utils"),
        *("<sys/random.h>", "<sys/time.h>", "<time.h>"),
    ]
)
# A switch in the environment, read once, while each module is imported.
IMPURE_BUT_ALLOWED = {("src/_core/aead.pyx", "os"), ("src/_core/libsodium.pyx", "os")}
ENTROPY_NAMES = frozenset(
    ["urandom", "getrandom", "randombytes", "crypto_box_keypair", "crypto_kx_keypair", "crypto_sign_keypair"]
)
SOCKET_MODULES = frozenset({"_socket", "socket", "socketserver"})
ASYNCIO_OPENERS = frozenset({"open_connection", "open_unix_connection", "start_server", "start_unix_server"})
LOOP_OPENERS = frozenset(
    [
        "create_connection",
        "create_datagram_endpoint",
        "create_server",
        "create_unix_connection",
        "create_unix_server",
    ]
)


class Place(NamedTuple):
    floor: int
    rank: int


PLACES = {
    unit: Place(floor, rank)
    for floor, row in enumerate(FLOORS)
    for rank, cell in enumerate(row)
    for unit in ((cell,) if isinstance(cell, str) else cell)
}


def targets(item: Import, known: frozenset[str]) -> Iterator[str]:
    """Yield the modules that an import reaches: `from package import module` reaches the module."""
    if not item.names:
        yield item.module
    for name in item.names:
        inner = f"{item.module}.{name}"
        is_unit = item.module == "librats" and name in PLACES
        yield inner if inner in known or is_unit else item.module


def our_imports(source: Source, known: frozenset[str]) -> Iterator[tuple[Import, str]]:
    for item in source.imports:
        for target in dict.fromkeys(targets(item, known)):
            if target == "librats" or target.startswith("librats."):
                yield item, target


def modules_of(sources: Sequence[Source]) -> frozenset[str]:
    return frozenset(source.module for source in sources if source.in_package)


# The rules.


def unplaced(sources: Sequence[Source]) -> list[str]:
    units = {source.unit for source in sources if source.in_package}
    return [f"{unit}: has no floor; give it one in FLOORS" for unit in sorted(units - PLACES.keys())]


def floor_breaches(sources: Sequence[Source]) -> list[str]:
    found = []
    known = modules_of(sources)
    for source in sources:
        if not source.in_package or source.unit not in PLACES:
            continue
        for item, target in our_imports(source, known):
            unit = unit_of(target)
            here, there = PLACES[source.unit], PLACES.get(unit)
            if there is None:
                found.append(f"{source.path}:{item.line}: {target} has no floor")
            elif unit != source.unit and there > here:
                where = f"floor {there.floor}" if there.floor != here.floor else "right of it on its floor"
                found.append(f"{source.path}:{item.line}: {source.unit} imports {target}, {where}")
    return found


def climbing_imports(sources: Sequence[Source]) -> list[str]:
    return [
        f"{source.path}:{item.line}: relative import climbs out of its package"
        for source in sources
        if source.in_package
        for item in source.imports
        if item.level > 1
    ]


def cycles(sources: Sequence[Source]) -> list[str]:
    known = modules_of(sources)
    graph: dict[str, set[str]] = {}
    for source in sources:
        if source.in_package:
            reached = {target for item, target in our_imports(source, known) if not item.typing_only}
            graph.setdefault(source.module, set()).update(reached - {source.module})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" imports ".join(reversed(error.args[1]))]
    return []


def vague_names(sources: Sequence[Source]) -> list[str]:
    return [
        f"{source.path}: {part} says nothing about what is in it"
        for source in sources
        for part in re.split(r"[/.]", source.path)
        if part in VAGUE_NAMES or part.removeprefix("test_") in VAGUE_NAMES
    ]


def long_files(sources: Sequence[Source]) -> list[str]:
    lengths = ((source.path, len(source.text.splitlines())) for source in sources)
    return [f"{path}: {lines} lines, at most {MAX_LINES}" for path, lines in lengths if lines > MAX_LINES]


def names_used(source: Source) -> Iterator[tuple[str, int]]:
    if source.is_cython:
        for number, line in enumerate(without_strings_and_comments(source.text).splitlines(), 1):
            yield from ((word, number) for word in re.findall(r"\w+", line))
        return
    for node in ast.walk(ast.parse(source.text, source.path)):
        if isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.Name):
            yield node.id, node.lineno
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.name, node.lineno) for alias in node.names)


def external_modules(item: Import) -> set[str]:
    """Every dotted name that an import may load, from the outermost package inwards."""
    whole = [item.module, *(f"{item.module}.{name}" for name in item.names)]
    return {".".join(parts[:n]) for parts in (name.split(".") for name in whole) for n in range(1, len(parts) + 1)}


def impurities(sources: Sequence[Source]) -> list[str]:
    found = []
    for source in sources:
        if not source.in_package or source.unit not in PLACES or PLACES[source.unit].floor >= PURE_FLOORS:
            continue
        for item in source.imports:
            names = {item.module} if item.module.startswith("<") else external_modules(item)
            for name in sorted(names & IMPURE):
                if (source.path, name) not in IMPURE_BUT_ALLOWED:
                    found.append(f"{source.path}:{item.line}: {name} on floor {PLACES[source.unit].floor}")
        for name, line in names_used(source):
            if name in ENTROPY_NAMES:
                found.append(f"{source.path}:{line}: {name} draws randomness")
    return found


def weak_randomness(sources: Sequence[Source]) -> list[str]:
    return [
        f"{source.path}:{item.line}: random is not for a network library; see runtime/entropy.py"
        for source in sources
        if source.in_package
        for item in source.imports
        if "random" in external_modules(item)
    ]


def socket_openings(source: Source) -> Iterator[tuple[str, int]]:
    for item in source.imports:
        if not SOCKET_MODULES.isdisjoint(external_modules(item)):
            yield f"imports {item.module}", item.line
        if item.module == "asyncio":
            yield from ((f"uses asyncio.{name}", item.line) for name in item.names if name in ASYNCIO_OPENERS)
    if source.is_cython:
        return
    for node in ast.walk(ast.parse(source.text, source.path)):
        if isinstance(node, ast.Attribute):
            owner = node.value.func if isinstance(node.value, ast.Call) else node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if (name == "asyncio" and node.attr in ASYNCIO_OPENERS) or (
                name.endswith("loop") and node.attr in LOOP_OPENERS
            ):
                yield f"uses {name}.{node.attr}", node.lineno


def sockets_elsewhere(sources: Sequence[Source]) -> list[str]:
    return [
        f"{source.path}:{line}: {what}; only {', '.join(sorted(SOCKET_UNITS))} may"
        for source in sources
        if source.in_package and source.unit not in SOCKET_UNITS
        for what, line in socket_openings(source)
    ]


Rule = Callable[[Sequence[Source]], list[str]]
RULES: tuple[Rule, ...] = (
    unplaced,
    floor_breaches,
    climbing_imports,
    cycles,
    vague_names,
    long_files,
    impurities,
    weak_randomness,
    sockets_elsewhere,
)


@pytest.fixture(scope="module")
def tree() -> list[Source]:
    paths = [
        path
        for folder in ("src", "tests")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".pyi", ".pyx", ".pxd"}
    ]
    return [Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.__name__))
def test_the_sources_keep_the_rule(rule: Rule, tree: list[Source]) -> None:
    complaints = rule(tree)
    assert not complaints, "\n".join(complaints)


def test_headers_are_no_longer_than_other_files() -> None:
    paths = sorted((ROOT / "src").rglob("*.h"))
    assert paths
    assert not long_files([Source(path.name, path.read_text(encoding="utf-8")) for path in paths])


def test_the_sources_were_found_and_their_imports_read(tree: list[Source]) -> None:
    by_module = {source.module: source for source in tree if source.in_package and source.path.endswith(".pyx")}
    read = {item.module for item in by_module["librats._core.aead"].imports}
    assert {"os", "cpython.memoryview", "libc.string", "librats.errors", "librats._core.octets"} <= read
    assert {"librats", "librats.errors", "librats.types"} <= modules_of(tree)


IN = "src/librats/"
CORE = "src/_core/"
GUARD = "if TYPE_CHECKING:\n    "

BROKEN: list[tuple[Rule, str, dict[str, str]]] = [
    (unplaced, "gadgets", {IN + "gadgets/__init__.py": ""}),
    (unplaced, "gadget", {IN + "gadget.py": ""}),
    (floor_breaches, "librats.client", {IN + "noise/dh.py": "from librats.client import RatsClient"}),
    (floor_breaches, "librats.client", {IN + "noise/dh.py": "from ..client import RatsClient"}),
    (floor_breaches, "librats.client", {IN + "errors.py": GUARD + "from librats.client import RatsClient"}),
    (floor_breaches, "librats.client", {IN + "runtime/tcp.py": "def f():\n    import librats.client"}),
    (floor_breaches, "librats.client", {IN + "relay/server.py": "import librats.client"}),
    (floor_breaches, "librats.session", {IN + "noise/dh.py": "import librats.session.frames"}),
    (floor_breaches, "librats.peers", {IN + "services/mdns.py": "from librats import peers"}),
    (floor_breaches, "imports librats,", {IN + "client.py": "from librats import RatsClient"}),
    (floor_breaches, "has no floor", {IN + "client.py": "import librats.gadgets"}),
    (floor_breaches, "librats.client", {CORE + "aead.pyi": "from librats.client import RatsClient"}),
    (floor_breaches, "librats.noise", {CORE + "framing.pyx": "from librats.noise import dh"}),
    (floor_breaches, "librats.noise", {CORE + "octets.pxd": "cimport librats.noise.fast as f"}),
    (climbing_imports, "dh.py:1", {IN + "noise/dh.py": "from ..errors import UsageError"}),
    (climbing_imports, "aead.pyx:1", {CORE + "aead.pyx": "from ..errors import UsageError"}),
    (
        cycles,
        "librats.noise.a imports librats.noise.b",
        {
            IN + "noise/a.py": "from librats.noise.b import f",
            IN + "noise/b.py": "def g():\n    from librats.noise import a",
        },
    ),
    (
        cycles,
        "librats.noise",
        {IN + "noise/__init__.py": "from .a import f", IN + "noise/a.py": "from librats.noise import g"},
    ),
    (
        cycles,
        "librats._core.b",
        {
            CORE + "a.pyx": "from librats._core.b cimport (\n    First,\n    Second,\n)",
            CORE + "b.pxd": "from librats._core cimport a",
        },
    ),
    (vague_names, "utils", {IN + "noise/utils.py": ""}),
    (vague_names, "common", {IN + "common/__init__.py": ""}),
    (vague_names, "helpers", {"tests/unit/helpers.pyi": ""}),
    (vague_names, "test_misc", {"tests/unit/test_misc.py": ""}),
    (long_files, "501 lines", {"tests/unit/test_much.py": "pass\n" * 501}),
    (impurities, "os", {IN + "noise/dh.py": "import os"}),
    (impurities, "os", {CORE + "framing.pyx": "import os"}),
    (impurities, "asyncio", {IN + "session/a.py": "from asyncio.events import get_running_loop"}),
    (impurities, "secrets", {IN + "types.py": "def f():\n    from secrets import token_bytes"}),
    (impurities, "nacl.utils", {IN + "noise/dh.py": "from nacl import utils"}),
    (impurities, "randombytes", {IN + "noise/dh.py": "key = nacl.bindings.randombytes(32)"}),
    (impurities, "time", {CORE + "aead.pyx": "import zlib, time"}),
    (impurities, "urandom", {CORE + "aead.pyx": "import os\nkey = os.urandom(32)"}),
    (impurities, "libc.time", {CORE + "rudp.pyx": "from libc cimport time"}),
    (impurities, "<time.h>", {CORE + "rudp.pyx": 'cdef extern from "<time.h>":\n    pass'}),
    (weak_randomness, "tcp.py:2", {IN + "runtime/tcp.py": "import ssl\nimport random"}),
    (weak_randomness, "client.py:1", {IN + "client.py": "from random import choice"}),
    (sockets_elsewhere, "socket", {IN + "services/mdns.py": "import socket"}),
    (sockets_elsewhere, "socket", {IN + "client.py": GUARD + "from socket import socket"}),
    (sockets_elsewhere, "start_server", {IN + "client.py": "import asyncio\nasyncio.start_server(f)"}),
    (sockets_elsewhere, "open_connection", {IN + "relay/a.py": "from asyncio import open_connection"}),
    (sockets_elsewhere, "create_server", {IN + "client.py": "self._loop.create_server(f)"}),
    (sockets_elsewhere, "create_server", {IN + "client.py": "asyncio.get_running_loop().create_server(f)"}),
]


def made_up(files: dict[str, str]) -> list[Source]:
    return [Source(path, text) for path, text in files.items()]


@pytest.mark.parametrize(("rule", "told", "files"), BROKEN)
def test_a_breach_is_told(rule: Rule, told: str, files: dict[str, str]) -> None:
    complaints = rule(made_up(files))
    assert complaints
    assert all(told in complaint for complaint in complaints)


SOUND = {
    IN + "errors.py": f"from typing import TYPE_CHECKING\n{GUARD}import librats.types",
    IN + "types.py": "from librats.errors import UsageError",
    CORE + "octets.pxd": '"""Loads.\n\nimport socket\n"""\ncimport cython',
    CORE + "aead.pyx": "import os  # import time\nfrom librats._core.octets cimport store_le64",
    IN + "noise/__init__.py": "from librats.noise.dh import exchange",
    IN + "noise/dh.py": "from librats._core.aead import Cipher\nfrom .pattern import XX",
    IN + "noise/pattern.py": "import hashlib\nfrom librats import errors",
    IN + "session/core.py": "from librats.noise import exchange\nentropy.token_bytes(8)",
    IN + "runtime/network.py": "import asyncio, os, socket, time\nasyncio.start_server(f)",
    IN + "services/session.py": "import asyncio\nnetwork.create_server(f)\nasyncio.timeout(3)",
    IN + "client.py": "from librats.services.session import f\nimport librats.relay.server",
    IN + "__init__.py": "from librats.client import RatsClient",
    IN + "cli/__init__.py": "import socket\nfrom librats import RatsClient, blocking",
    "tests/unit/noise/test_dh.py": "import random, socket, time\n" + "pass\n" * 499,
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.__name__))
def test_sound_sources_are_not_complained_about(rule: Rule) -> None:
    assert rule(made_up(SOUND)) == []


def test_every_rule_is_seen_to_fail() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)
