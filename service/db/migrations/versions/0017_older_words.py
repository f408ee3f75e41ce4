"""A yes to older words is told from one to the newest; people are asked anew when words come to promise more."""

import json

import sqlalchemy as sa
import sqlmodel
from alembic import op
from sqlalchemy.engine import Connection

revision = '0017'
down_revision = '0016'
branch_labels = None
depends_on = None

PORTION = 5_000


def upgrade() -> None:
    op.add_column('topic', sa.Column('since_version', sa.Integer(), nullable=False, server_default='0'))
    op.add_column('wording', sa.Column('material', sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column('preference', sa.Column('wording_version', sa.Integer(), nullable=False, server_default='0'))
    with op.batch_alter_table('asking') as batch_op:
        batch_op.add_column(sa.Column('about', sqlmodel.sql.sqltypes.AutoString(length=10), nullable=False, server_default='registered'))
        batch_op.create_check_constraint(op.f('ck_asking_about'), "about IN ('registered','renewal')")
    with op.batch_alter_table('asked') as batch_op:
        batch_op.add_column(sa.Column('question', sqlmodel.sql.sqltypes.AutoString(length=40), nullable=False, server_default=''))
        batch_op.drop_constraint(op.f('pk_asked'), type_='primary')
        batch_op.drop_constraint(op.f('uq_asked_address_hash'), type_='unique')
        batch_op.create_primary_key(op.f('pk_asked'), ['person_id', 'question'])
        batch_op.create_unique_constraint(op.f('uq_asked_address_hash_question'), ['address_hash', 'question'])
    _fill(op.get_bind())


def _fill(bind: Connection) -> None:
    """The version that each yes names, from the entry that permits it, a portion of people at a time."""
    slugs = {topic: slug for topic, slug in bind.execute(sa.text("SELECT id, slug FROM topic"))}
    number = sa.text("UPDATE preference SET wording_version = :version WHERE person_id = :person AND topic_id = :topic")
    portion = sa.text(
        "SELECT p.person_id, p.topic_id, e.text FROM preference p JOIN ledger_entry e ON e.seq = p.warrant_seq"
        " WHERE p.person_id > :after AND p.person_id <= :after + :portion AND p.basis IN ('consent','soft_opt_in')"
    )
    last = bind.execute(sa.text("SELECT coalesce(max(person_id), 0) FROM preference")).scalar_one()
    for after in range(0, last, PORTION):
        rows = bind.execute(portion, {"after": after, "portion": PORTION}).all()
        named = [
            {"version": _version(text, slugs[topic]), "person": person, "topic": topic}
            for person, topic, text in rows
        ]
        if named:
            bind.execute(number, named)


def _version(text: str, slug: str) -> int:
    name = json.loads(text)["body"].get("wording") or ""
    number = name.removeprefix(f"{slug}-v").partition("-")[0]
    return int(number) if name.startswith(f"{slug}-v") and number.isdecimal() else 0


def downgrade() -> None:
    bind = op.get_bind()
    bind.execute(sa.text("DELETE FROM asked WHERE question <> ''"))
    with op.batch_alter_table('asked') as batch_op:
        batch_op.drop_constraint(op.f('pk_asked'), type_='primary')
        batch_op.drop_constraint(op.f('uq_asked_address_hash_question'), type_='unique')
        batch_op.create_primary_key(op.f('pk_asked'), ['person_id'])
        batch_op.create_unique_constraint(op.f('uq_asked_address_hash'), ['address_hash'])
        batch_op.drop_column('question')
    with op.batch_alter_table('asking') as batch_op:
        batch_op.drop_constraint(op.f('ck_asking_about'), type_='check')
        batch_op.drop_column('about')
    op.drop_column('preference', 'wording_version')
    op.drop_column('wording', 'material')
    op.drop_column('topic', 'since_version')
