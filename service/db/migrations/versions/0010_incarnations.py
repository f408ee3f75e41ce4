"""Whose a lease is: a word drawn at each start of a sender."""

import sqlalchemy as sa
from alembic import op

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('sender', sa.Column('incarnation', sa.String(length=20), nullable=False, server_default=''))


def downgrade() -> None:
    op.drop_column('sender', 'incarnation')
