"""The life of an account, from the first run to its end."""

import base64
import json
from datetime import datetime, timedelta

import pytest
from sqlmodel import Session, select

from service.domain.ledger.actions import appended
from service.domain.mailings.tables import Audience, Mailing
from service.domain.staff import actions, queries, rules
from service.domain.staff.tables import SignInTry, StaffMember, StaffSession, StaffToken
from service.kit import addresses, sealing
from service.kit.signing import Keyring

PASSWORD = "drei kleine Boote"
JANA = addresses.parse("jana@example.org")
TOM = addresses.parse("tom@example.org")


def _admin(session: Session, ring: Keyring, now: datetime) -> StaffMember:
    token = actions.first_run(session, now=now)
    assert token is not None
    return actions.accept(session, ring, token, name="Jana", password=PASSWORD, address=JANA, now=now)


def _sign_in(
    session: Session, ring: Keyring, password: str, now: datetime, typed: str = "jana@example.org"
) -> str | None:
    return actions.sign_in(session, queries.check_password(session, ring, typed, password, now=now), now=now)


def test_first_run_makes_one_admin_and_then_never_again(
    session: Session, ring: Keyring, now: datetime
) -> None:
    first, second = actions.first_run(session, now=now), actions.first_run(session, now=now)
    assert first
    assert second
    member = actions.accept(session, ring, first, name="Jana", password=PASSWORD, address=JANA, now=now)
    assert (member.role, member.state) == ("admin", "active")
    assert queries.address_of(session, ring, member) == JANA
    for token in (first, second):
        with pytest.raises(rules.LinkUsed):
            actions.accept(session, ring, token, name="Eve", password=PASSWORD, address=TOM, now=now)
    assert actions.first_run(session, now=now) is None


def test_first_run_needs_an_address_and_a_good_password(
    session: Session, ring: Keyring, now: datetime
) -> None:
    token = actions.first_run(session, now=now)
    assert token
    with pytest.raises(rules.AddressMissing):
        actions.accept(session, ring, token, name="Jana", password=PASSWORD, address=None, now=now)
    with pytest.raises(rules.PasswordCommon):
        actions.accept(session, ring, token, name="Jana", password="password12345678", address=JANA, now=now)
    assert queries.open_token(session, token, now=now) is not None
    assert not queries.any_staff(session)


def test_only_hashes_of_tokens_are_stored(session: Session, ring: Keyring, now: datetime) -> None:
    first = actions.first_run(session, now=now)
    assert first
    _admin(session, ring, now)
    token = _sign_in(session, ring, PASSWORD, now)
    assert token
    stored = {row.token_hash for row in session.exec(select(StaffToken))} | {
        row.token_hash for row in session.exec(select(StaffSession))
    }
    assert {rules.token_hash(first), rules.token_hash(token)} <= stored
    assert not {first, token} & stored


def test_sign_in_with_the_right_password_and_out_again(
    session: Session, ring: Keyring, now: datetime
) -> None:
    member = _admin(session, ring, now)
    token = _sign_in(session, ring, PASSWORD, now, " Jana@EXAMPLE.org ")
    assert token
    found = queries.member_by_session(session, token, now=now)
    assert found is not None
    assert (found.public_id, found.role, found.by, found.stale) == (
        member.public_id,
        "admin",
        f"staff:{member.public_id}",
        False,
    )
    actions.sign_out(session, token, now=now)
    assert queries.member_by_session(session, token, now=now) is None
    actions.sign_out(session, token, now=now)
    kinds = [entry.kind for entry in appended(session)]
    assert kinds == ["staff.joined", "staff.signed_in", "staff.signed_out"]
    assert all(
        entry.subject == member.public_id and "jana" not in entry.text.lower() for entry in appended(session)
    )


def test_a_session_ends_after_eight_idle_hours_and_seven_days(
    session: Session, ring: Keyring, now: datetime
) -> None:
    _admin(session, ring, now)
    token = _sign_in(session, ring, PASSWORD, now)
    assert token
    almost = now + rules.IDLE - timedelta(seconds=1)
    found = queries.member_by_session(session, token, now=almost)
    assert found is not None
    assert found.stale
    assert queries.member_by_session(session, token, now=now + rules.IDLE) is None
    moment = now
    while moment + timedelta(hours=7) < now + rules.ABSOLUTE:
        moment += timedelta(hours=7)
        found = queries.member_by_session(session, token, now=moment)
        assert found is not None
        actions.touch(session, found, now=moment)
        session.expire_all()
    assert queries.member_by_session(session, token, now=now + rules.ABSOLUTE) is None


def test_wrong_passwords_and_unknown_accounts_are_refused_alike(
    session: Session, ring: Keyring, now: datetime
) -> None:
    _admin(session, ring, now)
    for typed in ("jana@example.org", "nobody@example.org", "not an address", ""):
        assert _sign_in(session, ring, "wrong password", now, typed) is None
    assert len(session.exec(select(SignInTry)).all()) == 4


