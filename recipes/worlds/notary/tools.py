"""A notary's office: files with parties and papers, free times of the notaries, fees by value, drafts, reminders."""

import random
from datetime import datetime, timedelta
from typing import Any, Literal

Deed = Literal["sale of land", "will", "marriage contract", "company founding", "power of attorney"]
DEEDS = ("sale of land", "will", "marriage contract", "company founding", "power of attorney")
NOTARIES = ("Dr. Lange", "Ms. Orsini", "Mr. Falk")
PAPERS = (
    "identity card",
    "land register extract",
    "tax number",
    "birth certificate",
    "list of shareholders",
    "bank letter",
)
FIRST = ("Arne", "Beate", "Carlo", "Dora", "Emil", "Franka", "Gero", "Hanna", "Ivo", "Jette", "Kurt", "Lea")
LAST = ("Arnold", "Busch", "Conti", "Dreyer", "Ebert", "Funke", "Gerlach", "Hertz", "Irmer", "Jost", "Kling", "Lemke")
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    names = iter(rng.sample([f"{first} {last}" for first in FIRST for last in LAST], 48))
    files: dict[str, Any] = {}
    for place in range(22):
        deed = DEEDS[place % 5]
        parties = []
        for role in {"sale of land": ("seller", "buyer"), "marriage contract": ("spouse", "spouse")}.get(
            deed, ("client",)
        ):
            lacking = rng.sample(PAPERS, rng.choice((0, 1, 2)))
            parties.append({"name": next(names), "role": role, "missing_papers": lacking})
        files[f"{rng.randrange(100, 999)}/2027-{'LOF'[place % 3]}"] = {
            "deed": deed,
            "notary": NOTARIES[place % 3],
            "value_eur": rng.randrange(8, 900) * 1000,
            "stage": rng.choice(("draft", "draft sent", "ready to sign", "signed")),
            "parties": parties,
        }
    calendar = {}
    for notary in NOTARIES:
        start = datetime(2027, 5, 10, 8)
        calendar[notary] = sorted(
            {
                (start + timedelta(days=day, minutes=30 * rng.randrange(17))).isoformat(timespec="minutes")
                for day in range(33)
                if (start + timedelta(days=day)).weekday() < 5
                for _ in range(2)
            }
        )
    meetings = {
        f"M-{rng.randrange(10**4, 10**5)}": {
            "file": number,
            "at": f"2027-05-{rng.randrange(11, 29)}T{rng.choice(('09:00', '11:30', '15:00'))}",
        }
        for number in list(files)[:20]
    }
    STATE.clear()
    STATE.update(files=files, calendar=calendar, meetings=meetings, requests=[], drafts=[])
    return STATE


def _file(file: str) -> dict[str, Any]:
    if file not in STATE["files"]:
        raise ValueError(f"no file {file}; files_of_party finds the files of a person")
    return STATE["files"][file]  # type: ignore[no-any-return]


def file_overview(file: str) -> dict[str, Any]:
    """Deed, notary, value in euros, stage, and the parties with the papers that each still has to bring.

    Args:
        file: Number of the file: three digits, a slash, the year, a hyphen and a letter.
    """
    return {"file": file, **_file(file)}


def files_of_party(name: str) -> list[dict[str, str]]:
    """Files in which a person is a party, with the role.

    Args:
        name: First name and surname.
    """
    return [
        {"file": number, "deed": found["deed"], "role": party["role"]}
        for number, found in STATE["files"].items()
        for party in found["parties"]
        if party["name"].casefold() == name.casefold()
    ]


def fee_estimate(deed: Deed, value_eur: int) -> dict[str, Any]:
    """Estimated fee of a deed in euros, with and without tax.

    Args:
        deed: Kind of deed.
        value_eur: Value of what it is about.
    """
    net = round(90 + value_eur * {"sale of land": 0.006, "company founding": 0.004}.get(deed, 0.003), 2)
    return {"deed": deed, "net": net, "gross": round(net * 1.19, 2)}


def notary_gaps(notary: Literal["Dr. Lange", "Ms. Orsini", "Mr. Falk"], from_day: str, to_day: str) -> list[str]:
    """Free times of a notary, as YYYY-MM-DDTHH:MM. Nothing is kept free by asking.

    Args:
        notary: Whose calendar.
        from_day: YYYY-MM-DD.
        to_day: YYYY-MM-DD, included.
    """
    return [time for time in STATE["calendar"][notary] if from_day <= time[:10] <= to_day]


