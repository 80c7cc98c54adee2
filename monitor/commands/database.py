"""``db``: migrations, and a copy of an embedded database."""

from pathlib import Path

from monitor.commands.terminal import put, say
from monitor.settings import Settings
from monitor.store.engine import open_database
from monitor.store.migrations import (
    current_revision,
    expected_revision,
    is_made,
    require_made,
    upgrade,
)


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
        put(f"current {current_revision(database) if is_made(database) else 'none'}")
        put(f"needed {expected_revision()}")


def back_up_database(settings: Settings, path: Path) -> None:
    """Copy an SQLite database to a new file; a daemon may be running on it."""
    with open_database(settings.database.url) as database:
        require_made(database)  # says in one line why it cannot be opened, before a file is made
        database.copy_to(path)
        say(f"{database.url_for_people} -> {path}, {path.stat().st_size / 2**20:.1f} MiB")
