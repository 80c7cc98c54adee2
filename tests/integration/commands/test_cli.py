"""The command line: what comes out where, with which exit code, and never a traceback."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from monitor import cli, settings
from monitor.commands import reference
from monitor.encoders.builtin import builtin_encoders
from monitor.records import Signal
from monitor.reference.conditional import load_club_checkpoint, require_fit
from monitor.store import engine
from monitor.store.engine import open_database
from monitor.store.migrations import upgrade
from monitor.store.streams import ensure_streams
from tests.integration.service.parts import (
    DIM,
    exchange,
    hash_encoders,
    store_reference,
    traffic,
)

COMMANDS = [
    [],
    ["run"],
    ["replay"],
    ["demo"],
    ["check"],
    ["drill"],
    ["forget"],
    ["simulate"],
    ["reference"],
    *(["reference", name] for name in ("build", "list", "show", "activate", "delete")),
    ["db"],
    ["db", "upgrade"],
    ["db", "current"],
    ["db", "backup"],
]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The program's ``main`` in an empty folder, without settings."""
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("MLLM_MONITOR_")]:
        monkeypatch.delenv(name)

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["mllm-monitor", *arguments])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
        return Done(code, *capsys.readouterr())

    return call


def words(done: Done) -> list[str]:
    return done.err.splitlines()


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- the commands themselves


def test_help_needs_none_of_the_heavy_libraries() -> None:
    heavy = {"torch", "sqlalchemy", "pydantic", "numpy", "fastapi", "faiss", "PIL", "rich"}
    code = f"import sys, monitor.cli; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(run: Run, command: list[str]) -> None:
    done = run(*command, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["replay"],
        ["replay", "a.jsonl", "--nonsense"],
        ["reference", "show"],
        ["demo", "--exit-after", "0"],
        ["simulate", "--start", "yesterday"],
        ["reference", "build", "a.jsonl", "--name", "a@b"],
        ["reference", "build", "a.jsonl", "--name", " "],
    ],
    ids=" ".join,
)
def test_misuse_is_two_with_the_usage_on_standard_error(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Error: " in done.err


def test_the_module_runs_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "monitor", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("mllm-monitor") or "version" in done.stdout


# --- what people get wrong


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay", "missing.jsonl"], "missing.jsonl: no such file"),
        (["reference", "build", "missing.jsonl"], "missing.jsonl: no such file"),
        (["replay", "good.jsonl", "missing.jsonl"], "missing.jsonl: no such file"),
        (["replay", "good.jsonl", "--format", "odd"], "--format must be one of"),
        (["reference", "build", "good.jsonl", "--format", "odd"], "--format must be one of"),
        (
            ["--config", "made.yaml", "reference", "show", "nobody"],
            "there is no reference 'nobody'",
        ),
        (["--config", "made.yaml", "reference", "delete", "nobody"], "no reference 'nobody'"),
        (["--config", "made.yaml", "reference", "activate", "nobody"], "no reference 'nobody'"),
        (["reference", "build", "damaged.gz"], "damaged.gz: no gzip that can be read"),
        (["replay", "damaged.gz"], "damaged.gz: no gzip that can be read"),
        (["--config", "folder.yaml", "db", "backup", "copy.db"], "cannot open the database"),
        (["--config", "text.yaml", "db", "backup", "copy.db"], "file is not a database"),
        (["simulate", "--count", "0"], "--count takes 1 or more"),
        (["simulate", "--per-minute", "0"], "--per-minute more than 0"),
        (["demo", "--listen", "nonsense"], "--listen: listen must be ADDRESS:PORT, got 'nonsense'"),
        (["reference", "build", "good.jsonl"], "exchanges are too few"),
        (["reference", "build", "empty.jsonl"], "the files hold no exchange"),
        (["--config", "missing.yaml", "check"], "no settings file at missing.yaml"),
        (["--config", "list.yaml", "check"], "must hold sections"),
        (["--config", "odd.yaml", "run"], "mood: unknown setting"),
        (["--config", "scheme.yaml", "reference", "list"], "database.url must be like sqlite"),
        (["--config", "folder.yaml", "reference", "list"], "cannot open the database"),
        (["--config", "port.yaml", "reference", "list"], "got a URL that cannot be parsed"),
        (["--config", "slashes.yaml", "reference", "list"], "got two slashes before the file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_that_says_what_is_wrong(
    run: Run, tmp_path: Path, arguments: list[str], said: str
) -> None:
    write(tmp_path / "good.jsonl", exchange("a"))
    write(tmp_path / "empty.jsonl", "")
    write(tmp_path / "list.yaml", "[1]")
    write(tmp_path / "odd.yaml", "mood: fine")
    write(tmp_path / "scheme.yaml", "database: {url: 'mysql://host/name'}")
    write(tmp_path / "port.yaml", "database: {url: 'postgresql://host:port/name'}")
    write(tmp_path / "slashes.yaml", "database: {url: 'sqlite://made.db'}")
    write(tmp_path / "folder.yaml", f"database: {{url: 'sqlite:///{tmp_path}'}}")
    write(tmp_path / "made.yaml", "database: {url: 'sqlite:///made.db'}")
    write(tmp_path / "text.yaml", "database: {url: 'sqlite:///good.jsonl'}")
    write(tmp_path / "damaged.gz", b"\x1f\x8b\x08no gzip goes on like this")
    with open_database("sqlite:///made.db") as database:
        upgrade(database)
    done = run(*arguments)
    own = [line for line in words(done) if line.startswith("mllm-monitor: ")]
    assert (done.code, done.out, len(own)) == (2, "", 1)
    assert said in own[0]
    assert "Traceback" not in done.err
    assert not (tmp_path / "copy.db").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain"],
        ["forget", "--id", "a"],
        ["calibrate"],
        ["drill", "good.jsonl"],
        ["reference", "show", "x"],
        ["reference", "activate", "x"],
        ["reference", "delete", "x"],
        ["reference", "promote", "--stream", "s", "--since", "2026-03-01"],
        ["db", "backup", "copy.db"],
    ],
    ids=" ".join,
)
def test_whoever_asks_where_nothing_is_stored_is_told_the_place_and_no_database_is_made(
    run: Run, tmp_path: Path, arguments: list[str]
) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    (line,) = words(done)
    assert line.startswith("mllm-monitor: there is no database sqlite:///mllm-monitor.db, so ")
    assert "--config" in line
    assert list(tmp_path.iterdir()) == []


