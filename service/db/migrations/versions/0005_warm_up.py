"""How much of a day's warm-up is taken."""

import sqlalchemy as sa
from alembic import op


revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('warm_up_day',
    sa.Column('on', sa.Date(), nullable=False),
    sa.Column('taken', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('on', name=op.f('pk_warm_up_day'))
    )


def downgrade() -> None:
    op.drop_table('warm_up_day')
