"""The office of a translation agency: jobs, translators, prices, deadlines, e-mails."""

from typing import Any, Literal

Language = Literal["German", "French", "Spanish", "Polish", "Arabic"]
STATE: dict[str, Any] = {}
CENTS = {"German": 16, "French": 16, "Spanish": 14, "Polish": 18, "Arabic": 30}


def fresh() -> dict[str, Any]:
    """Rebuilds the state."""
    STATE.clear()
    STATE.update(
        jobs={
            "TJ-601": {
                "customer": "Hotel Miramonte",
                "title": "menu cards",
                "into": "German",
                "words": 480,
                "translator": "Ilse Brand",
                "due": "2027-02-26",
                "state": "in work",
                "price": 76.8,
            },
            "TJ-604": {
                "customer": "Nadia Rahmani",
                "title": "birth certificate",
                "into": "Arabic",
                "words": 210,
                "translator": None,
                "due": None,
                "state": "waiting",
                "price": 63.0,
            },
            "TJ-607": {
                "customer": "Corvid Press",
                "title": "crime novel Cold Knife, chapters one to three",
                "into": "French",
                "words": 14200,
                "translator": "Yves Caron",
                "due": "2027-03-19",
                "state": "in work",
                "price": 2272.0,
            },
            "TJ-610": {
                "customer": "Danuta Wilk",
                "title": "letter from a court",
                "into": "Polish",
                "words": 950,
                "translator": "Marek Zielak",
                "due": "2027-02-22",
                "state": "delivered",
                "price": 171.0,
            },
            "TJ-613": {
                "customer": "Ortega & Sons",
                "title": "manual of a chain saw",
                "into": "Spanish",
                "words": 5200,
                "translator": None,
                "due": None,
                "state": "waiting",
                "price": 728.0,
            },
        },
        translators=[
            ("Ilse Brand", "German", 8, True, "2027-03-01"),
            ("Tobias Keel", "German", 6, False, "2027-02-25"),
            ("Yves Caron", "French", 7, False, "2027-03-22"),
            ("Claire Noble", "French", 9, True, "2027-02-26"),
            ("Rosario Vega", "Spanish", 8, False, "2027-02-25"),
            ("Pilar Ocampo", "Spanish", 5, False, "2027-03-08"),
            ("Marek Zielak", "Polish", 9, True, "2027-02-24"),
            ("Samira Haddad", "Arabic", 14, True, "2027-03-02"),
            ("Karim Nasser", "Arabic", 11, False, "2027-02-25"),
        ],
        sent=[],
    )
    return STATE


def jobs_for(customer: str) -> list[dict[str, str]]:
    """Jobs of a customer: number, customer, what it is.

    Args:
        customer: Name of the customer or part of it.
    """
    word = customer.strip().lower()
    return [
        {"job": number, "customer": job["customer"], "title": job["title"]}
        for number, job in STATE["jobs"].items()
        if any(part in job["customer"].lower() for part in (word, *word.split()) if len(part) > 2)
    ]


def project_page(job: str) -> dict[str, Any]:
    """All that is known of a job: language, words, translator, day it is due, state, price in euros.

    Args:
        job: Number of the job.
    """
    number, found = _job(job)
    return {"job": number, **found}


def translators_into(language: Language, sworn: bool = False, most_cents: int | None = None) -> list[dict[str, Any]]:
    """Translators into a language, with cents a word and the first day on which they are free.

    Args:
        language: The language.
        sworn: Only sworn translators.
        most_cents: Only those who take no more cents a word than this.
    """
    return [
        {"translator": name, "cents": cents, "sworn": oath, "free_from": day}
        for name, into, cents, oath, day in STATE["translators"]
        if into == language and (oath or not sworn) and (most_cents is None or cents <= most_cents)
    ]


def hand_over(job: str, translator: str, due: str) -> dict[str, Any]:
    """Give a job to a translator.

    Args:
        job: Number of the job.
        translator: Full name of the translator.
        due: Day on which it has to be ready, YYYY-MM-DD.
    """
    number, found = _job(job)
    names = {name.lower(): name for name, into, *_ in STATE["translators"] if into == found["into"]}
    if translator.strip().lower() not in names:
        raise ValueError(f"{translator} does not translate into {found['into']}")
    if found["translator"]:
        raise ValueError(f"{number} is with {found['translator']} already")
    found.update(translator=names[translator.strip().lower()], due=due, state="in work")
    return {"job": number, "translator": found["translator"], "due": due, "slip": "HS-88"}


def shift_due_day(job: str, due: str) -> dict[str, Any]:
    """Set another day on which a job has to be ready.

    Args:
        job: Number of the job.
        due: The new day, YYYY-MM-DD.
    """
    number, found = _job(job)
    if found["due"] is None:
        raise ValueError(f"nobody works on {number} yet")
    before, found["due"] = found["due"], due
    return {"job": number, "due": due, "before": before}


def price_for(words: int, language: Language, express: bool = False) -> dict[str, Any]:
    """What a translation costs, in euros.

    Args:
        words: How many words.
        language: Into which language.
        express: Whether it has to be ready within a day.
    """
    return {"euros": round(words * CENTS[language] * (1.5 if express else 1.0) / 100, 2)}


def mail_customer(job: str, text: str) -> str:
    """Send the customer of a job an e-mail.

    Args:
        job: Number of the job.
        text: What it says.
    """
    number, found = _job(job)
    STATE["sent"].append({"job": number, "text": text})
    return f"sent to {found['customer']}"


def _job(job: str) -> tuple[str, dict[str, Any]]:
    number = job.strip().upper()
    if number not in STATE["jobs"]:
        raise ValueError(f"there is no job {job}")
    return number, STATE["jobs"][number]


TOOLS = [jobs_for, project_page, translators_into, hand_over, shift_due_day, price_for, mail_customer]
