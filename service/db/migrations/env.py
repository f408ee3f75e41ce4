"""Alembic's entrance: it is always handed a connection by `service.db.migrate`."""

from alembic import context
from sqlmodel import SQLModel

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    compare_type=True,
    render_as_batch=True,
)
context.run_migrations()
