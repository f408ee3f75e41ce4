"""A consent moves only from state to state as it may, and what ends by itself is found without reading every row."""

import sqlalchemy as sa
from alembic import op

from service.db.migrations import guards

revision = '0015'
down_revision = '0014'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        'ix_preference_valid_until', 'preference', ['valid_until'], unique=False,
        sqlite_where=sa.text('valid_until IS NOT NULL'), postgresql_where=sa.text('valid_until IS NOT NULL'),
    )
    guards.put_up_states(op.get_bind())


def downgrade() -> None:
    guards.take_down_states(op.get_bind())
    op.drop_index('ix_preference_valid_until', table_name='preference')
