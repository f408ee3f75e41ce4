"""Every setting of the installation, read once from the environment (prefix BIDDEN_). docs/configuration.md lists them.

Settings a mail needs (brand, postal address, sending hours) are not here: they are rows, changed by staff and ledgered.
"""

import ipaddress
import re
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Frozen; refuses to exist with values that would break a promise."""

    model_config = SettingsConfigDict(env_prefix="BIDDEN_", frozen=True, extra="ignore")

    data_dir: Path = Field(
        Path("./data"), description="Where the embedded database, keys, journal and safe files live."
    )
    database_url: str = Field("", description="SQLAlchemy URL; empty means SQLite under DATA_DIR.")
    smtp_url: str = Field(
        "",
        description="smtp://user:pw@host:port?starttls=auto|always|never&connections=20; empty means the captured inbox.",
    )
    public_url: str = Field(
        "", description="The address readers see; https, or http on loopback. Empty means http:// + LISTEN."
    )
    public_urls_former: str = Field(
        "", description="Former public addresses, by comma: links in old mails still answer there."
    )
    listen: str = Field("127.0.0.1:8000", description="Where the web process listens.")
    secret_key_file: Path | None = Field(
        None, description="The key ring; made on first start (0400). Default DATA_DIR/secret.key."
    )
    hold_seconds: int = Field(
        300, ge=0, le=86400, description='The pause after "now" in which a send can be called back.'
    )
    senders: int = Field(1, ge=0, le=64, description="How many senders `bidden up` starts.")
    send_rate: float = Field(
        0, ge=0, description="Messages per second of the whole installation; 0 means no limit."
    )
    retry_seconds: str = Field(
        "300,900,1800,3600,7200,14400,14400,28800,28800,43200",
        description="Delays after 4xx replies, by comma.",
    )
    unknown_retry_seconds: int = Field(
        900,
        ge=0,
        description="Seconds until a notice that must not be lost is tried again when nobody knows whether it left.",
    )
    safe_dir: Path | None = Field(
        None, description="Withdrawals and checkpoints on a second path. Default DATA_DIR/safe."
    )
    journal_dir: Path | None = Field(None, description="The senders' journals. Default DATA_DIR/journal.")
    inbox_listen: str = Field("127.0.0.1:1025", description="Where the captured inbox takes mail.")
    inbound_mailbox: str = Field(
        "", description="A mailbox read by machine; only with it a mailto unsubscribe is offered."
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @field_validator("retry_seconds")
    @classmethod
    def _retry_numbers(cls, value: str) -> str:
        if not re.fullmatch(r"\d+(,\d+)*", value.replace(" ", "")):
            raise ValueError(
                "config_retry_seconds: RETRY_SECONDS is a list of whole seconds, such as 300,900,1800"
            )
        return value.replace(" ", "")

    @model_validator(mode="after")
    def _urls_are_safe(self) -> "Settings":
        for url in [self.base_url, *self.former_urls]:
            _check_base_url(url)
        return self

    @property
    def base_url(self) -> str:
        """The public address without a slash at its end."""
        return (self.public_url or f"http://{self.listen}").rstrip("/")

    @property
    def former_urls(self) -> list[str]:
        """Former public addresses, cleaned."""
        return [url.strip().rstrip("/") for url in self.public_urls_former.split(",") if url.strip()]

    @cached_property
    def is_loopback(self) -> bool:
        """Whether the public address is this machine itself: only then http links and plain cookies are made."""
        return is_loopback(urlsplit(self.base_url).hostname or "")

    @property
    def database(self) -> str:
        """The database's URL; psycopg 3 is meant where PostgreSQL is named without a driver."""
        if not self.database_url:
            return f"sqlite:///{(self.data_dir / 'bidden.db').resolve()}"
        return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", self.database_url)

    @property
    def key_file(self) -> Path:
        """Where the key ring lies."""
        return self.secret_key_file or self.data_dir / "secret.key"

    @property
    def safe(self) -> Path:
        """Where withdrawals are written a second time."""
        return self.safe_dir or self.data_dir / "safe"

    @property
    def journals(self) -> Path:
        """Where senders keep their journals."""
        return self.journal_dir or self.data_dir / "journal"

    @property
    def retries(self) -> list[int]:
        """Seconds to wait after the first, second, … 4xx."""
        return [int(part) for part in self.retry_seconds.split(",")]

    @property
    def practice(self) -> bool:
        """True while no SMTP server is set: nothing leaves this machine."""
        return not self.smtp_url

    @property
    def wire_url(self) -> str:
        """The server the sender speaks to: the one set, or the captured inbox."""
        return self.smtp_url or f"smtp://{self.inbox_listen}?starttls=never&connections=4"


def _check_base_url(url: str) -> None:
    """H15: an address that would break every link printed from it is refused at start."""
    parts = urlsplit(url)
    plain = re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~\-/]*)?", url)
    if not plain or not parts.hostname or parts.username or parts.query:
        raise ValueError(f"config_base_url: {url!r} is not a plain address such as https://mail.example.org")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError(
            "config_base_url: PUBLIC_URL must be https, except on this machine's own loopback address"
        )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