def test_the_revision_of_a_database_that_is_not_there_is_none_and_none_is_made(
    run: Run, tmp_path: Path
) -> None:
    assert run("db", "current").out.startswith("current none\nneeded ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_where_nothing_is_stored_no_reference_is_listed_and_no_database_made(
    run: Run, tmp_path: Path, form: list[str]
) -> None:
    done = run("reference", "list", *form)
    assert (done.code, done.out) == (0, "")
    assert words(done) == [
        "sqlite:///mllm-monitor.db has no reference; `mllm-monitor reference build FILE` makes one"
    ]
    assert list(tmp_path.iterdir()) == []


def test_all_faults_of_a_settings_file_are_told_at_once(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "m.yaml", "mood: fine\nwindows: {pane: soon}\nhttp: {listen: nowhere}\n")
    done = run("--config", "m.yaml", "check")
    assert done.code == 2
    assert len(words(done)) == 3


def test_a_database_that_is_locked_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_BUSY_SECONDS", 0.05)
    with open_database(f"sqlite:///{tmp_path / 'mllm-monitor.db'}") as database:
        upgrade(database)
        with database.begin() as session:
            store_reference(session, stream=None)
        with database.begin():
            done = run("reference", "delete", "normal")
    assert (done.code, words(done)) == (2, ["mllm-monitor: database: database is locked"])


