"""A newsroom: stories known by slugs, desks, embargoes with date and time, a picture archive that answers in pages."""

import random
from typing import Any, Literal

Desk = Literal["politics", "local", "culture", "sport", "economy"]
EDITORS = {
    "hgr": "Helene Grau",
    "tso": "Tarek Soliman",
    "bwi": "Bea Wick",
    "jna": "Jan Nagy",
    "mfe": "Maura Fenn",
    "ola": "Ole Lang",
}
TOPICS = (
    "tram-strike",
    "budget-vote",
    "harbour-fire",
    "mayor-resigns",
    "opera-premiere",
    "derby-draw",
    "school-roof",
    "night-market",
    "bridge-closed",
    "steelworks-sale",
    "swim-record",
    "poet-honoured",
    "rent-cap",
    "lake-algae",
    "airport-noise",
    "library-hours",
    "chess-open",
    "wind-park",
    "old-mill",
    "tax-office",
    "zoo-elephant",
    "flood-wall",
)
SUBJECTS = ("tram", "town hall", "harbour", "stadium", "opera house", "bridge", "market", "school")
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    stories = {}
    for place, topic in enumerate(TOPICS):
        status = ("draft", "draft", "checked", "checked", "online")[place % 5]
        stories[topic] = {
            "desk": rng.choice(("politics", "local", "culture", "sport", "economy")),
            "status": status,
            "editor": rng.choice(sorted(EDITORS)),
            "words": rng.randrange(180, 1400, 10),
            "picture": None,
            "embargo_until": f"2027-10-{rng.randint(6, 9):02d}T{rng.choice(('06:00', '12:30', '18:00'))}"
            if place in (3, 7, 12, 17)
            else None,
        }
    archive = [
        {
            "id": f"pic_{number}",
            "subject": subject,
            "by": rng.choice(("dpx", "own", "Reutter", "Velasco")),
            "fee": rng.choice((0, 0, 35, 60, 120)),
        }
        for number, subject in zip(rng.sample(range(4000, 9999), 48), list(SUBJECTS) * 6, strict=True)
    ]
    for place, each in enumerate(archive):  # of each subject, the fifth picture alone is free
        each["fee"] = 0 if place // len(SUBJECTS) == 4 else each["fee"] or 45
    STATE.clear()
    STATE.update(stories=stories, archive=archive, corrections=[], pings=[])
    return STATE


def stories(
    desk: Desk | None = None, status: Literal["draft", "checked", "online"] | None = None, editor: str = ""
) -> list[str]:
    """Slugs of stories; all filters that are set have to fit.

    Args:
        desk: Desk.
        status: draft, checked (facts were checked) or online.
        editor: Initials of the editor.
    """
    return [
        slug
        for slug, each in STATE["stories"].items()
        if desk in (None, each["desk"]) and status in (None, each["status"]) and editor in ("", each["editor"])
    ]


def story(slug: str) -> dict[str, Any]:
    """A story: desk, status, editor's initials, number of words, picture, embargo.

    Args:
        slug: Its slug, words with hyphens.
    """
    if slug not in STATE["stories"]:
        near = [each for each in STATE["stories"] if each.split("-")[0] == slug.split("-")[0]]
        return {"error": f"no story {slug}", "similar": near}
    return {"slug": slug, **STATE["stories"][slug]}


def who_is(initials: str) -> dict[str, str]:
    """Full name of an editor.

    Args:
        initials: Three letters.
    """
    return {"initials": initials, "name": EDITORS[initials]}


def find_editor(name: str) -> dict[str, str]:
    """Initials of an editor.

    Args:
        name: Full name, or a part of it.
    """
    for initials, full in EDITORS.items():
        if name.casefold() in full.casefold():
            return {"name": full, "initials": initials}
    return {"error": f"no editor is called {name}"}


def go_live(slug: str, push: bool = False, comments: Literal["open", "moderated", "closed"] = "open") -> dict[str, Any]:
    """Put a checked story online.

    Args:
        slug: Its slug.
        push: Whether readers get it on their phones, too.
        comments: Whether comments of readers appear at once, after somebody has looked at them, or not at all.
    """
    found = STATE["stories"][slug]
    if found["status"] == "draft":
        return {"published": False, "error": "facts are not checked yet: the desk has to do that first"}
    if found["embargo_until"]:
        return {"published": False, "error": f"embargo until {found['embargo_until']}"}
    found["status"] = "online"
    return {"published": True, "url": f"/{found['desk']}/{slug}", "push": push, "comments": comments}


def set_embargo(slug: str, until: str) -> dict[str, Any]:
    """Hold a story back until a moment.

    Args:
        slug: Its slug.
        until: Date and time, YYYY-MM-DDTHH:MM.
    """
    STATE["stories"][slug]["embargo_until"] = until
    return {"slug": slug, "embargo_until": until}


def hand_story(slug: str, editor: str) -> dict[str, Any]:
    """Give a story to another editor.

    Args:
        slug: Its slug.
        editor: Initials of the new editor.
    """
    before, STATE["stories"][slug]["editor"] = STATE["stories"][slug]["editor"], editor
    return {"slug": slug, "from": before, "to": editor}


