"""What `import librats` costs in a fresh process, beyond one that does nothing, beside `import asyncio`.

An editable installation looks for something to rebuild when a compiled module is imported; that comes on top.
"""

from __future__ import annotations

from functools import partial

from benchmarks.conftest import Stage

from librats.cli.measuring.contest import Contender, Contest
from librats.cli.measuring.importing import import_time

ROUNDS = 9


def bench_import(stage: Stage) -> None:
    contenders = [Contender(module, partial(import_time, module)) for module in ("librats", "asyncio")]
    contest = Contest("import librats", "ms", contenders, more_is_better=False)
    stage.hold(contest, ROUNDS)
    stage.show(contest.beside("asyncio"))
