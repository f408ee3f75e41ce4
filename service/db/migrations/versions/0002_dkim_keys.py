"""Keys that sign a brand's mail."""

import sqlalchemy as sa
import sqlmodel
from alembic import op


revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('dkim_key',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('brand_id', sa.Integer(), nullable=False),
    sa.Column('domain', sqlmodel.sql.sqltypes.AutoString(length=255), nullable=False),
    sa.Column('selector', sqlmodel.sql.sqltypes.AutoString(length=63), nullable=False),
    sa.Column('state', sqlmodel.sql.sqltypes.AutoString(length=10), nullable=False),
    sa.Column('public', sa.Text(), nullable=False),
    sa.Column('sealed', sa.LargeBinary(), nullable=True),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('began_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.Column('ended_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.Column('retired_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.CheckConstraint("state IN ('published','signing','retired')", name=op.f('ck_dkim_key_state')),
    sa.ForeignKeyConstraint(['brand_id'], ['brand.id'], name=op.f('fk_dkim_key_brand_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_dkim_key')),
    sa.UniqueConstraint('domain', 'selector', name=op.f('uq_dkim_key_domain_selector'))
    )
    with op.batch_alter_table('dkim_key', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_dkim_key_brand_id'), ['brand_id'], unique=False)
        batch_op.create_index('uq_dkim_key_signing', ['brand_id'], unique=True, sqlite_where=sa.text("state = 'signing'"), postgresql_where=sa.text("state = 'signing'"))
