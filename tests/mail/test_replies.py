"""Replies: what each means for the letter."""

import pytest

from service.mail.replies import Phase, Reply, State, classify

# phase, reply line, state, suppress, whether it is about us (the server, or a policy)
TABLE: list[tuple[Phase, str, State, bool, bool]] = [
    ("dot", "250 2.0.0 queued as 4F1", "sent", False, False),
    ("dot", "250 ok", "sent", False, False),
    ("dot", "251 2.1.5 forwarded", "sent", False, False),
    ("dot", "252 cannot verify, but taken", "sent", False, False),
    ("dot", "200 odd", "unknown", False, False),
    ("dot", "299 odd", "unknown", False, False),
    ("dot", "221 2.0.0 bye", "unknown", False, False),
    ("dot", "354 go on", "unknown", False, False),
    ("dot", "150 odd", "unknown", False, False),
    ("dot", "699 odd", "unknown", False, False),
    ("dot", "000 odd", "unknown", False, False),
    ("mail", "699 odd", "deferred", False, False),
    ("rcpt", "199 odd", "deferred", False, False),
    ("data", "299 odd", "deferred", False, False),
    ("connect", "421 4.3.2 not now", "deferred", False, False),
    ("mail", "421 4.7.0 try later", "deferred", False, False),
    ("rcpt", "421 4.7.28 rate", "deferred", False, False),
    ("data", "421 closing", "deferred", False, False),
    ("dot", "421 4.3.0 closing", "deferred", False, False),
    ("rcpt", "450", "deferred", False, False),
    ("rcpt", "450 4.2.0 greylisted", "deferred", False, False),
    ("rcpt", "450 4.7.1 greylisted", "deferred", False, False),
    ("rcpt", "451 4.7.1 come back", "deferred", False, False),
    ("dot", "451 4.3.0 local error", "deferred", False, False),
    ("mail", "452 4.3.1 no room", "deferred", False, False),
    ("rcpt", "452 4.5.3 too many recipients", "deferred", False, False),
    ("dot", "452 4.2.2 mailbox full", "deferred", False, False),
    ("mail", "455 cannot now", "deferred", False, False),
    ("rcpt", "450 5.1.1 contradicts itself", "deferred", False, False),
    ("dot", "451 5.7.1 contradicts itself", "deferred", False, False),
    ("rcpt", "552 too many recipients", "deferred", False, False),
    ("rcpt", "552 5.5.3 too many recipients", "deferred", False, False),
    ("rcpt", "552 5.2.2 over quota", "deferred", False, False),
    ("dot", "552 5.2.2 over quota", "deferred", False, False),
    ("rcpt", "550 5.2.2 over quota", "deferred", False, False),
    ("rcpt", "552 5.3.4 too big", "bounced", False, False),
    ("mail", "552 5.3.4 too big", "bounced", False, False),
    ("dot", "552 too big", "bounced", False, False),
    ("dot", "552 5.3.4 too big", "bounced", False, False),
    ("rcpt", "550 5.1.1 no such user", "bounced", True, False),
    ("dot", "550 5.1.1 no such user", "bounced", True, False),
    ("rcpt", "550 5.1.2 no such host", "bounced", True, False),
    ("rcpt", "553 5.1.3 bad syntax", "bounced", True, False),
    ("rcpt", "551 5.1.6 moved", "bounced", True, False),
    ("rcpt", "556 5.1.10 null MX", "bounced", True, False),
    ("rcpt", "556 takes no mail", "bounced", True, False),
    ("rcpt", "550 5.2.1 disabled", "bounced", True, False),
    ("rcpt", "554 5.1.1 no such user", "bounced", True, False),
    ("rcpt", "550 5.1.0 something about the address", "bounced", False, False),
    ("rcpt", "550 5.1.8 bad sender", "bounced", False, False),
    ("mail", "550 5.1.8 bad sender", "deferred", False, True),
    ("mail", "550 5.1.1 sender unknown", "deferred", False, True),
    ("mail", "553 sender refused", "deferred", False, True),
    ("mail", "554 5.7.1 relay access denied", "deferred", False, True),
    ("mail", "550 5.7.1 not from you", "deferred", False, True),
    ("mail", "550 5.4.5 daily quota exceeded", "deferred", False, True),
    ("mail", "503 5.5.1 AUTH first", "deferred", False, True),
    ("mail", "538 5.7.11 encrypt first", "deferred", False, True),
    ("mail", "552 exceeds the size", "bounced", False, False),
    ("mail", "555 5.5.4 option unknown", "bounced", False, False),
    ("mail", "553 5.6.7 no UTF-8", "bounced", False, False),
    ("mail", "552 5.2.2 over quota", "deferred", False, False),
    ("rcpt", "550", "bounced", False, False),
    ("rcpt", "550 no such user", "bounced", False, False),
    ("rcpt", "550 4.1.1 contradicts itself", "bounced", False, False),
    ("rcpt", "550 2.1.5 contradicts itself", "bounced", False, False),
    ("rcpt", "550 5.1.15 not 5.1.1", "bounced", False, False),
    ("dot", "554 transaction failed", "bounced", False, False),
    ("dot", "554 5.6.0 bad content", "bounced", False, False),
    ("dot", "554 5.7.1 refused by policy", "bounced", False, True),
    ("rcpt", "550 5.7.1 blocked", "bounced", False, True),
    ("dot", "550 5.7.515 sender not authenticated", "bounced", False, True),
    ("dot", "550 5.7.26 DMARC", "bounced", False, True),
    ("data", "554 5.5.1 no valid recipients", "bounced", False, False),
    ("rcpt", "503 5.5.1 bad sequence", "bounced", False, False),
    ("mail", "530 5.7.0 log in first", "deferred", False, True),
    ("rcpt", "530 5.7.1 log in first", "deferred", False, True),
    ("connect", "535 5.7.8 wrong password", "deferred", False, True),
    ("connect", "554 5.7.1 no service for you", "deferred", False, True),
    ("dot", "550 5.7.1 line one\nline two", "bounced", False, True),
]


