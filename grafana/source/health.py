"""The dashboard *Monitor health*: whether what the others show is to be believed."""

from grafana.source.boards import EXTERNAL_URL, HEALTH, SOURCE, alerts_fired, board, variable
from grafana.source.panels import (
    GREEN,
    ORANGE,
    RED,
    Json,
    Panel,
    Query,
    chart,
    layout,
    meaning,
    stat,
)

_ALL = 'job=~"$job",instance=~"$instance"'
JOBS = variable("job", "label_values(mllm_monitor_info, job)", label="Scrape job")
INSTANCES = variable(
    "instance", 'label_values(mllm_monitor_info{job=~"$job"}, instance)', label="Instance"
)


def health() -> Json:
    """How the daemon itself is."""
    return board(
        HEALTH,
        "What the daemon reads, how far behind it is, and how its jobs and its process do.",
        layout(
            _strip(),
            [
                ("Intake", _intake()),
                ("Embeddings and windows", _backlog()),
                ("Jobs", _jobs()),
                ("Teacher", _teacher()),
                ("Process and scrapes", _process()),
            ],
        ),
        variables=[SOURCE, JOBS, INSTANCES, EXTERNAL_URL],
        annotations=[alerts_fired("")],
    )


def _of(metric: str, matchers: str = "") -> str:
    more = f",{matchers}" if matchers else ""
    return f"mllm_monitor_{metric}{{{_ALL}{more}}}"


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({_of(metric)}[$__rate_interval]))"


def _strip() -> list[Panel]:
    return [
        stat(
            "Answers",
            "Whether the newest scrape was answered.",
            "=up",
            f"min by (instance) (up{{{_ALL}}})",
            legend="{{instance}}",
            mappings=meaning({1: ("up", GREEN), 0: ("down", RED)}),
            colour="background",
        ),
        stat(
            "Published",
            "Since its numbers were put together; grows while the jobs stand still.",
            "snapshot_timestamp_seconds",
            f"min by (instance) (abs(time() - {_of('snapshot_timestamp_seconds')}))",
            legend="{{instance}}",
            unit="s",
            steps=[(300, ORANGE)],
        ),
        stat(
            "Backlog",
            "Samples that wait for their embeddings.",
            "pending_samples",
            f"max by (instance) ({_of('pending_samples')})",
            legend="{{instance}}",
        ),
        stat(
            "Windows due now",
            "That the last run of the measure job could not measure.",
            "windows_due",
            f"sum by (instance) ({_of('windows_due')})",
            legend="{{instance}}",
            steps=[(1, ORANGE)],
        ),
        stat(
            "Failures within the range",
            "Of jobs and units of their work.",
            "job_failures_total",
            f"sum by (instance) (increase({_of('job_failures_total')}[$__range]))",
            legend="{{instance}}",
            decimals=0,
            steps=[(1, RED)],
        ),
        stat(
            "Version",
            "What runs.",
            "info",
            f"max by (instance, version) ({_of('info')})",
            legend="{{version}}",
            shows="name",
        ),
    ]


def _intake() -> list[Panel]:
    return [
        chart(
            "Records by outcome",
            "Each record read has one; docs/formats.md says why records are refused.",
            "exchanges_total",
            Query(_rate("exchanges_total", "outcome"), "{{outcome}}"),
            unit="cps",
            min=0,
            stacked=True,
        ),
        chart(
            "Records by source",
            "What comes from where, in which format.",
            "exchanges_total",
            Query(_rate("exchanges_total", "source, format"), "{{source}} {{format}}"),
            unit="cps",
            min=0,
        ),
        chart(
            "Lag of the sources",
            "Age of the newest exchange read from a source that has more unread, else 0.",
            "source_lag_seconds",
            Query(f"max by (source) ({_of('source_lag_seconds')})", "{{source}}"),
            unit="s",
            min=0,
            width=8,
        ),
        chart(
            "Sampled",
            "Exchanges that the sampling rule kept; only these are embedded.",
            "sampled_total",
            Query(_rate("sampled_total", "instance"), "{{instance}}"),
            unit="cps",
            min=0,
            width=8,
        ),
        chart(
            "Lines with keys that are not known",
            "Their keys were ignored and the records in them counted; a sign of another format.",
            "unknown_keys_total",
            Query(
                f"{_rate('unknown_keys_total', 'source')} or label_replace(vector(0),"
                ' "source", "none", "", "")',
                "{{source}}",
            ),
            unit="cps",
            min=0,
            width=8,
        ),
    ]


