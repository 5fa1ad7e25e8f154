"""Cloud servers and deployments: machines with labels, services by stage, changes that are planned and then applied."""

import random
from typing import Any, Literal

Stage = Literal["production", "staging", "sandbox"]
SERVICES = ("checkout-api", "image-resizer", "ledger", "mailer", "search-index", "session-store", "webhooks", "pricing")
ENGINEERS = (
    "Tuva Holm",
    "Ravi Menon",
    "Dagny Aas",
    "Luca Ferri",
    "Mirjam Stolz",
    "Owen Pryce",
    "Paz Navarro",
    "Zeno Kraft",
)
ZONES = ("eu-1a", "eu-1b", "us-3c")
STATE: dict[str, Any] = {}


def fresh(rng: random.Random) -> dict[str, Any]:
    """Rebuilds the state."""
    machines = {
        f"vm-{rng.randrange(16**8):08x}": {
            "labels": {"service": rng.choice(SERVICES), "stage": rng.choice(("production", "staging", "sandbox"))},
            "zone": rng.choice(ZONES),
            "cpu_percent": rng.randrange(2, 99),
            "memory_gb": rng.choice((4, 8, 16, 64)),
            "power": rng.choice(("running", "running", "stopped")),
            "cost_per_month": rng.randrange(18, 640),
        }
        for _ in range(26)
    }
    services: dict[str, Any] = {}
    for name in SERVICES:
        for stage in ("production", "staging"):
            minor = rng.randrange(2, 40)
            services[f"{name}@{stage}"] = {
                "version": f"{rng.randrange(1, 6)}.{minor}.{rng.randrange(0, 9)}",
                "previous": f"1.{minor - 1}.{rng.randrange(0, 9)}",
                "replicas": rng.randrange(2, 9),
                "error_rate_percent": round(rng.choice((0.0, 0.1, 0.4, 2.6, 7.5)) + rng.randrange(0, 9) / 100, 2),
                "frozen": rng.random() < 0.3,
            }
    alarms = {
        f"AL{rng.randrange(1000, 9999)}": {
            "about": rng.choice(("disk almost full", "latency above 2 s", "certificate runs out", "queue too long")),
            "service": rng.choice(SERVICES),
            "since": f"{rng.randrange(0, 9):02d}:{rng.randrange(10, 59)}",
            "silenced": False,
        }
        for _ in range(21)
    }
    loads = {name: {"day": rng.randrange(2, 99), "week": rng.randrange(2, 99)} for name in machines}
    numbers = rng.sample(range(100, 999), len(ENGINEERS))
    engineers = {
        f"eng-{number}": {"name": name, "phone": f"+47 {rng.randrange(400, 499)} {rng.randrange(10000, 99999)}"}
        for number, name in zip(numbers, ENGINEERS, strict=True)
    }
    duty = {name: rng.choice(sorted(engineers)) for name in SERVICES}
    STATE.clear()
    STATE.update(machines=machines, services=services, alarms=alarms, plans={}, incidents=[])
    STATE.update(loads=loads, engineers=engineers, duty=duty, chats=[])
    return STATE


def _service(service: str, stage: str) -> dict[str, Any]:
    found = STATE["services"].get(f"{service}@{stage}")
    if found is None:
        raise ValueError(f"{service} does not run in {stage}; services: {', '.join(SERVICES)}")
    return found  # type: ignore[no-any-return]


def machines_by_label(
    labels: dict[str, str], power: Literal["any", "running", "stopped"] = "any"
) -> list[dict[str, Any]]:
    """Machines that have all of the labels.

    Args:
        labels: Label names and their values; the names are `service` and `stage`.
        power: Only machines in this state.
    """
    return [
        {"machine": name, "zone": found["zone"], "power": found["power"], "cpu_percent": found["cpu_percent"]}
        for name, found in STATE["machines"].items()
        if all(found["labels"].get(label) == value for label, value in labels.items())
        and power in ("any", found["power"])
    ]


