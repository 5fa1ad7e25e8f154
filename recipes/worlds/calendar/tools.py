"""A personal calendar and address book: events with start and end, guests, gaps between events, reminders, contacts."""

import random
from datetime import datetime, timedelta
from typing import Any, Literal

FIRST = ("Amelie", "Boris", "Cosima", "Damian", "Elena", "Falk", "Greta", "Henri", "Isa", "Jakob", "Katrin", "Leo")
LAST = (
    "Arendt",
    "Bauer",
    "Clausen",
    "Delgado",
    "Eklund",
    "Ferrari",
    "Gruber",
    "Hansen",
    "Ibrahim",
    "Jung",
    "Keller",
    "Larsen",
)
TITLES = (
    "dentist",
    "piano lesson",
    "budget talk",
    "haircut",
    "parents' evening",
    "jogging",
    "tax adviser",
    "lunch",
    "book club",
    "car inspection",
    "yoga",
    "project review",
    "choir",
    "vet",
    "flat viewing",
    "swimming",
    "physio",
    "board meeting",
)
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    names = [f"{first} {last}" for first, last in zip(rng.sample(FIRST, 12), rng.sample(LAST, 12), strict=True)]
    names += [f"{names[0].split()[0]} {rng.choice(('Moser', 'Nowak', 'Olsen'))}"]
    contacts = {
        f"c{rng.randrange(1000, 9999)}{place:02d}": {
            "name": name,
            "label": rng.choice(("family", "work", "friends")),
            "phones": [{"type": "mobile", "number": f"+43 660 {rng.randrange(100000, 999999)}"}],
            "mail": f"{name.split()[0].lower()}@{rng.choice(('mail', 'post', 'web'))}.example",
            "birthday": f"{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
        }
        for place, name in enumerate(names)
    }
    for place, each in enumerate(contacts.values()):  # of each group there are some
        each["label"] = ("family", "work", "friends")[place % 3] if place < 6 else each["label"]
    events = {}
    days = [datetime(2028, 5, 9) + timedelta(days=number) for number in range(14)]
    for place, title in enumerate(rng.sample(TITLES, len(TITLES))):
        day = days[place % 14]
        hour = rng.choice((9, 10, 11)) if place < 14 else rng.choice((15, 16, 17))
        start = day + timedelta(hours=hour, minutes=rng.choice((0, 15, 30)))
        minutes = rng.choice((30, 45, 60, 90))
        events[f"e_{rng.randrange(100, 999)}{chr(97 + place)}"] = {
            "title": title,
            "start": start.isoformat(timespec="minutes"),
            "end": (start + timedelta(minutes=minutes)).isoformat(timespec="minutes"),
            "where": rng.choice((None, "Mill Lane 3", "video call", "town centre")),
            "guests": [],
            "repeats": rng.choice((None, None, "weekly")),
        }
    STATE.clear()
    STATE.update(contacts=contacts, events=events, reminders=[], invitations=[], messages=[])
    return STATE


def agenda(day: str, days: int = 1) -> list[dict[str, Any]]:
    """Events of a day or of several days in a row, in order.

    Args:
        day: First day, YYYY-MM-DD.
        days: How many days.
    """
    first = datetime.fromisoformat(day)
    last = (first + timedelta(days=days)).isoformat()
    found = [{"event": n, **each} for n, each in STATE["events"].items() if first.isoformat() <= each["start"] < last]
    return sorted(found, key=lambda each: str(each["start"]))


def search_events(text: str) -> list[dict[str, str]]:
    """Coming events whose title has a text.

    Args:
        text: Part of the title.
    """
    return [
        {"event": number, "title": each["title"], "start": each["start"], "end": each["end"]}
        for number, each in STATE["events"].items()
        if text.casefold() in each["title"].casefold()
    ]


def gaps(day: str, minutes: int, between: str = "08:00-20:00") -> list[str]:
    """Times of a day at which nothing is planned for so many minutes, as start times on the hour.

    Args:
        day: YYYY-MM-DD.
        minutes: Length that is needed.
        between: Part of the day, HH:MM-HH:MM.
    """
    low, high = (datetime.fromisoformat(f"{day}T{time}") for time in between.split("-"))
    busy = [(each["start"], each["end"]) for each in STATE["events"].values() if each["start"][:10] == day]
    found = []
    while low + timedelta(minutes=minutes) <= high:
        end = low + timedelta(minutes=minutes)
        if all(
            end.isoformat(timespec="minutes") <= start or low.isoformat(timespec="minutes") >= stop
            for start, stop in busy
        ):
            found.append(f"{low:%H:%M}")
        low += timedelta(hours=1)
    return found


