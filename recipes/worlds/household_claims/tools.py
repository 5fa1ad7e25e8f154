"""Claims of a household insurance: policies, claims with items, papers, a log in pages, payments in cents."""

import random
from typing import Any, Literal

Peril = Literal["water", "fire", "burglary", "storm", "glass"]
HOLDERS = (
    "Agneta Blom",
    "Bartosz Zajac",
    "Clemens Auer",
    "Dilara Demir",
    "Edda Kranz",
    "Fabio Conti",
    "Greta Holst",
    "Henk Bos",
    "Ilka Baum",
    "Jorge Mendes",
    "Katja Ruf",
    "Lorenz Pohl",
    "Maeve Byrne",
    "Nadim Khoury",
    "Ottilie Graf",
    "Pavel Hruby",
    "Roswitha Ebner",
    "Stellan Dahl",
    "Tamar Levi",
    "Urban Zeller",
    "Viola Lang",
    "Wim Peeters",
)
THINGS = ("carpet", "sofa", "television", "bicycle", "laptop", "wardrobe", "painting", "necklace", "kitchen front")
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    policies = {
        f"HR {number // 1000} {number % 1000:03d}": {
            "holder": holder,
            "sum_insured_cents": rng.randrange(2_000_000, 9_000_000, 500_000),
            "deductible_cents": rng.choice((0, 15_000, 25_000, 50_000)),
            "covers": sorted(rng.sample(("water", "fire", "burglary", "storm", "glass"), 4)),
        }
        for number, holder in zip(rng.sample(range(10_000, 99_999), len(HOLDERS)), HOLDERS, strict=True)
    }
    claims = {}
    for number, (policy, each) in enumerate(policies.items()):
        items = [
            {"thing": thing, "claimed_cents": rng.randrange(5_000, 300_000, 100)}
            for thing in rng.sample(THINGS, rng.randint(1, 3))
        ]
        papers = rng.sample(("photos", "receipt", "estimate", "police report"), rng.randint(1, 3))
        claims[f"{27 + rng.randint(0, 1)}-{rng.choice('WFBSG')}-{4000 + number * 7}"] = {
            "policy": policy,
            "peril": rng.choice(each["covers"]),
            "items": items,
            "papers": papers,
            "stage": rng.choice(("reported", "reported", "assessed", "paid")),
            "adjuster": None,
            "log": [
                f"2027-0{rng.randint(1, 4)}-{rng.randint(10, 28)}: {text}"
                for text in rng.sample(
                    ("call from the holder", "letter sent", "photos arrived", "reminder", "visit planned"), 4
                )
            ],
        }
    for place, claim in enumerate(claims.values()):  # some of each kind are always there
        if place < 4:
            claim.update(stage="assessed", papers=["photos", "estimate"])
        elif place < 8:
            claim.update(stage="reported", papers=["photos"])
    for place, claim in enumerate(list(claims.values())[18:]):  # the last holders have a second claim
        peril = rng.choice([each for each in policies[claim["policy"]]["covers"] if each != claim["peril"]])
        claims[f"28-{peril[0].upper()}-{4600 + place * 3}"] = {
            **claim,
            "peril": peril,
            "items": [{"thing": "curtains", "claimed_cents": rng.randrange(5_000, 90_000, 100)}],
            "papers": ["photos"],
            "stage": "reported",
            "log": ["2028-04-03: reported by phone", "2028-04-06: photos arrived"],
        }
    STATE.clear()
    STATE.update(policies=policies, claims=claims, letters=[])
    return STATE


def policy_by_holder(holder: str) -> dict[str, Any]:
    """The policy of a person: number, sum insured and deductible in cents, covered perils.

    Args:
        holder: First and last name.
    """
    for number, policy in STATE["policies"].items():
        if policy["holder"].casefold() == holder.casefold():
            return {"policy": number, **policy}
    return {"error": f"nobody called {holder} holds a policy"}


def claims_on(policy: str) -> list[dict[str, str]]:
    """Claims on a policy, with peril and stage.

    Args:
        policy: Number, two letters and two blocks, e.g. HR 00 000.
    """
    return [
        {"claim": number, "peril": claim["peril"], "stage": claim["stage"]}
        for number, claim in STATE["claims"].items()
        if claim["policy"] == policy
    ]