def test_a_second_replay_beside_a_first_is_refused(run: Run, tmp_path: Path) -> None:
    from monitor.store.lock import hold_embedded_lock  # noqa: PLC0415 - only here

    write(tmp_path / "good.jsonl", exchange("a"))
    with (
        open_database(f"sqlite:///{tmp_path / 'mllm-monitor.db'}") as database,
        hold_embedded_lock(database),
    ):
        done = run("replay", "good.jsonl")
    assert done.code == 2
    assert f"process {os.getpid()} already works on" in done.err


def test_control_characters_of_strangers_do_not_reach_the_terminal(run: Run) -> None:
    done = run("reference", "show", "a\x1b[2Jb")
    assert "\x1b" not in done.err


def test_an_unexpected_fault_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(settings, "load_settings", fails)
    done = run("check")
    assert (done.code, words(done)[-1]) == (70, "ZeroDivisionError")


@pytest.mark.parametrize(
    "text", ["2026-03-01T12:00:00Z", "2026-03-01T14:30+02:30", "2026-03-01 12"]
)
def test_a_time_is_of_utc_unless_it_says_otherwise(run: Run, tmp_path: Path, text: str) -> None:
    run("simulate", "--count", "1", "--start", text, "--out", "one.jsonl")
    line = json.loads((tmp_path / "one.jsonl").read_text())
    assert line["time"].startswith("2026-03-01T12:00:00")


def test_a_reference_for_a_stream_without_traffic_is_activated_with_a_word_of_doubt(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "load_encoders", lambda _: hash_encoders())
    with open_database("sqlite:///mllm-monitor.db") as database:
        upgrade(database)
        with database.begin() as session:
            store_reference(session)
            ensure_streams(session, ["llava"], datetime(2026, 3, 1, tzinfo=UTC))
    done = run("reference", "activate", "normal", "--stream", "lava", "--without-quality")
    assert (done.code, words(done)[0]) == (
        0,
        "note: there is no traffic of stream 'lava'; did you mean 'llava'?",
    )
    assert "note:" not in run("reference", "activate", "normal", "--without-quality").err


# --- check


def test_check_of_an_empty_folder_is_fine_and_makes_nothing(run: Run, tmp_path: Path) -> None:
    done = run("check")
    assert (done.code, done.err) == (0, "")
    assert {line.split()[0] for line in done.out.splitlines()} == {"ok"}
    assert list(tmp_path.iterdir()) == []


def test_check_says_what_windows_hold_and_what_lies_between_them(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "m.yaml", "windows: {pane: 5m, length: 10m, slide: 15m}")
    done = run("--config", "m.yaml", "check")
    assert done.code == 0
    assert "holds at most 512 samples; thresholds are best up to 500, a tenth of" in done.out
    assert "windows.slide is more than windows.length: what lies between" in done.out


