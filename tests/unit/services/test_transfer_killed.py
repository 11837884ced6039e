"""Processes that are killed while they receive, and disks that are full."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.reference.file_copying import listed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links, signals and limits")

CHUNK = 1 << 20
ROOT = Path(__file__).parents[3]
PROGRAM = [sys.executable, "-m", "tests.reference.file_copying"]


def run_and_kill(path: Path, out: Path, chunks: int) -> tuple[int, bool]:
    """Copy until so many chunks are told, then kill; return the bytes told, and whether it had ended before."""
    copied = 0
    with subprocess.Popen([*PROGRAM, str(path), str(out)], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip().isdigit():
                copied = int(line)
                chunks -= 1
            if chunks <= 0 and line != "begun\n":
                process.kill()
        process.wait()
    return copied, process.returncode == 0


def kill_again_and_again(tmp_path: Path, *, size: int, kills: int) -> None:
    dice = random.Random(size)  # noqa: S311 - not for secrets
    path, out = tmp_path / "big.bin", tmp_path / "out"
    with path.open("wb") as file:
        for _ in range(size // CHUNK):
            file.write(dice.randbytes(CHUNK))
    copied = killed = 0
    for _ in range(kills):
        told, ended = run_and_kill(path, out, dice.randrange(1, size // CHUNK // kills))
        copied += told
        if ended:
            break
        killed += 1
        assert not (out / path.name).exists()
    told, ended = run_and_kill(path, out, 1 << 30)
    assert ended
    assert killed == kills
    # Each time what was on its way to the disk, and what was read once the last line was told.
    assert size <= copied + told <= size + kills * CHUNK
    assert (out / path.name).read_bytes() == path.read_bytes()
    assert listed(out) == [path.name]


def test_a_process_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, size=48 * CHUNK, kills=3)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_process_that_is_killed_at_twenty_moments_goes_on(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, size=400 * CHUNK, kills=20)


def in_small_disk(tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command where `tmp_path / "disk"` is a disk of 3 MiB."""
    (tmp_path / "disk").mkdir()
    script = f'mount -t tmpfs -o size=3m tmpfs "{tmp_path}/disk" && "$0" "$@"; ls -A "{tmp_path}/disk"'
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, *command],  # noqa: S607 - wherever it is
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def why_no_small_disk() -> str:
    if sys.platform != "linux" or not shutil.which("unshare"):
        return "needs Linux and unshare"
    tried = subprocess.run(["unshare", "--map-root-user", "--mount", "true"], capture_output=True, check=False)  # noqa: S607
    return "mount namespaces are not allowed here" if tried.returncode else ""


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(tmp_path: Path) -> None:
    if reason := why_no_small_disk():
        pytest.skip(reason)
    (tmp_path / "big.bin").write_bytes(bytes(range(256)) * 16384)
    ran = in_small_disk(tmp_path, *PROGRAM, str(tmp_path / "big.bin"), str(tmp_path / "disk"))
    assert "[no_space]" in ran.stderr
    assert ran.stdout == ""


def test_a_disk_that_becomes_full_is_told_and_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    if reason := why_no_small_disk():
        pytest.skip(reason)
    (tmp_path / "big.bin").write_bytes(bytes(range(256)) * 8192)
    fill = f'dd if=/dev/zero of="{tmp_path}/disk/other" bs=1k count=2500 2>/dev/null; exec "$0" "$@"'
    slow = "import os, librats.services.disk.folder_handles as h; h.HandleFolder.free = lambda self: 1 << 40; "
    slow += "import runpy, sys; runpy.run_module('tests.reference.file_copying', run_name='__main__')"
    ran = in_small_disk(
        *(tmp_path, "sh", "-c", fill),
        *(sys.executable, "-c", slow, str(tmp_path / "big.bin"), str(tmp_path / "disk")),
    )
    assert "no_space" in ran.stdout, ran.stderr
    assert "big.bin" not in ran.stdout.splitlines()


def test_a_limit_of_the_process_is_told_like_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(bytes(range(256)) * 16384)

    resource = pytest.importorskip("resource")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * CHUNK, 2 * CHUNK))

    ran = subprocess.run(
        [*PROGRAM, str(tmp_path / "big.bin"), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
        cwd=ROOT,
    )
    assert ran.stdout.splitlines()[-1] == "no_space", ran.stderr
    assert not (tmp_path / "out" / "big.bin").exists()
