"""A few cells of the matrix behind the kernel's NATs, by the commands themselves; `make nat-matrix` has all of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.netns.lab import missing
from tests.netns.matrix.cells import CHANCE, FURTHER, KINDS, Cell, cells_named, pairs, why_not
from tests.netns.matrix.compared import compare, joined, print_comparison, write_comparison
from tests.netns.matrix.programs import preload
from tests.netns.matrix.results import Results, Summary, Try
from tests.netns.matrix.scene import Scene, Settings, read_try
from tests.netns.matrix.table import print_table, write_page
from tests.simulation.nat_matrix import connects

WHY_NOT = missing()
netns = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

TELLING = (
    *("symmetric:symmetric", "udp_blocked:udp_blocked", "tcp443_only:symmetric"),
    *(pytest.param(name, marks=pytest.mark.long) for name in ("port_restricted:port_restricted", "v6_only:dual_stack")),
)
HERE = [*pairs(KINDS), *FURTHER]


@pytest.fixture(autouse=True, scope="module")
def forks() -> None:
    preload()


def tries_of(cell: Cell, folder: Path, mode: str, count: int = 1) -> list[Try]:
    with Scene.of(cell, folder, Settings(), mode) as scene:
        return list(scene.tries(cell, count))


@netns
@pytest.mark.netns
@pytest.mark.parametrize("name", TELLING)
def test_with_a_relay_the_commands_connect(tmp_path: Path, name: str) -> None:
    [outcome] = tries_of(Cell.named(name), tmp_path, "relay")
    assert outcome.ok, outcome.error


@netns
@pytest.mark.netns
def test_without_relaying_the_commands_connect_where_there_is_a_direct_way(tmp_path: Path) -> None:
    [outcome] = tries_of(Cell("none", "none", "port_restricted"), tmp_path, "direct")
    assert (outcome.ok, outcome.way) == (True, "udp"), outcome.error


@netns
@pytest.mark.netns
@pytest.mark.timeout(7200)
@pytest.mark.long
@pytest.mark.parametrize("mode", ["relay", "direct"])
def test_the_simulated_matrix_connects_what_the_kernels_does(tmp_path: Path, mode: str) -> None:
    simulated = {name: Summary.of(tries) for name, tries in connects(HERE, range(2), mode=mode).items()}
    real = {}
    for number, cell in enumerate(HERE):
        folder = tmp_path / str(number)
        folder.mkdir()
        real[cell.name] = Summary.of(tries_of(cell, folder, mode, 2))
    differ = {name: (real[name], simulated[name]) for name in real if real[name].connected != simulated[name].connected}
    assert differ == {}
    if mode == "relay":
        assert {name: each.errors for name, each in real.items() if each.errors} == {}
    else:
        assert {cell.name for cell in HERE if why_not(cell)} & {name for name in real if real[name].connected} == set()


def result(**fields: object) -> dict[str, object]:
    usual = {"success": True, "method": "udp", "duration_ms": 500.0, "error": "", "error_message": ""}
    attempts = [{"duration_ms": 9.0, "error": "refused"}, {"duration_ms": 300.0, "error": "", "technique": ""}]
    return {**usual, "used_candidates": ["0.0.0.0:1", "198.51.100.9:2"], "attempts": attempts, **fields}


def test_what_connect_says_becomes_a_try() -> None:
    reply = {"event": "reply", "duration_ms": 80.0}
    assert read_try([result(), reply], "") == Try(True, 0.5, introduced=0.3, reply=0.08, way="udp")
    relayed = result(used_candidates=["0.0.0.0:1", "[2001:db8:10::10]:5000"])
    assert read_try([relayed, reply], "").way == "relay"
    punched = result(attempts=[{"duration_ms": 300.0, "error": "", "technique": "birthday"}])
    assert read_try([punched, reply], "").way == "birthday"
    failed = result(success=False, error_message="no way")
    assert read_try([failed], "") == Try(False, 0.5, error="no way")
    assert not read_try([result(), {"event": "reply", "error": "gone"}], "").ok
    assert read_try([], "it was killed").error == "it was killed"


def test_an_interrupted_run_goes_on_and_another_kind_of_run_is_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "matrix.json"
    results = Results.read(path, {"loss": 0.0})
    results.of("relay", "open:open").append(Try(True, 0.5, way="udp"))
    results.write(path)
    assert Results.read(path, {"loss": 0.0}).of("relay", "open:open") == [Try(True, 0.5, way="udp")]
    with pytest.raises(ValueError, match="is of a run with"):
        Results.read(path, {"loss": 0.3})


def test_the_page_gets_the_tables_and_keeps_its_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- relay -->\nold\n<!-- end -->\n\nafter <!-- settings -->\n<!-- end -->\n")
    results = Results({"delay": 0.02, "loss": 0.05}, loads=[1.0])
    results.of("relay", "open:symmetric").extend([Try(True, 0.5, way="udp"), Try(False, 9.0, error="lost")])
    results.of("relay", "v6_only:dual_stack").append(Try(True, 0.4, way="relay"))
    write_page(results, page)
    text = page.read_text()
    assert text.startswith("before\n\n<!-- relay -->\n\nOf 2 cells, 1 connect every time, 1 sometimes, 0 never.")
    assert "| open |  | 500 u 1/2 |" in text
    assert "| v6_only:dual_stack | IPv6 only, and both | 400 r |" in text
    assert "20 ms and 5% loss on each access link, 2 tries a cell" in text
    assert "old" not in text
    assert "after" in text
    print_table(results, sys.stdout)
    assert "open:symmetric: lost" in capsys.readouterr().out


def results_with(cells: dict[str, tuple[int, int]], loss: float = 0.0) -> Results:
    """Return the tries of a run without relaying, from how many of how many connect."""
    results = Results({"delay": 0.02, "loss": loss})
    for name, (connected, tries) in cells.items():
        listed = [Try(True, 0.5, way="udp")] * connected + [Try(False, 9.0, error="lost")] * (tries - connected)
        results.of("direct", name).extend(listed)
    return results


REAL = {
    "open:open": (5, 5),
    "symmetric:symmetric": (0, 5),
    "symmetric:openwrt": (96, 100),
    "cgnat:openwrt": (5, 5),
    "firewall:open": (5, 5),
}
SIMULATED = {
    "open:open": (50, 50),
    "symmetric:symmetric": (1, 50),
    "symmetric:openwrt": (99, 100),
    "cgnat:openwrt": (47, 50),
}


def test_the_comparison_names_the_cells_in_which_the_kernel_and_the_simulation_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real, simulated = results_with(REAL), results_with(SIMULATED)
    print_comparison(real, simulated, sys.stdout)
    told = capsys.readouterr().out
    assert "kernel's NATs: of 4 cells, 5 to 100 tries each, 2 connect every time, 1 never." in told
    assert "Which cells connect: differs in symmetric:symmetric." in told
    assert "More than 5 points apart: cgnat:openwrt (-6.0)." in told
    assert [each.name for each in compare(real, simulated, "direct") if each.is_chance] == [
        *("symmetric:symmetric", "symmetric:openwrt", "cgnat:openwrt")
    ]
    assert compare(real, simulated, "relay") == []
    page = tmp_path / "page.md"
    page.write_text("<!-- compared direct -->\nold\n<!-- end -->\n")
    write_comparison(real, simulated, page)
    assert "| symmetric:openwrt | 96/100 (96.0%) | 99/100 (99.0%) | +3.0 | 500 | 500 |" in page.read_text()
    assert "old" not in page.read_text()


def test_several_runs_are_taken_together_where_their_links_are_alike() -> None:
    together = joined(
        [results_with({"open:open": (5, 5)}), results_with({"open:open": (54, 55), "cgnat:open": (5, 5)})]
    )
    assert (Summary.of(together.of("direct", "open:open")).connected, len(together.tries["direct"])) == (59, 2)
    with pytest.raises(ValueError, match="other delays or losses"):
        compare(results_with(REAL), results_with(SIMULATED, loss=0.05), "direct")


def test_a_file_that_is_to_be_compared_has_to_be_there(tmp_path: Path) -> None:
    path = tmp_path / "matrix.json"
    with pytest.raises(ValueError, match="there is no"):
        Results.read(path)
    results_with(REAL).write(path)
    assert Results.read(path).tries == results_with(REAL).tries


def test_the_cells_in_which_chance_decides_have_a_name_and_a_way() -> None:
    assert cells_named(["chance"]) == CHANCE
    assert [cell.name for cell in CHANCE if why_not(cell)] == []
