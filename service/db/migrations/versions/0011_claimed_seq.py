"""Up to which entry a claim has heeded what was taken away; its batch's seal says so."""

import sqlalchemy as sa
from alembic import op

from service.db.types import BIG

revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('batch', sa.Column('claimed_seq', BIG, nullable=True))


def downgrade() -> None:
    op.drop_column('batch', 'claimed_seq')
