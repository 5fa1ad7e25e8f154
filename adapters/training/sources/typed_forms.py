"""How a tool wants a value that people say otherwise: as a code, in a format, in another unit.

What a tool wants is in its description; the request says the value as people do, and the call has what is wanted.
"""

from __future__ import annotations

import datetime
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loraloop.adapters.training.sources.typed import Kind

_COUNTRIES = """
Austria AT; Kenya KE; Peru PE; Japan JP; Norway NO; Canada CA; Portugal PT; Vietnam VN; Mexico MX; Egypt EG;
New Zealand NZ; South Korea KR; Chile CL; Poland PL; Morocco MA; Iceland IS; Thailand TH; Brazil BR; Ireland IE;
Ghana GH; France FR; Germany DE; Italy IT; Spain ES; India IN; China CN; Australia AU; Argentina AR; Sweden SE;
Finland FI; Turkey TR; Nigeria NG; South Africa ZA; United States US; United Kingdom GB; Greece GR; Switzerland CH;
Indonesia ID; Cuba CU; Nepal NP
"""
_LANGUAGES = """
Spanish es; German de; French fr; Japanese ja; Swahili sw; Arabic ar; Polish pl; Korean ko; Italian it; Dutch nl;
Hindi hi; Turkish tr; English en; Portuguese pt; Russian ru; Chinese zh; Greek el; Norwegian no; Czech cs; Thai th
"""
_STATES = """
Texas TX; Ohio OH; Nevada NV; Oregon OR; Georgia GA; Maine ME; Utah UT; Florida FL; Virginia VA; Colorado CO;
Michigan MI; New Mexico NM
"""
_CITIES = """
Vienna, Austria; Lisbon, Portugal; Nairobi, Kenya; Toronto, Canada; Osaka, Japan; Denver, CO; Prague, Czechia;
Lima, Peru; Oslo, Norway; Hanoi, Vietnam; Austin, TX; Leeds, UK; Cairo, Egypt; Seville, Spain; Perth, Australia;
Boston, MA; Mumbai, India; Quebec City, Canada; Cape Town, South Africa; Buenos Aires, Argentina; New Orleans, LA;
Salt Lake City, UT; Naples, Italy; Ghent, Belgium; San Diego, CA; Krakow, Poland; Ankara, Turkey; Manila, Philippines;
Bogota, Colombia; Helsinki, Finland; Dallas, TX; Portland, OR; Kyoto, Japan; Miami, FL; Rome, Italy; Dubai, UAE;
Paris, France; London, UK; Berlin, Germany; Madrid, Spain; Sydney, Australia; Tokyo, Japan; Seattle, WA;
San Francisco, CA; Los Angeles, CA; New York City, NY; Chicago, IL; Houston, TX; Phoenix, AZ; Atlanta, GA;
Dublin, Ireland; Lyon, France; Zurich, Switzerland; Munich, Germany; Warsaw, Poland; Budapest, Hungary;
Athens, Greece; Istanbul, Turkey; Delhi, India; Jakarta, Indonesia; Bangkok, Thailand; Seoul, South Korea;
Shanghai, China; Melbourne, Australia; Auckland, New Zealand; Santiago, Chile; Havana, Cuba; Accra, Ghana;
Lagos, Nigeria; Casablanca, Morocco; Reykjavik, Iceland; Tallinn, Estonia; Riga, Latvia; Bruges, Belgium;
Porto, Portugal; Florence, Italy; Las Vegas, NV; St. Louis, MO; San Jose, CA
"""
CURRENCIES = {
    "USD": ("US dollars", "dollars"),
    "EUR": ("euros", "euro"),
    "GBP": ("British pounds", "pounds sterling"),
    "JPY": ("Japanese yen", "yen"),
    "CHF": ("Swiss francs",),
    "CAD": ("Canadian dollars",),
    "AUD": ("Australian dollars",),
    "SEK": ("Swedish kronor",),
    "INR": ("Indian rupees", "rupees"),
    "MXN": ("Mexican pesos",),
}
UNITS = {
    "cm": ("centimeters", "centimetres"),
    "kmh": ("kilometers per hour", "km/h"),
    "mph": ("miles per hour",),
    "km": ("kilometers", "kilometres"),
    "kilometers": ("km",),
    "kilograms": ("kg", "kilos"),
    "meters": ("metres",),
    "milliliters": ("ml",),
    "kDa": ("kilodaltons",),
    "pounds": ("lbs",),
}
_LARGER = (
    # The unit a tool counts in, how many of it the larger one has that a person says, and half, one and two of that.
    ("seconds", 60, "half a minute", "a minute", "minutes"),
    ("minutes", 60, "half an hour", "an hour", "hours"),
    ("hours", 24, "half a day", "a day", "days"),
    ("days", 7, "half a week", "a week", "weeks"),
    ("months", 12, "half a year", "a year", "years"),
    ("grams", 1000, "half a kilo", "a kilo", "kg"),
    ("metres", 1000, "half a kilometre", "a kilometre", "km"),
    ("meters", 1000, "half a kilometer", "a kilometer", "km"),
)


