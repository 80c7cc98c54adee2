"""A log that does not exist yet, and brokers that are not there after the tests."""

from collections.abc import Iterator
from pathlib import Path

import confluent_kafka
import pytest


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "x.jsonl"


@pytest.fixture(scope="session")
def brokers() -> Iterator[str]:
    """Address of the mock cluster of the Kafka client; topics have four partitions."""
    owner = confluent_kafka.Producer({"test.mock.num.brokers": 1, "log_level": 0})
    yield ",".join(f"{b.host}:{b.port}" for b in owner.list_topics(timeout=10).brokers.values())
    del owner
