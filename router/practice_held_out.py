"""Practice tools that only evaluation sees, and their requests. All written for this project."""

from __future__ import annotations

from typing import Any, Literal

from loraloop.router.practice import CITIES, Practice, known, pick


def room_light(room: str, on: bool) -> dict[str, Any]:
    """Switch a lamp at home.

    Args:
        room: Which room.
        on: Whether the lamp shall be on.
    """
    return {"room": room, "light": "on" if on else "off"}


def train_departures(station: str) -> list[str]:
    """Next trains from a station.

    Args:
        station: City of the station.
    """
    station = known(station, CITIES, "station")
    return [
        f"{pick(station + str(k), 6, 22)}:{pick(str(k) + station, 10, 59)} to {CITIES[pick(station, k, 9)]}"
        for k in (1, 2)
    ]


def air_quality(city: str) -> dict[str, Any]:
    """Air quality index measured in a city.

    Args:
        city: Name of the city.
    """
    return {"city": known(city, CITIES, "city"), "index": pick("air" + city, 12, 160)}


def hotel_rate(city: str, nights: int) -> dict[str, Any]:
    """Cheapest hotel in a city and what the stay costs.

    Args:
        city: Where to stay.
        nights: Number of nights.
    """
    night = pick("hotel" + city, 55, 210)
    return {"hotel": f"{known(city, CITIES, 'city')} Central", "per_night": night, "total": night * nights}


def prime_factors(number: int) -> list[int]:
    """Prime factors of a whole number.

    Args:
        number: The number, 2 or more.
    """
    found, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return found


def account_balance(account: Literal["checking", "savings"]) -> dict[str, Any]:
    """Balance of a bank account.

    Args:
        account: Which account.
    """
    return {"account": account, "balance": pick(account, 10000, 900000) / 100, "currency": "EUR"}


def library_search(title: str) -> dict[str, Any]:
    """Whether the public library has a book.

    Args:
        title: Title of the book.
    """
    return {"title": title, "available": bool(pick(title, 0, 1)), "shelf": f"{pick(title, 1, 60)}B"}


HELD_OUT: tuple[Practice, ...] = (
    Practice(
        room_light,
        (
            "Turn the light in the {room} {state}.",
            "switch {state} the {room} lamp",
            "Lights {state} in the {room}, please",
        ),
        {"room": ("bedroom", "hall", "garage", "attic"), "state": ("on", "off")},
        ("And the {room}, {state}.",),
        ("Who invented the light bulb?", "Which colour suits a small {room}?", "Why is candle light yellow?"),
    ),
    Practice(
        train_departures,
        (
            "When do the next trains leave from {station}?",
            "Departures from {station}?",
            "show me trains out of {station}",
        ),
        {"station": CITIES},
        ("And from {station}?",),
        (
            "What was the first railway line?",
            "Write a short story set on a night train.",
            "Are trains greener than planes?",
        ),
    ),
    Practice(
        air_quality,
        ("How is the air in {city}?", "Air quality index for {city}", "is the air clean in {city} today"),
        {"city": CITIES},
        ("What about {city}?",),
        ("What causes smog?", "How do trees clean the air?", "Should I exercise when the air is bad?"),
    ),
    Practice(
        hotel_rate,
        (
            "What does a hotel in {city} cost for {nights} nights?",
            "Cheapest stay in {city}, {nights} nights",
            "find me a room in {city} for {nights} nights",
        ),
        {"city": CITIES, "nights": (1, 2, 4, 7)},
        ("And {nights} nights in {city}?",),
        (
            "What should I pack for a weekend away?",
            "Is a hostel better than a hotel for a student?",
            "Tell me a ghost story about a hotel.",
        ),
    ),
    Practice(
        prime_factors,
        ("Factor {number} into primes.", "What are the prime factors of {number}?", "prime factorisation of {number}"),
        {"number": (84, 1001, 360, 2310, 97)},
        ("And {number}?",),
        ("Why are there infinitely many primes?", "What are primes good for?", "Explain to a child what a factor is."),
    ),
    Practice(
        account_balance,
        (
            "How much money is in my {account} account?",
            "Balance of my {account} account please",
            "what's left in {account}",
        ),
        {"account": ("checking", "savings")},
        ("And in {account}?",),
        ("How do I make a household budget?", "What is compound interest?", "Why do banks fail?"),
    ),
    Practice(
        library_search,
        ("Does the library have {title}?", "Search the library for {title}", "can I borrow {title}"),
        {"title": ("Middlemarch", "The Trial", "Beloved", "Solaris")},
        ("And {title}?",),
        ("What is {title} about?", "Recommend a novel for a long journey.", "How did monks copy books?"),
    ),
)
