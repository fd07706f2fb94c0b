"""Numbers that are given once, and runs with what they read and made."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the tables, note the numbers given so far, and turn a Moorage away that knows format 1 only."""
    _make_numbers()
    _make_runs()
    _make_link("reads", "input", sa.Column("mode", sa.String(20), nullable=False))
    _make_link("made", "output")
    op.execute("UPDATE catalog_format SET version = 2")


def _make_numbers() -> None:
    op.create_table(
        "numbers",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version_id", sa.String(36), sa.ForeignKey("versions.id"), nullable=False),
    )
    op.create_index("numbers_by_version_id", "numbers", ["version_id"])
    op.execute(
        "INSERT INTO numbers (name, version, version_id) SELECT name, version, id FROM versions WHERE name IS NOT NULL"
    )


def _make_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("experiment", sa.Text, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("created", sa.String(40), nullable=False),
        sa.Column("started", sa.String(40), nullable=True),
        sa.Column("ended", sa.String(40), nullable=True),
        sa.Column("exit_code", sa.Integer, nullable=True),
        sa.Column("command", sa.Text, nullable=False),
    )


def _make_link(table: str, role: str, *columns: sa.Column[str]) -> None:
    op.create_table(
        table,
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column(role, sa.Text, primary_key=True),
        sa.Column("version_id", sa.String(36), sa.ForeignKey("versions.id"), nullable=False),
        *columns,
    )
    op.create_index(f"{table}_by_version_id", table, ["version_id"])
