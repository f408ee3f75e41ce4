"""Whoever was merged into somebody is found by it, for an erasure takes them along. And PostgreSQL keeps no samples of persons'
keys among its statistics: a key destroyed in its row would be left there."""

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
    if op.get_bind().dialect.name == 'postgresql':
        op.execute('ALTER TABLE person ALTER COLUMN wrapped_key SET STATISTICS 0')


def downgrade() -> None:
    op.drop_index('ix_person_merged_into', table_name='person')
