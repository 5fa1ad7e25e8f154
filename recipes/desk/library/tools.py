"""The desk of a town library: catalogue, loans, reservations, rooms, messages."""

from typing import Any, Literal

Branch = Literal["Elmgate", "Harbour", "Southfield"]
STATE: dict[str, Any] = {}


def fresh() -> dict[str, Any]:
    """Rebuilds the state."""
    STATE.clear()
    STATE.update(
        books={
            "B-114": {"title": "The Salt Road", "author": "Ines Calder", "year": 2019, "free": 2},
            "B-120": {"title": "Night Ferry", "author": "Ines Calder", "year": 2023, "free": 0},
            "B-208": {"title": "Growing Pears", "author": "Tomas Reed", "year": 2011, "free": 1},
            "B-233": {"title": "Bees in the City", "author": "Aiko Mori", "year": 2020, "free": 3},
            "B-305": {"title": "A Short History of Glass", "author": "Lars Enqvist", "year": 2015, "free": 0},
            "B-377": {"title": "Bread for Beginners", "author": "Rosa Amadi", "year": 2021, "free": 4},
        },
        members={
            "M-5501": {
                "name": "Hanna Voss",
                "fines": 3.40,
                "loans": [{"book": "B-114", "due": "2026-12-03", "renewed": 0}],
                "reserved": [],
            },
            "M-5502": {
                "name": "Idris Bello",
                "fines": 0.0,
                "loans": [
                    {"book": "B-305", "due": "2026-11-24", "renewed": 2},
                    {"book": "B-208", "due": "2026-12-10", "renewed": 0},
                ],
                "reserved": ["B-120"],
            },
            "M-5503": {"name": "Clara Nunes", "fines": 12.50, "loans": [], "reserved": []},
        },
        rooms=[{"room": "Garden", "day": "2026-11-28", "start": "10:00", "hours": 3}],
        sent=[],
    )
    return STATE


def search_catalogue(query: str, available_only: bool = False) -> list[dict[str, Any]]:
    """Books whose title or author holds a word.

    Args:
        query: Word of the title or name of the author.
        available_only: Only books with a free copy.
    """
    word = query.lower()
    return [
        {"id": key, **book}
        for key, book in STATE["books"].items()
        if word in f"{book['title']} {book['author']}".lower() and (book["free"] or not available_only)
    ]


def card_file(card: str) -> dict[str, Any]:
    """A member's name, fines in euros, loans with their due dates, and reservations.

    Args:
        card: Number of the library card.
    """
    return _member(card)


def renew_loan(card: str, book: str) -> dict[str, Any]:
    """Renew a loan by two weeks; a book that is overdue or was renewed twice cannot be renewed.

    Args:
        card: Number of the library card.
        book: Number of the book.
    """
    for loan in _member(card)["loans"]:
        if loan["book"] == book:
            if loan["renewed"] >= 2 or loan["due"] < "2026-11-26":
                raise ValueError(f"{book} cannot be renewed: it is overdue or was renewed twice")
            loan["renewed"] += 1
            loan["due"] = {"2026-12-03": "2026-12-17", "2026-12-10": "2026-12-24"}[loan["due"]]
            return {"book": book, "due": loan["due"]}
    raise ValueError(f"{card} has not borrowed {book}")


def queue_for_title(card: str, book: str, branch: Branch = "Elmgate") -> dict[str, Any]:
    """Reserve a book for a member, to be fetched at a branch.

    Args:
        card: Number of the library card.
        book: Number of the book.
        branch: Where it is fetched.
    """
    if book not in STATE["books"]:
        raise ValueError(f"there is no book {book}")
    _member(card)["reserved"].append(book)
    return {"book": book, "branch": branch, "place_in_line": 1 if STATE["books"][book]["free"] else 2}


def opening_hours(branch: Branch, day: str) -> dict[str, Any]:
    """Opening hours of a branch on a day.

    Args:
        branch: The branch.
        day: Date as YYYY-MM-DD.
    """
    if branch == "Harbour" and day == "2026-11-30":
        return {"branch": branch, "day": day, "open": "closed for stocktaking"}
    saturday = day in ("2026-11-28", "2026-12-05")
    hours = {"Elmgate": "09:00-19:00", "Harbour": "12:00-20:00", "Southfield": "10:00-17:30"}
    return {"branch": branch, "day": day, "open": "10:00-14:00" if saturday else hours[branch]}


def claim_room(room: Literal["Attic", "Garden", "Cellar"], day: str, start: str, hours: int = 1) -> dict[str, Any]:
    """Book a reading room.

    Args:
        room: The room.
        day: Date as YYYY-MM-DD.
        start: Time as HH:MM.
        hours: For how many hours.
    """
    if any(each["room"] == room and each["day"] == day for each in STATE["rooms"]):
        raise ValueError(f"the {room} room is taken on {day}; the Attic and Cellar rooms are free")
    STATE["rooms"].append({"room": room, "day": day, "start": start, "hours": hours})
    return {"booking": "R-71", "room": room, "day": day, "start": start, "hours": hours}


def card_message(card: str, text: str) -> str:
    """Send a member a message.

    Args:
        card: Number of the library card.
        text: What it says.
    """
    STATE["sent"].append({"to": _member(card)["name"], "text": text})
    return "sent"


def _member(card: str) -> dict[str, Any]:
    if card not in STATE["members"]:
        raise ValueError(f"there is no card {card}")
    found: dict[str, Any] = STATE["members"][card]
    return found


TOOLS = [search_catalogue, card_file, renew_loan, queue_for_title, opening_hours, claim_room, card_message]