def inspect_machine(machine: str, load: Literal["now", "day", "week"] = "now") -> dict[str, Any]:
    """Labels, zone, load, memory, power and monthly cost in dollars of one machine.

    Args:
        machine: Id of the machine, vm and eight hexadecimal digits.
        load: The load of this minute, or its average over the last 24 hours or the last seven days.
    """
    if machine not in STATE["machines"]:
        raise ValueError(f"no machine {machine}")
    average = {} if load == "now" else {"cpu_percent": STATE["loads"][machine][load], "average_over": load}
    return {"machine": machine, **STATE["machines"][machine], **average}


def service_state(service: str, stage: Stage = "production") -> dict[str, Any]:
    """Version, previous version, replicas, error rate of the last hour, and whether deployments are frozen.

    Args:
        service: Name of the service.
        stage: Where it runs.
    """
    return {"service": service, "stage": stage, **_service(service, stage)}


def plan_change(
    service: str,
    action: Literal["deploy", "roll back", "scale"],
    stage: Stage = "production",
    version: str | None = None,
    replicas: int | None = None,
    rollout: Literal["all", "one by one", "canary"] = "all",
) -> dict[str, Any]:
    """Prepare a change of a service. Nothing happens before the plan is applied.

    Args:
        service: Name of the service.
        action: What to do.
        stage: Where.
        version: For deploy: the version that is wanted.
        replicas: For scale: how many replicas are wanted.
        rollout: For deploy: all replicas at once, one replica after the other, or first a small part of the traffic.
    """  # fmt: skip
    found = _service(service, stage)
    target = {"deploy": version, "roll back": found["previous"], "scale": replicas}[action]
    if target is None:
        return {"plan": None, "error": f"{action} needs {'version' if action == 'deploy' else 'replicas'}"}
    plan = f"pl_{len(STATE['plans']) + 31}{len(service)}{stage[0]}"
    STATE["plans"][plan] = {"key": f"{service}@{stage}", "action": action, "target": target}
    now = found["replicas"] if action == "scale" else found["version"]
    return {"plan": plan, "from": now, "to": target}


def apply_plan(plan: str) -> dict[str, Any]:
    """Carry out a plan.

    Args:
        plan: Id of a plan.
    """
    if plan not in STATE["plans"]:
        raise ValueError(f"no plan {plan}: make one with plan_change first")
    found = STATE["plans"][plan]
    service = STATE["services"][found["key"]]
    if service["frozen"]:
        return {"applied": False, "error": "deployments are frozen; the release manager lifts the freeze"}
    service["replicas" if found["action"] == "scale" else "version"] = found["target"]
    return {"applied": True, "change": f"ch-{plan[3:]}", "done_in_seconds": 40 + len(plan)}


def power_machine(machine: str, on: bool) -> dict[str, Any]:
    """Start or stop a machine.

    Args:
        machine: Id of the machine.
        on: True starts it, false stops it.
    """
    wanted = "running" if on else "stopped"
    found = STATE["machines"].get(machine)
    if found is None:
        raise ValueError(f"no machine {machine}")
    if found["power"] == wanted:
        return {"machine": machine, "changed": False, "note": f"it was already {wanted}"}
    found["power"] = wanted
    return {"machine": machine, "changed": True, "power": wanted}


def silence_alarm(alarm: str, minutes: int) -> dict[str, Any]:
    """Keep an alarm quiet for a while.

    Args:
        alarm: AL and four digits.
        minutes: For how long, 5 to 240.
    """
    if alarm not in STATE["alarms"]:
        raise ValueError(f"no alarm {alarm}")
    if not 5 <= minutes <= 240:
        return {"silenced": False, "error": "an alarm can be silenced for 5 to 240 minutes"}
    STATE["alarms"][alarm]["silenced"] = True
    return {"silenced": True, "alarm": alarm, "minutes": minutes, "about": STATE["alarms"][alarm]["about"]}