def add_event(
    title: str,
    start: str,
    minutes: int = 60,
    where: str | None = None,
    guests: list[str] | None = None,
    repeats: Literal["daily", "weekly", "monthly"] | None = None,
) -> dict[str, Any]:
    """Write an event into the calendar. Guests get an invitation by e-mail.

    Args:
        title: Title.
        start: YYYY-MM-DDTHH:MM.
        minutes: Length.
        where: Place.
        guests: Ids of contacts.
        repeats: How often it comes again.
    """
    begin = datetime.fromisoformat(start)
    end = (begin + timedelta(minutes=minutes)).isoformat(timespec="minutes")
    clash = [each["title"] for each in STATE["events"].values() if each["start"] < end and start < each["end"]]
    number = f"e_n{len(STATE['events'])}"
    STATE["events"][number] = {
        "title": title,
        "start": start,
        "end": end,
        "where": where,
        "guests": guests or [],
        "repeats": repeats,
    }
    return {"event": number, "end": end, **({"overlaps": clash} if clash else {})}


def shift_event(event: str, start: str) -> dict[str, Any]:
    """Move an event; its length stays.

    Args:
        event: Id of the event.
        start: New start, YYYY-MM-DDTHH:MM.
    """
    each = STATE["events"][event]
    length = datetime.fromisoformat(each["end"]) - datetime.fromisoformat(each["start"])
    each.update(start=start, end=(datetime.fromisoformat(start) + length).isoformat(timespec="minutes"))
    return {"event": event, "start": each["start"], "end": each["end"]}


def drop_event(event: str, whole_series: bool = False) -> dict[str, Any]:
    """Delete an event.

    Args:
        event: Id of the event.
        whole_series: Whether a repeated event goes with all its repetitions.
    """
    each = STATE["events"][event]
    if each["repeats"] and not whole_series:
        return {
            "deleted": False,
            "error": f"{each['title']} repeats {each['repeats']}: say whether the whole series goes",
        }
    del STATE["events"][event]
    return {"deleted": True}


def people(name: str = "", label: Literal["family", "work", "friends"] | None = None) -> list[dict[str, Any]]:
    """Contacts by a part of the name or by label.

    Args:
        name: Part of the name.
        label: Group of contacts.
    """
    return [
        {"contact": number, **each}
        for number, each in STATE["contacts"].items()
        if name.casefold() in each["name"].casefold() and label in (None, each["label"])
    ]


def set_mail(contact: str, mail: str) -> dict[str, str]:
    """Change the e-mail address of a contact.

    Args:
        contact: Id of the contact.
        mail: New address.
    """
    before, STATE["contacts"][contact]["mail"] = STATE["contacts"][contact]["mail"], mail
    return {"contact": contact, "before": before, "now": mail}


def remind(event: str, minutes_before: int) -> dict[str, Any]:
    """Set a reminder for an event.

    Args:
        event: Id of the event.
        minutes_before: How long before its start; a day has 1440 minutes.
    """
    at = datetime.fromisoformat(STATE["events"][event]["start"]) - timedelta(minutes=minutes_before)
    STATE["reminders"].append({"event": event, "at": at.isoformat(timespec="minutes")})
    return {"event": event, "rings_at": at.isoformat(timespec="minutes")}


def invite(event: str, contact: str) -> dict[str, str]:
    """Add a guest to an event that is in the calendar; an invitation goes out by e-mail.

    Args:
        event: Id of the event.
        contact: Id of the contact.
    """
    STATE["events"][event]["guests"].append(contact)
    return {"event": event, "invited": STATE["contacts"][contact]["mail"]}


def send_message(contact: str, text: str) -> dict[str, str]:
    """Send a contact a message on the phone, in the user's name.

    Args:
        contact: Id of the contact.
        text: The message.
    """
    STATE["messages"].append({"contact": contact, "text": text})
    return {"sent_to": STATE["contacts"][contact]["phones"][0]["number"]}


TOOLS = [
    agenda, search_events, gaps, add_event, shift_event, drop_event, people, set_mail, remind, invite, send_message,
]  # fmt: skip


def entry(rng: random.Random, series: bool | None) -> dict[str, Any]:
    """An event, of a series or not, in words."""
    found = [
        {"id": n, **e}
        for n, e in STATE["events"].items()
        if series in (None, bool(e["repeats"])) and not n.startswith("e_n")
    ]
    each = rng.choice(found)
    start = datetime.fromisoformat(each["start"])
    return {
        **each,
        "day": each["start"][:10],
        "clock": each["start"][-5:],
        "stop": each["end"][-5:],
        "said": f"{start.day} {start:%B}",
    }