def claim_file(claim: str) -> dict[str, Any]:
    """A claim: policy, peril, stage, adjuster, damaged items, papers that arrived.

    Args:
        claim: Its number.
    """
    found = STATE["claims"][claim]
    return {
        "claim": claim,
        **{name: found[name] for name in ("policy", "peril", "stage", "adjuster", "items", "papers")},
    }


def claim_log(claim: str, page: int = 1) -> dict[str, Any]:
    """Entries of a claim's log, two on a page.

    Args:
        claim: Its number.
        page: From 1 on.
    """
    entries = STATE["claims"][claim]["log"]
    return {"page": page, "pages": (len(entries) + 1) // 2, "entries": entries[2 * page - 2 : 2 * page]}


def open_claim(policy: str, peril: Peril, happened_on: str, description: str) -> dict[str, Any]:
    """Open a new claim.

    Args:
        policy: Number of the policy.
        peril: What caused the damage.
        happened_on: Date of the damage, YYYY-MM-DD.
        description: What happened, in words.
    """
    if peril not in STATE["policies"][policy]["covers"]:
        return {"error": f"{peril} is not covered by {policy}; offer the holder the leaflet on extensions"}
    number = f"28-{peril[0].upper()}-{5000 + len(STATE['claims'])}"
    STATE["claims"][number] = {
        "policy": policy,
        "peril": peril,
        "items": [],
        "papers": [],
        "stage": "reported",
        "adjuster": None,
        "log": [],
    }
    return {"claim": number, "stage": "reported"}


def add_item(claim: str, thing: str, claimed_cents: int) -> dict[str, Any]:
    """Add a damaged thing to a claim.

    Args:
        claim: Its number.
        thing: What it is.
        claimed_cents: What is claimed for it, in cents.
    """
    items = STATE["claims"][claim]["items"]
    items.append({"thing": thing, "claimed_cents": claimed_cents})
    return {"claim": claim, "items": len(items), "total_cents": sum(each["claimed_cents"] for each in items)}


def send_adjuster(
    claim: str,
    adjuster: Literal["kst", "mwo", "isu"],
    visit: str,
    how: Literal["on site", "by camera", "from the file"] = "on site",
) -> dict[str, Any]:
    """Send an adjuster to look at the damage.

    Args:
        claim: Its number.
        adjuster: Initials.
        visit: Day of the visit, YYYY-MM-DD.
        how: In the rooms, through the camera of the holder's phone, or at the desk with the papers that arrived.
    """
    STATE["claims"][claim]["adjuster"] = adjuster
    return {"claim": claim, "adjuster": adjuster, "visit": visit, **({} if how == "on site" else {"how": how})}


def release_payment(claim: str, to: Literal["holder", "landlord", "workshop"] = "holder") -> dict[str, Any]:
    """Pay an assessed claim out: the total of its items less the deductible.

    Args:
        claim: Its number.
        to: Who gets the money; a workshop has repaired the damage.
    """
    found = STATE["claims"][claim]
    if found["stage"] == "paid":
        return {"error": "already paid"}
    if "estimate" not in found["papers"]:
        return {"error": "no estimate on file: ask the holder for one with request_paper, then wait"}
    total = sum(item["claimed_cents"] for item in found["items"])
    amount = max(0, total - STATE["policies"][found["policy"]]["deductible_cents"])
    found["stage"] = "paid"
    paid = {"claim": claim, "paid_cents": amount, "paid": f"{amount / 100:.2f} euros"}
    return paid if to == "holder" else {**paid, "to": to}


def request_paper(
    claim: str, paper: Literal["photos", "receipt", "estimate", "police report"], within_days: int = 14
) -> str:
    """Write to the holder that a paper is missing.

    Args:
        claim: Number of the claim.
        paper: Which one.
        within_days: How many days the holder gets to send it.
    """
    STATE["letters"].append({"claim": claim, "paper": paper, "within_days": within_days})
    return "letter goes out tonight"


def write_to_holder(policy: str, text: str) -> str:
    """Send the holder of a policy a message.

    Args:
        policy: Number of the policy.
        text: What it says.
    """
    if policy not in STATE["policies"]:
        raise ValueError(f"there is no policy {policy}")
    STATE["letters"].append({"policy": policy, "text": text})
    return "message sent"


def extend_cover(policy: str, peril: Peril) -> dict[str, Any]:
    """Insure a policy against one more peril, from tomorrow on.

    Args:
        policy: Number of the policy.
        peril: Which peril.
    """
    covers = STATE["policies"][policy]["covers"]
    if peril in covers:
        return {"error": f"{peril} is covered by {policy} already"}
    covers.append(peril)
    prices = {"water": 48, "fire": 31, "burglary": 57, "storm": 36, "glass": 22}
    return {"policy": policy, "peril": peril, "from": "2028-04-26", "more_euros_a_year": prices[peril]}


TOOLS = [
    policy_by_holder,
    claims_on,
    claim_file,
    claim_log,
    open_claim,
    add_item,
    send_adjuster,
    release_payment,
    request_paper,
    write_to_holder,
    extend_cover,
]


def chosen(rng: random.Random, low: int, high: int) -> dict[str, Any]:
    """One of the claims at some places, with what belongs to it."""
    number = rng.choice(list(STATE["claims"])[low:high])
    claim = STATE["claims"][number]
    policy = STATE["policies"][claim["policy"]]
    total = sum(item["claimed_cents"] for item in claim["items"])
    return {
        "number": number,
        **claim,
        "holder": policy["holder"],
        "papers_said": " and ".join(claim["papers"]),
        "euros": f"{max(0, total - policy['deductible_cents']) / 100:.2f}",
    }


def ready(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A claim that can be paid."""
    return chosen(rng, 0, 4)


def unready(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A claim without an estimate."""
    return chosen(rng, 4, 8)


def any_claim(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Any claim whose holder has no other one."""
    return chosen(rng, 0, 18)


def damage(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A policy, a peril that it covers and one that it does not."""
    number = rng.choice(list(STATE["policies"]))
    covers = STATE["policies"][number]["covers"]
    (missing,) = {"water", "fire", "burglary", "storm", "glass"} - set(covers)
    said = {
        "water": "a pipe burst and flooded the bathroom",
        "fire": "a candle set the curtains on fire",
        "burglary": "somebody broke in and took the jewellery",
        "storm": "the storm tore the awning off",
        "glass": "the glass door of the balcony is broken",
    }
    key = {"water": "bathroom", "fire": "curtains", "burglary": "jewellery", "storm": "awning", "glass": "balcony"}
    peril = rng.choice(covers)
    return {
        "policy": number,
        "key": key[peril],
        **STATE["policies"][number],
        "peril": peril,
        "said": said[peril],
        "missing": missing,
        "missing_said": said[missing],
        "deductible": f"{STATE['policies'][number]['deductible_cents'] // 100}",
    }


def price(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An amount as said, in euros, and in cents."""
    cents = rng.choice((rng.randrange(3_000, 90_000, 100), rng.randrange(3_000, 90_000, 5)))
    return {"cents": cents, "said": str(cents // 100) if cents % 100 == 0 else f"{cents / 100:.2f}"}


def double(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A holder with two claims: how either is picked out, and its number."""
    policy = rng.choice([claim["policy"] for claim in list(STATE["claims"].values())[18:22]])
    (one, first), (two, second) = [each for each in STATE["claims"].items() if each[1]["policy"] == policy]
    ways = (
        ("the second", two),
        (f"the {second['peril']} one", two),
        ("the first", one),
        (f"the {first['peril']} one", one),
    )
    say, number = rng.choice(ways)
    return {"policy": policy, "holder": STATE["policies"][policy]["holder"], "say": say, "number": number}


def insured(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Two holders and what each is insured for, in euros."""
    first, second = rng.sample(list(STATE["policies"].values()), 2)
    return {
        "a": first["holder"],
        "b": second["holder"],
        "a_euros": f"{first['sum_insured_cents'] // 100}",
        "b_euros": f"{second['sum_insured_cents'] // 100}",
    }