def declare_incident(service: str, severity: Literal["low", "high", "critical"], summary: str) -> dict[str, Any]:
    """Declare an incident and page the people on duty.

    Args:
        service: Name of the service.
        severity: How bad it is.
        summary: What happens, in a sentence.
    """
    _service(service, "production")
    STATE["incidents"].append({"service": service, "severity": severity, "summary": summary})
    return {"incident": f"INC-{len(service)}{len(STATE['incidents'])}4", "paged": 1 if severity == "low" else 3}


def alarms_of(service: str) -> list[dict[str, Any]]:
    """Alarms that ring for a service: their numbers, what they are about and since when.

    Args:
        service: Name of the service.
    """
    return [
        {"alarm": number, "about": each["about"], "since": each["since"]}
        for number, each in STATE["alarms"].items()
        if each["service"] == service and not each["silenced"]
    ]


def on_duty(service: str) -> dict[str, str]:
    """Who is on duty for a service today.

    Args:
        service: Name of the service.
    """
    _service(service, "production")
    return {"service": service, "engineer": STATE["duty"][service]}


def engineer(number: str) -> dict[str, str]:
    """Name and phone of an engineer.

    Args:
        number: eng, a hyphen and three digits.
    """
    return {"engineer": number, **STATE["engineers"][number]}


def find_engineer(name: str) -> list[dict[str, str]]:
    """Engineers by a part of the name.

    Args:
        name: Any part of it.
    """
    return [
        {"engineer": number, "name": each["name"]}
        for number, each in STATE["engineers"].items()
        if name.casefold() in each["name"].casefold()
    ]


def chat(engineer: str, text: str) -> dict[str, str]:
    """Write to an engineer in the team chat.

    Args:
        engineer: eng, a hyphen and three digits.
        text: The message.
    """
    STATE["chats"].append({"engineer": engineer, "text": text})
    return {"delivered_to": STATE["engineers"][engineer]["name"]}


def _services(rng: random.Random, frozen: bool | None = None, bad: bool | None = None) -> dict[str, Any]:
    found = [
        {"name": key.split("@")[0], **value}
        for key, value in sorted(STATE["services"].items())
        if key.endswith("@production")
        and (frozen is None or value["frozen"] == frozen)
        and (bad is None or (value["error_rate_percent"] > 2) == bad)
    ]
    return rng.choice(found)  # type: ignore[no-any-return]


def any_service(rng: random.Random, slots: dict[str, Any], frozen: bool | None = None) -> dict[str, Any]:
    """A service in production, and other values for it."""
    found = _services(rng, frozen)
    return {
        **found,
        "wanted": found["replicas"] + rng.randrange(1, 6),
        "next": f"{rng.randrange(6, 9)}.{rng.randrange(0, 30)}.{rng.randrange(0, 9)}",
    }


