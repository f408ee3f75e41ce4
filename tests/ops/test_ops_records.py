"""What doctor says of DNS, asked of a real name server on loopback."""

import socketserver
import threading
from collections.abc import Iterator

import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest
from sqlalchemy import text

from service.db.session import reading, transaction
from service.domain.brands import actions as brands
from service.domain.brands import queries
from service.kit import clock
from service.mail import dkim
from service.ops import doctor, records
from service.ops.health import Fact
from service.ops.house import House
from tests.mail.oracle import DER

Zone = dict[str, list[str]]
PUBLIC = dkim.public_text(DER)
NAME = "one._domainkey.example.org"
VALUE = dkim.record_value(PUBLIC)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    """TXT records by name, each as its strings in zone-file form; whatever else is asked does not exist."""
    told: Zone = {}

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            octets, line = self.request
            asked = dns.message.from_wire(octets)
            said, name = dns.message.make_response(asked), asked.question[0].name
            rows = told.get(str(name).rstrip("."))
            if rows:
                said.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", *rows))
            else:
                said.set_rcode(dns.rcode.NXDOMAIN)
            line.sendto(said.to_wire(), self.client_address)

    with socketserver.ThreadingUDPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], server.server_address[1]
        monkeypatch.setattr(dns.resolver, "default_resolver", resolver)
        yield told
        server.shutdown()


def strings(value: str) -> str:
    return " ".join(f'"{one}"' for one in dkim.record_strings(value))


def with_key(house: House, selector: str = "one") -> None:
    with transaction(house.engine) as session:
        brands.new_dkim_key(
            session, house.ring, "default", private=DER, selector=selector, now=clock.now(), by="cli"
        )


def found(house: House, *, look: bool = True) -> list[Fact]:
    with reading(house.engine) as session:
        keys = records.signing(session, house.ring)
    return records.signatures(keys, look=look)


def test_std_e6_each_live_selectors_record_is_looked_for(house: House, zone: Zone) -> None:
    with_key(house)
    [fact] = found(house)
    assert (fact.name, fact.ok) == ("DKIM one", False)
    assert fact.fix == f"{NAME}. TXT {strings(VALUE)}"
    zone[NAME] = [strings(VALUE)]
    with_key(house, "two")
    assert [(one.name, one.ok) for one in found(house)] == [("DKIM one", True), ("DKIM two", False)]
    with transaction(house.engine) as session:
        brands.retire_dkim_key(session, "default", "two", now=clock.now(), by="cli")
    assert [(one.name, one.ok, one.says) for one in found(house)] == [
        ("DKIM one", True, f"published, does not sign; {VALUE}")
    ]


@pytest.mark.parametrize(
    ("rows", "ok"),
    [
        ([strings("v=DKIM1; p=" + PUBLIC)], True),
        ([strings(f"p = {PUBLIC[:100]} {PUBLIC[100:]} ; k=rsa")], True),
        ([strings("v=DKIM1; k=rsa; p=" + PUBLIC[:-8] + "AAAAAAAA")], False),
        (['"v=DKIM1; k=rsa; p="'], False),  # revoked
        ([strings(VALUE), strings(VALUE + "; t=s")], False),
        (['"something else"'], False),
    ],
)
def test_std_e6_a_record_is_read_as_receivers_read_it(
    house: House, zone: Zone, rows: list[str], ok: bool
) -> None:
    with_key(house)
    zone[NAME] = rows
    [fact] = found(house)
    assert fact.ok is ok
    assert ok or (fact.why and fact.fix)


def test_std_e4_a_key_of_another_domain_is_said_to_be_idle(house: House, zone: Zone) -> None:
    with_key(house)
    with transaction(house.engine) as session:
        brands.use_dkim_key(session, "default", "one", now=clock.now(), by="cli")
        brands.set_fields(session, "default", {"from_domain": "mail.example.org"}, now=clock.now(), by="cli")
    zone[NAME] = [strings(VALUE)]
    [fact] = found(house)
    assert not fact.ok
    assert fact.says == "is for example.org; mail is from mail.example.org"
    assert fact.why == "Mail that it should sign leaves unsigned."


def test_a_key_that_does_not_open_is_said(house: House, zone: Zone) -> None:
    with_key(house)
    with house.engine.execution_options(write=True).begin() as connection:
        connection.execute(text("UPDATE dkim_key SET sealed = NULL"))
    [fact] = found(house)
    assert (fact.ok, fact.says) == (False, "does not open with this key file")


def test_while_mail_is_captured_the_record_is_shown_only(house: House) -> None:
    assert [one.ok for one in found(house, look=False)] == [True]
    with_key(house)
    [fact] = found(house, look=False)
    assert fact.ok
    assert f"{NAME}. TXT {strings(VALUE)}" in fact.says


def test_doctor_lists_them(house: House, zone: Zone) -> None:
    with_key(house)
    names = {fact.name for fact in doctor.examine(house, now=clock.now())}
    assert "DKIM one" in names
    with reading(house.engine) as session:
        dns_facts = records.of(queries.default_brand(session))
    assert [fact.ok for fact in dns_facts] == [False] * 3
    zone |= {"example.org": ['"v=spf1 -all"'], "_dmarc.example.org": ['"v=DMARC1; p=none"']}
    with reading(house.engine) as session:
        assert [fact.ok for fact in records.of(queries.default_brand(session))][:2] == [True, True]
