"""Rounds in which those whom registering made agree are asked, and who was."""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0016'
down_revision = '0015'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('asking',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('public_id', sqlmodel.sql.sqltypes.AutoString(length=40), nullable=False),
    sa.Column('topic_id', sa.Integer(), nullable=False),
    sa.Column('state', sqlmodel.sql.sqltypes.AutoString(length=10), nullable=False),
    sa.Column('after', sa.Integer(), nullable=False),
    sa.Column('asked', sa.Integer(), nullable=False),
    sa.Column('began_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.Column('ended_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.CheckConstraint("state IN ('running','ended','stopped')", name=op.f('ck_asking_state')),
    sa.ForeignKeyConstraint(['topic_id'], ['topic.id'], name=op.f('fk_asking_topic_id_topic')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_asking')),
    sa.UniqueConstraint('public_id', name=op.f('uq_asking_public_id'))
    )
    op.create_index(op.f('ix_asking_topic_id'), 'asking', ['topic_id'], unique=False)
    op.create_table('asked',
    sa.Column('person_id', sa.Integer(), nullable=False),
    sa.Column('address_hash', sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
    sa.Column('asking_id', sa.Integer(), nullable=False),
    sa.Column('asked_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
    sa.ForeignKeyConstraint(['asking_id'], ['asking.id'], name=op.f('fk_asked_asking_id_asking')),
    sa.ForeignKeyConstraint(['person_id'], ['person.id'], name=op.f('fk_asked_person_id_person')),
    sa.PrimaryKeyConstraint('person_id', name=op.f('pk_asked')),
    sa.UniqueConstraint('address_hash', name=op.f('uq_asked_address_hash'))
    )


def downgrade() -> None:
    op.drop_table('asked')
    op.drop_table('asking')