def _codes(lines: str) -> dict[str, str]:
    return {name: code for name, _, code in (item.strip().rpartition(" ") for item in lines.split(";"))}


CODES = {"country": _codes(_COUNTRIES), "language": _codes(_LANGUAGES), "state": _codes(_STATES)}
PLACES = {whole.strip().partition(",")[0]: " ".join(whole.split()) for whole in _CITIES.split(";")}


@dataclass(frozen=True, slots=True)
class Form:
    """What a tool wants for a value.

    Attributes:
        told: A description with that said in it, from the plain one.
        write: The value as it is wanted, from the plain one; what it does not know stays as it is.
    """

    told: Callable[[str], str]
    write: Callable[[Any], Any]


def wanted(kind: Kind, description: str, rng: random.Random) -> Form | None:
    """Another form of a kind's values than the plain one, or None: most tools want what is said.

    Args:
        kind: The argument's.
        description: The argument's.
        rng: Source of randomness.
    """
    match kind.form, *kind.options[:1]:
        case "date", *_ if "YYYY-MM-DD" in description and rng.random() < 0.3:
            name, pattern = rng.choice(_DATES)
            return Form(lambda text: text.replace("YYYY-MM-DD", name), lambda value: _dated(value, pattern))
        case "pool", "time" if rng.random() < 0.5:
            return Form(_telling(rng.choice((" (24-hour clock, HH:MM)", " in HH:MM format, 24 hours"))), _clock)
        case "pool", "city" if rng.random() < 0.3:
            if rng.random() < 0.25:
                return Form(_telling(rng.choice((" (city name only)", ", without state or country"))), _alone)
            told = rng.choice(
                (" in the format 'City, Country', in the US 'City, ST'", " (e.g. 'Tulsa, OK', 'Nice, France')")
            )
            return Form(_telling(told), lambda value: PLACES.get(value, value))
        case "pool", ("country" | "language" | "state") as pool if rng.random() < 0.2:
            codes = CODES[pool]
            return Form(_telling(_told_code(pool, rng)), lambda value: codes.get(value, value))
        case "enum", *_ if all(re.fullmatch("[a-z ]+", option) for option in kind.options) and rng.random() < 0.12:
            write = rng.choice((str.upper, str.title))
            return Form(lambda text: text, write)
    return None


_DATES = (
    ("MM/DD/YYYY", "%m/%d/%Y"),
    ("DD/MM/YYYY", "%d/%m/%Y"),
    ("DD.MM.YYYY", "%d.%m.%Y"),
    ("YYYY/MM/DD", "%Y/%m/%d"),
    ("YYYYMMDD", "%Y%m%d"),
    ("'Month DD, YYYY'", "%B %d, %Y"),
)


def _dated(value: str, pattern: str) -> str:
    try:
        return datetime.date.fromisoformat(value).strftime(pattern)
    except ValueError:
        return value


def _telling(what: str) -> Callable[[str], str]:
    return lambda text: text + what