def thawed_service(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A service that can be deployed, and other values for it."""
    return any_service(rng, slots, frozen=False)


def frozen_service(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A service that must not be deployed."""
    return {
        **_services(rng, frozen=True),
        "next": f"{rng.randrange(6, 9)}.{rng.randrange(0, 30)}.{rng.randrange(0, 9)}",
    }


def failing_service(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A service with many errors, which can be deployed."""
    return _services(rng, frozen=False, bad=True)


def healthy_service(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A service with few errors."""
    return _services(rng, bad=False)


def group(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Labels that some machines have, and the busiest of these."""
    labels = rng.choice([found["labels"] for found in STATE["machines"].values()])
    same = {name: found for name, found in STATE["machines"].items() if found["labels"] == labels}
    busiest = max(same, key=lambda name: same[name]["cpu_percent"])
    return {**labels, "count": len(same), "busiest": busiest, "memory_gb": same[busiest]["memory_gb"]}


def twice_scaled(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A service that can be changed, and two numbers of replicas for it."""
    found = _services(rng, frozen=False)
    first = found["replicas"] + rng.randrange(1, 4)
    return {**found, "wanted": first, "instead": first + rng.randrange(1, 5)}


def other_service(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Another service than that of the slot `svc`."""
    while (found := _services(rng))["name"] == slots["svc"]["name"]:
        pass
    return found


def few(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A service with two to four machines, the busiest of which runs, in words."""
    fitting = []
    for service in SERVICES:
        found = machines_by_label({"service": service})
        loads = sorted((each["cpu_percent"] for each in found), reverse=True)
        if 2 <= len(found) <= 4 and loads[0] != loads[1]:
            top = max(found, key=lambda each: each["cpu_percent"])
            if top["power"] == "running":
                fitting.append((service, found, top))
    service, found, top = rng.choice(fitting)
    return {
        "service": service,
        "count": len(found),
        "listed": ", ".join(f"{each['machine']} ({each['cpu_percent']} percent, {each['power']})" for each in found),
        "busiest": top["machine"],
        "load": top["cpu_percent"],
        **STATE["machines"][top["machine"]],
    }


def lone_vm(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """The only machine of a service in a stage; it runs."""
    every = [found["labels"] for found in STATE["machines"].values()]
    found = [
        {"machine": name, **each["labels"]}
        for name, each in STATE["machines"].items()
        if every.count(each["labels"]) == 1 and each["power"] == "running"
    ]
    return rng.choice(found)


def colleague(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An engineer."""
    number = rng.choice(sorted(STATE["engineers"]))
    first, last = STATE["engineers"][number]["name"].split()
    return {"number": number, "first": first, "last": last, **STATE["engineers"][number]}


def by_power(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A service with one to four machines in the state of the slot `how`, these in words."""
    found = {name: machines_by_label({"service": name}, slots["how"]["power"]) for name in SERVICES}
    service = rng.choice([name for name, each in found.items() if 1 <= len(each) <= 4])
    listed = ", ".join(f"{each['machine']} in {each['zone']}" for each in found[service])
    first, last = found[service][0]["machine"], found[service][-1]["machine"]
    return {"service": service, "listed": listed, "first": first, "last": last, "count": len(found[service])}


def averaged(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A machine whose average load over the time of the slot `span` is not that of now."""
    load = slots["span"]["load"]
    found = [
        {"machine": name, "average": STATE["loads"][name][load]}
        for name, each in STATE["machines"].items()
        if STATE["loads"][name][load] != each["cpu_percent"]
    ]
    return rng.choice(found)


def known_alarm(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """An alarm that is the only one of its kind for its service."""
    kinds = [(each["service"], each["about"]) for each in STATE["alarms"].values()]
    found = [
        {"number": number, **each}
        for number, each in STATE["alarms"].items()
        if kinds.count((each["service"], each["about"])) == 1
    ]
    return rng.choice(found)


def on_call(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """A service, and who is on duty for it."""
    service = rng.choice(SERVICES)
    return {"service": service, **engineer(STATE["duty"][service])}


def two_machines(rng: random.Random, slots: dict[str, Any]) -> dict[str, Any]:
    """Two machines of unlike cost."""
    one, two = rng.sample(sorted(STATE["machines"]), 2)
    while STATE["machines"][one]["cost_per_month"] == STATE["machines"][two]["cost_per_month"]:
        one, two = rng.sample(sorted(STATE["machines"]), 2)
    costs = [STATE["machines"][name]["cost_per_month"] for name in (one, two)]
    return {"a": one, "b": two, "cost_a": costs[0], "cost_b": costs[1]}


TOOLS = [
    machines_by_label, inspect_machine, service_state, plan_change, apply_plan, power_machine, silence_alarm,
    declare_incident, alarms_of, on_duty, engineer, find_engineer, chat,
]  # fmt: skip
