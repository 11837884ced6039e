"""What is offered by a name that begins with a dot is taken with leave alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.simulation.conftest import Simulate
from tests.simulation.moving_files import accept_all, code_of, stop, two

from librats.testing import SimNetwork


@pytest.mark.parametrize("name", [".ssh", ".bashrc"])
@pytest.mark.parametrize("hidden", [False, True])
def test_it_is_refused_unless_that_is_allowed(simulate: Simulate, tmp_path: Path, name: str, hidden: bool) -> None:
    home, given = tmp_path / "home", tmp_path / "given" / name
    (home / ".ssh").mkdir(parents=True)
    given.parent.mkdir()
    if name == ".ssh":
        given.mkdir()
        (given / "rc").write_bytes(b"evil")
    else:
        given.write_bytes(b"evil")

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net, hidden=hidden)
        accept_all(taker, home)
        sending = await giver.files.send(taker.peer_id, given)
        shared = await giver.files.share(given)
        codes = [await code_of(sending), await code_of(await taker.files.fetch(giver.peer_id, shared.content_id, home))]
        assert codes == (["done"] * 2 if hidden else ["bad_name"] * 2)
        await stop(giver, taker)

    simulate(scenario)
    came = [path.name for path in home.rglob("*") if path.is_file()]
    assert came == (["rc" if name == ".ssh" else name] if hidden else [])


def test_below_another_name_it_is_like_any_other(simulate: Simulate, tmp_path: Path) -> None:
    (tmp_path / "project" / ".git").mkdir(parents=True)
    (tmp_path / "project" / ".git" / "config").write_bytes(b"x")

    async def scenario(net: SimNetwork) -> None:
        giver, taker = await two(net)
        accept_all(taker, tmp_path / "out")
        assert await code_of(await giver.files.send(taker.peer_id, tmp_path / "project")) == "done"
        await stop(giver, taker)

    simulate(scenario)
    assert (tmp_path / "out" / "project" / ".git" / "config").read_bytes() == b"x"
