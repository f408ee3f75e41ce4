"""The Merkle tree's whole subtrees, and its signed heads."""

import sqlalchemy as sa
from alembic import op

from service.db.types import BIG

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('ledger_node',
    sa.Column('height', sa.SmallInteger(), autoincrement=False, nullable=False),
    sa.Column('place', BIG, autoincrement=False, nullable=False),
    sa.Column('hash', sa.CHAR(length=64), nullable=False),
    sa.PrimaryKeyConstraint('height', 'place', name=op.f('pk_ledger_node'))
    )
    op.create_table('checkpoint',
    sa.Column('size', BIG, autoincrement=False, nullable=False),
    sa.Column('at', BIG, nullable=False),
    sa.Column('note', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('size', name=op.f('pk_checkpoint'))
    )


def downgrade() -> None:
    op.drop_table('checkpoint')
    op.drop_table('ledger_node')
