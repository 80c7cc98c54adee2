"""Names that labels call samples by, whose a target is, and what the teacher is asked.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("samples", sa.Column("target_source", sa.String(10), nullable=True))
    op.execute("UPDATE samples SET target_source = 'logged' WHERE has_target")
    op.create_index("ix_samples_exchange_id", "samples", ["exchange_id"])
    op.create_table(
        "sample_aliases",
        sa.Column("sample_id", KEY, nullable=False),
        sa.Column("alias", sa.String(256), nullable=False),
        sa.ForeignKeyConstraint(
            ["sample_id"],
            ["samples.id"],
            name="fk_sample_aliases_sample_id_samples",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sample_id", "alias", name="pk_sample_aliases"),
    )
    op.create_index("ix_sample_aliases_alias", "sample_aliases", ["alias"])
    op.create_table(
        "teacher_asks",
        sa.Column("sample_id", KEY, autoincrement=False, nullable=False),
        sa.Column("stored_at", TIME, nullable=False),
        sa.Column("claimed_until", TIME, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sample_id"],
            ["samples.id"],
            name="fk_teacher_asks_sample_id_samples",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sample_id", name="pk_teacher_asks"),
    )
    op.create_index("ix_teacher_asks_stored_at", "teacher_asks", ["stored_at"])
    op.create_table(
        "teacher_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", name="pk_teacher_days"),
    )


def downgrade() -> None:
    op.drop_table("teacher_days")
    op.drop_table("teacher_asks")
    op.drop_table("sample_aliases")
    op.drop_index("ix_samples_exchange_id", table_name="samples")
    op.drop_column("samples", "target_source")
