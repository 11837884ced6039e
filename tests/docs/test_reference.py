"""The reference: what it says of arguments, fields and errors is what the code has."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import importlib
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, NamedTuple

import pytest
from tests.unit.test_blocking import INTERNAL as BY_CLASS

import librats
import librats.testing
from librats import RatsError

MODULES = ("librats", "librats.blocking", "librats.stun.credentials", "librats.testing")

# What the parts of the library call on each other is of no interest either.
INTERNAL = {cls.__name__: names for cls, names in BY_CLASS.items()} | {
    "SimNetwork": {"addresses_of", "entropy_for"},
    "SimHost": {"listen_tcp", "dial_tcp", "open_datagram", "lookup"},
    "SimRelay": {"admit", "take", "take_session", "relays_for", "lost"},
    "SimRouter": {"from_inside", "from_outside"},
    "Trace": {"add", "packet"},
}

DELEGATES = re.compile(r"\b(?:See|see|As for|The same as) :(?:meth|class):`")
SECTION = re.compile(r"^(Args|Returns|Raises|Example|Yields):$", flags=re.MULTILINE)


class Verb(NamedTuple):
    """A public function, method or property, or a class as its constructor."""

    name: str
    function: Callable[..., Any]
    doc: str

    @property
    def parameters(self) -> list[str]:
        names = list(inspect.signature(self.function).parameters)
        return names[1:] if names[:1] in (["self"], ["cls"]) else names

    def section(self, name: str) -> dict[str, str] | None:
        """Return what a section of the docstring says, by name; None where there is no such section."""
        pieces = SECTION.split(self.doc)
        for title, text in zip(pieces[1::2], pieces[2::2], strict=True):
            if title == name:
                found = re.findall(r"^    (\*{0,2}\w+): (.*)$", text, flags=re.MULTILINE)
                return {key.lstrip("*"): words for key, words in found}
        return None

    @property
    def delegates(self) -> bool:
        """Whether the docstring sends the reader to that of another verb for the rest."""
        return bool(DELEGATES.search(self.doc))


# Nobody but librats makes these, so their constructors are of no interest.
MADE_BY_LIBRATS = {
    *("AccessList", "DhtHandle", "IdentityLock", "MessageIterator", "NatHandle", "PathsHandle", "Peer", "Stream"),
    *("SimHost", "SimInterface", "SimRouter"),
}


def public_names(module: str) -> list[str]:
    return list(importlib.import_module(module).__all__)


def verbs_of(path: str, thing: Any) -> Iterator[Verb]:
    if inspect.isfunction(thing):
        yield Verb(path, thing, inspect.getdoc(thing) or "")
    if not inspect.isclass(thing):
        return
    made = thing.__name__ not in MADE_BY_LIBRATS and not dataclasses.is_dataclass(thing)
    if made and isinstance(thing.__init__, FunctionType) and thing.__init__.__qualname__.startswith(thing.__name__):
        yield Verb(path, thing.__init__, inspect.getdoc(thing) or "")
    for owner in thing.__mro__:
        if owner.__module__.split(".")[0] != "librats":
            continue
        for name, member in vars(owner).items():
            internal = name in INTERNAL.get(thing.__name__, ())
            if name.startswith("_") or internal or vars_of(thing, name) is not member:
                continue
            function = getattr(member, "fget", None) or getattr(member, "__func__", None) or member
            if inspect.isfunction(function):
                yield Verb(f"{path}.{name}", function, inspect.getdoc(function) or "")


def vars_of(thing: type, name: str) -> Any:
    return inspect.getattr_static(thing, name)


VERBS = [
    verb
    for module in MODULES
    for name in public_names(module)
    for verb in verbs_of(f"{module}.{name}", getattr(importlib.import_module(module), name))
]
each_verb = pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)


def test_there_are_verbs_to_be_looked_at() -> None:
    assert len(VERBS) > 150


@each_verb
def test_the_arguments_that_are_told_of_are_those_there_are(verb: Verb) -> None:
    told = verb.section("Args")
    if told is not None:
        assert list(told) == verb.parameters
        assert all(words.strip() for words in told.values())
    elif len(verb.parameters) > 1:
        assert verb.delegates, f"{verb.name}{inspect.signature(verb.function)} has no section Args"


CLASSES = [
    getattr(importlib.import_module(module), name)
    for module in MODULES
    for name in public_names(module)
    if inspect.isclass(getattr(importlib.import_module(module), name))
]


@pytest.mark.parametrize("thing", [c for c in CLASSES if dataclasses.is_dataclass(c)], ids=lambda c: c.__name__)
def test_every_field_of_a_dataclass_is_described(thing: type) -> None:
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    assert isinstance(definition, ast.ClassDef)
    bare = []
    for statement, following in itertools.pairwise([*definition.body, ast.Pass()]):
        described = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if isinstance(statement, ast.AnnAssign) and not described:
            bare.append(ast.unparse(statement.target))
    assert bare == []


def raised_in(function: Callable[..., Any]) -> set[str]:
    """Return the exceptions that the body of a function raises by name, but not those of functions within it."""
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef)
    found = set()
    waiting: list[ast.AST] = list(definition.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and node.exc is not None:
            called = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if isinstance(called, ast.Name) and called.id[0].isupper():
                found.add(called.id)
        waiting += ast.iter_child_nodes(node)
    return found


@each_verb
def test_what_a_verb_raises_is_told(verb: Verb) -> None:
    raised = {name for name in raised_in(verb.function) if hasattr(librats, name)}
    told = set(verb.section("Raises") or ())
    if not verb.delegates:
        assert raised - told == set()


@each_verb
def test_the_errors_that_are_told_of_exist(verb: Verb) -> None:
    for name in verb.section("Raises") or ():
        error = getattr(librats, name, None) or getattr(librats.testing, name, None) or getattr(builtins, name)
        assert issubclass(error, BaseException)
        assert issubclass(error, RatsError) or error in {
            StopIteration,
            StopAsyncIteration,
            ValueError,
            TypeError,
            OSError,
        }


@each_verb
def test_the_first_sentence_says_what_it_does(verb: Verb) -> None:
    first = verb.doc.partition("\n\n")[0]
    assert first.endswith((".", "::")), verb.name
    assert len(first) > 10


def test_a_docstring_that_lacks_something_is_noticed() -> None:
    def send(to: str, data: bytes) -> None:
        """Send.

        Args:
            to: Whom to.
        """
        raise librats.PeerNotConnected("nobody")

    def ask(to: str, data: bytes) -> None:
        """Ask somebody."""
        raise ValueError

    for function in (send, ask):
        verb = Verb(function.__name__, function, inspect.getdoc(function) or "")
        with pytest.raises(AssertionError):
            test_the_arguments_that_are_told_of_are_those_there_are(verb)
    assert raised_in(ask) == {"ValueError"}