def any_event(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Any event."""
    return entry(rng, None)


def once(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An event that does not repeat."""
    return entry(rng, False)


def series(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An event that does."""
    return entry(rng, True)


def _known(rng: random.Random, fits: Any) -> dict[str, Any]:
    firsts = [each["name"].split()[0] for each in STATE["contacts"].values()]
    found = [
        {"id": n, **c, "first": c["name"].split()[0], "phone": c["phones"][0]["number"]}
        for n, c in STATE["contacts"].items()
    ]
    return rng.choice([each for each in found if firsts.count(each["first"]) == 1 and fits(each)])


def contact(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A contact whose first name nobody else has."""
    return _known(rng, lambda each: True)


def namesakes(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A first name that two contacts have."""
    firsts = [each["name"].split()[0] for each in STATE["contacts"].values()]
    first = next(name for name in firsts if firsts.count(name) == 2)
    both = [each["name"] for each in STATE["contacts"].values() if each["name"].startswith(first)]
    return {"first": first, "one": both[0], "other": both[1]}


def gap(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A day, the first free hour in its afternoon, and how much time is needed."""
    number = rng.randint(9, 20)
    day = f"2028-05-{number:02d}"
    minutes = rng.choice((30, 60, 90))
    said = {30: "half an hour", 60: "an hour", 90: "an hour and a half"}[minutes]
    return {
        "day": day,
        "said": f"{number} May",
        "minutes": minutes,
        "span": said,
        "first": gaps(day, minutes, "13:00-18:00")[0],
    }


def free_day(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A day on which nothing is planned."""
    number = rng.randint(24, 31)
    return {"day": f"2028-05-{number}", "said": f"{number} May"}


def other_contact(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Another contact than the one before."""
    while (found := contact(rng, slots))["id"] == slots["one"]["id"]:
        pass
    return found


def later(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An event, and its start when it begins later."""
    each = entry(rng, None)
    minutes = rng.choice((15, 30, 45, 60, 120))
    said = {15: "15 minutes", 30: "half an hour", 45: "45 minutes", 60: "an hour", 120: "two hours"}[minutes]
    new = (datetime.fromisoformat(each["start"]) + timedelta(minutes=minutes)).isoformat(timespec="minutes")
    return {**each, "span": said, "new": new, "clock2": new[-5:]}


def _on(number: int) -> dict[str, Any]:
    """The first event of a day in May, in words."""
    day = f"2028-05-{number:02d}"
    found = agenda(day)[0]
    moved = datetime.fromisoformat(found["start"]) + timedelta(hours=1)
    return {
        **found,
        "number": number,
        "day": day,
        "said": f"{number} May",
        "clock": found["start"][-5:],
        "stop": found["end"][-5:],
        "hour_later": moved.isoformat(timespec="minutes"),
        "clock_later": f"{moved:%H:%M}",
    }


def lone(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """The one event of a day that has no other."""
    return _on(rng.randint(13, 22))


def three_days(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Three days in a row, each with one event."""
    number = rng.randint(13, 20)
    return {"first": _on(number), "second": _on(number + 1), "third": _on(number + 2)}


def open_gap(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A day whose afternoon is free, and how much time is needed."""
    number = rng.randint(13, 22)
    minutes, span = rng.choice(((30, "half an hour"), (60, "an hour"), (90, "an hour and a half")))
    return {"day": f"2028-05-{number}", "said": f"{number} May", "minutes": minutes, "span": span}


def relative(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A contact of the family."""
    return _known(rng, lambda each: each["label"] == "family")


def no_relative(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A contact of another group."""
    return _known(rng, lambda each: each["label"] != "family")


def planned(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """What is planned in the days of the slot `span`, in words."""
    found = agenda(slots["span"]["day"], slots["span"]["days"])
    rows = []
    for each in found:
        start = datetime.fromisoformat(each["start"])
        rows.append(f"{each['title']} on {start.day} {start:%B} at {start:%H:%M}")
    return {"first": found[0]["title"], "last": found[-1]["title"], "listed": ", ".join(rows)}


def circle(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """The contacts of the group in the slot `group`, in words."""
    names = [each["name"] for each in people(label=slots["group"]["label"])]
    return {"first": names[0], "last": names[-1], "listed": ", ".join(names[:-1]) + f" y {names[-1]}"}


def two_events(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Two events on different days and at different times."""
    one = two = entry(rng, None)
    while one["day"] == two["day"] or one["clock"] == two["clock"]:
        two = entry(rng, None)
    return {"one": one, "two": two}
