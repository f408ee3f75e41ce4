"""A further no asks which undo values of a person are still open."""

from alembic import op


revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f('ix_undo_person_id'), 'undo', ['person_id'], unique=False)


def downgrade() -> None:
    op.drop_index(op.f('ix_undo_person_id'), table_name='undo')
