"""What `import librats` costs in a fresh process, beyond one that does nothing, beside `import asyncio`."""

from __future__ import annotations

import shutil
import sysconfig
from functools import partial
from pathlib import Path

from benchmarks.conftest import Stage

import librats
from librats._core import aead
from librats.cli.measuring.contest import Contender, Contest
from librats.cli.measuring.importing import import_time

ROUNDS = 9


def installed_under(folder: Path) -> Path:
    """Put the package there as a wheel would: an editable one looks for something to rebuild at each import."""
    package = folder / "librats"
    shutil.copytree(Path(librats.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for module in Path(str(aead.__file__)).parent.glob("*.so"):
        shutil.copy(module, package / "_core")
    return folder


def bench_import(stage: Stage, tmp_path: Path) -> None:
    folders = [str(installed_under(tmp_path)), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    import_time("librats", folders)  # compiles to byte code, as an installation does
    contenders = [Contender(module, partial(import_time, module, folders)) for module in ("librats", "asyncio")]
    contest = Contest("import librats", "ms", contenders, more_is_better=False)
    stage.hold(contest, ROUNDS)
    stage.show(contest.beside("asyncio"))
