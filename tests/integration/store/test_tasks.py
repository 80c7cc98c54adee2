"""One task at a time, by one process, and none that hangs when that process is gone."""

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from monitor.errors import TaskRunningError
from monitor.store.tasks import (
    ABANDONED,
    CLAIM,
    Task,
    TaskState,
    ask_task,
    claim_task,
    find_task,
    finish_task,
    forget_tasks,
    give_up_abandoned,
    note_progress,
    recent_tasks,
)
from tests.integration.store.builders import MINUTE, NOW, STREAM

ASKED = {"stream": STREAM, "exchange_id": "call-1"}


def ask(session: Session, kind: str = "promote") -> Task:
    return ask_task(session, kind, ASKED, "ann", NOW)


def claimed(session: Session) -> Task:
    ask(session)
    task = claim_task(session, NOW)
    assert task is not None
    return task


def found(session: Session, id_: int) -> Task:
    task = find_task(session, id_)
    assert task is not None
    return task


def test_a_task_is_claimed_once(session: Session) -> None:
    asked = ask(session)
    task = claim_task(session, NOW)
    assert task is not None
    assert (task.id, task.state, task.asked) == (asked.id, TaskState.RUNNING, ASKED)
    assert claim_task(session, NOW) is None


def test_a_second_task_is_refused_until_the_first_is_over(session: Session) -> None:
    task = claimed(session)
    with pytest.raises(TaskRunningError, match="ann asked to promote at 08:00 UTC"):
        ask(session, "forget")
    finish_task(session, task.id, NOW)
    assert ask(session, "forget").state is TaskState.WAITING


def test_progress_is_seen_and_renews_the_claim(session: Session) -> None:
    task = claimed(session)
    assert note_progress(session, task.id, ("nulls", 3, 10), NOW + CLAIM)
    assert give_up_abandoned(session, NOW + CLAIM + MINUTE) == 0
    seen = found(session, task.id)
    assert (seen.stage, seen.done, seen.total) == ("nulls", 3, 10)


def test_a_finished_task_has_its_result_and_forgets_its_arguments(session: Session) -> None:
    task = claimed(session)
    assert finish_task(session, task.id, NOW, result={"samples": 1})
    over = found(session, task.id)
    assert (over.state, over.result, over.asked) == (
        TaskState.DONE,
        {"samples": 1},
        {"stream": STREAM},
    )


def test_a_failed_task_says_why(session: Session) -> None:
    task = claimed(session)
    finish_task(session, task.id, NOW, problem="too few exchanges")
    assert found(session, task.id).problem == "too few exchanges"
    assert found(session, task.id).is_over


def test_a_task_whose_process_is_gone_fails_instead_of_hanging(session: Session) -> None:
    task = claimed(session)
    assert claim_task(session, NOW + CLAIM + MINUTE) is None
    over = found(session, task.id)
    assert (over.state, over.problem, over.asked) == (
        TaskState.FAILED,
        ABANDONED,
        {"stream": STREAM},
    )


def test_what_was_given_up_takes_no_result_any_more(session: Session) -> None:
    task = claimed(session)
    give_up_abandoned(session, NOW, all_of_them=True)
    assert not note_progress(session, task.id, ("nulls", 1, 2), NOW)
    assert not finish_task(session, task.id, NOW, result={})
    assert found(session, task.id).state is TaskState.FAILED


def test_old_tasks_go_but_not_open_ones(session: Session) -> None:
    finish_task(session, claimed(session).id, NOW)
    waiting = ask(session)
    assert forget_tasks(session, NOW + timedelta(days=90)) == 1
    assert [task.id for task in recent_tasks(session, 10)] == [waiting.id]
