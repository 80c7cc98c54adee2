"""Runs migrations on the connection that is handed in.

From the command line, for people who write migrations: on MLLM_MONITOR_DATABASE__URL, or where
that is not set on a new database in memory that is brought up to date first.
"""

import os

from alembic import context
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from monitor.store.engine import open_database
from monitor.store.tables import Base

URL = "MLLM_MONITOR_DATABASE__URL"


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


def bring_up_to_date(connection: Connection) -> None:
    def steps(revision: str, _: MigrationContext) -> object:
        return context.script._upgrade_revs("head", revision)  # noqa: SLF001 - as Alembic's cookbook does

    migration = MigrationContext.configure(connection, opts={"fn": steps})
    with Operations.context(migration):
        migration.run_migrations()


handed_in: Connection | None = context.config.attributes.get("connection")
if handed_in is not None:
    run(handed_in)
else:
    with open_database(os.environ.get(URL, "sqlite://")) as database, database.migrate() as opened:
        if URL not in os.environ:
            bring_up_to_date(opened)
        run(opened)
