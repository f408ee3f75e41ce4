"""Which recipient domains belong to one mailbox provider, which answers for all of them. Asked by `pace`.

Only domains that a provider gives to the public: whose own domain a provider hosts can be learnt from DNS alone, and a relay in
between hides it. Countries' domains go by their first label.
"""

import re

# The provider by the domain that it is best known for, and the first labels of its domains under a country or .com.
_LABELS = {
    "outlook.com": ("outlook", "hotmail", "live", "msn", "passport", "windowslive"),
    "yahoo.com": ("yahoo", "ymail", "rocketmail", "aol", "aim", "myyahoo"),
    "gmx.net": ("gmx",),
    "yandex.ru": ("yandex",),
}
_DOMAINS = {
    "gmail.com": ("googlemail.com",),
    "icloud.com": ("me.com", "mac.com"),
    "yahoo.com": ("verizon.net", "netscape.net"),
    "gmx.net": ("web.de", "mail.com", "email.com", "caramail.com"),
    "mail.ru": ("bk.ru", "inbox.ru", "list.ru", "internet.ru", "xmail.ru"),
    "yandex.ru": ("ya.ru", "narod.ru"),
    "proton.me": ("protonmail.com", "protonmail.ch", "pm.me"),
    "zoho.com": ("zohomail.com", "zohomail.eu", "zohomail.in"),
    "fastmail.com": ("fastmail.fm", "messagingengine.com", "sent.com"),
    "orange.fr": ("wanadoo.fr", "voila.fr"),
    "laposte.net": ("laposte.fr",),
    "free.fr": ("libertysurf.fr", "aliceadsl.fr"),
    "comcast.net": ("xfinity.com",),
    "libero.it": ("iol.it", "inwind.it", "blu.it", "giallo.it"),
    "seznam.cz": ("email.cz", "post.cz", "spoluzaci.cz"),
    "wp.pl": ("o2.pl", "tlen.pl"),
    "qq.com": ("foxmail.com", "vip.qq.com"),
    "163.com": ("126.com", "yeah.net", "vip.163.com"),
    "naver.com": ("navercorp.com",),
}
_KNOWN = {domain: provider for provider, domains in _DOMAINS.items() for domain in domains}
_LABEL_OF = {label: provider for provider, labels in _LABELS.items() for label in labels}
_UNDER_A_COUNTRY = re.compile(r"([a-z]+)\.(?:com|net|[a-z]{2}|(?:co|com)\.[a-z]{2})")


def provider(domain: str) -> str:
    """The domain that stands for its provider; itself when nothing better is known."""
    if known := _KNOWN.get(domain):
        return known
    named = _UNDER_A_COUNTRY.fullmatch(domain)
    return _LABEL_OF.get(named[1], domain) if named else domain
