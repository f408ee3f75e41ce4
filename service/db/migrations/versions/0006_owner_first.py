"""Who owns an address is asked by the owner's number. With the kind first SQLite took this index to find a mailbox, too, and
went through everybody."""

from alembic import op


revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index('ix_address_owner', table_name='address')
    op.create_index('ix_address_owner', 'address', ['owner_id', 'owner_kind'], unique=False)


def downgrade() -> None:
    op.drop_index('ix_address_owner', table_name='address')
    op.create_index('ix_address_owner', 'address', ['owner_kind', 'owner_id'], unique=False)
