"""The workflows: they can be read, give away no rights, and ask for what the project has."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

PINNED = re.compile(r"[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*")


def read(path: Path) -> dict[str, Any]:
    workflow: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return workflow


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def scripts() -> str:
    return "\n".join(step.get("run", "") for path in WORKFLOWS for step in steps(read(path)))


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_there_are_workflows_for_tests_wheels_and_benchmarks() -> None:
    assert {path.stem for path in WORKFLOWS} >= {"bench", "tests", "wheels"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
class TestEveryWorkflow:
    def test_may_only_read_unless_a_job_says_so(self, path: Path) -> None:
        workflow = read(path)
        assert workflow["permissions"] == {"contents": "read"}
        more = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
        assert more == ({"publish": {"id-token": "write"}} if path.stem == "wheels" else {})

    def test_names_the_very_commit_of_each_action_and_its_version(self, path: Path) -> None:
        uses = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
        assert uses
        assert [action for action in uses if not PINNED.fullmatch(action)] == []

    def test_leaves_no_credentials_behind(self, path: Path) -> None:
        checkouts = [step for step in steps(read(path)) if step.get("uses", "").startswith("actions/checkout@")]
        assert checkouts
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)

    def test_ends_by_itself_and_makes_way_for_a_newer_run(self, path: Path) -> None:
        workflow = read(path)
        assert "cancel-in-progress" in workflow["concurrency"]
        assert all(job["timeout-minutes"] <= 90 for job in workflow["jobs"].values())


def test_only_a_tag_is_published_and_only_after_the_check() -> None:
    publish = read(ROOT / ".github" / "workflows" / "wheels.yml")["jobs"]["publish"]
    assert "github.ref_type == 'tag'" in publish["if"]
    assert publish["needs"] == ["check"]
    assert publish["environment"]["name"] == "release"
    (upload,) = (step for step in publish["steps"] if "pypi-publish" in step["uses"])
    assert upload["with"]["attestations"] is True
    assert "password" not in upload["with"]


def test_every_make_target_that_is_called_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    called = set(re.findall(r"\bmake ([a-z-]+)", scripts()))
    assert called
    assert called <= targets


def test_every_dependency_group_that_is_installed_exists() -> None:
    named = set(re.findall(r"--group (\w+)", scripts())) | set(project()["tool"]["cibuildwheel"]["test-groups"])
    assert named
    assert named <= project()["dependency-groups"].keys()


def test_wheels_are_built_for_every_python_that_the_project_names() -> None:
    named = {
        "cp3" + match[1]
        for classifier in project()["project"]["classifiers"]
        if (match := re.fullmatch(r"Programming Language :: Python :: 3\.(\d+)", classifier))
    }
    built = {pattern.removesuffix("-*") for pattern in project()["tool"]["cibuildwheel"]["build"]}
    assert named
    assert named <= built


def test_wheels_are_built_for_every_system() -> None:
    jobs = read(ROOT / ".github" / "workflows" / "wheels.yml")["jobs"]
    built = {(entry["os"].split("-")[0], entry["kind"]) for entry in jobs["wheels"]["strategy"]["matrix"]["include"]}
    assert built == {
        *(("ubuntu", "manylinux"), ("ubuntu", "musllinux")),
        *(("macos", "arm64"), ("macos", "x86_64")),
        *(("windows", "AMD64"), ("windows", "ARM64")),
    }
