"""A platform of online courses: a catalogue with filters, learners by e-mail, modules, deadlines, certificates."""

import random
from datetime import date, timedelta
from typing import Any, Literal

Level = Literal["beginner", "intermediate", "advanced"]
SUBJECTS = (
    "Spreadsheets",
    "Knitting",
    "Beekeeping",
    "Statistics",
    "Japanese",
    "Photography",
    "Bookkeeping",
    "Soldering",
)
PEOPLE = (
    "ada.wolny",
    "ben.osei",
    "cleo.marsh",
    "dino.ricci",
    "esra.tekin",
    "finn.berg",
    "gail.owens",
    "hugo.lemaire",
    "ira.novik",
    "jun.tanaka",
    "kim.vance",
    "lea.sommer",
    "milo.greco",
    "nia.adams",
    "orla.quinn",
    "pep.soler",
    "rhea.singh",
    "sven.aalto",
    "tess.molen",
    "uwe.kant",
    "vik.iyer",
    "zoe.hart",
)
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    courses = {}
    for subject in SUBJECTS:
        for level, hours in (("beginner", 8), ("intermediate", 14), ("advanced", 22)):
            slug = f"{subject[:4].lower()}-{level[:3]}-{rng.randint(1, 9)}"
            courses[slug] = {
                "title": f"{subject}, {level}",
                "subject": subject,
                "level": level,
                "hours": hours + rng.randint(-3, 3),
                "price": rng.choice((0, 19, 29, 49, 79, 99)),
                "modules": [{"no": n, "title": f"Part {n}", "minutes": rng.randrange(20, 95, 5)} for n in range(1, 5)],
            }
    seats = {}
    for place, person in enumerate(PEOPLE):
        progress = (100, 92, 45, 10)[place % 4]
        seats[f"{person}@example.org"] = [
            {
                "course": rng.choice(sorted(courses)),
                "progress_percent": progress - rng.randint(0, 5),
                "deadline": f"2028-03-{rng.randint(10, 28)}",
                "quiz_scores": [rng.randint(30, 100) for _ in range(rng.randint(1, 3))],
            }
        ]
    coupons = {
        f"{rng.choice(('SPRING', 'HELLO', 'TEAM'))}{n}": rng.choice((10, 15, 20, 50))
        for n in rng.sample(range(10, 99), 5)
    }
    STATE.clear()
    STATE.update(courses=courses, seats=seats, coupons=coupons, certificates=[], mails=[])
    return STATE


def catalogue(
    subject: str | None = None, level: Level | None = None, max_hours: int | None = None, free_only: bool = False
) -> list[dict[str, Any]]:
    """Courses in the catalogue. Filters that are left out do not count.

    Args:
        subject: The subject, one word.
        level: For whom it is.
        max_hours: At most this many hours of work.
        free_only: Only courses that cost nothing.
    """
    return [
        {"course": slug, **{name: each[name] for name in ("title", "hours", "price")}}
        for slug, each in STATE["courses"].items()
        if subject in (None, each["subject"])
        and level in (None, each["level"])
        and (max_hours is None or each["hours"] <= max_hours)
        and not (free_only and each["price"])
    ]


def syllabus(course: str) -> dict[str, Any]:
    """Modules of a course with their length in minutes.

    Args:
        course: Short name of the course.
    """
    each = STATE["courses"][course]
    return {"course": course, "title": each["title"], "modules": each["modules"]}


def learner(email: str) -> dict[str, Any]:
    """What a learner is enrolled in: progress in percent, deadline, scores of the quiz attempts.

    Args:
        email: Address of the learner, e.g. someone@nowhere.test.
    """
    if email not in STATE["seats"]:
        return {"error": f"nobody is registered with {email}"}
    return {"email": email, "enrolled": STATE["seats"][email]}


def whose_address(full_name: str) -> dict[str, Any]:
    """E-mail address of a learner.

    Args:
        full_name: First name and surname.
    """
    wanted = full_name.casefold().split()
    for email in STATE["seats"]:
        if email.partition("@")[0].split(".") == wanted:
            return {"full_name": full_name, "email": email}
    return {"full_name": full_name, "error": "no learner of that name"}


def enrol(
    email: str, course: str, coupon: str | None = None, pace: Literal["normal", "relaxed", "intensive"] = "normal"
) -> dict[str, Any]:
    """Enrol a learner in a course. It is charged at once.

    Args:
        email: Address of the learner.
        course: Short name of the course.
        coupon: A code that lowers the price.
        pace: How fast the modules are opened: one a week, one a month (relaxed), or one every two days (intensive).
    """
    price = STATE["courses"][course]["price"]
    if coupon is not None and coupon not in STATE["coupons"]:
        return {"error": f"coupon {coupon} is unknown or has expired; nobody was enrolled"}
    price = round(price * (100 - STATE["coupons"].get(coupon or "", 0)) / 100, 2)
    STATE["seats"].setdefault(email, []).append(
        {"course": course, "progress_percent": 0, "deadline": "2028-06-01", "quiz_scores": []}
    )
    return {"enrolled": course, "charged": price, "pace": pace}


