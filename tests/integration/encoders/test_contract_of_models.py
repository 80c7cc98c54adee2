"""The contract of encoders, asked of models that are loaded from files."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from monitor.encoders.encoder import Encoder
from tests.integration.encoders.checkpoints import custom, paper
from tests.unit.encoders import test_contract as contract

pytestmark = pytest.mark.model

CASES: dict[str, tuple[Callable[[], Encoder[Any]], Sequence[Any]]] = {
    "published text": (lambda: paper().textual, contract.TEXTS),
    "published image": (lambda: paper().visual, contract.images()),
    "mean of text": (lambda: custom("cls", "mean").textual, contract.TEXTS),
    "pooler of text": (lambda: custom("cls", "pooler").textual, contract.TEXTS),
    "mean of image": (lambda: custom("mean", "cls").visual, contract.images()),
    "pooler of image": (lambda: custom("pooler", "cls").visual, contract.images()),
    "projected image": (lambda: custom("clip_projection", "cls").visual, contract.images()),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> contract.Case:
    build, inputs = CASES[request.param]
    return build(), inputs


test_rows_are_float32_unit_vectors_on_the_cpu = (
    contract.test_rows_are_float32_unit_vectors_on_the_cpu
)
test_a_row_does_not_depend_on_its_batch = contract.test_a_row_does_not_depend_on_its_batch
test_rows_follow_the_order_of_the_inputs = (
    contract.test_rows_follow_the_order_of_the_inputs_in_batches_of_any_size
)
test_different_inputs_have_different_embeddings = (
    contract.test_different_inputs_have_different_embeddings
)
test_no_input_gives_no_row = contract.test_no_input_gives_no_row
test_a_digest_is_sha256_in_hexadecimal = contract.test_a_digest_is_sha256_in_hexadecimal


@pytest.mark.parametrize("name", CASES)
def test_the_same_model_loaded_twice_has_the_same_digest(name: str) -> None:
    build, _ = CASES[name]
    assert build().digest == build().digest