def test_check_names_a_folder_where_a_log_should_be(run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    write(tmp_path / "good.jsonl", exchange("a"))
    write(tmp_path / "m.yaml", "sources: [{path: '*.jsonl'}]")
    done = run("--config", "m.yaml", "check")
    assert done.code == 2
    assert "PROBLEM source *.jsonl: folder.jsonl is not a regular file" in done.out


def test_check_names_everything_that_is_wrong_and_exits_two(run: Run, tmp_path: Path) -> None:
    write(
        tmp_path / "m.yaml",
        "sources: [{path: nothing.jsonl}]\n"
        "images: {root: nowhere}\n"
        "http: {tokens_file: no-tokens}\n"
        "database: {url: 'mysql://host/name'}\n",
    )
    done = run("--config", "m.yaml", "check")
    problems = [line for line in done.out.splitlines() if line.startswith("PROBLEM")]
    assert done.code == 2
    assert len(problems) == 4
    for part in ("source nothing.jsonl", "images.root nowhere", "tokens_file", "database.url"):
        assert part in "\n".join(problems)


@pytest.mark.parametrize("closed", ["folder", "folder/made.db"])
def test_check_says_that_the_database_cannot_be_written(
    run: Run, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    with open_database("sqlite:///folder/made.db") as database:
        upgrade(database)
    # A privileged user may write everywhere, so permissions of files would show nothing.
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != Path(closed))
    monkeypatch.setenv("MLLM_MONITOR_DATABASE__URL", "sqlite:///folder/made.db")
    done = run("check")
    assert done.code == 2
    assert "PROBLEM database sqlite:///folder/made.db is not writable by this user" in done.out


def test_check_says_which_reference_judges_what(run: Run, tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path / 'mllm-monitor.db'}") as database:
        upgrade(database)
        with database.begin() as session:
            identity = store_reference(session)
    done = run("check")
    assert done.code == 2  # it is of other encoders than those in the settings
    assert identity in done.out
    assert "PROBLEM the encoder digest of reference" in done.out


def test_check_json_is_the_settings_in_force_and_words_go_to_standard_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLLM_MONITOR_WINDOWS__SLIDE", "30m")
    done = run("check", "--json")
    assert json.loads(done.out)["windows"]["slide"] == "30m"
    assert "ok" in done.err


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://monitor:hunter2@127.0.0.1:1/name",
        "postgresql://127.0.0.1:1/name?user=monitor&password=hunter2",
        "postgresql://monitor:hunter2@[broken/name",
        "mysql://monitor:hunter2@host/name",
        "monitor:hunter2",
    ],
)
@pytest.mark.parametrize("flags", [["--json"], []])
def test_a_password_is_never_printed(
    run: Run, monkeypatch: pytest.MonkeyPatch, url: str, flags: list[str]
) -> None:
    monkeypatch.setenv("MLLM_MONITOR_DATABASE__URL", url)
    done = run("check", *flags)
    assert done.code == 2
    assert "hunter2" not in done.out + done.err
    assert "Traceback" not in done.err


# --- the whole way


