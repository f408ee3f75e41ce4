"""Four hundred invented people at example.org, in many scripts and languages. Called by `ops.demo` only.

The same number always makes the same people, so that a demo that was cut off goes on where it was.
"""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

COUNT = 400

# language, zone, country, first names, last names; a name and its plain form for the address, by a slash
_NAMES = """
en|Europe/London|GB|Alice Ruth Tom Nadia Owen Grace|Harlow Whitby Ashdown Pemberton Locke Marsh
de|Europe/Berlin|DE|Jürgen/juergen Käthe/kaethe Anselm Wiebke Greta|Müßig/muessig Krüger/krueger Althaus Vogt Lindner
de|Europe/Vienna|AT|Resi Xaver Zäzilia/zaezilia Ferdl|Größwang/groesswang Edlinger Höller/hoeller
fr|Europe/Paris|FR|Éloïse/eloise François/francois Maëlle/maelle Thibault|Lefèvre/lefevre Garçon/garcon Desnoyers Bœuf/boeuf
es|America/Bogota|CO|Begoña/begona Íñigo/inigo Ximena Joaquín/joaquin|Muñoz/munoz Peña/pena Cárdenas/cardenas
pl|Europe/Warsaw|PL|Łucja/lucja Wojciech Żaneta/zaneta Bożena/bozena|Świątek/swiatek Źrebiec/zrebiec Wójcik/wojcik
cs|Europe/Prague|CZ|Růžena/ruzena Řehoř/rehor Štěpánka/stepanka|Dvořáčková/dvorackova Žižka/zizka Šťastný/stastny
tr|Europe/Istanbul|TR|Işıl/isil Çağrı/cagri Gökçe/gokce|Öztürk/ozturk Şimşek/simsek Yılmaz/yilmaz
vi|Asia/Ho_Chi_Minh|VN|Thảo/thao Đức/duc Hương/huong|Nguyễn/nguyen Phạm/pham Đặng/dang
ru|Asia/Yekaterinburg|KZ|Алевтина/alevtina Прохор/prohor Снежана/snezhana|Ёлкина/yolkina Щукин/shchukin Подъячев/podyachev
uk|Europe/Kyiv|UA|Олеся/olesia Ґжегож/gzhegozh Євген/yevhen|Щербак/shcherbak Їжакевич/yizhakevych Кравченко/kravchenko
el|Europe/Athens|GR|Αγγελική/angeliki Οδυσσέας/odysseas Φωτεινή/foteini|Παπαδάκη/papadaki Ξενάκης/xenakis Ψαρρός/psarros
ka|Asia/Tbilisi|GE|ნინო/nino გიორგი/giorgi თამარ/tamar|ბერიძე/beridze ჭანტურია/chanturia წერეთელი/tsereteli
hy|Asia/Yerevan|AM|Անահիտ/anahit Տիգրան/tigran|Սարգսյան/sargsyan Հակոբյան/hakobyan
he|Asia/Jerusalem|IL|נועה/noa יונתן/yonatan שירה/shira|לוי/levi אברהמי/avrahami
ar|Africa/Cairo|EG|ليلى/layla يوسف/yusuf مريم/maryam|الحداد/alhaddad النجار/alnajjar
fa|Asia/Tehran|IR|پریسا/parisa کیوان/keyvan|گل‌محمدی/golmohammadi ژاله‌پور/zhalehpour
hi|Asia/Kolkata|IN|अनन्या/ananya ऋषि/rishi श्रुति/shruti|चतुर्वेदी/chaturvedi मिश्रा/mishra
bn|Asia/Dhaka|BD|ঐশী/oishi রঞ্জন/ranjan|চৌধুরী/chowdhury মৃধা/mridha
ta|Asia/Colombo|LK|செல்வி/selvi முருகன்/murugan|கண்ணன்/kannan இளங்கோ/ilango
th|Asia/Bangkok|TH|สมหญิง/somying ณัฐวุฒิ/natthawut|ใจดี/jaidee ศรีสุข/srisuk
zh|Asia/Shanghai|CN|雨桐/yutong 思远/siyuan 静怡/jingyi|欧阳/ouyang 陈/chen 龙/long
ja|Asia/Tokyo|JP|陽菜/haruna 健太郎/kentaro さくら/sakura|髙橋/takahashi 五十嵐/igarashi 渡邊/watanabe
ko|Asia/Seoul|KR|서연/seoyeon 도윤/doyun|남궁/namgung 최/choi
am|Africa/Addis_Ababa|ET|ሰላም/selam ዳዊት/dawit|ተስፋዬ/tesfaye በቀለ/bekele
"""
_COMPANIES = ("", "", "Kettle & Co", "Nordlicht GmbH", "Mill Lane Books", "Атлас", "山田工房", "Café Zwölf")


def people(begun_at: datetime) -> Iterator[dict[str, Any]]:
    """Each as a line of `POST /people/bulk`; what they agreed to lies up to 300 days before `begun_at`."""
    chance = random.Random(7)  # noqa: S311 - the same people every time is the point
    groups = [line.split("|") for line in _NAMES.strip().splitlines()]
    for number in range(1, COUNT + 1):
        locale, zone, country, firsts, lasts = (
            groups[number % len(groups)] if number % 3 else groups[number % 4]
        )
        first, last = (_name(chance.choice(names.split())) for names in (firsts, lasts))
        yield {
            "external_id": f"demo-{number:04d}",
            "email": f"{first[1]}.{last[1]}.{number}@example.org",
            "locale": locale,
            "zone": zone,
            "profile": {"first_name": first[0], "last_name": last[0], "company": chance.choice(_COMPANIES)},
            "attributes": {
                "plan": chance.choices(("free", "pro", "team"), (5, 3, 2))[0],
                "role": chance.choice(("developer", "designer", "owner", "editor")),
                "country": country,
            },
            "consents": _consents(chance, begun_at, confirmed=number % 25 != 0),
        }


def _name(said: str) -> tuple[str, str]:
    shown, _, plain = said.partition("/")
    return shown, (plain or shown).lower()


def _consents(chance: random.Random, begun_at: datetime, *, confirmed: bool) -> list[dict[str, Any]]:
    """Most say yes to something; some say no; of a few the address is not confirmed yet."""
    at = (begun_at - timedelta(days=chance.randint(2, 300), minutes=chance.randint(0, 1439))).isoformat(
        timespec="seconds"
    )
    page = f"https://shop.example.org/{chance.choice(('sign-up', 'checkout', 'account'))}"
    said = []
    for topic, share in (("new-products", 0.72), ("updates", 0.58)):
        drawn = chance.random()
        if drawn < share:
            evidence = {"at": at, "url": page, "ip": f"198.51.100.{chance.randint(1, 254)}"}
            item: dict[str, Any] = {
                "topic": topic,
                "given": True,
                "source": "sign-up form",
                "evidence": evidence,
            }
            said.append({**item, "confirmed": {"at": at, "method": "mailed button"}} if confirmed else item)
        elif drawn > 0.95:
            said.append(
                {
                    "topic": topic,
                    "given": False,
                    "source": "sign-up form",
                    "evidence": {"at": at, "url": page},
                }
            )
    return said
