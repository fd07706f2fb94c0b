"""The catalog's tables, as this version of Moorage reads and writes them.

    datasets   one row a name that is in use
    versions   one row a version: (name, version) is unique; name is NULL for a dataset that was saved without one, or
               was unregistered since
    numbers    every version number that a name was ever given, and to what: none is given again
    runs       one row a run, as its launcher told it last
    reads      which run read a version, as which input
    made       which run made a version, from which output

How a database comes to have them is told by `migrations`: a change here needs a revision there, and a test compares the two.
`made` and `reads` name runs that may be unknown: a launcher that could not tell the catalog of its run still registers.
"""

import sqlalchemy as sa

REVISION = "0002"  # the newest of migrations/versions; a test compares the two
KNOWN_REVISIONS = ("0001", "0002")
REVISION_TABLE = "catalog_revision"  # not Alembic's own name: a team's database may serve others that use Alembic
_VERSION_ID = "versions.id"

metadata = sa.MetaData()
# Before Alembic this number told the schema; a Moorage of that time looks here, and refuses what is not 1.
catalog_format = sa.Table("catalog_format", metadata, sa.Column("version", sa.Integer, primary_key=True))
datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("created", sa.String(40), nullable=False),
)
versions = sa.Table(
    "versions",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("name", sa.ForeignKey("datasets.name"), nullable=True),
    sa.Column("version", sa.Integer, nullable=True),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("files", sa.BigInteger, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("tags", sa.Text, nullable=False),
    sa.Column("created", sa.String(40), nullable=False),
    sa.UniqueConstraint("name", "version"),
    sa.Index("versions_by_digest", "digest"),
)
numbers = sa.Table(
    "numbers",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("version_id", sa.ForeignKey(_VERSION_ID), nullable=False),
    sa.Index("numbers_by_version_id", "version_id"),
)
runs = sa.Table(
    "runs",
    metadata,
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
reads = sa.Table(
    "reads",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("input", sa.Text, primary_key=True),
    sa.Column("version_id", sa.ForeignKey(_VERSION_ID), nullable=False),
    sa.Column("mode", sa.String(20), nullable=False),
    sa.Index("reads_by_version_id", "version_id"),
)
made = sa.Table(
    "made",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("output", sa.Text, primary_key=True),
    sa.Column("version_id", sa.ForeignKey(_VERSION_ID), nullable=False),
    sa.Index("made_by_version_id", "version_id"),
)
