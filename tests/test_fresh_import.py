"""Every module of librats can be the first one that a program imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "src"

# Reads module names, one a line; forgets librats before each import, so that one interpreter does for all.
# Compiled modules stay: they cannot be initialised twice.
IMPORT_EACH = """
import contextlib, importlib, importlib.machinery, io, json, sys, traceback
EXTENSIONS = tuple(importlib.machinery.EXTENSION_SUFFIXES)
troubles = {}
for name in sys.stdin.read().split():
    for loaded, module in list(sys.modules.items()):
        ours = loaded == "librats" or loaded.startswith("librats.")
        if ours and not (getattr(module, "__file__", None) or "").endswith(EXTENSIONS):
            del sys.modules[loaded]
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            importlib.import_module(name)
        except BaseException:
            troubles[name] = traceback.format_exc()
    if output.getvalue():
        troubles[name] = "printed " + output.getvalue()
print(json.dumps(troubles))
"""


def module_names(sources: Path) -> list[str]:
    """Name every module under `sources` but those that run a program when imported."""
    names = {f"librats._core.{path.stem}" for path in (sources / "_core").glob("*.pyx")}
    for path in (sources / "librats").rglob("*.py"):
        parts = path.relative_to(sources).with_suffix("").parts
        if parts[-1] != "__main__":
            names.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return sorted(names)


def import_each(names: list[str], directory: Path, *options: str) -> dict[str, str]:
    """Import each module first of all in a fresh process, and tell what went wrong with which."""
    done = subprocess.run(
        [sys.executable, *options, "-c", IMPORT_EACH],
        input="\n".join(names),
        cwd=directory,
        env={**os.environ, "SKBUILD_EDITABLE_VERBOSE": "0"},  # a rebuild on import says so on standard output
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    )
    troubles: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return troubles


def test_every_package_imports_first_and_quietly(tmp_path: Path) -> None:
    names = [name for name in module_names(SOURCES) if (SOURCES / name.replace(".", "/")).is_dir()]
    assert {"librats", "librats.relay", "librats.turn.serving"} <= set(names)
    troubles = import_each(names, tmp_path, "-I")
    assert not troubles, "\n".join(f"{name}: {text}" for name, text in troubles.items())


@pytest.mark.long
def test_every_module_imports_first_and_quietly(tmp_path: Path) -> None:
    names = module_names(SOURCES)
    assert {"librats", "librats.errors", "librats._core.aead"} <= set(names)
    troubles = import_each(names, tmp_path, "-I")
    assert not troubles, "\n".join(f"{name}: {text}" for name, text in troubles.items())


def test_a_module_that_cannot_be_imported_or_prints_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module\n", encoding="utf-8")
    (tmp_path / "loud.py").write_text("print('hello')\n", encoding="utf-8")
    (tmp_path / "fine.py").write_text("VALUE = 1\n", encoding="utf-8")
    troubles = import_each(["broken", "fine", "loud"], tmp_path)
    assert sorted(troubles) == ["broken", "loud"]
    assert "no_such_module" in troubles["broken"]
    assert "printed hello" in troubles["loud"]


def test_modules_that_run_a_program_are_left_out(tmp_path: Path) -> None:
    for name in (
        "_core/fast.pyx",
        "librats/__init__.py",
        "librats/cli/__init__.py",
        "librats/cli/__main__.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")
    assert module_names(tmp_path) == ["librats", "librats._core.fast", "librats.cli"]
