"""The web application over real HTTP, with everything behind it."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from monitor.service.acting import Actor
from monitor.service.intake import Batch, Receipt
from monitor.service.wiring import make_investigator
from monitor.store.engine import open_database
from monitor.traffic.formats.reading import AS_LOGGED, Reading
from monitor.traffic.formats.wire import Format
from monitor.web.access import Tokens
from monitor.web.app import WebParts, create_app
from monitor.web.gate import Access
from monitor.web.ingest import Door
from monitor.web.server import serve
from tests.integration.service.parts import (
    Rig,
    admit,
    hash_encoders,
    small_settings,
    store_reference,
    traffic,
)

LIMIT = 100_000
WEIRD = 'a"b\\c\n<script>alert(1)</script>{x="y"} é'


@dataclass
class Site:
    """A served application, and what tests change behind it."""

    rig: Rig
    client: httpx.Client
    reasons: list[str] = field(default_factory=list)
    actor: Actor = field(init=False)
    admitted: Callable[[str, Sequence[bytes]], Receipt] | None = None

    def __post_init__(self) -> None:
        rig = self.rig
        self.actor = Actor(rig.database, rig.settings.data_dir, rig.clock, hash_encoders().digest)

    def publish(self) -> None:
        self.rig.around.publisher.refresh()


Serve = Callable[..., Site]


@pytest.fixture
def new_site(migrated_file: Path, tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(
            *,
            tokens: tuple[bytes, ...] = (),
            tokens_file: Path | None = None,
            limit: int = LIMIT,
            per_second: int = 100_000,
            max_waiting: int = 64,
            reading: Reading = AS_LOGGED,
            access: Access | None = None,
        ) -> Site:
            path = shutil.copy(migrated_file, tmp_path / "monitor.db")
            database = stack.enter_context(open_database(f"sqlite:///{path}"))
            slices = {"labels": ["tenant"]}
            rig = Rig(small_settings(tmp_path, slices=slices), database)
            plain = httpx.Client(timeout=30, verify=False)  # noqa: S501 - loopback; certificates take long
            site = Site(rig, stack.enter_context(plain))

            def admit_lines(path: str, lines: Sequence[bytes], form: Format) -> Receipt:
                if site.admitted is not None:
                    return site.admitted(path, lines)
                batch = Batch("http", "", lines, counted_as=path)
                return rig.around.intake.admit(batch, form)

            app = create_app(
                WebParts(
                    registry=rig.around.telemetry.registry,
                    latest=rig.around.publisher.latest,
                    database=database,
                    not_ready=lambda: site.reasons,
                    actor=site.actor,
                    slide=rig.settings.windows.slide,
                    access=access or Access(),
                    investigator=make_investigator(rig.settings, database, rig.clock),
                    door=Door(
                        admit=admit_lines,
                        tokens=Tokens(tokens_file, tokens),
                        reading=reading,
                        max_body_bytes=limit,
                        max_requests_per_second=per_second,
                        max_waiting=max_waiting,
                    ),
                )
            )
            address = stack.enter_context(serve(app, host="127.0.0.1", port=0))
            site.client.base_url = address  # type: ignore[assignment]  # httpx takes a string
            return site

        yield start


@pytest.fixture
def site(new_site: Serve) -> Site:
    return new_site()


@pytest.fixture
def measured(site: Site) -> Site:
    """A site whose database holds measured windows of a usual and of a hostile stream."""
    with site.rig.database.begin() as session:
        store_reference(session)
    admit(site.rig.around.intake, [*traffic(160, 9.9), *traffic(60, 12, stream=WEIRD)])
    site.rig.jobs.ingest.run(lambda: False)
    site.rig.jobs.embed()
    site.rig.jobs.measure()
    site.publish()
    return site
