"""The daemon as a process, whose samples without a target a teacher answers."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.prepared import SETTINGS, START, prepare, program_in
from tests.acceptance.program import Process, Program
from tests.acceptance.traffic import Traffic, as_bytes
from tests.endpoint import ANSWER, KEY, MODEL, FakeEndpoint, endpoint

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

CALLS_PER_DAY = 60
STEP = timedelta(seconds=4)
TAUGHT = "SELECT count(*) FROM samples WHERE target_source = 'teacher'"


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeEndpoint]:
    with endpoint() as listening:
        yield listening


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def program(prepared: Path, fake: FakeEndpoint, tmp_path: Path) -> Program:
    made = program_in(prepared, tmp_path / "here", settings_with(fake))
    (made.folder / "key").write_text(KEY)
    return made


def settings_with(fake: FakeEndpoint, **teacher: object) -> dict[str, object]:
    usual = {
        "url": fake.url,
        "model": MODEL,
        "key_file": "key",
        "share": 1.0,
        "calls_per_day": CALLS_PER_DAY,
    }
    jobs = {"ingest": "1s", "embed": "1s", "measure": "1s", "teacher": "1s"}
    return {**SETTINGS, "jobs": jobs, "teacher": usual | teacher}


def metric(process: Process, name: str, **labels: str) -> float | None:
    text = httpx.get(f"{process.address}/metrics", timeout=60).raise_for_status().text
    values = (
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if (sample.name, sample.labels) == (f"mllm_monitor_{name}", labels)
    )
    return next(values, None)


def taught(program: Program) -> int:
    return int(program.query(TAUGHT)[0][0])


def test_answers_become_targets_within_the_budget_of_the_day(
    program: Program, fake: FakeEndpoint
) -> None:
    traffic = Traffic(5, image_share=0.5)
    lines = traffic.evenly(CALLS_PER_DAY, "live", START, STEP, with_targets=False)
    with program.running("run") as process:
        process.event("daemon_ready")
        posted = httpx.post(f"{process.address}/v1/exchanges", content=as_bytes(lines), timeout=60)
        assert posted.status_code == 200
        process.until("answers", lambda: taught(program) == CALLS_PER_DAY)
        # The windows are measured again, with targets of the teacher alone.
        process.until(
            "share", lambda: metric(process, "teacher_targets_ratio", stream="live") == 1.0
        )
        assert metric(process, "teacher_calls_total", outcome="answered") == CALLS_PER_DAY
        assert process.event("targets_left_out")  # the reference has none of a teacher
        assert process.terminate() == 0
        said = process.err.read_text()
    assert {target for (target,) in program.query("SELECT target FROM samples")} == {ANSWER}
    assert KEY not in said
    later = traffic.evenly(20, "live", START + CALLS_PER_DAY * STEP, STEP, with_targets=False)
    with program.running("run") as process:
        process.event("daemon_ready")
        posted = [line | {"id": f"later {i}"} for i, line in enumerate(later)]
        httpx.post(f"{process.address}/v1/exchanges", content=as_bytes(posted), timeout=60)
        process.event("teacher_budget_spent")
        assert process.terminate() == 0
    assert (fake.calls, taught(program)) == (CALLS_PER_DAY, CALLS_PER_DAY)


def test_check_says_whether_there_is_a_teacher(program: Program, fake: FakeEndpoint) -> None:
    assert f"ok      teacher {MODEL} at {fake.url}: 100.0% of the samples" in said(program)
    program.settings = settings_with(fake, model="unknown-2")
    assert "PROBLEM teacher: the endpoint does not list the model unknown-2" in said(program)
    program.settings = settings_with(fake, url="http://127.0.0.1:1/v1")
    assert "PROBLEM the teacher did not answer (unreachable)" in said(program)
    program.settings = settings_with(fake) | {"privacy": {"content_retention": "0"}}
    assert "PROBLEM teacher: privacy.content_retention is 0" in said(program)
    (program.folder / "key").write_text("wrong")
    program.settings = settings_with(fake)
    assert "PROBLEM the teacher did not answer (denied): HTTP status 401" in said(program)
    (program.folder / "key").unlink()
    assert "PROBLEM teacher.key_file key cannot be read" in said(program)


def said(program: Program) -> str:
    return program.run("check").stdout
