"""Evidence over windows, and intervals of measurements.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("measurements", sa.Column("low", sa.Float(53), nullable=True))
    op.add_column("measurements", sa.Column("high", sa.Float(53), nullable=True))
    op.create_table(
        "evidence",
        sa.Column("stream", sa.String(200), nullable=False),
        sa.Column("window_start", TIME, nullable=False),
        sa.Column("window_end", TIME, nullable=False),
        sa.Column("slice_key", sa.String(401), nullable=False),
        sa.Column("signal", sa.String(40), nullable=False),
        sa.Column("reference", sa.String(265), nullable=False),
        sa.Column("scores", sa.JSON(), nullable=False),
        sa.Column("threshold", sa.Float(53), nullable=False),
        sa.Column("bets", sa.JSON(), nullable=False),
        sa.Column("windows", sa.Integer(), nullable=False),
        sa.Column("since", TIME, nullable=True),
        sa.Column("is_persistent", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint(
            "stream", "window_start", "window_end", "slice_key", "signal", name="pk_evidence"
        ),
    )


def downgrade() -> None:
    op.drop_table("evidence")
    op.drop_column("measurements", "high")
    op.drop_column("measurements", "low")
