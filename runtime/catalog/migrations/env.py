"""What Alembic runs to migrate: on the connection, and in the transaction, that `schema` has opened."""

from alembic import context

from runtime.catalog.tables import REVISION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=REVISION_TABLE)
context.run_migrations()
