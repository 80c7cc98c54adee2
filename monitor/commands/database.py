"""``db``: migrations."""

from monitor.commands.terminal import put, say
from monitor.settings import Settings
from monitor.store.engine import open_database
from monitor.store.migrations import current_revision, expected_revision, upgrade


def upgrade_database(settings: Settings) -> None:
    """Bring the database to the revision this program needs."""
    with open_database(settings.database.url) as database:
        before = current_revision(database)
        upgrade(database)
        after = current_revision(database)
        if before == after:
            say(f"{database.url_for_people} is at revision {after} already")
        else:
            say(f"{database.url_for_people}: {before or 'empty'} -> {after}")


def print_revision(settings: Settings) -> None:
    """Print the revision of the database and the one that is needed."""
    with open_database(settings.database.url) as database:
        put(f"current {current_revision(database) or 'none'}")
        put(f"needed {expected_revision()}")