def fix_signing(
    file: str, at: str, minutes: int = 60, place: Literal["office", "home of a party", "video"] = "office"
) -> dict[str, Any]:
    """Fix the meeting in which a deed is signed, with the notary of the file.

    Args:
        file: Number of the file.
        at: One of the notary's free times, YYYY-MM-DDTHH:MM.
        minutes: Length.
        place: Where it is.
    """
    found = _file(file)
    lacking = [f"{party['name']}: {paper}" for party in found["parties"] for paper in party["missing_papers"]]
    if found["stage"] == "signed":
        return {"fixed": False, "error": "this deed is signed already"}
    if lacking:
        return {"fixed": False, "error": f"papers are missing ({'; '.join(lacking)})"}
    if at in STATE["calendar"][found["notary"]]:
        STATE["calendar"][found["notary"]].remove(at)
    meeting = f"M-{10**4 + len(STATE['meetings']) * 37 + minutes}"
    STATE["meetings"][meeting] = {"file": file, "at": at}
    return {"fixed": True, "meeting": meeting, "notary": found["notary"], "at": at, "place": place}


def meetings_of(file: str) -> list[dict[str, str]]:
    """Meetings that are fixed for a file, with their times.

    Args:
        file: Number of the file.
    """
    _file(file)
    return [{"meeting": key, "at": each["at"]} for key, each in STATE["meetings"].items() if each["file"] == file]


def drop_meeting(meeting: str) -> dict[str, Any]:
    """Take a meeting out of the calendar.

    Args:
        meeting: M, a hyphen and five digits.
    """
    if meeting not in STATE["meetings"]:
        return {"dropped": False, "error": f"there is no meeting {meeting}"}
    found = STATE["meetings"].pop(meeting)
    return {"dropped": True, **found}


def demand_papers(
    file: str, party: str, papers: list[str], tone: Literal["request", "reminder", "last warning"] = "request"
) -> dict[str, Any]:
    """Write to a party for papers that are missing.

    Args:
        file: Number of the file.
        party: Name of the party.
        papers: Each paper as the file calls it.
        tone: First request, reminder, or last warning.
    """
    if party not in [each["name"] for each in _file(file)["parties"]]:
        raise ValueError(f"{party} is no party of {file}")
    STATE["requests"].append({"file": file, "party": party, "papers": papers, "tone": tone})
    return {"letter": f"L{len(papers)}{file[:3]}", "answer_by": "2027-05-24", "tone": tone}


def send_draft(
    file: str, note: str | None = None, way: Literal["e-mail", "post", "courier"] = "e-mail"
) -> dict[str, Any]:
    """Send the draft of a deed to all of its parties.

    Args:
        file: Number of the file.
        note: A sentence that goes with it; left out for none.
        way: How it is sent.
    """
    found = _file(file)
    if found["stage"] == "signed":
        return {"sent": False, "error": "this deed is signed already"}
    found["stage"] = "draft sent"
    STATE["drafts"].append({"file": file, "note": note, "way": way})
    return {"sent": True, "recipients": len(found["parties"]), "way": way}


def _unsigned(rng: random.Random, lacking: bool) -> tuple[str, dict[str, Any]]:
    rows = [(key, each) for key, each in STATE["files"].items() if each["stage"] != "signed"]
    return rng.choice([row for row in rows if any(p["missing_papers"] for p in row[1]["parties"]) == lacking])


