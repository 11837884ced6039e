"""Each reason code has its section on the page of reasons, with a cause and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from librats import AttemptReason

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "reasons.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)$\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))


def test_the_page_has_the_reasons_that_there_are_in_their_order() -> None:
    assert list(SECTIONS) == [str(reason) for reason in AttemptReason]


@pytest.mark.parametrize("reason", AttemptReason)
def test_each_reason_tells_its_cause_and_what_to_do(reason: AttemptReason) -> None:
    cause, _, remedy = SECTIONS[reason].partition("**What to do:**")
    assert cause.strip().startswith("**Cause:**")
    assert len(cause.split()) > 5
    assert remedy.strip().endswith(".")
