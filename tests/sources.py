"""The sources of librats as the tests read them: where each file is in the package, and what it imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Import(NamedTuple):
    module: str
    """Absolute dotted name; a C header in angle brackets."""

    names: tuple[str, ...]
    """What is taken from it; empty for a plain import."""

    level: int
    """Leading dots, as written."""

    typing_only: bool
    line: int


@dataclass(frozen=True)
class Source:
    path: str
    """Path from the root of the checkout, with slashes."""

    text: str

    @property
    def is_cython(self) -> bool:
        return self.path.endswith((".pyx", ".pxd"))

    @property
    def in_package(self) -> bool:
        return self.path.startswith(("src/librats/", "src/_core/"))

    @property
    def module(self) -> str:
        parts = re.sub(r"\.\w+$", "", self.path).split("/")[1:]
        if parts[0] == "_core":
            parts.insert(0, "librats")
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def unit(self) -> str:
        return unit_of(self.module)

    @property
    def imports(self) -> list[Import]:
        return list(cython_imports(self) if self.is_cython else python_imports(self))


def unit_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def absolute(source: Source, level: int, module: str) -> str:
    if not level:
        return module
    parts = source.module.split(".")
    keep = len(parts) - level + source.path.endswith("/__init__.py")
    return ".".join([*parts[: max(keep, 0)], *([module] if module else [])])


def is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def python_imports(source: Source) -> Iterator[Import]:
    def visit(node: ast.AST, typing_only: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), 0, typing_only, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(source, node.level, node.module or "")
            yield Import(module, tuple(a.name for a in node.names), node.level, typing_only, node.lineno)
        guarded = node.body if isinstance(node, ast.If) and is_type_checking(node.test) else []
        for child in ast.iter_child_nodes(node):
            yield from visit(child, typing_only or child in guarded)

    yield from visit(ast.parse(source.text, source.path), source.path.endswith(".pyi"))


CYTHON_FROM = re.compile(r"^[ \t]*from[ \t]+(\.*)([\w.]*)[ \t]+c?import[ \t]+(\([^)]*\)|[^\n]*)", re.MULTILINE)

CYTHON_IMPORT = re.compile(r"^[ \t]*c?import[ \t]+([^\n]*)", re.MULTILINE)

CYTHON_HEADER = re.compile(r"^[ \t]*cdef[ \t]+extern[ \t]+from[ \t]+[\"']<?([^\"'>]+)", re.MULTILINE)


def without_strings_and_comments(text: str) -> str:
    """Blank out what Cython does not execute, keeping the lines where they are."""
    text = re.sub(r"\"\"\".*?\"\"\"|'''.*?'''", lambda m: "\n" * m.group().count("\n"), text, flags=re.DOTALL)
    text = re.sub(r"#.*", "", text)
    return re.sub(r"\\\n", "  ", text)


def cython_imports(source: Source) -> Iterator[Import]:
    text = without_strings_and_comments(source.text)

    def names(listing: str) -> tuple[str, ...]:
        return tuple(item.split()[0] for item in listing.strip("() \n").split(",") if item.strip())

    def line(match: re.Match[str]) -> int:
        return text.count("\n", 0, match.start()) + 1

    for match in CYTHON_FROM.finditer(text):
        dots, module, listing = match.groups()
        yield Import(absolute(source, len(dots), module), names(listing), len(dots), False, line(match))
    for match in CYTHON_IMPORT.finditer(text):
        for module in names(match.group(1)):
            yield Import(module, (), 0, False, line(match))
    for match in CYTHON_HEADER.finditer(text):
        yield Import(f"<{match.group(1)}>", (), 0, False, line(match))
