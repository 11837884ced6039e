"""The fixture that the plugin gives to other people's tests."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

CONFTEST = 'pytest_plugins = ["librats.testing.plugin"]\n'


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the inner runs load none but ours: they are quicker, and what others warn of is not our subject."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def test_the_fixture_gives_a_fresh_network_with_the_wanted_parameters(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        def test_seed(sim_network):
            assert sim_network.seed == 41
            sim_network.run(asyncio.sleep(3))
            assert sim_network.time == 3

        @pytest.mark.sim_network(seed=5, loss=0.5)
        def test_marked(sim_network):
            assert (sim_network.seed, sim_network.time) == (5, 0)
        """
    )
    pytester.runpytest_subprocess("--sim-seed=41", "-W", "error").assert_outcomes(passed=2)


def test_a_test_that_leaves_something_behind_fails(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
        import asyncio

        def test_leaves_a_task(sim_network):
            async def main():
                sim_network.task = asyncio.create_task(asyncio.sleep(3), name="forgotten")
                with sim_network.host("a"):
                    sim_network.server = await asyncio.start_server(print, port=80)
            sim_network.run(main())
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*left behind: task forgotten, <SimSocket * of a: *"])


def test_simulations_run_with_as_many_seeds_as_are_wanted(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
        import pytest

        SEEN = []

        def test_plain(sim_network):
            SEEN.append(sim_network.seed)

        @pytest.mark.sim_network(seeds=3, delay=0.1)
        def test_marked(sim_network):
            SEEN.append(sim_network.seed)

        @pytest.mark.sim_network(seed=7)
        def test_fixed(sim_network):
            assert sim_network.seed == 7

        def test_last():
            assert SEEN == [40, 41, 40, 41, 42]
        """
    )
    result = pytester.runpytest_subprocess("--sim-seed=40", "--sim-seeds=2", "-W", "error", "-v")
    result.assert_outcomes(passed=7)
    result.stdout.fnmatch_lines(["*test_marked?seed42? PASSED*"])


def test_the_packets_of_a_test_that_fails_are_kept(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        async def ping(net):
            a = await net.host("a").open_datagram(port=1, receive=print)
            a.send(b"ping", a.local_address._replace(host="127.0.0.1"))
            await asyncio.sleep(1)
            a.close()

        @pytest.mark.parametrize("fails", [True, False])
        def test_pings(sim_network, fails):
            sim_network.run(ping(sim_network))
            assert not fails
        """
    )
    result = pytester.runpytest_subprocess("--sim-trace=traces")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*simulated packets*", "*2 lines in traces*"])
    [kept] = (pytester.path / "traces").iterdir()
    assert kept.name.endswith("test-pings-True-.txt")
    assert kept.read_text(encoding="utf-8").startswith("0.0 a sent udp 127.0.0.1:1 127.0.0.1:1 0 0 4 ")
