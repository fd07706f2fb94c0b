"""Names and versions: the schema that was called format 1 before there were revisions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables of format 1, and say so in the place where a Moorage of that time looks."""
    marks = op.create_table("catalog_format", sa.Column("version", sa.Integer, primary_key=True))
    op.bulk_insert(marks, [{"version": 1}])
    op.create_table(
        "datasets",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("created", sa.String(40), nullable=False),
    )
    op.create_table(
        "versions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.String(255), sa.ForeignKey("datasets.name"), nullable=True),
        sa.Column("version", sa.Integer, nullable=True),
        sa.Column("definition", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("files", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("created", sa.String(40), nullable=False),
        sa.UniqueConstraint("name", "version"),
    )
    op.create_index("versions_by_digest", "versions", ["digest"])
