"""The first tables.

Revision ID: 0001
Revises: nothing
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def partial_index(name: str, table: str, columns: list[str], *, where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)


def upgrade() -> None:
    op.create_table(
        "counters",
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("format", sa.String(40), nullable=False),
        sa.Column("outcome", sa.String(40), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "format", "outcome", name="pk_counters"),
    )
    op.create_table(
        "cursors",
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("partition", sa.String(256), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("at_end", sa.Boolean(), nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("source", "partition", name="pk_cursors"),
    )
    op.create_table(
        "early_targets",
        sa.Column("stream", sa.String(200), nullable=False),
        sa.Column("exchange_id", sa.String(256), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("stored_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("stream", "exchange_id", name="pk_early_targets"),
    )
    op.create_index("ix_early_targets_stored_at", "early_targets", ["stored_at"])

    op.create_table(
        "images",
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("thumbnail", sa.LargeBinary(), nullable=True),
        sa.Column("reject_reason", sa.String(40), nullable=True),
        sa.Column("encoder_digest", sa.String(64), nullable=True),
        sa.Column("z", sa.LargeBinary(), nullable=True),
        sa.Column("stored_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("content_hash", name="pk_images"),
    )
    partial_index(
        "ix_images_content",
        "images",
        ["stored_at"],
        where="payload IS NOT NULL OR thumbnail IS NOT NULL",
    )

    op.create_table(
        "measurements",
        sa.Column("id", KEY, nullable=False),
        sa.Column("stream", sa.String(200), nullable=False),
        sa.Column("slice_key", sa.String(401), nullable=False),
        sa.Column("signal", sa.String(40), nullable=False),
        sa.Column("window_start", TIME, nullable=False),
        sa.Column("window_end", TIME, nullable=False),
        sa.Column("reference", sa.String(265), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(20), nullable=False),
        sa.Column("value", sa.Float(53), nullable=True),
        sa.Column("stderr", sa.Float(53), nullable=True),
        sa.Column("null_mean", sa.Float(53), nullable=True),
        sa.Column("threshold", sa.Float(53), nullable=True),
        sa.Column("excess_ratio", sa.Float(53), nullable=True),
        sa.Column("p_value", sa.Float(53), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("terms", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_measurements"),
        sa.UniqueConstraint(
            "stream",
            "slice_key",
            "signal",
            "window_start",
            "window_end",
            name="uq_measurements_stream",
        ),
    )
    op.create_index("ix_measurements_window_end", "measurements", ["window_end", "stream"])

    op.create_table(
        "panes",
        sa.Column("stream", sa.String(200), nullable=False),
        sa.Column("start", TIME, nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("settled_revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stream", "start", name="pk_panes"),
    )
    partial_index(
        "ix_panes_unsettled", "panes", ["stream", "start"], where="revision <> settled_revision"
    )

    op.create_table(
        "partition_watermarks",
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("partition", sa.String(256), nullable=False),
        sa.Column("stream", sa.String(200), nullable=False),
        sa.Column("first", TIME, nullable=False),
        sa.Column("last", TIME, nullable=False),
        sa.PrimaryKeyConstraint("source", "partition", "stream", name="pk_partition_watermarks"),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", KEY, nullable=False),
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("partition", sa.String(256), nullable=False),
        sa.Column("reason", sa.String(40), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("excerpt", sa.Text(), nullable=False),
        sa.Column("stored_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_quarantine"),
    )
    op.create_table(
        "references",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("encoder_digest", sa.String(64), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_references"),
    )
    op.create_table(
        "samples",
        sa.Column("id", KEY, nullable=False),
        sa.Column("stream", sa.String(200), nullable=False),
        sa.Column("exchange_id", sa.String(256), nullable=False),
        sa.Column("pane_start", TIME, nullable=False),
        sa.Column("time", TIME, nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("response", sa.Text(), nullable=True),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("has_target", sa.Boolean(), nullable=False),
        sa.Column("stored_at", TIME, nullable=False),
        sa.Column("claimed_until", TIME, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("encoder_digest", sa.String(64), nullable=True),
        sa.Column("z_v", sa.LargeBinary(), nullable=True),
        sa.Column("z_t", sa.LargeBinary(), nullable=True),
        sa.Column("z_y", sa.LargeBinary(), nullable=True),
        sa.Column("z_target", sa.LargeBinary(), nullable=True),
        sa.Column("novelty_v", sa.Float(53), nullable=True),
        sa.Column("novelty_t", sa.Float(53), nullable=True),
        sa.Column("novelty_reference", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_samples"),
        sa.UniqueConstraint("stream", "exchange_id", name="uq_samples_stream"),
        sqlite_autoincrement=True,
    )
    partial_index(
        "ix_samples_content",
        "samples",
        ["stored_at"],
        where="text IS NOT NULL OR target IS NOT NULL",
    )
    op.create_index("ix_samples_pane", "samples", ["stream", "pane_start", "priority"])
    partial_index(
        "ix_samples_pending",
        "samples",
        ["pane_start", "stream", "id"],
        where="encoder_digest IS NULL",
    )
    op.create_index("ix_samples_stored_at", "samples", ["stored_at"])

    op.create_table(
        "streams",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("first_seen", TIME, nullable=False),
        sa.Column("watermark", TIME, nullable=True),
        sa.Column("forgotten_until", TIME, nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_streams"),
    )
    op.create_table(
        "windows",
        sa.Column("stream", sa.String(200), nullable=False),
        sa.Column("start", TIME, nullable=False),
        sa.Column("end", TIME, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("reference", sa.String(265), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("measured_at", TIME, nullable=False),
        sa.Column("summary", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("stream", "start", "end", name="pk_windows"),
    )
    op.create_table(
        "activations",
        sa.Column("id", KEY, nullable=False),
        sa.Column("stream", sa.String(200), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("activated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["digest"],
            ["references.digest"],
            name="fk_activations_digest_references",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_activations"),
    )
    op.create_index("ix_activations_stream", "activations", ["stream"])

    op.create_table(
        "reference_arrays",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("dtype", sa.String(8), nullable=False),
        sa.Column("shape", sa.JSON(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["digest"],
            ["references.digest"],
            name="fk_reference_arrays_digest_references",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("digest", "name", name="pk_reference_arrays"),
    )
    op.create_table(
        "reference_samples",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("exchange_id", sa.String(256), nullable=False),
        sa.Column("part", sa.String(12), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("response", sa.Text(), nullable=True),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("thumbnail", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["digest"],
            ["references.digest"],
            name="fk_reference_samples_digest_references",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("digest", "position", name="pk_reference_samples"),
    )
    op.create_table(
        "sample_images",
        sa.Column("sample_id", KEY, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("content_hash", sa.String(64), nullable=True),
        sa.ForeignKeyConstraint(
            ["sample_id"],
            ["samples.id"],
            name="fk_sample_images_sample_id_samples",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sample_id", "position", name="pk_sample_images"),
    )
    op.create_index("ix_sample_images_content_hash", "sample_images", ["content_hash"])


def downgrade() -> None:
    for table in (
        "sample_images",
        "reference_samples",
        "reference_arrays",
        "activations",
        "windows",
        "streams",
        "samples",
        "references",
        "quarantine",
        "partition_watermarks",
        "panes",
        "measurements",
        "images",
        "early_targets",
        "cursors",
        "counters",
    ):
        op.drop_table(table)
