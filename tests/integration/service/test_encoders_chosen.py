"""From the settings to encoders, and what happens around their loading."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from monitor.commands import daemon
from monitor.commands.daemon import running
from monitor.encoders.encoder import EncoderPair
from monitor.encoders.images import ImageLimits
from monitor.encoders.vision import LONGEST_SIDE
from monitor.errors import EncoderError, ReferenceMismatchError, SettingsError
from monitor.records import ImageState, ReferenceVersion
from monitor.reference.artefact import Reference
from monitor.reference.build import build
from monitor.reference.embedded import Embedded
from monitor.reference.image_states import NO_IMAGE, state_of
from monitor.reference.signals import evaluate, single_threaded
from monitor.service.embedding import columns, stacked
from monitor.service.shelf import ReferenceShelf
from monitor.service.wiring import image_limits, load_encoders
from monitor.settings import Settings, load_settings
from monitor.store.engine import Database
from monitor.store.references import save_reference
from tests.integration.encoders.checkpoints import CLIP, TINY, XLMR
from tests.integration.service.parts import (
    START,
    Clock,
    exchange,
    hash_encoders,
    small_reference,
    small_settings,
)


def choosing(**encoders: object) -> Settings:
    models = {"visual": {"model": str(TINY / CLIP)}, "textual": {"model": str(TINY / XLMR)}}
    for name, extra in encoders.items():
        models[name] = {**models[name], **extra} if name in models else extra
    return Settings.model_validate({"encoders": {"device": "cpu", **models}})


def test_the_default_encoders_need_no_library_of_models() -> None:
    code = (
        "import sys; from monitor.settings import Settings; from monitor.service import wiring; "
        "wiring.load_encoders(Settings()); print('transformers' in sys.modules)"
    )
    done = subprocess.run(  # a process of its own, in which nothing is imported yet
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_the_published_encoders_take_local_folders() -> None:
    pair = load_encoders(choosing(preset="paper"))
    assert (pair.visual.dim, pair.textual.dim) == (64, 64)
    assert {fact.model for fact in pair.facts} == {str(TINY / CLIP), str(TINY / XLMR)}


UNLIKE = {
    "preset": "custom",
    "visual": {"pooling": "clip_projection"},
    "textual": {"pooling": "mean"},
}


def test_models_of_different_dimensions_are_refused_unless_a_projection_is_asked_for() -> None:
    with pytest.raises(EncoderError, match=r"32 dimensions and texts 64.*encoders\.projection"):
        load_encoders(choosing(**UNLIKE))
    pair = load_encoders(choosing(**UNLIKE, projection=True))
    assert (pair.visual.dim, pair.textual.dim) == (32, 64)


@pytest.mark.parametrize(
    ("encoders", "said"),
    [
        ("{visual: {model: a}}", "preset is builtin"),
        ("{preset: paper, textual: {pooling: cls}}", "choose custom to set encoders.textual.pool"),
        ("{preset: custom, visual: {model: a, pooling: cls}}", "both visual and textual"),
        ("{preset: custom, visual: {model: a, pooling: max}}", "clip_patch_mean"),
        ("{preset: papre}", "'builtin', 'paper' or 'custom'"),
    ],
)
def test_a_choice_that_is_none_is_a_fault_of_the_settings(
    encoders: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "monitor.yaml"
    path.write_text(f"encoders: {encoders}\n")
    with pytest.raises(SettingsError, match=said):
        load_settings(path, {})


def test_models_are_given_larger_images_than_the_builtin_encoders() -> None:
    limits = image_limits(choosing(preset="paper"))
    assert limits.longest_side == LONGEST_SIDE
    assert image_limits(Settings()).longest_side == ImageLimits().longest_side


# --- different dimensions


def unit(
    z: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def unlike(n: int, seed: int) -> Embedded:
    """Events whose images have 12 dimensions and whose texts have 16; half of them have images.

    All of an event comes from one draw, so that there is something to learn.
    """
    rng = np.random.default_rng(seed)
    topic = rng.standard_normal((n, 16))
    has_image = np.arange(n) % 2 == 0

    def told(dim: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        return unit(topic[:, :dim] + 0.2 * rng.standard_normal((n, dim)))

    return Embedded(
        ids=tuple(str(i) for i in range(n)),
        z_t=told(16),
        z_y=told(16),
        z_v=told(12)[has_image],
        has_image=has_image,
        z_target=told(16),
        has_target=np.ones(n, dtype=np.bool_),
        image_state=np.where(has_image, state_of([ImageState.INLINE]), NO_IMAGE).astype(np.int8),
    )


def test_every_signal_has_a_value_where_images_and_texts_have_different_dimensions() -> None:
    built = build(
        unlike(400, 1), name="unlike", encoder_digest="e" * 64, smallest_window=10, null_draws=50
    )
    version = ReferenceVersion(built.digest, built.name, START, "e" * 64, dict(built.facts))
    with single_threaded():
        reference = Reference.load(version, built.arrays)
        found = evaluate(reference.frozen, unlike(60, 2), entropy_factor=10.0)
    lacking = {signal.value for signal, estimate in found.items() if estimate.value is None}
    assert lacking <= {"novelty_visual", "novelty_textual"}  # no distances were asked for


def test_stored_vectors_are_read_in_the_dimension_that_they_have() -> None:
    rows = unit(np.random.default_rng(5).standard_normal((3, 12)))
    packed = [z.astype("<f2").tobytes() for z in rows]
    np.testing.assert_allclose(stacked([packed[0], None, *packed[1:]], 16), rows, atol=1e-3)
    assert stacked([None], 16).shape == (0, 16)
    assert columns([], 16).z_v.shape == (0, 16)


# --- references


def test_a_reference_of_other_encoders_is_refused_with_both_names(
    database: Database, tmp_path: Path
) -> None:
    built = small_reference()
    facts = {**built.facts, "encoders": "paper (clip, xlm-roberta)"}
    version = ReferenceVersion(built.digest, built.name, START, built.encoder_digest, facts)
    with database.begin() as session:
        save_reference(session, version, built.arrays)
    shelf = ReferenceShelf(
        database=database, data_dir=tmp_path, encoder_digest="0" * 64, encoder_name="builtin"
    )
    with pytest.raises(ReferenceMismatchError) as refused:
        shelf.get(built.digest)
    for name in ("paper (clip, xlm-roberta)", "builtin", built.encoder_digest[:12], "0" * 12):
        assert name in str(refused.value)


# --- while they load


def answer(url: str, body: bytes | None = None) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, body, timeout=30) as response:  # noqa: S310 - our own
            return response.status, response.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()


def test_while_encoders_load_the_daemon_lives_and_takes_traffic_but_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses: list[str] = []
    serving = daemon._serving

    @contextmanager
    def noted(*arguments: object) -> Iterator[str]:
        with serving(*arguments) as address:
            addresses.append(address)
            yield address

    seen: dict[str, tuple[int, str]] = {}

    def load(_: Settings) -> EncoderPair:
        (address,) = addresses
        seen["alive"] = answer(f"{address}/healthz")
        seen["ready"] = answer(f"{address}/readyz")
        seen["posted"] = answer(f"{address}/v1/exchanges", exchange("a"))
        return hash_encoders()

    monkeypatch.setattr(daemon, "_serving", noted)
    monkeypatch.setattr(daemon, "load_encoders", load)
    settings = small_settings(tmp_path)
    with running(settings, clock=Clock(START + timedelta(minutes=1)), stop=Event()):
        seen["ready at last"] = answer(f"{addresses[0]}/readyz")
    assert {name: status for name, (status, _) in seen.items()} == {
        "alive": 200,
        "ready": 503,
        "posted": 200,
        "ready at last": 200,
    }
    assert json.loads(seen["ready"][1])["reasons"] == ["the encoders are loading"]
    assert json.loads(seen["posted"][1])["accepted"] == 1
