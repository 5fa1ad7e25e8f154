"""Makes the e-mails of the example: `python make_data.py [FOLDER]` writes mails.jsonl and held_out.jsonl.

All sentences were written for this project (Apache-2.0); the files are the same each time. The held-out mails are made
of sentences of their own, so that the evaluation asks for more than remembering.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

NAMES = ("Anna", "Bruno", "Carla", "Dinesh", "Elif", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kofi", "Lena", "Mei")
ITEMS = ("the desk lamp", "the blue jacket", "a pair of boots", "the coffee grinder", "two chairs", "the phone case",
         "the garden hose", "my headphones", "the winter tyres", "the standing desk", "a water bottle")  # fmt: skip
DAYS = ("Monday", "Tuesday", "Thursday", "Friday", "the weekend", "tomorrow morning")
HELLO = ("Hello,", "Hi there,", "Dear team,", "Good morning,", "To whom it may concern,", "Hi,")
BYE = ("Regards", "Thanks", "Best wishes", "Many thanks", "Kind regards", "Cheers")
IDLE = ("I have been a customer for years.", "I ordered from my phone.", "The weather has been awful here.",
        "My colleague recommended your shop.", "I could not find this on your website.",
        "I tried to call but nobody answered.", "This was meant as a present.")  # fmt: skip

# queue: (subjects, sentences for training, sentences for evaluation)
QUEUES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "billing": (
        ("Invoice", "A charge on my card", "Payment question", "My bill"),
        (
            "I was charged twice for {item}.",
            "The invoice for {item} shows the wrong VAT number.",
            "My card was debited but the shop says that {item} is unpaid.",
            "Please send me a receipt for {item}, my accountant asks for it.",
            "The discount code was not taken off the price of {item}.",
            "Why does my bank statement show a higher amount than I agreed to for {item}?",
            "I would like to pay for {item} by bank transfer. Which account do I use?",
            "The amount on the bill for {item} does not match what I paid.",
        ),
        (
            "You took the money for {item} out of my account two times.",
            "Could I have the invoice for {item} made out to my company?",
            "The price that was billed for {item} is not the one from the advertisement.",
            "My payment for {item} went through, yet I received a reminder to pay.",
        ),
    ),
    "shipping": (
        ("Where is my parcel", "Delivery", "My order", "Tracking"),
        (
            "{item} has not arrived yet, although it was shipped last week.",
            "The tracking page for {item} has not changed for days.",
            "Can you deliver {item} to my office instead of my home?",
            "The courier left {item} with a neighbour whom I do not know.",
            "When will {item} be dispatched?",
            "The parcel with {item} was sent to my old address.",
            "I missed the courier. How do I get {item} now?",
            "The delivery of {item} was announced for last Friday, and nothing came.",
        ),
        (
            "I am still waiting for {item}. Has it left your warehouse?",
            "The driver could not find my house. Please have {item} brought again.",
            "It says delivered, but {item} is nowhere to be seen.",
            "Please hold {item} back until I am home from my holidays.",
        ),
    ),
    "returns": (
        ("Return", "Sending it back", "Exchange", "It does not fit"),
        (
            "I would like to send {item} back and get my money.",
            "{item} does not fit. Can I swap it for a larger size?",
            "{item} arrived broken. Please replace it.",
            "How do I print the return label for {item}?",
            "I changed my mind about {item} and it is still in its box.",
            "You sent me the wrong colour of {item}, I want the one I ordered.",
            "Until when can I give {item} back?",
            "There is a crack in {item}. I want a new one.",
        ),
        (
            "{item} is not what the picture showed, so I do not want to keep it.",
            "A part of {item} was smashed when I opened the box. I need another one.",
            "May I exchange {item} for a different model?",
            "Who pays the postage if I return {item}?",
        ),
    ),
    "technical": (
        ("Cannot log in", "Error", "The app", "Website problem"),
        (
            "I cannot log in to my account any more.",
            "The app crashes when I open the basket with {item}.",
            "The password reset mail never comes.",
            "Your website shows error 500 when I search for {item}.",
            "I cannot change the e-mail address of my account.",
            "The page stays blank when I click on {item}.",
            "The app does not show my orders since the update.",
            "The verification code that you text me is always refused.",
        ),
        (
            "My profile page does not load in any browser.",
            "Since yesterday the app freezes as soon as I touch {item}.",
            "I get the message that my password is invalid, but it is right.",
            "The search field of your site does nothing at all.",
        ),
    ),
    "sales": (
        ("A question before I buy", "Availability", "Quote", "Product question"),
        (
            "Is {item} available in green?",
            "Do you give a discount if I buy {item} for my whole office?",
            "What is {item} made of?",
            "Will {item} be back in stock soon?",
            "Can you make me an offer for forty pieces of {item}?",
            "Which size of {item} would you recommend for a tall person?",
            "Does {item} come with a warranty?",
            "What is the difference between {item} and the older model?",
        ),
        (
            "I am thinking of buying {item}. How heavy is it?",
            "Could you quote a price for a dozen of {item}?",
            "Do you also sell {item} in your shop in town?",
            "How long does the battery or the material of {item} last?",
        ),
    ),
}
URGENT = (
    ("I need this solved before {day}.", "This is urgent.", "Please answer today, I leave on {day}.",
     "It has to be done by {day} at the latest.", "This cannot wait.", "Please see to it at once.",
     "I need it on {day}, not a day later.", "My deadline is {day}.", "Time is running out for me.",
     "Please treat this with priority.", "I have to know before {day}.", "Every hour counts.",
     "Help me right away, please.", "If I do not hear from you by {day}, it is too late.",
     "Please reply within the hour.", "I am in a great hurry.", "It is an emergency.", "Do it immediately, please.",
     "We open on {day} and cannot do without it.", "I really need a quick answer.", "ASAP please."),
    ("Please hurry, there is no time left.", "I must have an answer by {day}.", "As soon as possible, please!"),
)  # fmt: skip
CALM = (
    ("There is no hurry.", "Whenever you have time.", "", "", "", "Take your time.", "It is nothing pressing.",
     "I am only curious.", "Answer when it suits you.", "Next week is fine.", "I can wait.", "No need to rush.",
     "It does not matter when.", "There is plenty of time.", "Some time this year is early enough."),
    ("It can wait until next month.", "", "No rush at all."),
)  # fmt: skip


def mail(rng: random.Random, held_out: bool) -> dict[str, object]:
    """One e-mail and what triage should write of it."""
    queue = rng.choice(list(QUEUES))
    subjects, *sentences = QUEUES[queue]
    item, urgent = rng.choice(ITEMS), rng.random() < 0.4
    order = str(rng.randrange(10_000, 99_999)) if rng.random() < 0.6 else ""
    asked = rng.choice(sentences[held_out]).format(item=item)
    body = [asked[:1].upper() + asked[1:]]
    if order:
        said = ("My order number is {}.", "Order {}.", "It is about order {}.", "(Order no. {})")
        body.append(rng.choice(said).format(order))
    body.append(rng.choice((URGENT if urgent else CALM)[held_out]).format(day=rng.choice(DAYS)))
    if rng.random() < 0.4:
        body.append(rng.choice(IDLE))
    first, *rest = body
    rng.shuffle(rest)
    name = rng.choice(NAMES)
    subject = rng.choice(subjects) if rng.random() < 0.7 else rng.choice(("Question", "Hello", "Please help"))
    text = (
        f"From: {name.lower()}@mail.example\nSubject: {subject}\n\n{rng.choice(HELLO)}\n"
        f"{' '.join(part for part in (first, *rest) if part)}\n{rng.choice(BYE)}\n{name}"
    )
    return {"text": text, "label": {"queue": queue, "urgent": urgent, "order": order}}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, count, held_out in (("mails.jsonl", 1200, False), ("held_out.jsonl", 120, True)):
        rng = random.Random(f"triage-{name}")
        lines = [json.dumps(mail(rng, held_out), ensure_ascii=False) for _ in range(count)]
        (folder / name).write_text("\n".join(dict.fromkeys(lines)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data")