def party(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A party with its file."""
    number = rng.choice(sorted(STATE["files"]))
    found = STATE["files"][number]
    who = rng.choice(found["parties"])
    return {"file": number, **{name: value for name, value in found.items() if name != "parties"}, **who}


def lacking(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A party that lacks papers."""
    rows = [(key, each, p) for key, each in STATE["files"].items() for p in each["parties"] if p["missing_papers"]]
    number, found, who = rng.choice(rows)
    return {"file": number, "stage": found["stage"], **who, "paper": who["missing_papers"][0]}


def with_meeting(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A party of one file for which exactly one meeting is fixed."""
    dates: dict[str, list[str]] = {}
    for key, each in STATE["meetings"].items():
        dates.setdefault(each["file"], []).append(key)
    number = rng.choice([file for file, keys in dates.items() if len(keys) == 1])
    meeting = dates[number][0]
    at = STATE["meetings"][meeting]["at"]
    name = rng.choice(STATE["files"][number]["parties"])["name"]
    return {"file": number, "name": name, "meeting": meeting, "day": at[:10], "time": at[11:]}


def day_of_file(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A file, and a day on which its notary has free times."""
    number = rng.choice(sorted(STATE["files"]))
    notary = STATE["files"][number]["notary"]
    day = rng.choice([time for time in STATE["calendar"][notary] if time > "2027-05-11"])[:10]
    times = [time[11:] for time in STATE["calendar"][notary] if time[:10] == day]
    return {
        "file": number, "notary": notary, "day": day, "said": spoken(datetime.fromisoformat(day)), "times": times,
        "first": times[0], "last": times[-1], "all": " and ".join(times),
    }  # fmt: skip


def done(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A party that lacks nothing."""
    rows = [(key, p) for key, each in STATE["files"].items() for p in each["parties"] if not p["missing_papers"]]
    number, who = rng.choice(rows)
    return {"file": number, **who}


def ready(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A file that can be signed, with a free time of its notary."""
    number, found = _unsigned(rng, lacking=False)
    at = rng.choice(STATE["calendar"][found["notary"]])
    when = datetime.fromisoformat(at)
    first = next(time for time in STATE["calendar"][found["notary"]] if time >= "2027-05-17")
    return {
        "file": number,
        "notary": found["notary"],
        "at": at,
        "said": f"{when.day} {when:%B} at {when:%H:%M}",
        "german": f"{when.day}.{when.month}. um {when:%H:%M}",
        "first": first,
        "first_day": first[:10],
        "first_time": first[11:],
        "name": found["parties"][0]["name"],
    }


def blocked(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A file that cannot be signed yet, with a free time of its notary."""
    number, found = _unsigned(rng, lacking=True)
    at = rng.choice(STATE["calendar"][found["notary"]])
    when = datetime.fromisoformat(at)
    who = next(p for p in found["parties"] if p["missing_papers"])
    return {
        "file": number,
        "at": at,
        "said": f"{when.day} {when:%B} at {when:%H:%M}",
        "name": who["name"],
        "paper": who["missing_papers"][0],
    }


def week(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A span of days with free times of a notary."""
    notary = rng.choice(NOTARIES)
    said, start, end = rng.choice(
        (
            ("this week", "2027-05-10", "2027-05-14"),
            ("next week", "2027-05-17", "2027-05-21"),
            ("in the last week of May", "2027-05-24", "2027-05-28"),
        )
    )
    times = notary_gaps(notary, start, end)  # type: ignore[arg-type]
    return {
        "notary": notary,
        "said": said,
        "start": start,
        "end": end,
        "first": times[0],
        "first_day": times[0][:10],
        "first_time": times[0][11:],
    }


def spoken(day: datetime) -> str:
    """A day as people say it."""
    return f"{day.day} {day:%B}"


def next_days(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Two notaries, a day, and the working day after it, with their free times."""
    one, two = rng.sample(NOTARIES, 2)
    start = datetime(2027, 5, 10) + timedelta(days=7 * rng.randrange(1, 4) + rng.randrange(4))
    later = start + timedelta(days=1)

    def times(notary: str, day: datetime) -> list[str]:
        iso = day.date().isoformat()
        return [time[11:] for time in STATE["calendar"][notary] if time[:10] == iso]

    found = {"a": times(one, start), "b": times(two, start), "c": times(two, later)}
    return {
        "one": one, "two": two, "day": start.date().isoformat(), "later": later.date().isoformat(),
        "said": spoken(start), "said_later": spoken(later), **found,
        **{f"{name}_all": " and ".join(each) for name, each in found.items()},
    }  # fmt: skip


def two_times(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A file that can be signed, and a day on which its notary has exactly two free times."""
    number, found = _unsigned(rng, lacking=False)
    by_day: dict[str, list[str]] = {}
    for time in STATE["calendar"][found["notary"]]:
        by_day.setdefault(time[:10], []).append(time)
    day = rng.choice([day for day, times in by_day.items() if len(times) == 2])
    early, late = by_day[day]
    return {
        "file": number, "notary": found["notary"], "name": found["parties"][0]["name"], "day": day,
        "said": spoken(datetime.fromisoformat(day)), "early": early, "late": late, "early_time": early[11:],
        "late_time": late[11:],
    }  # fmt: skip


TOOLS = [
    file_overview, files_of_party, fee_estimate, notary_gaps, fix_signing, meetings_of, drop_meeting, demand_papers,
    send_draft,
]  # fmt: skip