def _backlog() -> list[Panel]:
    step = "max(mllm_monitor_window_interval_seconds)"
    return [
        chart(
            "Samples waiting",
            "For their embeddings; more than the dashed line and windows are measured late.",
            "pending_samples",
            Query(f"max by (instance) ({_of('pending_samples')})", "{{instance}}"),
            Query(
                f"sum(rate({_of('sampled_total')}[$__rate_interval])) * scalar({step})",
                "sampled in one step",
            ),
            min=0,
            width=8,
        ),
        chart(
            "Batches embedded",
            "How many batches of samples are embedded.",
            "embed_seconds_count",
            Query(_rate("embed_seconds_count", "instance"), "{{instance}}"),
            unit="cps",
            min=0,
            width=8,
        ),
        chart(
            "Time to embed a batch",
            "Half and nineteen of twenty batches take no longer than this.",
            "embed_seconds_bucket",
            *_quantiles("embed_seconds_bucket", "instance", "{{instance}}"),
            unit="s",
            min=0,
            width=8,
        ),
        chart(
            "Windows due",
            "Windows of each stream that should be measured and could not be.",
            "windows_due",
            Query(f"max by (stream) ({_of('windows_due')})", "{{stream}}"),
            min=0,
        ),
        chart(
            "Since a window was measured",
            "By the daemon's own clock; the dashed line is two steps between windows.",
            "window_last_success_timestamp_seconds",
            Query(
                "max by (stream) (scalar(max(mllm_monitor_snapshot_timestamp_seconds))"
                f" - {_of('window_last_success_timestamp_seconds')})",
                "{{stream}}",
            ),
            Query(f"2 * {step}", "two steps"),
            unit="s",
            min=0,
        ),
    ]


def _jobs() -> list[Panel]:
    return [
        chart(
            "Time of a run",
            "Half and nineteen of twenty runs take no longer than this.",
            "job_seconds_bucket",
            *_quantiles("job_seconds_bucket", "exported_job", "{{exported_job}}"),
            unit="s",
            min=0,
            width=8,
        ),
        chart(
            "Runs",
            "How often each job ends; a job that never does stands still.",
            "job_seconds_count",
            Query(_rate("job_seconds_count", "exported_job"), "{{exported_job}}"),
            unit="cps",
            min=0,
            width=8,
        ),
        chart(
            "Failures",
            "Runs of a job, or units of its work, that failed; the log says why.",
            "job_failures_total",
            Query(
                f"sum by (exported_job) (increase({_of('job_failures_total')}[$__rate_interval]))",
                "{{exported_job}}",
            ),
            min=0,
            width=8,
        ),
    ]


def _teacher() -> list[Panel]:
    return [
        chart(
            "Calls by outcome",
            "All zero where no teacher is set.",
            "teacher_calls_total",
            Query(_rate("teacher_calls_total", "outcome"), "{{outcome}}"),
            unit="cps",
            min=0,
            width=8,
        ),
        chart(
            "Samples left out",
            "Chosen for the teacher and not answered, by why.",
            "teacher_skipped_total",
            Query(_rate("teacher_skipped_total", "reason"), "{{reason}}"),
            unit="cps",
            min=0,
            width=8,
        ),
        chart(
            "Tokens",
            "What the calls cost, and 1 while the teacher is left alone because it failed.",
            "teacher_tokens_total",
            Query(_rate("teacher_tokens_total", "instance"), "{{instance}} tokens a second"),
            Query(f"max by (instance) ({_of('teacher_breaker_open')})", "{{instance}} left alone"),
            min=0,
            width=8,
        ),
    ]


def _process() -> list[Panel]:
    return [
        chart(
            "Memory",
            "Resident memory of the process.",
            "=process_resident_memory_bytes",
            Query(f"max by (instance) (process_resident_memory_bytes{{{_ALL}}})", "{{instance}}"),
            unit="bytes",
            min=0,
            width=6,
        ),
        chart(
            "Processors",
            "Cores that the process keeps busy.",
            "=process_cpu_seconds_total",
            Query(
                f"sum by (instance) (rate(process_cpu_seconds_total{{{_ALL}}}[$__rate_interval]))",
                "{{instance}}",
            ),
            min=0,
            width=6,
        ),
        chart(
            "Open files",
            "And how many it may open.",
            "=process_open_fds",
            Query(f"max by (instance) (process_open_fds{{{_ALL}}})", "{{instance}}"),
            Query(f"max by (instance) (process_max_fds{{{_ALL}}})", "{{instance}} may open"),
            min=0,
            width=6,
        ),
        chart(
            "Time of a scrape",
            "How long /metrics takes to answer.",
            "=scrape_duration_seconds",
            Query(f"max by (instance) (scrape_duration_seconds{{{_ALL}}})", "{{instance}}"),
            unit="s",
            min=0,
            width=6,
        ),
    ]


def _quantiles(buckets: str, by: str, legend: str) -> list[Query]:
    rates = _rate(buckets, f"{by}, le")
    return [
        Query(f"histogram_quantile({q}, {rates})", f"{legend} {100 * q:.0f} %") for q in (0.5, 0.95)
    ]
