"""Build, install and try an sdist with every CPython >= 3.11 found on this machine."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

OLDEST = (3, 11)
PROBE = """
import json, platform, sys, sysconfig
from pathlib import Path
try:
    import ensurepip, venv
    lacks = ""
except ImportError as error:
    lacks = str(error.name)
if not Path(sysconfig.get_path("include"), "Python.h").exists():
    lacks = lacks or "Python.h"
threading = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
print(json.dumps({
    "implementation": platform.python_implementation(), "version": platform.python_version() + threading,
    "version_info": sys.version_info[:2], "home": sys.base_prefix, "lacks": lacks,
    "command": getattr(sys, "_base_executable", sys.executable),
}))
"""
MEASURE_SIZE = """
import json, sysconfig
from pathlib import Path
root = Path(sysconfig.get_path("platlib"))
apart = ("numpy", "pip", "setuptools", "pkg_resources", "_distutils_hack", "__pycache__")
files = (f for f in root.rglob("*") if f.is_file() and not f.relative_to(root).parts[0].startswith(apart))
print(json.dumps(sum(f.stat().st_size for f in files)))
"""
IMPORT_ROUNDS = 7


@dataclass(frozen=True)
class Interpreter:
    """A CPython found on this machine."""

    command: str
    version: str
    lacks: str

    @property
    def label(self) -> str:
        """Version and path, for a line of the report."""
        return f"CPython {self.version} ({self.command})"


def candidates() -> list[Path]:
    """Paths that may be interpreters: those on PATH and those that pyenv installed."""
    found = [
        path
        for folder in os.environ.get("PATH", "").split(os.pathsep)
        if folder
        for path in sorted(Path(folder).glob("python3*"))
        if path.name.removeprefix("python3").removeprefix(".").removesuffix("t").isdigit() or path.name == "python3"
    ]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return [*found, *sorted(pyenv.glob("versions/*/bin/python"))]


def interpreters(paths: list[Path]) -> list[Interpreter]:
    """Ask each candidate what it is; keep each new enough CPython once."""
    found: dict[tuple[str, str], Interpreter] = {}
    for path in paths:
        try:
            done = subprocess.run([path, "-I", "-c", PROBE], capture_output=True, text=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError):
            continue  # a shim of a version that is not active, or no Python at all
        told = json.loads(done.stdout)
        if told["implementation"] == "CPython" and tuple(told["version_info"]) >= OLDEST:
            key = (told["version"], str(Path(told["home"]).resolve()))
            found.setdefault(key, Interpreter(told["command"], told["version"], told["lacks"]))
    return sorted(found.values(), key=lambda interpreter: [int(n) for n in re.findall(r"\d+", interpreter.version)])


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command and return what it wrote; a failure raises with everything that it wrote."""
    done = subprocess.run(
        command,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    if done.returncode:
        line = " ".join(str(part) for part in command)
        raise RuntimeError(f"{line}\nended with status {done.returncode}\n{done.stdout}")
    return done.stdout


def best_time(python: Path, statement: str, folder: Path) -> float:
    """Shortest of several runs of a statement in a fresh interpreter, in seconds."""
    times = []
    for _ in range(IMPORT_ROUNDS):
        begin = time.perf_counter()
        run(python, "-I", "-c", statement, cwd=folder)
        times.append(time.perf_counter() - begin)
    return min(times)


def check(interpreter: Interpreter, sdist: Path, folder: Path) -> str:
    """Build, install and try the distribution with one interpreter; return a line about it."""
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    run(interpreter.command, "-m", "venv", folder / "venv", cwd=folder)
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", folder / "wheels", sdist, cwd=folder)
    (wheel,) = (folder / "wheels").glob("librats-*.whl")
    run(*pip, "install", "--only-binary=:all:", wheel, cwd=folder)  # nothing that it needs is built
    run(*pip, "check", cwd=folder)
    smoke = run(python, "-I", Path(__file__).with_name("smoke.py").resolve(), cwd=folder).strip()
    told = run(scripts / "librats", "--version", cwd=folder).strip()
    version = run(python, "-I", "-c", "import librats; print(librats.__version__)", cwd=folder).strip()
    if version not in told:
        raise RuntimeError(f"librats --version says {told!r}, librats.__version__ is {version!r}")
    seconds = best_time(python, "import librats", folder) - best_time(python, "pass", folder)
    size = json.loads(run(python, "-I", "-c", MEASURE_SIZE, cwd=folder))
    return f"{told}; {smoke}; import {seconds * 1e3:.0f} ms; {size / 1e6:.1f} MB installed without numpy"


def main() -> int:
    """Check the sdist named on the command line and report on standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sdist", type=Path)
    parser.add_argument("--python", action="append", type=Path, help="only with this interpreter (may be repeated)")
    arguments = parser.parse_args()
    sdist: Path = arguments.sdist.resolve()
    found = interpreters(arguments.python or candidates())
    checked = failed = 0
    for interpreter in found:
        if interpreter.lacks:
            print(f"left out  {interpreter.label}: has no {interpreter.lacks}", flush=True)
            continue
        checked += 1
        folder = sdist.parent / f"{checked}-{interpreter.version}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            print(f"works     {interpreter.label}: {check(interpreter, sdist, folder)}", flush=True)
        except (RuntimeError, subprocess.SubprocessError) as error:
            failed += 1
            print(f"FAILS     {interpreter.label}:\n{error}", flush=True)
        else:
            shutil.rmtree(folder)
    if not checked:
        print("no CPython >= 3.11 that can build was found")
    return 1 if failed or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