def extend(email: str, course: str, days: int) -> dict[str, Any]:
    """Move a learner's deadline in a course.

    Args:
        email: Address of the learner.
        course: Short name of the course.
        days: By how many days it is later.
    """
    (seat,) = [seat for seat in STATE["seats"][email] if seat["course"] == course][:1]
    seat["deadline"] = (date.fromisoformat(seat["deadline"]) + timedelta(days=days)).isoformat()
    return {"course": course, "deadline": seat["deadline"]}


def issue_certificate(
    email: str, course: str, form: Literal["digital", "printed", "both"] = "digital"
) -> dict[str, Any]:
    """Issue the certificate of a course and send it to the learner.

    Args:
        email: Address of the learner.
        course: Short name of the course.
        form: A file by e-mail (digital), a sheet of paper by post (printed), or both.
    """
    (seat,) = [seat for seat in STATE["seats"][email] if seat["course"] == course][:1]
    if seat["progress_percent"] < 80:
        return {"issued": False, "error": f"progress is {seat['progress_percent']} percent, 80 are needed"}
    STATE["certificates"].append({"email": email, "course": course})
    return {"issued": True, "number": f"CERT-{2028000 + len(STATE['certificates'])}"}


def coupon_terms(code: str) -> dict[str, Any]:
    """How many percent a coupon takes off.

    Args:
        code: The code.
    """
    return {"code": code, "percent": STATE["coupons"].get(code)}


def write_learner(email: str, subject: str, body: str) -> str:
    """Send a learner an e-mail.

    Args:
        email: Address.
        subject: Subject line.
        body: Text.
    """
    STATE["mails"].append({"email": email, "subject": subject, "body": body})
    return "queued"


TOOLS = [
    catalogue, syllabus, learner, whose_address, enrol, extend, issue_certificate, coupon_terms, write_learner,
]  # fmt: skip


def seat(rng: random.Random, low: int, high: int) -> dict[str, Any]:
    """A learner's only seat, with a progress between two bounds."""
    found = [
        {"email": email, **seats[0]}
        for email, seats in STATE["seats"].items()
        if len(seats) == 1 and low <= seats[0]["progress_percent"] <= high
    ]
    each = rng.choice(found)
    days = rng.choice((3, 7, 10, 14, 21))
    later = date.fromisoformat(each["deadline"]) + timedelta(days=days)
    said = {3: "three days", 7: "a week", 10: "ten days", 14: "two weeks", 21: "three weeks"}[days]
    course = STATE["courses"][each["course"]]
    return {
        **each,
        "days": days,
        "span": said,
        "later": later.isoformat(),
        "name": each["email"].partition("@")[0].replace(".", " ").title(),
        "title": course["title"],
        "longest": max(module["minutes"] for module in course["modules"]),
        "best": max(each["quiz_scores"]),
    }


def anyone(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Any learner."""
    return seat(rng, 0, 100)


def finisher(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A learner who may have a certificate."""
    return seat(rng, 80, 100)


def beginner(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A learner who may not."""
    return seat(rng, 0, 79)


def course(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A course and its longest module."""
    slug = rng.choice(sorted(STATE["courses"]))
    each = STATE["courses"][slug]
    longest = max(each["modules"], key=lambda module: module["minutes"])
    return {"slug": slug, **each, "longest": longest["no"], "minutes": longest["minutes"]}


def shortest(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A subject and its shortest course."""
    while True:
        subject = rng.choice(SUBJECTS)
        found = sorted((each["hours"], slug) for slug, each in STATE["courses"].items() if each["subject"] == subject)
        if found[0][0] < found[1][0]:
            slug = found[0][1]
            return {"subject": subject, "slug": slug, "hours": found[0][0], "price": STATE["courses"][slug]["price"]}


def coupon(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A coupon that is valid."""
    code = rng.choice(sorted(STATE["coupons"]))
    return {"code": code, "percent": STATE["coupons"][code]}


def other(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Another learner than the slot `who`."""
    while True:
        found = seat(rng, 0, 100)
        if found["email"] != slots["who"]["email"]:
            return found


def unlike_coupon(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A coupon that takes off another percentage than the slot `coupon`."""
    found = [(code, rate) for code, rate in sorted(STATE["coupons"].items()) if rate != slots["coupon"]["percent"]]
    code, percent = rng.choice(found)
    return {"code": code, "percent": percent}
