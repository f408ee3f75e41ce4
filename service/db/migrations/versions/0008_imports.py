"""Imports of people, and which entries of the ledger each wrote."""

import sqlalchemy as sa
import sqlmodel
from alembic import op

from service.db.types import BIG

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('people_import',
    sa.Column('octets', BIG, nullable=False),
    sa.Column('plan', sa.JSON(), nullable=False),
    sa.Column('counts', sa.JSON(), nullable=False),
    sa.Column('mended', sa.LargeBinary(), nullable=True),
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('public_id', sa.String(length=40), nullable=False),
    sa.Column('state', sa.String(length=12), nullable=False),
    sa.Column('file_name', sa.String(length=120), nullable=False),
    sa.Column('file_sha256', sa.String(length=64), nullable=False),
    sa.Column('plan_sha256', sa.String(length=64), nullable=False),
    sa.Column('rows_total', sa.Integer(), nullable=False),
    sa.Column('rows_done', sa.Integer(), nullable=False),
    sa.Column('back_after', sa.Integer(), nullable=False),
    sa.Column('taken_back', sa.Integer(), nullable=False),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('created_by', sa.String(length=60), nullable=False),
    sa.Column('beat_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.Column('ended_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.CheckConstraint("state IN ('draft','running','done','taking_back','taken_back')", name=op.f('ck_people_import_state')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_people_import')),
    sa.UniqueConstraint('public_id', name=op.f('uq_people_import_public_id'))
    )
    op.create_index('ix_people_import_file', 'people_import', ['file_sha256', 'plan_sha256'], unique=False)
    op.create_table('people_import_chunk',
    sa.Column('first_seq', BIG, nullable=False),
    sa.Column('last_seq', BIG, nullable=False),
    sa.Column('import_id', sa.Integer(), nullable=False),
    sa.Column('first_row', sa.Integer(), nullable=False),
    sa.Column('rows', sa.Integer(), nullable=False),
    sa.ForeignKeyConstraint(['import_id'], ['people_import.id'], name=op.f('fk_people_import_chunk_import_id')),
    sa.PrimaryKeyConstraint('import_id', 'first_row', name=op.f('pk_people_import_chunk'))
    )


def downgrade() -> None:
    op.drop_table('people_import_chunk')
    op.drop_index('ix_people_import_file', table_name='people_import')
    op.drop_table('people_import')
