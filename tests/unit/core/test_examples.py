"""The examples in the docstrings of compiled modules, which doctest does not find by itself."""

from __future__ import annotations

import doctest
import inspect
from types import ModuleType

import pytest

from librats._core import bencode, krpc, krpc_writer, nearest, routing


@pytest.mark.parametrize(
    "module", [bencode, krpc, krpc_writer, nearest, routing], ids=lambda module: str(module.__name__)
)
def test_the_examples_of_a_compiled_module_run(module: ModuleType) -> None:
    documented = {name: inspect.getdoc(item) or "" for name, item in vars(module).items() if callable(item)}
    examples = {name: text for name, text in documented.items() if ">>>" in text}
    assert examples
    for name, text in examples.items():
        example = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
        assert doctest.DocTestRunner().run(example).failed == 0
