"""How far the forgetting of old data has come, and when each attribute was last given."""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0014'
down_revision = '0013'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('retention',
    sa.Column('names', sa.JSON(), nullable=False),
    sa.Column('data_class', sa.String(length=20), nullable=False),
    sa.Column('gone', sa.Integer(), nullable=False),
    sa.Column('ran_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True),
    sa.PrimaryKeyConstraint('data_class', name=op.f('pk_retention'))
    )
    # Empty at first, and so where an older version still writes: the clock dates what it finds, a few rows at a time.
    op.add_column('person_attribute', sa.Column('set_at', sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True))


def downgrade() -> None:
    op.drop_column('person_attribute', 'set_at')
    op.drop_table('retention')