def _told_code(pool: str, rng: random.Random) -> str:
    match pool:
        case "country":
            return rng.choice((" as an ISO 3166-1 alpha-2 code", " (two-letter country code, e.g. 'BE')"))
        case "language":
            return rng.choice((" as an ISO 639-1 code", " (language code such as 'da')"))
        case _:
            return rng.choice((" as a two-letter abbreviation", " (e.g. 'WY')"))


def _clock(value: str) -> str:
    """A time of day on the 24-hour clock."""
    if value == "noon":
        return "12:00"
    read = re.fullmatch(r"(\d{1,2})(?::(\d\d))?(?: ?([ap])\.?m\.?)?", value, re.IGNORECASE)
    if read is None:
        return value
    hour = int(read[1]) % 12 + (12 if read[3].lower() == "p" else 0) if read[3] else int(read[1])
    return f"{hour:02}:{read[2] or '00'}"


def _alone(value: str) -> str:
    return value.partition(",")[0]


def spoken(kind: Kind, value: str, rng: random.Random) -> str:
    """A value in the words of a person: `EUR` as `euros`, `cm` as `centimeters`, most as they are."""
    words: Mapping[str, tuple[str, ...]] = (
        CURRENCIES if kind.form == "pool" and kind.options[0] == "currency" else UNITS
    )
    if kind.form not in ("pool", "enum") or value not in words or rng.random() < 0.5:
        return value
    others = [word for word in words[value] if kind.form == "pool" or word not in kind.options]
    return rng.choice(others) if others else value


def rescaled(text: str, descriptions: Sequence[str], rng: random.Random) -> str:
    """A request in which some amounts are said in a larger unit than a tool counts in: 90 minutes as 1.5 hours.

    Args:
        text: The request.
        descriptions: Those of the arguments; an amount stays as it is unless one of them names its unit.
        rng: Source of randomness.
    """
    told = " ".join(descriptions).lower()
    for unit, size, half, one, many in _LARGER:
        if unit in told and many.removesuffix("s") not in told and rng.random() < 0.5:
            alone = rf"(?<!\band )(?<!, )(?<!\bor )(?<!\d )(?<![\d.,])(\d+) {unit}\b(?! and \d)"
            text = re.sub(alone, partial(_larger, size=size, half=half, one=one, many=many), text)
    return text


def _larger(match: re.Match[str], size: int, half: str, one: str, many: str) -> str:
    amount = int(match[1]) / size
    if amount in (0.5, 1, 1.5):
        return {0.5: half, 1: one, 1.5: f"{one} and a half"}[amount]
    return f"{amount:g} {many}" if amount > 1 and round(amount, 1) == amount else match[0]


def polynomial(rng: random.Random) -> tuple[str, str]:
    """A function of x in Python's notation, and as people write it."""
    if rng.random() < 0.3:
        return rng.choice(
            (("sin(x)", "sin x"), ("exp(-x)", "e^-x"), ("exp(2*x)", "e^(2x)"), ("log(x)", "ln x"), ("1/x", "1/x"))
        )
    powers = sorted(rng.sample((0, 1, 2, 3, 4), rng.choice((1, 2, 2, 3))), reverse=True)
    if powers == [0]:
        powers = [2]
    code, said = "", ""
    superscript = rng.random() < 0.3
    for power in powers:
        factor = rng.choice((1, 1, 2, 3, 4, 5, 6, 7, -1, -2, -3))
        sign = (" - " if factor < 0 else " + ") if code else ("-" if factor < 0 else "")
        size = abs(factor)
        raised = "" if power < 2 else ("²³⁴"[power - 2] if superscript else f"^{power}")
        base, base_said = ("", "") if not power else ("x" if power == 1 else f"x**{power}", f"x{raised}")
        code += sign + (f"{size}*{base}" if base and size > 1 else base or str(size))
        said += sign + (f"{size}{base_said}" if base and size > 1 else base_said or str(size))
    return code, said if rng.random() < 0.8 else code
