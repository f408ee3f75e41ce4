"""A yes to older words is told from one to the newest; people are asked anew when words come to promise more.

What was said before names no version yet: the clock fills it in, a few rows at a time (`preferences.projection.fill`).
"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = '0017'
down_revision = '0016'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('topic', sa.Column('since_version', sa.Integer(), nullable=False, server_default='0'))
    op.add_column('wording', sa.Column('material', sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column('preference', sa.Column('wording_version', sa.Integer(), nullable=True))
    # Not made anew, as `asked` refers to its rows.
    op.add_column('asking', sa.Column('about', sqlmodel.sql.sqltypes.AutoString(length=10), nullable=False, server_default='registered'))
    with op.batch_alter_table('asked') as batch_op:
        batch_op.add_column(sa.Column('question', sqlmodel.sql.sqltypes.AutoString(length=40), nullable=False, server_default=''))
        batch_op.drop_constraint(op.f('pk_asked'), type_='primary')
        batch_op.drop_constraint(op.f('uq_asked_address_hash'), type_='unique')
        batch_op.create_primary_key(op.f('pk_asked'), ['person_id', 'question'])
        batch_op.create_unique_constraint(op.f('uq_asked_address_hash_question'), ['address_hash', 'question'])


def downgrade() -> None:
    op.get_bind().execute(sa.text("DELETE FROM asked WHERE question <> ''"))
    with op.batch_alter_table('asked') as batch_op:
        batch_op.drop_constraint(op.f('pk_asked'), type_='primary')
        batch_op.drop_constraint(op.f('uq_asked_address_hash_question'), type_='unique')
        batch_op.create_primary_key(op.f('pk_asked'), ['person_id'])
        batch_op.create_unique_constraint(op.f('uq_asked_address_hash'), ['address_hash'])
        batch_op.drop_column('question')
    op.drop_column('asking', 'about')
    op.drop_column('preference', 'wording_version')
    op.drop_column('wording', 'material')
    op.drop_column('topic', 'since_version')
