"""The announcement or notice of a mailing is found by an index: a person's page and their copy name each mail they were sent."""

from alembic import op

revision = '0019'
down_revision = '0018'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f('ix_announcement_mailing_id'), 'announcement', ['mailing_id'])
    op.create_index(op.f('ix_notice_mailing_id'), 'notice', ['mailing_id'])


def downgrade() -> None:
    op.drop_index(op.f('ix_notice_mailing_id'), table_name='notice')
    op.drop_index(op.f('ix_announcement_mailing_id'), table_name='announcement')