def pictures(subject: str, cursor: str | None = None) -> dict[str, Any]:
    """Pictures of a subject, three at a time.

    Args:
        subject: What can be seen.
        cursor: `next_cursor` of the page before; empty for the first page.
    """
    found = [each for each in STATE["archive"] if each["subject"] == subject]
    start = int(cursor.removeprefix("c")) if cursor else 0
    more = f"c{start + 3}" if start + 3 < len(found) else None
    return {
        "items": [{k: each[k] for k in ("id", "by", "fee")} for each in found[start : start + 3]],
        "next_cursor": more,
    }


def attach_picture(slug: str, picture: str, place: Literal["top", "text", "teaser"] = "top") -> dict[str, Any]:
    """Put a picture into a story; its fee is charged.

    Args:
        slug: Slug of the story.
        picture: Id of the picture.
        place: At the top of the story, between paragraphs of its text, or only in the teaser on the front page.
    """
    STATE["stories"][slug]["picture"] = picture
    return {"slug": slug, "picture": picture, "place": place}


def correct(slug: str, note: str) -> dict[str, Any]:
    """Append a correction to a story that is online.

    Args:
        slug: Its slug.
        note: What was wrong and what is right.
    """
    STATE["corrections"].append({"slug": slug, "note": note})
    return {"slug": slug, "corrections": len(STATE["corrections"])}


def ping(editor: str, text: str) -> dict[str, str]:
    """Send a short message to the screen of an editor.

    Args:
        editor: Initials of the editor.
        text: What it says.
    """
    STATE["pings"].append({"editor": editor, "text": text})
    return {"pinged": editor, "name": EDITORS[editor]}


TOOLS = [
    stories, story, who_is, find_editor, go_live, set_embargo, hand_story, pictures, attach_picture, correct, ping,
]  # fmt: skip


def piece(rng: random.Random, fits: Any) -> dict[str, Any]:
    """A story that fits."""
    found = rng.choice([{"slug": slug, **each} for slug, each in STATE["stories"].items() if fits(each)])
    return {**found, "name": EDITORS[found["editor"]]}


def any_story(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Any story."""
    return piece(rng, lambda each: True)


def ready(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A story that can go online."""
    return piece(rng, lambda each: each["status"] == "checked" and not each["embargo_until"])


def draft(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A story that is not checked."""
    return piece(rng, lambda each: each["status"] == "draft")


def held(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A story under an embargo that is checked."""
    found = piece(rng, lambda each: each["status"] == "checked" and each["embargo_until"])
    day, at = found["embargo_until"].split("T")
    return {**found, "held_day": day, "held_time": at}


def live(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A story that is online."""
    return piece(rng, lambda each: each["status"] == "online")


def free_picture(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A subject whose first picture without a fee is on the second page."""
    subject = rng.choice(SUBJECTS)
    found = [each for each in STATE["archive"] if each["subject"] == subject]
    return {"subject": subject, **found[4]}


def assigned(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An editor with drafts, and how many."""
    counts = {
        e: [s for s, each in STATE["stories"].items() if each["editor"] == e and each["status"] == "draft"]
        for e in EDITORS
    }
    editor = rng.choice([e for e in EDITORS if counts[e]])
    return {"initials": editor, "name": EDITORS[editor], "slugs": counts[editor], "count": len(counts[editor])}


def newcomer(rng: random.Random, slots: dict[str, Any]) -> dict[str, str]:
    """An editor who does not have the drawn story yet."""
    initials = rng.choice(sorted(set(EDITORS) - {slots["item"]["editor"]}))
    return {"initials": initials, "name": EDITORS[initials]}


def desk_with(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A desk that has stories of the drawn status."""
    found: dict[str, list[str]] = {}
    for slug, each in STATE["stories"].items():
        if each["status"] == slots["far"]["v"]:
            found.setdefault(each["desk"], []).append(slug)
    name = rng.choice(sorted(found))
    return {"name": name, "slugs": found[name], "first": found[name][0], "last": found[name][-1]}


def desks(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Two desks with drafts, the second of which has checked stories as well."""

    def slugs(desk: str, status: str) -> list[str]:
        return [slug for slug, each in STATE["stories"].items() if (each["desk"], each["status"]) == (desk, status)]

    names = ("politics", "local", "culture", "sport", "economy")
    second = rng.choice([each for each in names if slugs(each, "draft") and slugs(each, "checked")])
    first = rng.choice([each for each in names if each != second and slugs(each, "draft")])
    return {
        "first": first,
        "second": second,
        "first_drafts": slugs(first, "draft"),
        "second_drafts": slugs(second, "draft"),
        "second_checked": slugs(second, "checked"),
    }


def too_long(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A story and a number of words that it exceeds."""
    found = piece(rng, lambda each: each["words"] > 300)
    return {**found, "mark": rng.randrange(200, found["words"], 50)}


def short_enough(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A story and a number of words that it does not reach."""
    found = piece(rng, lambda each: each["words"] < 1300)
    return {**found, "mark": (found["words"] // 50 + rng.randint(1, 8)) * 50}
