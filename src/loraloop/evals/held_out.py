"""Tools that nothing is trained, fitted or validated on, really executed, for `loraloop eval agent`.

All of them were written for this evaluation, in fields that no made tool and no practice tool is from. A test holds
that none of their names occurs among those.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from loraloop.router.practice import known, pick

KEEPERS = ("Marta", "Otto", "Lena", "Pavel", "Ruth", "Samir", "Wanda", "Igor")
SHIPS = ("Aurora", "Kestrel", "Bluebell", "Meridian", "Albatross", "Sea Fox", "Corsair", "Lady Ann")
GLAZES = ("celadon", "tenmoku", "shino", "oribe", "raku white", "ash green")
CLAYS = ("stoneware", "porcelain", "terracotta", "earthenware")
GUESTS = ("Ms Tran", "Mr Okafor", "Mrs Lindqvist", "Mr Duarte", "Ms Petrova", "Mrs Haddad", "Mr Novak", "Ms Ferreira")
PROPS = ("silver goblet", "red cloak", "wooden sword", "oil lantern", "paper crown", "brass telescope")
ROLES = ("Ophelia", "Macduff", "Puck", "Portia", "Banquo", "Cordelia")
ACTORS = ("Bettany Crane", "Joel Amsel", "Priya Nand", "Tom Ashby", "Greta Vold", "Luis Prado")
PETS = ("Biscuit", "Nero", "Pepper", "Luna", "Mogli", "Hazel", "Ziggy", "Clover")
MONTHS = ("January", "March", "April", "June", "August", "September", "October", "November")
PLANTS = ("foxglove", "cornflower", "lupin", "teasel", "yarrow", "harebell", "borage", "sorrel")
RIDERS = ("Noah", "Freya", "Tariq", "Ilse", "Conor", "Yuki", "Dana", "Emre")
LIFTS = ("Eagle", "Glacier", "Larch", "Marmot", "Summit")
SINGERS = ("Agnes", "Boris", "Celia", "Dov", "Esther", "Felix", "Gudrun", "Henry")
BREADS = ("rye", "sourdough", "brioche", "focaccia", "spelt", "ciabatta")
SAMPLES = ("soil", "pollen", "plankton", "lichen", "resin", "amber")
Voice = Literal["soprano", "alto", "tenor", "bass"]


def code(value: str, letter: str, what: str) -> str:
    """A number that begins with a letter, as it is written; ValueError if it is none."""
    if not re.fullmatch(rf"{letter}\d+", value.strip().upper()):
        raise ValueError(f"no {what} called {value!r}")
    return value.strip().upper()


def find_hive(beekeeper: str) -> dict[str, Any]:
    """Number of the hive that a beekeeper looks after.

    Args:
        beekeeper: First name of the beekeeper.
    """
    return {"beekeeper": (name := known(beekeeper, KEEPERS, "beekeeper")), "hive": f"H{pick(name, 11, 98)}"}


def hive_weight(hive: str) -> dict[str, Any]:
    """Weight of a beehive.

    Args:
        hive: Number of the hive, such as H20.
    """
    return {"hive": (hive := code(hive, "H", "hive")), "kilograms": pick("kg" + hive, 21, 69)}


def feed_bees(hive: str, litres: int) -> dict[str, Any]:
    """Give sugar syrup to the bees of a hive.

    Args:
        hive: Number of the hive.
        litres: Litres of syrup.
    """
    return {"hive": (hive := code(hive, "H", "hive")), "litres": litres, "jar": pick(f"{hive} {litres}", 301, 799)}


def ship_berth(ship: str) -> dict[str, Any]:
    """Berth in the harbour where a ship lies.

    Args:
        ship: Name of the ship.
    """
    return {"ship": (name := known(ship, SHIPS, "ship")), "berth": pick("berth" + name, 11, 89)}


def berth_depth(berth: int) -> dict[str, Any]:
    """Depth of the water at a berth of the harbour.

    Args:
        berth: Number of the berth.
    """
    return {"berth": berth, "metres": pick(f"depth {berth}", 61, 149) / 10}


def assign_pilot(ship: str, hour: int) -> dict[str, Any]:
    """Assign a harbour pilot to a ship.

    Args:
        ship: Name of the ship.
        hour: Hour of the day, 0 to 23.
    """
    name = known(ship, SHIPS, "ship")
    return {"ship": name, "hour": hour, "pilot": f"Captain {GUESTS[pick(f'{name} {hour}', 0, 7)].split()[1]}"}


def glaze_temperature(glaze: str) -> dict[str, Any]:
    """Temperature that a pottery glaze has to be fired at.

    Args:
        glaze: Name of the glaze.
    """
    return {"glaze": (name := known(glaze, GLAZES, "glaze")), "celsius": pick("glaze" + name, 96, 129) * 10 + 5}


def fire_kiln(celsius: int) -> dict[str, Any]:
    """Fire the pottery kiln.

    Args:
        celsius: Temperature in degrees Celsius.
    """
    return {"celsius": celsius, "firing": pick(f"kiln {celsius}", 2001, 8999)}


def clay_stock(clay: str) -> dict[str, Any]:
    """Bags of a kind of clay that the pottery has left.

    Args:
        clay: Kind of clay.
    """
    return {"clay": (name := known(clay, CLAYS, "clay")), "bags": pick("clay" + name, 12, 95)}


def chest_size(customer: str) -> dict[str, Any]:
    """Chest size of a tailor's customer, as it was measured last.

    Args:
        customer: Name of the customer with the title.
    """
    return {"customer": (name := known(customer, GUESTS, "customer")), "centimetres": pick("chest" + name, 84, 126)}


def cloth_needed(centimetres: int) -> dict[str, Any]:
    """Cloth that a jacket takes.

    Args:
        centimetres: Chest size in centimetres.
    """
    return {"centimetres": centimetres, "metres": pick(f"cloth {centimetres}", 21, 38) / 10}


def button_count(colour: Literal["ivory", "navy", "amber", "olive"]) -> dict[str, Any]:
    """Buttons of a colour in the tailor's drawers.

    Args:
        colour: Colour of the buttons.
    """
    return {"colour": colour, "buttons": pick("button" + colour, 120, 980)}


def prop_shelf(prop: str) -> dict[str, Any]:
    """Shelf of the theatre store on which a prop lies.

    Args:
        prop: What the prop is.
    """
    return {"prop": (name := known(prop, PROPS, "prop")), "shelf": f"S{pick('prop' + name, 11, 99)}"}


def shelf_key(shelf: str) -> dict[str, Any]:
    """Code that opens a shelf of the theatre store.

    Args:
        shelf: Number of the shelf, such as S10.
    """
    return {"shelf": (shelf := code(shelf, "S", "shelf")), "code": pick("key" + shelf, 1001, 9899)}


def find_understudy(role: str) -> dict[str, Any]:
    """Actor who stands in for a role of the play.

    Args:
        role: Name of the role.
    """
    return {"role": (name := known(role, ROLES, "role")), "actor": ACTORS[pick("role" + name, 0, 5)]}


def pet_chip(pet: str) -> dict[str, Any]:
    """Number of the chip that a pet of the animal clinic wears.

    Args:
        pet: Name of the pet.
    """
    return {"pet": (name := known(pet, PETS, "pet")), "chip": pick("chip" + name, 10001, 98999)}


def vaccine_due(chip: int) -> dict[str, Any]:
    """Month in which a pet needs its next vaccine.

    Args:
        chip: Number of the pet's chip.
    """
    return {"chip": chip, "month": MONTHS[pick(f"vaccine {chip}", 0, 7)]}


def kennel_place(pet: str, nights: int) -> dict[str, Any]:
    """Keep a place in the kennel of the animal clinic.

    Args:
        pet: Name of the pet.
        nights: Number of nights.
    """
    return {"pet": known(pet, PETS, "pet"), "nights": nights, "kennel": pick(f"kennel {pet.lower()} {nights}", 31, 97)}


def seed_drawer(plant: str) -> dict[str, Any]:
    """Drawer of the seed bank that holds the seeds of a plant.

    Args:
        plant: Name of the plant.
    """
    return {"plant": (name := known(plant, PLANTS, "plant")), "drawer": f"D{pick('seed' + name, 11, 99)}"}


def drawer_humidity(drawer: str) -> dict[str, Any]:
    """Humidity in a drawer of the seed bank.

    Args:
        drawer: Number of the drawer, such as D10.
    """
    return {"drawer": (drawer := code(drawer, "D", "drawer")), "percent": pick("wet" + drawer, 14, 67)}


def sow_tray(plant: str, seeds: int) -> dict[str, Any]:
    """Sow seeds of a plant into a tray.

    Args:
        plant: Name of the plant.
        seeds: Number of seeds.
    """
    name = known(plant, PLANTS, "plant")
    return {"plant": name, "seeds": seeds, "tray": pick(f"tray {name} {seeds}", 401, 899)}


def repair_ticket(rider: str) -> dict[str, Any]:
    """Number of the bicycle repair that was left by a rider.

    Args:
        rider: First name of the rider.
    """
    return {"rider": (name := known(rider, RIDERS, "rider")), "ticket": pick("bike" + name, 1201, 7999)}


def repair_price(ticket: int) -> dict[str, Any]:
    """What a bicycle repair costs.

    Args:
        ticket: Number of the repair.
    """
    return {"ticket": ticket, "euros": pick(f"price {ticket}", 23, 187)}


def book_stand(rider: str, hour: int) -> dict[str, Any]:
    """Book a work stand in the bicycle workshop.

    Args:
        rider: First name of the rider.
        hour: Hour of the day, 0 to 23.
    """
    name = known(rider, RIDERS, "rider")
    return {"rider": name, "hour": hour, "stand": pick(f"stand {name} {hour}", 31, 79)}


def lift_queue(lift: str) -> dict[str, Any]:
    """Waiting time at a ski lift.

    Args:
        lift: Name of the lift.
    """
    return {"lift": (name := known(lift, LIFTS, "lift")), "minutes": pick("lift" + name, 11, 58)}


def singer_voice(singer: str) -> dict[str, Any]:
    """Voice that a member of the choir sings.

    Args:
        singer: First name of the singer.
    """
    voices = ("soprano", "alto", "tenor", "bass")
    return {"singer": (name := known(singer, SINGERS, "singer")), "voice": voices[pick("sing" + name, 0, 3)]}


def rehearsal_room(voice: Voice) -> dict[str, Any]:
    """Room in which a voice of the choir rehearses.

    Args:
        voice: The voice.
    """
    return {"voice": voice, "room": pick("room" + voice, 101, 399)}


def dough_batch(bread: str) -> dict[str, Any]:
    """Batch of dough that the bakery keeps for a bread.

    Args:
        bread: Kind of bread.
    """
    return {"bread": (name := known(bread, BREADS, "bread")), "batch": f"B{pick('dough' + name, 11, 99)}"}


def batch_oven(batch: str) -> dict[str, Any]:
    """Oven in which a batch of dough is baked.

    Args:
        batch: Number of the batch, such as B10.
    """
    return {"batch": (batch := code(batch, "B", "batch")), "oven": pick("oven" + batch, 31, 89)}


def sample_freezer(sample: str) -> dict[str, Any]:
    """Freezer in the laboratory that holds a sample.

    Args:
        sample: What the sample is.
    """
    return {"sample": (name := known(sample, SAMPLES, "sample")), "freezer": f"F{pick('ice' + name, 11, 99)}"}


def freezer_degrees(freezer: str) -> dict[str, Any]:
    """Degrees below zero in a freezer of the laboratory.

    Args:
        freezer: Number of the freezer, such as F10.
    """
    return {"freezer": (freezer := code(freezer, "F", "freezer")), "below_zero": pick("cold" + freezer, 18, 86)}
