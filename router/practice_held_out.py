"""Practice tools that only evaluation sees, and their requests. All written for this project."""

from __future__ import annotations

from loraloop.router import practice as p
from loraloop.router.practice import CITIES, Practice

HELD_OUT: tuple[Practice, ...] = (
    Practice(
        p.room_light,
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
        p.train_departures,
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
        p.air_quality,
        ("How is the air in {city}?", "Air quality index for {city}", "is the air clean in {city} today"),
        {"city": CITIES},
        ("What about {city}?",),
        ("What causes smog?", "How do trees clean the air?", "Should I exercise when the air is bad?"),
    ),
    Practice(
        p.hotel_rate,
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
        p.prime_factors,
        ("Factor {number} into primes.", "What are the prime factors of {number}?", "prime factorisation of {number}"),
        {"number": (84, 1001, 360, 2310, 97)},
        ("And {number}?",),
        ("Why are there infinitely many primes?", "What are primes good for?", "Explain to a child what a factor is."),
    ),
    Practice(
        p.account_balance,
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
        p.library_search,
        ("Does the library have {title}?", "Search the library for {title}", "can I borrow {title}"),
        {"title": ("Middlemarch", "The Trial", "Beloved", "Solaris")},
        ("And {title}?",),
        ("What is {title} about?", "Recommend a novel for a long journey.", "How did monks copy books?"),
    ),
)
