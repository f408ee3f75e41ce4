"""Staff members, their sessions and one-time tokens (hashed)."""

from datetime import datetime

from sqlmodel import Field, SQLModel


class StaffMember(SQLModel, table=True):
    """One account. The e-mail address lies in `address` (owner: staff), sealed."""

    __tablename__ = "staff_member"

    id: int | None = Field(default=None, primary_key=True)
    public_id: str = Field(max_length=40, unique=True)
    name: str = Field(max_length=200)
    role: str = Field(max_length=20)  # marketing | product | privacy_officer | admin
    password_hash: str = Field(default="", max_length=200)
    state: str = Field(default="invited", max_length=12)  # invited | active | ended
    created_at: datetime
    last_signed_in_at: datetime | None = None


class StaffSession(SQLModel, table=True):
    """A signed-in browser: the cookie's hash, its idle and absolute limits."""

    __tablename__ = "staff_session"

    token_hash: str = Field(primary_key=True, max_length=64)
    staff_id: int = Field(foreign_key="staff_member.id", index=True)
    created_at: datetime
    seen_at: datetime
    ends_at: datetime


class StaffToken(SQLModel, table=True):
    """A one-time token: first run, invitation or sign-in; stored as a hash."""

    __tablename__ = "staff_token"

    token_hash: str = Field(primary_key=True, max_length=64)
    purpose: str = Field(max_length=20)  # first_run | invite | sign_in
    staff_id: int | None = Field(default=None, foreign_key="staff_member.id")
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None


class SignInTry(SQLModel, table=True):
    """A failed sign-in, for the limit per account and per network; forgotten after a day."""

    __tablename__ = "sign_in_try"

    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(max_length=64, index=True)
    at: datetime