@pytest.mark.parametrize(("phase", "line", "state", "suppress", "us"), TABLE)
def test_std_c6_each_reply_means_one_thing(
    phase: Phase, line: str, state: State, suppress: bool, us: bool
) -> None:
    verdict = classify(Reply.of(int(line[:3]), line[4:]), phase)
    about_us = verdict.server or verdict.reason == "policy"
    assert (verdict.state, verdict.suppress, about_us) == (state, suppress, us)
    assert verdict.server <= (verdict.state == "deferred"), "what speaks of the server ends no letter"


def test_std_c6_table_is_long_enough() -> None:
    assert len(TABLE) >= 60


def test_rel_h78_only_the_unknown_address_is_suppressed() -> None:
    assert classify(Reply.of(550, "5.1.1 no such user"), "rcpt").suppress
    refused = classify(Reply.of(554, "5.7.1 not you"), "rcpt")
    assert (refused.suppress, refused.server, refused.reason) == (False, False, "policy")


@pytest.mark.parametrize("line", ["552 5.3.4 too big", "554 5.3.4 too big"])
@pytest.mark.parametrize("phase", ["mail", "rcpt", "data", "dot"])
def test_a_letter_too_large_is_named_so(phase: Phase, line: str) -> None:
    verdict = classify(Reply.of(int(line[:3]), line[4:]), phase)
    assert (verdict.state, verdict.reason) == ("bounced", "message_too_large")


@pytest.mark.parametrize("phase", ["connect", "mail", "rcpt", "data"])
def test_std_d2_no_reply_before_the_dot_is_deferred(phase: Phase) -> None:
    assert classify(None, phase).state == "deferred"


def test_std_d2_no_reply_after_the_dot_is_unknown() -> None:
    assert classify(None, "dot").state == "unknown"


def test_local_refusal_is_skipped_with_its_reason() -> None:
    verdict = classify(Reply(553, "5.6.7", "server_lacks_smtputf8"), "local")
    assert (verdict.state, verdict.reason, verdict.suppress) == ("skipped", "server_lacks_smtputf8", False)


@pytest.mark.parametrize(
    ("text", "enhanced"),
    [
        ("5.1.1 no", "5.1.1"),
        ("4.7.28", "4.7.28"),
        ("5.7.515\nmore", "5.7.515"),
        ("queued as 2.0.0", None),
        ("3.1.1 no class", None),
        ("5.1.1x", None),
        ("5.1", None),
        ("", None),
    ],
)
def test_enhanced_code_leads_the_text(text: str, enhanced: str | None) -> None:
    assert Reply.of(550, text).enhanced == enhanced


def test_rel_h75_reply_text_holds_no_control_characters_and_is_bounded() -> None:
    reply = Reply.of(550, "5.1.1 \x1b[31mred\x00 \u202e" + "y" * 5000)
    assert "\x1b" not in reply.text
    assert "\x00" not in reply.text
    assert "\u2028" not in Reply.of(550, "a\u2028b").text
    assert len(reply.text) == 1000