@pytest.mark.parametrize("typed", ["jana@example.org", "nobody@example.org"])
def test_rel_h57_ten_tries_lock_an_account_for_a_quarter_of_an_hour(
    session: Session, ring: Keyring, now: datetime, typed: str
) -> None:
    _admin(session, ring, now)
    early = queries.check_password(session, ring, typed, PASSWORD, now=now)
    wrong = queries.check_password(session, ring, typed, "wrong password", now=now)
    for _ in range(rules.TRIES):
        assert actions.sign_in(session, wrong, now=now) is None
    with pytest.raises(rules.SignInTooOften):
        _sign_in(session, ring, PASSWORD, now, typed)
    with pytest.raises(rules.SignInTooOften):  # checked before the tenth try, acted on after it
        actions.sign_in(session, early, now=now)
    with pytest.raises(rules.SignInTooOften):
        _sign_in(session, ring, PASSWORD, now + rules.WINDOW - timedelta(seconds=1), typed)
    later = _sign_in(session, ring, PASSWORD, now + rules.WINDOW, typed)
    assert (later is not None) == (typed == "jana@example.org")


def test_rel_h57_fresh_sign_ins_do_not_reset_the_count(
    session: Session, ring: Keyring, now: datetime
) -> None:
    _admin(session, ring, now)
    right = queries.check_password(session, ring, "jana@example.org", PASSWORD, now=now)
    wrong = queries.check_password(session, ring, "jana@example.org", "wrong password", now=now)
    for _ in range(rules.TRIES):
        assert actions.sign_in(session, right, now=now)
        assert actions.sign_in(session, wrong, now=now) is None
    with pytest.raises(rules.SignInTooOften):
        actions.sign_in(session, right, now=now)


def test_rel_h58_a_new_password_ends_every_other_session(
    session: Session, ring: Keyring, now: datetime
) -> None:
    member = _admin(session, ring, now)
    mine, other = _sign_in(session, ring, PASSWORD, now), _sign_in(session, ring, PASSWORD, now)
    assert mine
    assert other
    assert member.id
    wrong = queries.check_own_password(session, member.id, "not mine", now=now)
    assert not actions.change_password(
        session, wrong, new="vier grosse Schiffe", keep=rules.token_hash(mine), now=now
    )
    assert len(session.exec(select(SignInTry)).all()) == 1
    stale = queries.check_password(session, ring, "jana@example.org", PASSWORD, now=now)
    claim = queries.check_own_password(session, member.id, PASSWORD, now=now)
    assert actions.change_password(
        session, claim, new="vier grosse Schiffe", keep=rules.token_hash(mine), now=now
    )
    assert queries.member_by_session(session, mine, now=now) is not None
    assert queries.member_by_session(session, other, now=now) is None
    assert _sign_in(session, ring, PASSWORD, now) is None
    assert (
        actions.sign_in(session, stale, now=now) is None
    )  # was right when checked, the password has changed since
    assert _sign_in(session, ring, "vier grosse Schiffe", now)


def test_an_invitation_opens_an_account_once(session: Session, ring: Keyring, now: datetime) -> None:
    admin = _admin(session, ring, now)
    by = f"staff:{admin.public_id}"
    invited = actions.invite(
        session, ring, address=TOM, name="Tom", role="product", mail=False, now=now, by=by
    )
    again = actions.invite(
        session, ring, address=TOM, name="Tom B", role="marketing", mail=False, now=now, by=by
    )
    assert again.member.id == invited.member.id
    assert queries.open_token(session, invited.token, now=now) is None
    assert queries.open_token(session, again.token, now=now + timedelta(days=7)) is None
    assert _sign_in(session, ring, PASSWORD, now, "tom@example.org") is None
    with pytest.raises(rules.PasswordCommon):
        actions.accept(
            session, ring, again.token, name="Tom", password="tom@example.org", address=None, now=now
        )
    member = actions.accept(session, ring, again.token, name="Tom", password=PASSWORD, address=None, now=now)
    assert (member.role, member.state) == ("marketing", "active")
    assert queries.address_row(session, member.id or 0).confirmed_at is not None
    with pytest.raises(rules.LinkUsed):
        actions.accept(session, ring, again.token, name="Tom", password=PASSWORD, address=None, now=now)
    with pytest.raises(rules.StaffKnown):
        actions.invite(session, ring, address=TOM, name="Tom", role="admin", mail=False, now=now, by=by)
    assert _sign_in(session, ring, PASSWORD, now, "tom@example.org")


