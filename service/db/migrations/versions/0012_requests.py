"""Requests under a person's rights, each with the day it is due."""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('rights_request',
    sa.Column('sealed', sa.LargeBinary(), nullable=True),
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('public_id', sa.String(length=40), nullable=False),
    sa.Column('right', sa.String(length=20), nullable=False),
    sa.Column('door', sa.String(length=12), nullable=False),
    sa.Column('person_id', sa.Integer(), nullable=True),
    sa.Column('contact_id', sa.Integer(), nullable=True),
    sa.Column('came_on', sa.Date(), nullable=False),
    sa.Column('due_on', sa.Date(), nullable=False),
    sa.Column('extension', sa.String(length=500), nullable=False),
    sa.Column('extended_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.Column('outcome', sa.String(length=20), nullable=False),
    sa.Column('note', sa.String(length=500), nullable=False),
    sa.Column('closed_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.Column('closed_by', sa.String(length=60), nullable=True),
    sa.Column('created_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('created_by', sa.String(length=60), nullable=False),
    sa.ForeignKeyConstraint(['contact_id'], ['contact_request.id'], name=op.f('fk_rights_request_contact_id')),
    sa.ForeignKeyConstraint(['person_id'], ['person.id'], name=op.f('fk_rights_request_person_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_rights_request')),
    sa.UniqueConstraint('public_id', name=op.f('uq_rights_request_public_id'))
    )
    op.create_index(op.f('ix_rights_request_contact_id'), 'rights_request', ['contact_id'], unique=False)
    op.create_index(op.f('ix_rights_request_person_id'), 'rights_request', ['person_id'], unique=False)
    unfinished = sa.text('closed_at IS NULL')
    op.create_index(
        'ix_rights_request_due', 'rights_request', ['due_on'], unique=False, sqlite_where=unfinished, postgresql_where=unfinished
    )


def downgrade() -> None:
    op.drop_index('ix_rights_request_due', table_name='rights_request')
    op.drop_index(op.f('ix_rights_request_person_id'), table_name='rights_request')
    op.drop_index(op.f('ix_rights_request_contact_id'), table_name='rights_request')
    op.drop_table('rights_request')
