"""Why a batch waits, what a sender says of its servers, and how much of a day's warm-up is taken."""

import sqlalchemy as sa
from alembic import op


revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('batch', sa.Column('reason', sa.String(length=40), server_default='', nullable=False))
    op.add_column('sender', sa.Column('pace', sa.JSON(), nullable=True))
    op.create_table('warm_up_day',
    sa.Column('on', sa.Date(), nullable=False),
    sa.Column('taken', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('on', name=op.f('pk_warm_up_day'))
    )


def downgrade() -> None:
    op.drop_table('warm_up_day')
    op.drop_column('sender', 'pace')
    op.drop_column('batch', 'reason')
