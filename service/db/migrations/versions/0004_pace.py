"""Why a batch waits, and what a sender says of its servers."""

import sqlalchemy as sa
from alembic import op


revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('batch', sa.Column('reason', sa.String(length=40), server_default='', nullable=False))
    op.add_column('sender', sa.Column('pace', sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column('sender', 'pace')
    op.drop_column('batch', 'reason')
