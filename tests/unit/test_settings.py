import re
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from monitor.errors import SettingsError
from monitor.settings import Settings, SourceSettings, format_duration, load_settings

ROOT = Path(__file__).parents[2]


def write(folder: Path, text: str) -> Path:
    path = folder / "monitor.yaml"
    path.write_text(text)
    return path


def faults_of(path: Path | None, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environ or {})
    return str(caught.value).splitlines()


def dotted_names(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from dotted_names(inner, f"{prefix}{name}.")
        elif name == "sources":
            yield from (f"sources[].{key}" for key in SourceSettings.model_fields)
        else:
            yield f"{prefix}{name}"


def test_without_a_file_the_defaults_hold() -> None:
    assert load_settings(None, {}) == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("slices: {labels: tenant}", "slices.labels: must be a list"),
        ("windows: 5m", "windows: must be a section of keys with values, got '5m'"),
        ("sampling: {per_pane: 1k}", "sampling.per_pane: must be a whole number, got '1k'"),
        ("logging: {level: loud}", "must be 'debug', 'info', 'warning' or 'error', got 'loud'"),
        ("retention: {samples: 999999d}", "at most 36500d"),
        ("retention: {samples: 1h}", "must be at least windows.length and windows.lateness, 70m"),
        ("windows: {min_samples: 4000}", "more than a window can hold: 3072"),
        ("http: {listen: '127.0.0.1:97500'}", "listen must be ADDRESS:PORT"),
        ("reference: {seed: -1}", "must be greater than or equal to 0, got -1"),
        ("slices: {labels: [tenant=acme]}", "without values, got 'tenant=acme'"),
        ("slices: {labels: [tenant, tenant]}", "labels names tenant twice"),
        ("windows: {pane: 5m}\nhttp: {}\nwindows: {length: 2h}", "windows stands there twice"),
    ],
)
def test_a_value_that_cannot_be_is_answered_in_the_words_of_the_file(
    tmp_path: Path, text: str, said: str
) -> None:
    (fault,) = faults_of(write(tmp_path, text))
    assert said in fault
    assert "monitor.yaml" in fault


def test_a_misspelt_setting_is_answered_with_the_one_that_was_meant(tmp_path: Path) -> None:
    (fault,) = faults_of(write(tmp_path, "windws: {pane: 5m}"))
    assert "did you mean windows?" in fault


@pytest.mark.parametrize("section", ["windows", "sources", "data_dir"])
def test_where_all_keys_of_a_section_are_commented_out_the_defaults_hold(
    tmp_path: Path, section: str
) -> None:
    assert load_settings(write(tmp_path, f"{section}:\n  # pane: 1m\n"), {}) == Settings()


def test_what_kubernetes_says_of_services_called_alike_is_no_setting() -> None:
    address = "tcp://10.0.0.1:9750"
    names = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "9750",
        "SERVICE_PORT_HTTP": "9750",
        "PORT": address,
        "PORT_9750_TCP": address,
        "PORT_9750_TCP_PROTO": "tcp",
        "PORT_9750_TCP_PORT": "9750",
        "PORT_9750_TCP_ADDR": "10.0.0.1",
    }
    services = [
        {f"MLLM_MONITOR_{of}{name}": said for name, said in names.items()} for of in ("", "DB_")
    ]
    assert load_settings(None, services[0] | services[1]) == Settings()
    assert faults_of(None, {"MLLM_MONITOR_PORT": "9750"})


def test_a_fault_deep_in_the_tree_names_its_variable() -> None:
    (fault,) = faults_of(None, {"MLLM_MONITOR_ENCODERS__VISUAL__POOLING": "odd"})
    assert "(MLLM_MONITOR_ENCODERS__VISUAL__POOLING)" in fault


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "windows: {pane: 7x, lenth: 3h}\nsampling: {per_pane: 0}\nsource: []\n",
    )
    faults = faults_of(path, {"MLLM_MONITOR_SAMPLING__SEED": "many"})
    assert {fault.split(":")[0] for fault in faults} == {
        "windows.pane",
        "windows.lenth",
        "sampling.per_pane",
        "sampling.seed",
        "source",
    }


def test_an_unknown_setting_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    (fault,) = faults_of(write(tmp_path, "windows: {lenth: 3h}"))
    assert "lateness, length, min_samples" in fault


def test_a_fault_in_the_environment_names_its_variable() -> None:
    (fault,) = faults_of(None, {"MLLM_MONITOR_WINDOWS__SLIDE": "7x"})
    assert "MLLM_MONITOR_WINDOWS__SLIDE" in fault


