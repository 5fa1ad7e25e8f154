"""The office of a driving school: learners, instructors' gaps, lessons, exams, short messages."""

from typing import Any, Literal

Instructor = Literal["Hale", "Osman", "Brandt"]
STATE: dict[str, Any] = {}


def fresh() -> dict[str, Any]:
    """Rebuilds the state."""
    STATE.clear()
    STATE.update(
        learners={
            "L-17": {
                "name": "Nora Vance",
                "lessons_driven": 14,
                "night_drives": 1,
                "theory_passed": True,
                "owes": 0,
                "next_lesson": {"lesson": "D-501", "day": "2027-02-04", "time": "16:00", "instructor": "Hale"},
            },
            "L-18": {
                "name": "Kofi Mensah",
                "lessons_driven": 3,
                "night_drives": 0,
                "theory_passed": False,
                "owes": 58,
                "next_lesson": {"lesson": "D-503", "day": "2027-02-04", "time": "09:45", "instructor": "Brandt"},
            },
            "L-19": {
                "name": "Greta Oyelaran",
                "lessons_driven": 22,
                "night_drives": 3,
                "theory_passed": True,
                "owes": 85,
                "practical_exam": "2027-02-19",
                "next_lesson": {"lesson": "D-502", "day": "2027-02-10", "time": "10:00", "instructor": "Osman"},
            },
            "L-20": {
                "name": "Pablo Ruiz",
                "lessons_driven": 0,
                "night_drives": 0,
                "theory_passed": False,
                "owes": 0,
                "next_lesson": None,
            },
        },
        gaps={
            ("Osman", "2027-02-04"): ["18:30"],
            ("Hale", "2027-02-05"): ["09:00", "15:15"],
            ("Osman", "2027-02-08"): ["07:45", "12:00"],
            ("Hale", "2027-02-08"): ["10:20"],
            ("Brandt", "2027-02-08"): ["17:10"],
            ("Brandt", "2027-02-09"): ["14:00"],
        },
        lessons={"D-501": "L-17", "D-502": "L-19", "D-503": "L-18"},
        exams=[],
        lines=[],
    )
    return STATE


def find_learner(name: str) -> list[dict[str, str]]:
    """Numbers of the learners whose name holds a word.

    Args:
        name: First name, last name or both.
    """
    return [
        {"learner": number, "name": learner["name"]}
        for number, learner in STATE["learners"].items()
        if name.lower().strip() in learner["name"].lower()
    ]


def learner_record(learner: str) -> dict[str, Any]:
    """How far a learner is: lessons, night drives, theory, exam date, next lesson, and what is owed in euros.

    Args:
        learner: The learner's number.
    """
    return {"learner": learner, **_known(learner)}


def instructor_gaps(instructor: Instructor, day: str) -> list[str]:
    """When an instructor can still give a lesson on a day.

    Args:
        instructor: Last name.
        day: Date as YYYY-MM-DD.
    """
    found: list[str] = STATE["gaps"].get((instructor, day), ["11:30"])
    return found


def put_lesson(
    learner: str, instructor: Instructor, day: str, time: str, sort: Literal["town", "motorway", "night"] = "town"
) -> dict[str, Any]:
    """Enter a driving lesson.

    Args:
        learner: The learner's number.
        instructor: Last name.
        day: Date as YYYY-MM-DD.
        time: Time as HH:MM, 24 hours.
        sort: Where or when is driven.
    """
    _known(learner)
    if time not in instructor_gaps(instructor, day):
        raise ValueError(f"{instructor} has no gap at {time}, but at {', '.join(instructor_gaps(instructor, day))}")
    STATE["lessons"]["D-504"] = learner
    return {"lesson": "D-504", "learner": learner, "day": day, "time": time, "sort": sort}


def strike_lesson(lesson: str) -> dict[str, str]:
    """Take a driving lesson out of the diary.

    Args:
        lesson: Number of the lesson.
    """
    if lesson not in STATE["lessons"]:
        raise ValueError(f"there is no lesson {lesson}")
    return {"struck": lesson, "learner": STATE["lessons"].pop(lesson)}


def enter_for_exam(learner: str, part: Literal["theory", "practice"], day: str) -> dict[str, str]:
    """Enter a learner for an exam; exams are held on Fridays, and practice needs the theory first.

    Args:
        learner: The learner's number.
        part: Which exam.
        day: Date as YYYY-MM-DD.
    """
    if part == "practice" and not _known(learner)["theory_passed"]:
        raise ValueError(f"{learner} has not passed the theory yet")
    if day not in ("2027-02-05", "2027-02-12", "2027-02-19", "2027-02-26"):
        raise ValueError(f"there is no exam on {day}")
    STATE["exams"].append({"learner": learner, "part": part, "day": day})
    return {"entered": learner, "part": part, "day": day}


def ping_learner(learner: str, words: str) -> str:
    """Send a short message to a learner's phone.

    Args:
        learner: The learner's number.
        words: What it says.
    """
    STATE["lines"].append({"to": _known(learner)["name"], "words": words})
    return "sent"


def _known(learner: str) -> dict[str, Any]:
    if learner not in STATE["learners"]:
        raise ValueError(f"there is no learner {learner}")
    found: dict[str, Any] = STATE["learners"][learner]
    return found


TOOLS = [find_learner, learner_record, instructor_gaps, put_lesson, strike_lesson, enter_for_exam, ping_learner]
