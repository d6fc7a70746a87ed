"""Alembic's entry: runs the migrations on the connection that ``store.migrate`` hands over."""

from alembic import context

from mandamus.store.migrate import VERSION_TABLE
from mandamus.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    include_object=lambda _thing, name, kind, _reflected, _compare: kind != "table" or name in metadata.tables,
)
with context.begin_transaction():
    context.run_migrations()
