"""A key for each day, under which the whole network addresses of that day's evidence lie, so that they can go when it goes."""

import sqlalchemy as sa
from alembic import op

revision = '0018'
down_revision = '0017'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('evidence_key',
    sa.Column('sealed', sa.LargeBinary(), nullable=False),
    sa.Column('id', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_evidence_key'))
    )


def downgrade() -> None:
    op.drop_table('evidence_key')