def test_an_unknown_variable_is_refused() -> None:
    (fault,) = faults_of(None, {"MLLM_MONITOR_WINDOW__PANE": "1m"})
    assert fault.startswith("window: unknown setting")


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "windows: {pane: 1m, length: 10m, slide: 5m}\nslices: {labels: [a]}")
    settings = load_settings(
        path, {"MLLM_MONITOR_WINDOWS__PANE": "5m", "MLLM_MONITOR_SLICES__LABELS": "[b, c]"}
    )
    assert settings.windows.pane == timedelta(minutes=5)
    assert settings.windows.length == timedelta(minutes=10)
    assert settings.slices.labels == ("b", "c")


def test_the_variable_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "sampling: {per_pane: 7}")
    assert load_settings(None, {"MLLM_MONITOR_CONFIG": str(path)}).sampling.per_pane == 7


@pytest.mark.parametrize("text", ["windows: [", "- a\n- b", "\0"])
def test_a_file_that_is_no_settings_file_is_one_line(tmp_path: Path, text: str) -> None:
    assert len(faults_of(write(tmp_path, text))) == 1


def test_a_missing_file_is_named() -> None:
    assert faults_of(Path("nowhere.yaml")) == ["no settings file at nowhere.yaml"]


def test_a_password_in_the_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    path = write(tmp_path, "database: {url: 'postgresql://me:s3cret@db/monitor'}")
    (fault,) = faults_of(path)
    assert "MLLM_MONITOR_DATABASE__URL" in fault
    assert "s3cret" not in fault


@pytest.mark.parametrize("listen", ["0.0.0.0:9750", "10.1.2.3:80", "[::]:9750"])
def test_listening_beyond_loopback_takes_tokens_or_a_clear_wish(listen: str) -> None:
    (fault,) = faults_of(None, {"MLLM_MONITOR_HTTP__LISTEN": listen})
    assert "tokens_file" in fault
    wish = {"MLLM_MONITOR_HTTP__ALLOW_UNAUTHENTICATED": "true"}
    assert load_settings(None, {"MLLM_MONITOR_HTTP__LISTEN": listen, **wish}).http.listen == listen


@pytest.mark.parametrize("bad", [{"length": "7m"}, {"slide": "0"}, {"pane": "0"}])
def test_windows_are_whole_panes(bad: dict[str, str]) -> None:
    variables = {f"MLLM_MONITOR_WINDOWS__{k.upper()}": v for k, v in bad.items()}
    assert faults_of(None, variables)


@pytest.mark.parametrize("text", ["90s", "5m", "1h", "7d", "0s"])
def test_durations_are_written_as_they_are_read(text: str) -> None:
    settings = load_settings(None, {"MLLM_MONITOR_PRIVACY__CONTENT_RETENTION": text})
    assert format_duration(settings.privacy.content_retention) in {text, "90s"}


@pytest.mark.parametrize(
    ("privacy", "said"),
    [
        ("keep: [texts]", "labels.NAME, got 'texts'"),
        ("keep: [response]", "kept only beside text"),
        ("redact: [names]", "names"),
        ("patterns: {staff: '(E-'}", "patterns.staff is no regular expression"),
        ("patterns: {staff: 'x*'}", "patterns.staff matches where there is nothing"),
        ("patterns: {'S ': 'x'}", "got 'S '"),
    ],
)
def test_what_privacy_cannot_do_is_refused(tmp_path: Path, privacy: str, said: str) -> None:
    (fault,) = faults_of(write(tmp_path, f"privacy:\n  {privacy}\n"))
    assert said in fault


def test_a_label_that_slices_are_made_of_must_be_kept(tmp_path: Path) -> None:
    text = "slices: {labels: [tenant]}\nprivacy: {keep: [text, labels.language]}\n"
    (fault,) = faults_of(write(tmp_path, text))
    assert "add labels.tenant to privacy.keep" in fault


def test_the_example_file_holds_the_defaults() -> None:
    assert load_settings(ROOT / "deploy" / "monitor.example.yaml", {}) == Settings()


@pytest.mark.parametrize("page", ["README.md", "docs/operations.md"])
def test_settings_that_a_page_shows_are_taken(tmp_path: Path, page: str) -> None:
    blocks = re.findall(
        r"^ *```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE
    )
    assert blocks
    for block in blocks:
        load_settings(write(tmp_path, textwrap.dedent(block)), {})


def test_every_setting_is_in_the_docs_and_in_the_example() -> None:
    docs = (ROOT / "docs" / "settings.md").read_text()
    example = (ROOT / "deploy" / "monitor.example.yaml").read_text()
    for name in dotted_names():
        assert f"`{name}`" in docs
        assert f"{name.split('.')[-1].removeprefix('sources[]')}:" in example
