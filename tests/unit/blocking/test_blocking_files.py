"""The blocking forms of what moves files have every public verb of the async ones."""

from __future__ import annotations

import pytest
from tests.unit.test_blocking import missing_or_different

from librats.blocking import files as blocking
from librats.services import transfer
from librats.services.introduction import code_meetings
from librats.services.transferring import handle as transfer_handle
from librats.services.transferring import offer as transfer_offer

INTERNAL: dict[str, set[str]] = {
    "FilesHandle": {"connected", "nodes", "serve", "stop"},
    "Transfer": {"end"},
    "Offer": {"decided"},
    "Shared": {"source"},
    "GivenCode": set(),
}


@pytest.mark.parametrize(
    "async_class",
    [
        transfer.FilesHandle,
        transfer_handle.Transfer,
        transfer_offer.Offer,
        transfer_offer.Shared,
        code_meetings.GivenCode,
    ],
)
def test_every_public_verb_has_its_counterpart_with_the_same_parameters(async_class: type) -> None:
    name = async_class.__name__
    assert missing_or_different(async_class, getattr(blocking, name), INTERNAL[name]) == []
