"""What the questions to a teacher cost where many samples are stored."""

import pytest
from sqlalchemy.orm import Session

from monitor.store.teacher import claim_ask, drop_asks
from tests.integration.store.builders import MINUTE, NOW
from tests.integration.store.plans import steps_of


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_samples_are_found_by_the_asks_and_not_looked_through(session: Session) -> None:
    steps = steps_of(session, lambda: (drop_asks(session, NOW), claim_ask(session, NOW, MINUTE)))
    assert {step for step in steps if "samples" in step} == {
        "SEARCH samples USING INTEGER PRIMARY KEY (rowid=?)"
    }
