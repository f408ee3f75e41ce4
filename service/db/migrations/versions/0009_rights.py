"""Whoever was merged into somebody is found by it, for an erasure takes them along."""

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def upgrade() -> None:
    merged = sa.text('merged_into IS NOT NULL')
    op.create_index(
        'ix_person_merged_into',
        'person',
        ['merged_into'],
        unique=False,
        sqlite_where=merged,
        postgresql_where=merged,
    )


def downgrade() -> None:
    op.drop_index('ix_person_merged_into', table_name='person')
