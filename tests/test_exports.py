"""The public names: `librats.__all__`, their docstrings, and what importing them costs."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import librats

PACKAGE = Path(__file__).parents[1] / "src" / "librats"
SLOW_IMPORTS = frozenset({"ifaddr", "numpy", "redis", "rich", "zeroconf"})
OPTIONAL = ["cryptography", "prometheus_client", "redis", "rich", "segno", "typing_extensions", "uvloop"]


def reexported_modules(init: str) -> list[str]:
    """Name the modules of librats that a package's `__init__` takes names from."""
    found = {
        node.module
        for node in ast.walk(ast.parse(init))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("librats.")
    }
    return sorted(found)


def public_module_names() -> list[str]:
    return reexported_modules((PACKAGE / "__init__.py").read_text(encoding="utf-8"))


def all_module_names() -> list[str]:
    """Name every module, compiled ones too, but those that run a program when imported."""
    names = {f"librats._core.{path.stem}" for path in (PACKAGE.parent / "_core").glob("*.pyx")}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if parts[-1] != "__main__":
            names.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return sorted(names)


def exported(module: ModuleType) -> list[str]:
    return list(getattr(module, "__all__", []))


def has_own_docstring(item: object) -> bool:
    text = vars(item).get("__doc__") if isinstance(item, type) else getattr(item, "__doc__", None)
    # Dataclasses and named tuples without a docstring are given their signature as one.
    return bool(text) and not str(text).startswith(f"{getattr(item, '__name__', '')}(")


def undocumented(owner: str, item: object) -> list[str]:
    """Name the class or function, and the public methods and properties of it, that have no docstring."""
    if not (inspect.isclass(item) or inspect.isroutine(item)):
        return []
    missing = [] if has_own_docstring(item) else [owner]
    if inspect.isclass(item):
        for name, member in vars(item).items():
            function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            if name.startswith("_") or not isinstance(function, FunctionType | property):
                continue
            if not has_own_docstring(function):
                missing.append(f"{owner}.{name}")
    return missing


def test_all_is_the_union_of_the_public_names_of_the_reexported_modules() -> None:
    expected = {name for module in public_module_names() for name in exported(importlib.import_module(module))}
    assert set(exported(librats)) - {"__version__"} == expected


@pytest.mark.parametrize("module_name", ["librats", *public_module_names()])
def test_all_is_sorted_and_every_name_in_it_exists_once(module_name: str) -> None:
    module = importlib.import_module(module_name)
    names = exported(module)
    assert names == sorted(set(names))
    assert [name for name in names if not hasattr(module, name)] == []


@pytest.mark.parametrize("module_name", public_module_names())
def test_librats_exports_the_same_objects_as_the_modules(module_name: str) -> None:
    module = importlib.import_module(module_name)
    assert [n for n in exported(module) if getattr(librats, n) is not getattr(module, n)] == []


def test_every_public_class_and_function_has_a_docstring() -> None:
    assert [m for name in exported(librats) for m in undocumented(name, getattr(librats, name))] == []


def test_a_missing_docstring_is_noticed() -> None:
    class Bare:
        def method(self) -> None: ...

        @property
        def attribute(self) -> int:
            return 1

        @classmethod
        def make(cls) -> Bare:
            """Make one."""
            return cls()

        def _private(self) -> None: ...

    class Child(Bare):
        pass

    assert undocumented("Bare", Bare) == ["Bare", "Bare.method", "Bare.attribute"]
    assert undocumented("Child", Child) == ["Child"]
    assert undocumented("DEFAULT", 7) == []


def test_every_reexported_module_is_noticed() -> None:
    init = "from librats.errors import A\nfrom importlib import metadata\nfrom librats.client import (\n B,\n)\n"
    assert reexported_modules(init) == ["librats.client", "librats.errors"]


def test_the_version_is_that_of_the_installed_distribution() -> None:
    assert "__version__" in vars(librats) or not public_module_names()
    assert getattr(librats, "__version__", version("librats")) == version("librats")


@pytest.mark.parametrize("module_name", all_module_names())
def test_examples_in_docstrings_run(module_name: str) -> None:
    module = importlib.import_module(module_name)
    assert doctest.testmod(module).failed == 0


def test_importing_librats_loads_nothing_slow_or_optional(tmp_path: Path) -> None:
    script = "import json, sys, librats; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "librats" in loaded
    assert loaded & SLOW_IMPORTS == set()


def test_what_few_programs_use_is_loaded_when_it_is_asked_for(tmp_path: Path) -> None:
    script = """
import sys, librats
assert not any(name.startswith(("librats.doctor", "librats.services.doctor")) for name in sys.modules)
assert librats.diagnose.__module__ == "librats.services.doctor"
from librats import NetworkReport
try:
    librats.nothing_of_the_kind
except AttributeError as error:
    assert str(error) == "module 'librats' has no attribute 'nothing_of_the_kind'"
else:
    sys.exit("found")
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["librats", "librats.cli", "librats.relay.server"])
def test_what_is_no_dependency_need_not_be_there(tmp_path: Path, module: str) -> None:
    script = f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL})); import {module}"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
