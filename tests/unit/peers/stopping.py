"""A program that is stopped at every single step by which it changes files, and a check after each stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

WAIT = 120  # seconds after which the whole run counts as stuck
STEPS = ("open", "write", "fsync", "close", "replace", "link", "unlink", "fchmod", "mkdir", "rename")

PROGRAM = """
import os, signal, sys

def stop_at(step, after, names):
    count = 0
    def counted(call):
        def stand_in(*args, **kwargs):
            nonlocal count
            count += 1
            if count == step and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*args, **kwargs)
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return stand_in
    for name in names:
        if hasattr(os, name):
            setattr(os, name, counted(getattr(os, name)))

{prepare}
step = stopped = 0
after = False
while True:
    before()
    child = os.fork()
    if child == 0:
        stop_at(step + 1, after, {names!r})
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    check()
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, status
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
    stopped += 1
    step, after = (step + 1, False) if after else (step, True)
print(stopped)
"""


def stops(prepare: str, *args: object) -> int:
    """Run ``act`` of a program once for each of its steps, killed there; return how often it was killed.

    Args:
        prepare: Defines ``before``, ``act`` and ``check``; the last one raises where something is wrong.
        args: Arguments of the program, from ``sys.argv[1]`` on.
    """
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(prepare=prepare, names=STEPS), *map(str, args)],
        check=False,
        env={**os.environ, "SKBUILD_EDITABLE_VERBOSE": "0"},
        capture_output=True,
        text=True,
        timeout=WAIT,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def kill(child: subprocess.Popen[str]) -> None:
    """Kill a program at once, and wait until it is gone."""
    child.send_signal(signal.SIGKILL)
    child.wait(WAIT)


def leftovers(folder: Path) -> list[str]:
    """Name the temporary files in a directory."""
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(".tmp"))
