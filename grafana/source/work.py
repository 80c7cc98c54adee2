"""The rows of *Monitor health* that follow a record from its source to its window."""

from typing import Any

from grafana.source.boards import ago
from grafana.source.kinds import chart
from grafana.source.panels import Panel, Query, dashed

CHOSEN = 'job=~"$job",instance=~"$instance"'


def of_job(metric: str) -> str:
    return f"mllm_monitor_{metric}{{{CHOSEN}}}"


def rate_of(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({of_job(metric)}[$__rate_interval]))"


def rates(title: str, text: str, metric: str, by: str, **more: Any) -> Panel:
    """How often a second something happens, of each kind that the labels tell apart."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return chart(title, text, metric, Query(rate_of(metric, by), legend), unit="cps", min=0, **more)


def newest(metric: str, by: str = "instance") -> str:
    return f"max by ({by}) ({of_job(metric)})"


def intake() -> list[Panel]:
    return [
        rates(
            "Records by outcome",
            "Each record read has one; docs/formats.md says why records are refused.",
            "exchanges_total",
            "outcome",
            stacked=True,
        ),
        rates(
            "Records by source",
            "What comes from where, in which format.",
            "exchanges_total",
            "source, format",
        ),
        chart(
            "Lag of the sources",
            "Age of the newest exchange read from a source that has more unread, else 0.",
            "source_lag_seconds",
            Query(newest("source_lag_seconds", "source"), "{{source}}"),
            unit="s",
            min=0,
            width=8,
        ),
        rates(
            "Sampled",
            "Exchanges that the sampling rule kept; only these are embedded.",
            "sampled_total",
            "instance",
            width=8,
        ),
        chart(
            "Lines with keys that are not known",
            "Their keys were ignored and the records in them counted; a sign of another format.",
            "unknown_keys_total",
            Query(
                f"{rate_of('unknown_keys_total', 'source')} or label_replace(vector(0),"
                ' "source", "none", "", "")',
                "{{source}}",
            ),
            unit="cps",
            min=0,
            width=8,
        ),
    ]


def backlog() -> list[Panel]:
    step = "max(mllm_monitor_window_interval_seconds)"
    return [
        chart(
            "Samples waiting",
            "For their embeddings; more than the dashed line and windows are measured late.",
            "pending_samples",
            Query(newest("pending_samples"), "{{instance}}"),
            Query(
                f"sum(rate({of_job('sampled_total')}[$__rate_interval])) * scalar({step})",
                "sampled in one step",
            ),
            overrides=[dashed("sampled in one step")],
            min=0,
            width=8,
        ),
        rates(
            "Batches embedded",
            "How many batches of samples are embedded.",
            "embed_seconds_count",
            "instance",
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
            Query(newest("windows_due", "stream"), "{{stream}}"),
            min=0,
        ),
        chart(
            "Since a window was measured",
            "By the daemon's own clock; the dashed line is two steps between windows.",
            "window_last_success_timestamp_seconds",
            Query(ago(of_job("window_last_success_timestamp_seconds")), "{{stream}}"),
            Query(f"2 * {step}", "two steps"),
            overrides=[dashed("two steps")],
            unit="s",
            min=0,
        ),
    ]


def jobs() -> list[Panel]:
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
        rates(
            "Runs",
            "How often each job ends; a job that never does stands still.",
            "job_seconds_count",
            "exported_job",
            width=8,
        ),
        chart(
            "Failures",
            "Runs of a job, or units of its work, that failed; the log says why.",
            "job_failures_total",
            Query(
                "sum by (exported_job)"
                f" (increase({of_job('job_failures_total')}[$__rate_interval]))",
                "{{exported_job}}",
            ),
            min=0,
            width=8,
        ),
    ]


def _quantiles(buckets: str, by: str, legend: str) -> list[Query]:
    rates = rate_of(buckets, f"{by}, le")
    return [
        Query(f"histogram_quantile({q}, {rates})", f"{legend} {100 * q:.0f} %") for q in (0.5, 0.95)
    ]
