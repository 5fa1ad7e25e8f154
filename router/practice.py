"""Practice tools: small, deterministic, really executed, so that mid-run states can be made rather than imagined.

Each `Practice` binds a tool's function to requests it serves, short follow-ups that only make sense after one, and
near misses: requests on its topic that it cannot serve. Everything here was written for this project (Apache-2.0).
`practice_requests.TRAIN` is used for fitting; `practice_held_out.HELD_OUT` is seen by evaluation only.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from zlib import crc32

CITIES = (
    "Paris",
    "London",
    "Oslo",
    "Madrid",
    "Tokyo",
    "Cairo",
    "Lima",
    "Berlin",
    "Rome",
    "Toronto",
    "Mumbai",
    "Sydney",
)
PEOPLE = ("Anna", "Bruno", "Carla", "Dinesh", "Elif", "Farid", "Grace", "Hugo", "Ines", "Jonas")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}


@dataclass(frozen=True, slots=True)
class Practice:
    """A function offered as a tool, with the requests that lead to it.

    Attributes:
        function: Typed, documented, deterministic; raises ValueError for what it does not know.
        asks: Requests it serves; `{slot}` stands for an argument of that name.
        slots: Values of each slot.
        follow: Elliptic follow-ups that need the same tool again.
        near: Requests on the same topic that it cannot serve.
    """

    function: Callable[..., Any]
    asks: tuple[str, ...]
    slots: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    follow: tuple[str, ...] = ()
    near: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return str(self.function.__name__)


def pick(key: str, low: int, high: int) -> int:
    """A whole number between two bounds that depends on a text alone."""
    return low + crc32(key.encode()) % (high - low + 1)


def known(value: str, names: tuple[str, ...], what: str) -> str:
    """The name that a value spells, in whatever case; ValueError if none."""
    for name in names:
        if name.lower() == value.lower():
            return name
    raise ValueError(f"no {what} called {value!r}")


def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> dict[str, Any]:
    """Current weather of a city.

    Args:
        city: Name of the city.
        unit: Temperature unit.
    """
    city = known(city, CITIES, "city")
    celsius = pick("t" + city, -4, 33)
    sky = ("sunny", "cloudy", "rain", "windy", "fog")[pick("s" + city, 0, 4)]
    return {"city": city, "temperature": celsius if unit == "celsius" else round(celsius * 1.8 + 32), "sky": sky}


def calculate(expression: str) -> float:
    """Evaluate an arithmetic expression.

    Args:
        expression: Numbers joined by + - * / % and parentheses.
    """

    def value(node: ast.AST) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return node.value
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        raise ValueError(f"cannot evaluate {expression!r}")

    return round(float(value(ast.parse(expression, mode="eval").body)), 6)


def convert_units(value: float, from_unit: str, to_unit: str) -> dict[str, Any]:
    """Convert a length or a weight from one unit to another.

    Args:
        value: Amount to convert.
        from_unit: Unit to convert from.
        to_unit: Unit to convert to.
    """
    scale = {"km": 1000.0, "miles": 1609.344, "metres": 1.0, "feet": 0.3048, "kg": 1.0, "pounds": 0.45359237}
    if from_unit not in scale or to_unit not in scale:
        raise ValueError(f"no conversion from {from_unit} to {to_unit}")
    return {"value": round(value * scale[from_unit] / scale[to_unit], 3), "unit": to_unit}


def list_events(day: str) -> list[str]:
    """Calendar entries of a day.

    Args:
        day: Day of the week.
    """
    names = ("dentist", "team meeting", "lunch with Anna", "gym", "call with the bank", "piano lesson")
    first = pick(known(day, DAYS, "day"), 0, 5)
    return [f"{9 + pick(day + n, 0, 8)}:00 {n}" for n in (names[first], names[(first + 2) % 6])]


def add_event(title: str, day: str, hour: int) -> dict[str, Any]:
    """Put an entry into the calendar.

    Args:
        title: What the entry is called.
        day: Day of the week.
        hour: Hour of the day, 0 to 23.
    """
    return {"added": title, "day": known(day, DAYS, "day"), "hour": hour}


def save_note(text: str) -> dict[str, Any]:
    """Save a note for later.

    Args:
        text: The note.
    """
    return {"saved": True, "id": pick(text, 100, 999)}


def convert_currency(amount: float, source: str, target: str) -> dict[str, Any]:
    """Convert an amount of money at today's rate.

    Args:
        amount: How much.
        source: Currency code to convert from.
        target: Currency code to convert to.
    """
    rates = {"EUR": 1.0, "USD": 1.09, "GBP": 0.85, "JPY": 163.0, "INR": 91.0, "CHF": 0.96}
    if source not in rates or target not in rates:
        raise ValueError(f"no rate for {source} to {target}")
    return {"amount": round(amount * rates[target] / rates[source], 2), "currency": target}


def define_word(word: str) -> dict[str, str]:
    """Look a word up in the dictionary.

    Args:
        word: The word.
    """
    entries = {
        "serendipity": "the finding of valuable things not sought for",
        "lucid": "clear and easy to understand",
        "ephemeral": "lasting a very short time",
        "candid": "open and sincere",
        "arid": "very dry",
        "gregarious": "fond of company",
        "tacit": "understood without being said",
    }
    if word not in entries:
        raise ValueError(f"no entry for {word!r}")
    return {"word": word, "meaning": entries[word]}


def time_in_city(city: str) -> dict[str, str]:
    """Local time in a city.

    Args:
        city: Name of the city.
    """
    city = known(city, CITIES, "city")
    return {"city": city, "time": f"{pick('h' + city, 0, 23):02d}:{pick('m' + city, 0, 59):02d}"}


def stock_price(ticker: str) -> dict[str, Any]:
    """Latest price of a share.

    Args:
        ticker: Ticker symbol.
    """
    return {"ticker": ticker, "price": pick(ticker, 2000, 40000) / 100, "currency": "USD"}


def translate_word(word: str, language: str) -> dict[str, str]:
    """Translate a single word.

    Args:
        word: English word.
        language: Language to translate into.
    """
    table = {
        "bread": ("pain", "pan", "Brot"),
        "water": ("eau", "agua", "Wasser"),
        "house": ("maison", "casa", "Haus"),
        "friend": ("ami", "amigo", "Freund"),
        "morning": ("matin", "mañana", "Morgen"),
    }
    return {"word": word, "translation": table[word][("French", "Spanish", "German").index(language)]}


def flight_status(number: str) -> dict[str, str]:
    """Status of a flight today.

    Args:
        number: Flight number.
    """
    return {
        "flight": number,
        "status": ("on time", "delayed", "boarding", "cancelled")[pick(number, 0, 3)],
        "gate": f"{'ABC'[pick(number + 'g', 0, 2)]}{pick(number, 1, 40)}",
    }


def find_restaurants(city: str, cuisine: str) -> list[str]:
    """Restaurants of a cuisine in a city.

    Args:
        city: Where to look.
        cuisine: Kind of food.
    """
    first = ("Casa", "Little", "Chez", "Golden", "Old Town")[pick(city + cuisine, 0, 4)]
    return [f"{first} {cuisine}", f"{known(city, CITIES, 'city')} {cuisine} House"]


def book_table(restaurant: str, guests: int, hour: int) -> dict[str, Any]:
    """Reserve a table for tonight.

    Args:
        restaurant: Name of the restaurant.
        guests: Number of guests.
        hour: Hour of the evening.
    """
    return {"booked": restaurant, "guests": guests, "hour": hour, "code": f"R{pick(restaurant, 1000, 9999)}"}


def send_message(recipient: str, text: str) -> dict[str, Any]:
    """Send a text message to a contact.

    Args:
        recipient: Who gets it.
        text: What to say.
    """
    return {"sent": True, "to": known(recipient, PEOPLE, "contact")}


def track_parcel(code: str) -> dict[str, str]:
    """Where a parcel is now.

    Args:
        code: Tracking code.
    """
    return {
        "code": code,
        "status": ("in transit", "out for delivery", "delivered")[pick(code, 0, 2)],
        "place": CITIES[pick(code, 0, len(CITIES) - 1)],
    }


def play_song(title: str, room: str = "kitchen") -> dict[str, Any]:
    """Play a song on a speaker.

    Args:
        title: Name of the song.
        room: Room of the speaker.
    """
    return {"playing": title, "room": room}


def set_timer(minutes: int) -> dict[str, Any]:
    """Start a countdown timer.

    Args:
        minutes: Length in minutes.
    """
    return {"timer": "started", "minutes": minutes}


def phone_number(name: str) -> dict[str, str]:
    """Telephone number of a contact.

    Args:
        name: The contact.
    """
    return {"name": known(name, PEOPLE, "contact"), "number": f"+49 30 {pick(name, 100000, 999999)}"}


def order_status(order_id: int) -> dict[str, Any]:
    """Look up a customer's order in the shop's database.

    Args:
        order_id: Number of the order.
    """
    return {
        "order_id": order_id,
        "status": ("paid", "packed", "shipped", "returned")[order_id % 4],
        "total": pick(str(order_id), 500, 20000) / 100,
    }


def word_count(text: str) -> dict[str, int]:
    """Count words and characters of a text.

    Args:
        text: The text.
    """
    return {"words": len(text.split()), "characters": len(text)}