@pytest.fixture
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small windows and quick encoders."""
    for command in ("reference", "replay"):
        monkeypatch.setattr(f"monitor.commands.{command}.load_encoders", lambda _: hash_encoders())
    return write(
        tmp_path / "m.yaml",
        "windows: {length: 15m, slide: 5m, min_samples: 10}\n"
        "reference: {null_draws: 50}\n"
        "logging: {format: json}\n",
    )


def test_a_reference_is_built_shown_used_replaced_and_deleted(
    run: Run, tmp_path: Path, settings_file: Path
) -> None:
    config = ("--config", str(settings_file))
    write(tmp_path / "good.jsonl", b"".join(traffic(160, 60, seed=1)))
    write(tmp_path / "window.jsonl", b"".join(traffic(60, 12, start=100, seed=2)))
    # Hashes of texts have nothing to do with each other, so there is nothing to learn from them.
    built = run(*config, "reference", "build", "good.jsonl", "--name", "spring", "--no-activate")
    assert built.code == 0
    identity = built.out.strip()
    assert identity.startswith("spring@")
    activated = run(*config, "reference", "activate", "spring", "--without-quality")
    assert activated.code == 0
    assert "only changes of the traffic are watched" in activated.err
    again = run(*config, "reference", "build", "good.jsonl", "--name", "summer")
    assert again.out.strip() == identity  # the very same data is the very same reference
    listed = json.loads(run(*config, "reference", "list", "--json").out)
    assert (listed["reference"], listed["active_for"]) == (identity, ["*"])
    assert json.loads(run(*config, "reference", "show", "spring", "--json").out) == listed
    rows = run(*config, "replay", "window.jsonl", "--json").out.splitlines()
    assert {json.loads(row)["reference"] for row in rows} == {identity}
    assert len(rows) == len(Signal) * 5
    assert run(*config, "replay", "window.jsonl", "--json").out.splitlines() == rows
    refused = run(*config, "reference", "delete", "spring")
    assert (refused.code, "is active for every stream" in refused.err) == (2, True)


def test_a_reference_whose_q_has_learned_nothing_is_stored_and_not_activated(
    run: Run, tmp_path: Path, settings_file: Path
) -> None:
    config = ("--config", str(settings_file))
    write(tmp_path / "good.jsonl", b"".join(traffic(160, 60, seed=1)))
    built = run(*config, "reference", "build", "good.jsonl", "--name", "spring")
    assert (built.code, built.out.startswith("spring@")) == (2, True)
    activated = run(*config, "reference", "activate", "spring")
    assert activated.code == 2
    for refused in (built, activated):
        (line,) = (line for line in words(refused) if "has learned nothing" in line)
        assert "nats against" in line
        assert line.endswith("--without-quality` to watch for changes of the traffic alone")
    shown = json.loads(run(*config, "reference", "show", "spring", "--json").out)
    assert (shown["active_for"], shown["networks"]["answer"]["has_learned"]) == ([], False)
    assert any("the q of answers has not learned" in note for note in shown["notes"])


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("missing.pt", "cannot read missing.pt: No such file or directory"),
        ("good.jsonl", "good.jsonl is no checkpoint of plain tensors"),
        ("code.pt", "code.pt is no checkpoint of plain tensors"),
        ("other.pt", "maps 8 to 8 dimensions, the embeddings have 16"),
    ],
)
def test_a_q_that_cannot_be_imported_is_refused_in_one_line_before_any_work(
    run: Run, tmp_path: Path, settings_file: Path, file: str, said: str
) -> None:
    write(tmp_path / "good.jsonl", b"".join(traffic(160, 60, seed=1)))
    torch.save({"p_mu": Path("x")}, tmp_path / "code.pt")
    torch.save(checkpoint(8), tmp_path / "other.pt")
    config = ("--config", str(settings_file))
    done = run(*config, "reference", "build", "good.jsonl", "--conditional", file)
    (line,) = words(done)  # nothing was read before
    assert (done.code, said in line) == (2, True)


def test_an_imported_q_is_judged_like_a_trained_one(
    run: Run, tmp_path: Path, settings_file: Path
) -> None:
    write(tmp_path / "good.jsonl", b"".join(traffic(160, 60, seed=1)))
    torch.save(checkpoint(DIM), tmp_path / "q.pt")
    config = ("--config", str(settings_file))
    done = run(*config, "reference", "build", "good.jsonl", "--conditional", "q.pt")
    assert (done.code, "has learned nothing" in done.err) == (2, True)
    assert "Give weights trained on embeddings of these encoders, or none" in done.err
    shown = json.loads(run(*config, "reference", "show", "reference", "--json").out)
    assert (shown["is_conditional_imported"], shown["networks"]["answer"]["epochs"]) == (True, 0)


def test_the_published_weights_fit_the_built_in_encoders(shared_data: Path) -> None:
    network = load_club_checkpoint(shared_data / "mllmshift_emi" / "CLUB_global.pt")
    require_fit(network, builtin_encoders().textual.dim)


def checkpoint(dim: int) -> dict[str, torch.Tensor]:
    """Weights in the published layout that predict nothing."""
    layers = {"0.weight": (4, dim), "0.bias": (4,), "2.weight": (dim, 4), "2.bias": (dim,)}
    return {
        f"{net}.{key}": torch.zeros(shape)
        for net in ("p_mu", "p_logvar")
        for key, shape in layers.items()
    }


def test_a_replay_without_a_reference_says_what_to_do(
    run: Run, tmp_path: Path, settings_file: Path
) -> None:
    write(tmp_path / "window.jsonl", b"".join(traffic(20, 12)))
    done = run("--config", str(settings_file), "replay", "window.jsonl", "--json")
    assert (done.code, done.out) == (0, "")
    assert "mllm-monitor reference build FILE" in done.err
    assert "20 admitted" in done.err


@pytest.mark.parametrize("log", [b"", b"no json\n", b"".join(traffic(20, 12))])
def test_a_replay_that_judges_nothing_is_no_all_clear(
    run: Run, tmp_path: Path, settings_file: Path, log: bytes
) -> None:
    write(tmp_path / "log.jsonl", log)
    config = ("--config", str(settings_file))
    assert run(*config, "replay", "log.jsonl").out == ""
    done = run(*config, "replay", "log.jsonl", "--fail-on-drift")
    assert (done.code, done.out) == (2, "")
    assert words(done)[-1].startswith("mllm-monitor: no window of the files was judged")


def test_a_replay_ends_with_1_if_it_found_drift_and_was_asked_to_say_so(
    run: Run, tmp_path: Path, settings_file: Path
) -> None:
    config = ("--config", str(settings_file))
    with open_database(f"sqlite:///{tmp_path / 'mllm-monitor.db'}") as database:
        upgrade(database)
        with database.begin() as session:
            store_reference(session)
    calm = traffic(60, 12, start=100, seed=2)
    odd = [exchange(f"e{i}", 200 + i / 5, query={"text": "same"}) for i in range(60)]
    write(tmp_path / "calm.jsonl", b"".join(calm))
    write(tmp_path / "odd.jsonl", b"".join(odd))
    found = [
        run(*config, "replay", name, *asked).code
        for name in ("calm.jsonl", "odd.jsonl")
        for asked in ([], ["--fail-on-drift"])
    ]
    assert found == [0, 0, 0, 1]
    said = run(*config, "replay", "odd.jsonl", "--fail-on-drift", "--json")
    assert any(line.startswith("drifting: 5 windows of llava") for line in words(said))


def test_a_replay_of_no_exchange_says_so_and_why(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "odd.jsonl", "no json\n{}\n")
    done = run("replay", "odd.jsonl", "--json")
    assert (done.code, done.out) == (0, "")
    assert "read: 1 broken_json, 1 unknown_format" in words(done)
    assert any(line.startswith("the files hold no exchange; docs/") for line in words(done))
    assert "read: nothing that was not read before" in words(run("replay", "odd.jsonl"))


def test_migrations_from_nothing_and_again(run: Run) -> None:
    before = run("db", "current")
    assert before.out.splitlines()[0] == "current none"
    made = run("db", "upgrade")
    assert (made.code, "empty -> " in made.err) == (0, True)
    assert "already" in run("db", "upgrade").err
    current, needed = run("db", "current").out.splitlines()
    assert current.split()[1] == needed.split()[1]


@pytest.mark.parametrize(
    "command",
    [
        "db current",
        "forget --id a",
        "reference list --json",
        "simulate --count 3",
        "simulate --count 60",
    ],
)
def test_a_pipe_that_closes_early_is_no_fault(tmp_path: Path, command: str) -> None:
    with open_database(f"sqlite:///{tmp_path / 'mllm-monitor.db'}") as database:
        upgrade(database)
    command = f"{sys.executable} -m monitor {command} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["/bin/bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Error" in done.stderr) == (0, False)


def test_a_terminal_that_lacks_a_letter_gets_a_question_mark_and_json_stays_whole(
    tmp_path: Path,
) -> None:
    with open_database(f"sqlite:///{tmp_path / 'mllm-monitor.db'}") as database:
        upgrade(database)
        with database.begin() as session:
            store_reference(session, stream="größe")

    def said(*arguments: str) -> str:
        command = [sys.executable, "-m", "monitor", "reference", *arguments]
        environment = os.environ | {"PYTHONIOENCODING": "ascii"}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert "gr??e" in said("list")
    assert json.loads(said("list", "--json"))["active_for"] == ["größe"]


def test_the_demo_says_at_once_that_its_port_is_taken(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("demo", "--listen", address)
    assert done.code == 2
    (line,) = words(done)  # nothing was built before
    assert f"cannot listen on {address}" in line
