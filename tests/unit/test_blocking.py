"""The blocking classes have every public verb of the async ones, with the same parameters."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import librats
from librats import Identity, UsageError, blocking

# What the parts of the library call on each other, and not the application.
INTERNAL = {
    librats.RatsClient: set[str](),
    librats.Peer: {
        "drop",
        "inbox",
        "link",
        "links",
        "send_the_long_way",
        "sent_elsewhere",
        "shortcut",
        "try_send_encoded",
        "use",
    },
    librats.Stream: {"accept", "changed", "refuse", "wait_accepted"},
    librats.MessageIterator: set[str](),
    librats.NatHandle: {"start_mapping", "stop_mapping"},
    librats.DhtHandle: {"driver", "start", "stop", "take", "wait"},
    librats.PeerBook: {
        "connected",
        "failed",
        "parted",
        "heir_of",
        "reached",
        "recent",
        "restore",
        "snapshot",
        "succeeded",
    },
}
SPECIAL = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "__repr__": "__repr__",
}
PAIRS = [
    pytest.param(getattr(librats, name), getattr(blocking, name), id=name)
    for name in ("RatsClient", "Peer", "Stream", "MessageIterator", "NatHandle", "DhtHandle", "PeerBook")
]


def verbs(cls: type) -> dict[str, Any]:
    """Public methods and properties by name, those of the mixed-in classes included."""
    found: dict[str, Any] = {}
    for owner in reversed(cls.__mro__[:-1]):
        for name, member in vars(owner).items():
            public = not name.startswith("_") or name in SPECIAL or name in SPECIAL.values()
            if public and (inspect.isfunction(member) or isinstance(member, property)):
                found[name] = member
    return found


def missing_or_different(async_class: type, blocking_class: type, internal: set[str]) -> list[str]:
    """Tell in which verbs the second class is not what it should be."""
    theirs = verbs(blocking_class)
    troubles = []
    for name, verb in verbs(async_class).items():
        if name in internal:
            continue
        counterpart = theirs.get(SPECIAL.get(name, name))
        if counterpart is None:
            troubles.append(f"{name} is missing")
        elif isinstance(verb, property) != isinstance(counterpart, property):
            troubles.append(f"{name} is a property in one of them only")
        elif not isinstance(verb, property):
            if inspect.iscoroutinefunction(counterpart) or inspect.isasyncgenfunction(counterpart):
                troubles.append(f"{name} is async")
            wanted, found = (list(inspect.signature(f).parameters.values()) for f in (verb, counterpart))
            # Annotations are compared as they are written: both modules speak of their own Peer and Stream. Those that
            # stand for a function type are given by a type variable, which each module names for itself.
            if [(p.name, p.kind, p.default) for p in wanted] != [(p.name, p.kind, p.default) for p in found]:
                troubles.append(f"{name}{inspect.signature(counterpart)} is not {name}{inspect.signature(verb)}")
            elif [p.annotation for p in wanted] != [p.annotation for p in found]:
                troubles.append(f"{name} has other types")
    return troubles


@pytest.mark.parametrize(("async_class", "blocking_class"), PAIRS)
def test_every_public_verb_has_its_counterpart_with_the_same_parameters(
    async_class: type, blocking_class: type
) -> None:
    assert missing_or_different(async_class, blocking_class, INTERNAL[async_class]) == []


def test_constructors_take_the_same_arguments() -> None:
    wanted, found = (inspect.signature(cls.__init__).parameters for cls in (librats.RatsClient, blocking.RatsClient))
    assert dict(wanted) == dict(found)


@pytest.mark.parametrize(("async_class", "blocking_class"), PAIRS)
def test_what_is_internal_exists(async_class: type, blocking_class: type) -> None:
    known = set(dir(async_class)) | {"inbox"}
    assert INTERNAL[async_class] - known == set()


@pytest.mark.parametrize(("async_class", "blocking_class"), PAIRS)
def test_every_public_verb_is_documented(async_class: type, blocking_class: type) -> None:
    assert blocking_class.__doc__
    assert [name for name, verb in verbs(blocking_class).items() if not verb.__doc__] == []


def test_a_missing_verb_another_parameter_and_an_async_one_are_noticed() -> None:
    class Asking:
        async def send(self, data: bytes, *, to: str = "") -> None: ...
        async def close(self) -> None: ...
        async def drain(self) -> None: ...
        @property
        def rtt(self) -> None: ...

    class Blocking:
        def send(self, data: bytes, *, to: str = "all") -> None: ...
        async def drain(self) -> None: ...
        def rtt(self) -> None: ...

    troubles = missing_or_different(Asking, Blocking, set())
    assert [trouble.split()[0].partition("(")[0] for trouble in troubles] == ["send", "close", "drain", "rtt"]


def test_the_module_can_be_imported_alone() -> None:
    command = "import librats.blocking, threading; librats.blocking.RatsClient(); print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "1"


# A client that is not running


def test_verbs_that_need_a_running_client_say_how_to_run_it() -> None:
    client = blocking.RatsClient(identity=Identity.generate())
    calls: list[Callable[[], object]] = [
        lambda: client.send("chat"),
        lambda: client.try_send("chat"),
        lambda: client.connect("192.0.2.7:8081"),
        lambda: client.listen_port,
        lambda: client.addresses,
        lambda: client.open_stream("0" * 64, "upload/1"),
        lambda: next(client.messages("chat")),
    ]
    for call in calls:
        with pytest.raises(UsageError, match=r"`with RatsClient"):
            call()


def test_a_client_that_never_ran_can_be_stopped_and_waited_for() -> None:
    client = blocking.RatsClient(identity=Identity.generate())
    client.stop()
    client.close()
    client.wait_closed()
    assert not client.is_running
    assert client.statistics() == {"running": False}
    assert client.peers == {}


def test_handlers_can_be_set_and_removed_before_the_start() -> None:
    client = blocking.RatsClient()

    def heard(peer: blocking.Peer, data: object) -> None: ...

    assert client.on("chat", heard) is heard
    assert client.on("chat")(heard) is heard
    assert client.off("chat", lambda peer, data: None) == 0
    assert client.off("chat", heard) == 2


class AsyncCallable:
    async def __call__(self, *args: object) -> None: ...


async def an_async_handler(*args: object) -> None: ...


@pytest.mark.parametrize("handler", [an_async_handler, AsyncCallable(), "no function"])
def test_handlers_that_are_no_plain_functions_are_refused(handler: Any) -> None:
    client = blocking.RatsClient()
    registrations: list[Callable[[], object]] = [
        lambda: client.on("chat", handler),
        lambda: client.on("chat")(handler),
        lambda: client.once("chat", handler),
        lambda: client.on_bytes(handler),
        lambda: client.on_text(handler),
        lambda: client.on_stream("upload/1", handler),
        lambda: client.on_datagram(handler),
        lambda: client.on_unhandled(handler),
        lambda: client.on_connect(handler),
        lambda: client.on_disconnect(handler),
        lambda: client.on_incoming(handler),
        lambda: client.on_event(librats.PeerConnected, handler),
        lambda: client.set_connection_callback(handler),
        lambda: client.set_advanced_connection_callback(handler),
    ]
    for register in registrations:
        with pytest.raises(UsageError):
            register()


def test_handlers_that_cannot_be_called_with_what_comes_are_refused_at_once() -> None:
    client = blocking.RatsClient()
    registrations: list[Callable[..., object]] = [client.on, client.once, client.on_stream]
    for register in registrations:
        with pytest.raises(UsageError, match="a handler is called with"):
            register("x", lambda: None)


def test_a_name_that_is_too_long_is_refused_where_it_is_written() -> None:
    client = blocking.RatsClient()
    for decorator in (client.on, client.once, client.on_stream, client.messages):
        with pytest.raises(UsageError):
            decorator("x" * 256)


def test_settings_are_those_of_the_async_client() -> None:
    client = blocking.RatsClient()
    client.set_protocol_name("game")
    client.set_protocol_version("2")
    same = librats.RatsClient(config=librats.RatsConfig(protocol_name="game", protocol_version="2"))
    assert client.get_discovery_hash() == same.get_discovery_hash()
