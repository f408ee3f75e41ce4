"""Permissions and passwords."""

import subprocess
import sys

import pytest
from argon2 import PasswordHasher

from service.domain.staff import rules
from service.kit.errors import Invalid

READS = {
    "announcements:read", "notices:read", "templates:read", "topics:read", "policies:read", "inbox:own",
    "health:read", "settings:read",
}  # fmt: skip


def test_the_permission_table_is_as_agreed() -> None:
    """A snapshot: whoever changes the table changes this too, knowingly."""
    assert {role: set(held) - READS for role, held in rules.PERMISSIONS.items()} == {
        "marketing": {"announcements:write", "announcements:approve", "media:write", "people:read"},
        "product": {"notices:write", "notices:publish", "media:write", "people:read"},
        "privacy_officer": {
            "announcements:approve", "people:read", "people:reveal", "people:import", "people:export", "people:rights", "people:ask",
            "topics:write", "policies:write", "contact:read",
            "contact:answer", "ledger:read", "ledger:verify",
        },
        "admin": {
            "announcements:write", "announcements:approve", "media:write", "people:read", "notices:write",
            "notices:publish", "people:reveal", "people:import", "people:export", "people:rights", "people:ask", "topics:write",
            "policies:write", "contact:read", "contact:answer",
            "ledger:read", "ledger:verify", "settings:write", "staff:write", "keys:write", "inbox:all",
        },
    }  # fmt: skip
    assert all(held >= READS for held in rules.PERMISSIONS.values())


def test_may_refuses_unknown_roles_and_misspelt_permissions() -> None:
    assert rules.may("admin", "staff:write")
    assert not rules.may("marketing", "staff:write")
    assert not rules.may("", "staff:write")
    with pytest.raises(KeyError):
        rules.may("admin", "staff:wrote")


@pytest.mark.parametrize(
    "password",
    ["kräm3r x am See", "v8Kq2mZtR4nb7Wd", "x9Kq" * 16, "correct horse battery staple", "ß-Pfad-7" * 32],
)
def test_std_n14_passwords_at_the_bounds_are_taken(password: str) -> None:
    assert rules.check_password(password) == password


def test_std_n14_fourteen_are_too_short_and_257_too_long() -> None:
    with pytest.raises(rules.PasswordTooShort) as short:
        rules.check_password("v8Kq2mZtR4nb7W")
    assert f"at least {rules.SHORTEST} characters" in short.value.detail
    with pytest.raises(rules.PasswordTooLong):
        rules.check_password("v8Kq" * 64 + "x")
    assert len(rules.check_password("v8Kq" * 64)) == 256


@pytest.mark.parametrize(
    "password",
    [
        "passwordpassword",
        "Password123456!!",
        "qwertyuiopasdfgh",
        "123456789012345",
        "543210987654321",
        "aaaaaaaaaaaaaaa",
        "abababababababab",
        "iloveyou12345678",
        "1qaz2wsx3edc4rfv",
        "Willkommen-2026!",
        "sunshine!!!!!!!!",
        "abcabcabcabcabc",
    ],
)
def test_std_n14_common_passwords_are_refused(password: str) -> None:
    with pytest.raises(rules.PasswordCommon):
        rules.check_password(password)


def test_std_n14_what_is_known_of_the_person_is_refused() -> None:
    about = ("Jana Marković", "jana.markovic@example.org")
    for password in ("jana.markovic@example.org", "Marković-1234567", "markovic99999999"):
        with pytest.raises(rules.PasswordCommon):
            rules.check_password(password, about=about)


def test_std_n14_a_password_typed_in_another_unicode_form_is_the_same() -> None:
    stored = rules.hash_password(rules.check_password("Fu\u0308ße-am-Berg-Weg"))
    assert stored.startswith("$argon2id$")
    assert rules.password_matches(stored, "F\u00fcße-am-Berg-Weg")
    assert not rules.password_matches(stored, "Fuße-am-Berg-Weg")


def test_std_n14_a_password_costs_what_the_rfc_asks_for() -> None:
    """In a process of its own, where nothing has been made cheap."""
    code = "from service.domain.staff import rules; print(rules.hash_password('four odd kettles sing'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not PasswordHasher().check_needs_rehash(done.stdout.strip())


def test_std_n10_nobodys_hash_costs_what_a_real_one_does() -> None:
    assert not PasswordHasher().check_needs_rehash(rules.NOBODY)
    assert not rules.password_matches(None, "anything")
    assert not rules.password_matches("broken", "anything")


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "Ana\nBcc: b@example.org", "=?utf-8?q?a=0D=0AB?="])
def test_rel_h04_h06_a_name_is_one_clean_line_of_200(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        rules.check_name(name)
    assert refused.value.field == "name"
