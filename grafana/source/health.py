"""The dashboard *Monitor health*: whether what the others show is to be believed."""

from grafana.source.boards import EXTERNAL_URL, HEALTH, SOURCE, alerts_fired, board, variable
from grafana.source.kinds import chart, stat
from grafana.source.panels import GREEN, ORANGE, RED, Json, Panel, Query, dashed, layout, meaning
from grafana.source.work import CHOSEN, backlog, intake, jobs, newest, of_job, rate_of, rates

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
                ("Intake", intake()),
                ("Embeddings and windows", backlog()),
                ("Jobs", jobs()),
                ("Teacher", _teacher()),
                ("Process and scrapes", _process()),
            ],
        ),
        variables=[SOURCE, JOBS, INSTANCES, EXTERNAL_URL],
        annotations=[alerts_fired("")],
    )


def _strip() -> list[Panel]:
    return [
        stat(
            "Answers",
            "Whether the newest scrape was answered.",
            "=up",
            f"min by (instance) (up{{{CHOSEN}}})",
            legend="{{instance}}",
            mappings=meaning({1: ("up", GREEN), 0: ("down", RED)}),
            colour="background",
            width=3,
        ),
        stat(
            "Measures",
            "Which instance measures windows; of several on one database one does.",
            "leader",
            f"min by (instance) ({of_job('leader')})",
            legend="{{instance}}",
            mappings=meaning({1: ("yes", GREEN), 0: ("no", "text")}),
            width=3,
        ),
        stat(
            "Published",
            "Since its numbers were put together; grows while the jobs stand still.",
            "snapshot_timestamp_seconds",
            f"min by (instance) (abs(time() - {of_job('snapshot_timestamp_seconds')}))",
            legend="{{instance}}",
            unit="s",
            steps=[(300, ORANGE)],
        ),
        stat(
            "Backlog",
            "Samples that wait for their embeddings.",
            "pending_samples",
            newest("pending_samples"),
            legend="{{instance}}",
        ),
        stat(
            "Windows due now",
            "That the last run of the measure job could not measure.",
            "windows_due",
            f"sum by (instance) ({of_job('windows_due')})",
            legend="{{instance}}",
            steps=[(1, ORANGE)],
        ),
        stat(
            "Failures within the range",
            "Of jobs and units of their work.",
            "job_failures_total",
            f"sum by (instance) (increase({of_job('job_failures_total')}[$__range]))",
            legend="{{instance}}",
            decimals=0,
            steps=[(1, RED)],
            width=3,
        ),
        stat(
            "Version",
            "What runs.",
            "info",
            newest("info", "instance, version"),
            legend="{{version}}",
            shows="name",
            width=3,
        ),
    ]


def _teacher() -> list[Panel]:
    return [
        rates(
            "Calls by outcome",
            "All zero where no teacher is set.",
            "teacher_calls_total",
            "outcome",
            width=8,
        ),
        rates(
            "Samples left out",
            "Chosen for the teacher and not answered, by why.",
            "teacher_skipped_total",
            "reason",
            width=8,
        ),
        chart(
            "Tokens",
            "What the calls cost, and 1 while the teacher is left alone because it failed.",
            "teacher_tokens_total",
            Query(rate_of("teacher_tokens_total", "instance"), "{{instance}} tokens a second"),
            Query(newest("teacher_breaker_open"), "{{instance}} left alone"),
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
            Query(_of_process("process_resident_memory_bytes"), "{{instance}}"),
            unit="bytes",
            min=0,
            width=6,
        ),
        chart(
            "Processors",
            "Cores that the process keeps busy.",
            "=process_cpu_seconds_total",
            Query(
                "sum by (instance)"
                f" (rate(process_cpu_seconds_total{{{CHOSEN}}}[$__rate_interval]))",
                "{{instance}}",
            ),
            min=0,
            width=6,
        ),
        chart(
            "Open files",
            "And how many it may open.",
            "=process_open_fds",
            Query(_of_process("process_open_fds"), "{{instance}}"),
            Query(_of_process("process_max_fds"), "{{instance}} may open"),
            overrides=[dashed(" may open")],
            min=0,
            width=6,
        ),
        chart(
            "Time of a scrape",
            "How long /metrics takes to answer.",
            "=scrape_duration_seconds",
            Query(_of_process("scrape_duration_seconds"), "{{instance}}"),
            unit="s",
            min=0,
            width=6,
        ),
    ]


def _of_process(metric: str) -> str:
    return f"max by (instance) ({metric}{{{CHOSEN}}})"
