"""The newest window of a stream, and the one that ends at a time, without reading all of them.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_windows_end", "windows", ["stream", "end"])


def downgrade() -> None:
    op.drop_index("ix_windows_end", table_name="windows")
