"""The requests that belong to each practice tool (see `loraloop.router.practice`). All written for this project."""

from __future__ import annotations

from loraloop.router import practice as p
from loraloop.router.practice import CITIES, DAYS, PEOPLE, Practice

_WORDS = ("serendipity", "lucid", "ephemeral", "candid", "arid", "gregarious", "tacit")
_SONGS = ("Yellow River", "Midnight Train", "Blue Moon", "Summer Rain", "Paper Boats")
_TEXTS = ("running ten minutes late", "dinner is ready", "happy birthday", "the meeting moved to four", "call me back")
_NOTES = ("buy oat milk", "water the plants", "renew the passport", "ask Hugo about the keys", "pay the rent")

TRAIN: tuple[Practice, ...] = (
    Practice(
        p.get_weather,
        (
            "What is the weather in {city}?",
            "what's it like outside in {city} right now",
            "Weather in {city} in {unit}, please.",
            "Do I need an umbrella in {city} today?",
            "How warm is it in {city} at the moment?",
        ),
        {"city": (*CITIES, "Atlantis"), "unit": ("celsius", "fahrenheit")},
        ("And in {city}?", "what about {city}", "Same for {city} please"),
        (
            "Why does it rain more in the mountains?",
            "What is the difference between weather and climate?",
            "Who invented the thermometer?",
            "Write a haiku about a rainy day in {city}.",
            "Is {city} worth a visit in spring?",
            "What was the coldest winter of the nineteenth century?",
        ),
    ),
    Practice(
        p.calculate,
        (
            "What is {expression}?",
            "Calculate {expression}",
            "work out {expression} for me",
            "Can you compute {expression}?",
        ),
        {"expression": ("37 * 48", "1289 + 774 - 35", "(81 / 9) * 13", "19 % 7", "15.5 * 240", "4096 / 64")},
        ("now {expression}", "And {expression}?"),
        (
            "Why is division by zero not defined?",
            "Explain long division to a ten year old.",
            "Who invented the calculator?",
            "How do I get better at mental arithmetic?",
            "Prove that the square root of two is irrational.",
        ),
    ),
    Practice(
        p.convert_units,
        (
            "Convert {value} {from_unit} to {to_unit}.",
            "How many {to_unit} are {value} {from_unit}?",
            "{value} {from_unit} in {to_unit}?",
            "I need {value} {from_unit} expressed in {to_unit}",
        ),
        {"value": (5, 12.5, 80, 3, 250), "from_unit": ("km", "miles", "feet"), "to_unit": ("metres", "miles", "km")},
        ("and {value} {from_unit} in {to_unit}?",),
        (
            "Why does America not use the metric system?",
            "What is the origin of the word mile?",
            "Is a stone heavier than a pound of feathers?",
            "Which countries still use feet and inches?",
        ),
    ),
    Practice(
        p.list_events,
        (
            "What do I have on {day}?",
            "Show my calendar for {day}.",
            "am I busy on {day}",
            "List my appointments for {day}",
        ),
        {"day": DAYS},
        ("And on {day}?", "what about {day}"),
        (
            "Why does the week start on Sunday in some countries?",
            "How do I say no to a meeting politely?",
            "Give me tips for planning a productive week.",
            "Where do the names of the days come from?",
        ),
    ),
    Practice(
        p.add_event,
        (
            "Put {title} into my calendar on {day} at {hour}.",
            "Schedule {title} for {day} at {hour} o'clock",
            "Add an appointment: {title}, {day}, {hour}:00",
        ),
        {
            "title": ("haircut", "project review", "yoga", "tax advisor", "parents' evening"),
            "day": DAYS,
            "hour": (8, 10, 15, 18),
        },
        ("Add {title} on {day} at {hour} as well.",),
        (
            "What should I prepare for a job interview?",
            "How long should a good meeting be?",
            "Write an agenda for a kick-off meeting.",
        ),
    ),
    Practice(
        p.save_note,
        ("Note down: {text}", "Remember to {text}", "Save a note that says {text}.", "make a note - {text}"),
        {"text": _NOTES},
        ("Also note: {text}",),
        (
            "What is the best way to take lecture notes?",
            "How do people with good memories remember names?",
            "Why do we forget our dreams?",
        ),
    ),
    Practice(
        p.convert_currency,
        (
            "Convert {amount} {source} to {target}.",
            "How much is {amount} {source} in {target} today?",
            "what are {amount} {source} worth in {target}",
        ),
        {"amount": (20, 150, 999, 75.5), "source": ("EUR", "USD", "GBP"), "target": ("JPY", "INR", "CHF")},
        ("and {amount} {source} in {target}?",),
        (
            "Why do currencies lose value?",
            "What was the gold standard?",
            "Should I tip in Japan?",
            "How do I start saving money as a student?",
        ),
    ),
    Practice(
        p.define_word,
        (
            "Define {word}.",
            "Look up the word {word}",
            "What does the dictionary say about {word}?",
            "meaning of {word}?",
        ),
        {"word": (*_WORDS, "flibber")},
        ("And {word}?", "what about {word}"),
        (
            "Use the word {word} in a short poem.",
            "How do dictionaries decide which words to include?",
            "Give me three tips to learn vocabulary.",
            "What is your favourite word?",
        ),
    ),
    Practice(
        p.time_in_city,
        (
            "What time is it in {city}?",
            "Local time in {city}?",
            "tell me the current time in {city}",
            "Is it already late in {city}?",
        ),
        {"city": CITIES},
        ("And in {city}?", "how about {city}"),
        (
            "Why are there time zones?",
            "How do I get over jet lag?",
            "What does time mean to a physicist?",
            "Who decided that a day has 24 hours?",
        ),
    ),
    Practice(
        p.stock_price,
        (
            "What is {ticker} trading at?",
            "Price of {ticker} please",
            "Get me the latest share price of {ticker}.",
            "how is {ticker} doing on the market",
        ),
        {"ticker": ("AAPL", "MSFT", "NVDA", "SAP", "IBM", "KO")},
        ("And {ticker}?", "now {ticker}"),
        (
            "How does the stock market work?",
            "What is the difference between a bond and a share?",
            "Tell me a story about a greedy banker.",
            "Is it a good idea to invest in a company you love?",
        ),
    ),
    Practice(
        p.translate_word,
        ("Translate {word} into {language}.", "How do you say {word} in {language}?", "{language} word for {word}?"),
        {"word": ("bread", "water", "house", "friend", "morning"), "language": ("French", "Spanish", "German")},
        ("and {word} in {language}?",),
        (
            "Is {language} hard to learn?",
            "How do children learn two languages at once?",
            "Which languages descend from Latin?",
            "Why do some languages have genders?",
        ),
    ),
    Practice(
        p.flight_status,
        (
            "Is flight {number} on time?",
            "Status of {number}?",
            "Check flight {number} for me.",
            "which gate does {number} leave from",
        ),
        {"number": ("LH441", "BA117", "UA90", "AF1280", "QF1")},
        ("And {number}?",),
        (
            "How do planes stay in the air?",
            "I am afraid of flying, what can I do?",
            "What can I take in my hand luggage in general?",
            "Who made the first flight across the Atlantic?",
        ),
    ),
    Practice(
        p.find_restaurants,
        (
            "Find a {cuisine} restaurant in {city}.",
            "Where can I eat {cuisine} food in {city}?",
            "good {cuisine} places in {city}",
        ),
        {"city": CITIES, "cuisine": ("Italian", "Thai", "Indian", "Greek", "Mexican")},
        ("And {cuisine} in {city}?",),
        (
            "How do I make a good {cuisine} dinner at home?",
            "What is typical of {cuisine} cooking?",
            "Write a review of an imaginary diner.",
            "Is it rude to send food back?",
        ),
    ),
    Practice(
        p.book_table,
        (
            "Book a table at {restaurant} for {guests} at {hour}.",
            "Reserve {restaurant} tonight, {guests} people, {hour} o'clock",
            "table for {guests} at {restaurant}, {hour}:00 please",
        ),
        {
            "restaurant": ("Casa Luna", "Little Thai", "Chez Marie", "Golden Greek"),
            "guests": (2, 3, 4, 6),
            "hour": (18, 19, 20),
        },
        ("Also reserve {restaurant} for {guests} at {hour}.",),
        (
            "What is good etiquette at a formal dinner?",
            "How do I split a bill fairly among friends?",
            "Suggest topics for a first date over dinner.",
        ),
    ),
    Practice(
        p.send_message,
        (
            "Text {recipient}: {text}",
            "Send {recipient} a message that says {text}.",
            "tell {recipient} {text}",
            "Message {recipient} and say {text}",
        ),
        {"recipient": (*PEOPLE, "Zorblax"), "text": _TEXTS},
        ("And the same to {recipient}: {text}",),
        (
            "How do I apologise to a friend I hurt?",
            "Why do people use emojis?",
            "Draft a toast for {recipient}'s wedding.",
            "Is it okay to text late at night?",
        ),
    ),
    Practice(
        p.track_parcel,
        (
            "Where is my parcel {code}?",
            "Track {code}",
            "Has package {code} been delivered?",
            "status of shipment {code} please",
        ),
        {"code": ("ZX481", "PK20077", "DE9914", "RR55120")},
        ("And {code}?",),
        ("How does the post sort letters so fast?", "Who invented the postage stamp?", "How do I wrap a gift nicely?"),
    ),
    Practice(
        p.play_song,
        (
            "Play {title}.",
            "Put on {title} in the {room}",
            "I want to hear {title}",
            "Start {title} on the {room} speaker.",
        ),
        {"title": _SONGS, "room": ("kitchen", "bedroom", "study")},
        ("Now play {title}.",),
        (
            "What makes a song catchy?",
            "Write lyrics in the style of a sea shanty.",
            "Who invented the gramophone?",
            "How do I learn to sing in tune?",
            "What is a chord?",
        ),
    ),
    Practice(
        p.set_timer,
        ("Set a timer for {minutes} minutes.", "Wake me in {minutes} minutes", "start a {minutes} minute countdown"),
        {"minutes": (3, 5, 10, 25, 45)},
        ("Another one for {minutes} minutes.",),
        (
            "How long does it take to boil an egg?",
            "What is the Pomodoro technique?",
            "Why does time fly when you have fun?",
        ),
    ),
    Practice(
        p.phone_number,
        ("What is {name}'s phone number?", "Give me the number of {name}.", "how can I reach {name} by phone"),
        {"name": (*PEOPLE, "Quentin")},
        ("And {name}'s?", "what about {name}"),
        ("Who made the first telephone call?", "How do I end a phone call politely?", "Suggest a nickname for {name}."),
    ),
    Practice(
        p.order_status,
        (
            "Where is order {order_id}?",
            "Look up order number {order_id}.",
            "has {order_id} shipped yet",
            "Check the status of order {order_id}",
        ),
        {"order_id": (1042, 887, 20311, 4560, 719)},
        ("And order {order_id}?",),
        (
            "Write a polite complaint about a late delivery.",
            "What are typical reasons for returns in online shops?",
            "How do shops set prices?",
        ),
    ),
    Practice(
        p.word_count,
        ('How many words are in "{text}"?', "Count the words of this text: {text}", "word count for: {text}"),
        {
            "text": (
                "The quick brown fox jumps over the lazy dog",
                "To be or not to be",
                "All happy families are alike",
                "It was a bright cold day in April",
            )
        },
        ("And this one: {text}",),
        (
            "How long should an essay introduction be?",
            "Rewrite this more formally: {text}",
            "Who reads novels of a thousand pages?",
            "Shorten this sentence: {text}",
        ),
    ),
)


def argument(name: str, value: object) -> object:
    """The JSON value behind a slot: a lamp's state is spoken as a word and passed as a boolean."""
    return value == "on" if name == "state" else value


def argument_name(name: str) -> str:
    """The parameter a slot fills."""
    return "on" if name == "state" else name