def test_an_invitation_by_mail_carries_its_secret_sealed(
    session: Session, ring: Keyring, now: datetime
) -> None:
    admin = _admin(session, ring, now)
    by = f"staff:{admin.public_id}"
    invited = actions.invite(
        session, ring, address=TOM, name="Tom", role="product", mail=True, now=now, by=by
    )
    mailing = session.exec(select(Mailing)).one()
    assert (mailing.kind, mailing.purpose) == ("system", "staff-invite")
    assert invited.token not in json.dumps(mailing.facts)
    values = json.loads(
        sealing.unseal(ring.house_key, base64.b64decode(mailing.facts["sealed"]), "facts|staff-invite")
    )
    assert values == {"inviter": "Jana", "role": "Product", "token": invited.token}
    warrant = session.exec(select(Audience)).one().warrant_seq
    assert [entry.kind for entry in appended(session) if entry.seq == warrant] == ["staff.invited"]


def test_a_one_time_sign_in_link_works_once_and_in_time(
    session: Session, ring: Keyring, now: datetime
) -> None:
    member = _admin(session, ring, now)
    assert member.id
    token = actions.sign_in_token(session, member.id, now=now, by="cli")
    with pytest.raises(rules.LinkUsed):
        actions.sign_in_by_token(session, token, now=now + timedelta(hours=1))
    cookie = actions.sign_in_by_token(session, token, now=now)
    assert queries.member_by_session(session, cookie, now=now) is not None
    for used in (token, "unknown"):
        with pytest.raises(rules.LinkUsed):
            actions.sign_in_by_token(session, used, now=now)


def test_an_invitation_is_no_sign_in_link(session: Session, ring: Keyring, now: datetime) -> None:
    _admin(session, ring, now)
    invited = actions.invite(
        session, ring, address=TOM, name="Tom", role="product", mail=False, now=now, by="cli"
    )
    with pytest.raises(rules.LinkUsed):
        actions.sign_in_by_token(session, invited.token, now=now)


def test_one_admin_must_remain(session: Session, ring: Keyring, now: datetime) -> None:
    admin = _admin(session, ring, now)
    with pytest.raises(rules.LastAdmin):
        actions.end(session, admin.public_id, now=now, by="cli")
    with pytest.raises(rules.LastAdmin):
        actions.set_role(session, admin.public_id, "product", now=now, by="cli")
    with pytest.raises(rules.RoleUnknown):
        actions.set_role(session, admin.public_id, "king", now=now, by="cli")


def test_ending_and_restoring_an_account(session: Session, ring: Keyring, now: datetime) -> None:
    _admin(session, ring, now)
    invited = actions.invite(
        session, ring, address=TOM, name="Tom", role="admin", mail=False, now=now, by="cli"
    )
    tom = actions.accept(session, ring, invited.token, name="Tom", password=PASSWORD, address=None, now=now)
    cookie = _sign_in(session, ring, PASSWORD, now, "tom@example.org")
    assert cookie
    assert tom.id
    link = actions.sign_in_token(session, tom.id, now=now, by="cli")
    actions.end(session, tom.public_id, now=now, by="cli")
    assert queries.member_by_session(session, cookie, now=now) is None
    assert _sign_in(session, ring, PASSWORD, now, "tom@example.org") is None
    with pytest.raises(rules.LinkUsed):
        actions.sign_in_by_token(session, link, now=now)
    with pytest.raises(rules.StaffEnded):
        actions.invite(session, ring, address=TOM, name="Tom", role="admin", mail=False, now=now, by="cli")
    actions.restore(session, tom.public_id, now=now, by="cli")
    assert _sign_in(session, ring, PASSWORD, now, "tom@example.org")


def test_std_n13_a_new_role_ends_the_sessions(session: Session, ring: Keyring, now: datetime) -> None:
    _admin(session, ring, now)
    invited = actions.invite(
        session, ring, address=TOM, name="Tom", role="product", mail=False, now=now, by="cli"
    )
    tom = actions.accept(session, ring, invited.token, name="Tom", password=PASSWORD, address=None, now=now)
    cookie = _sign_in(session, ring, PASSWORD, now, "tom@example.org")
    assert cookie
    actions.set_role(session, tom.public_id, "admin", now=now, by="cli")
    assert queries.member_by_session(session, cookie, now=now) is None


def test_names_of_actors_and_the_list_of_colleagues(session: Session, ring: Keyring, now: datetime) -> None:
    admin = _admin(session, ring, now)
    actor = f"staff:{admin.public_id}"
    assert queries.names(session, [actor, "system", "staff:s_gone"]) == {actor: "Jana"}
    assert [member.name for member in queries.members(session)] == ["Jana"]
    assert queries.member_by_address(session, ring, JANA) == admin
    with pytest.raises(rules.StaffUnknown):
        queries.by_public_id(session, "s_gone")


def test_old_tries_sessions_and_links_are_forgotten(session: Session, ring: Keyring, now: datetime) -> None:
    _admin(session, ring, now)
    _sign_in(session, ring, "wrong password", now)
    _sign_in(session, ring, PASSWORD, now)
    assert actions.forget_old(session, now=now) == 0
    assert actions.forget_old(session, now=now + timedelta(days=2)) == 3
