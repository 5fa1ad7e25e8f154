"""How the held-out tools are asked for. All written for this evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from loraloop.evals import held_out as made
from loraloop.tool_schemas import Tool


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A tool with the requests that lead to it.

    Attributes:
        function: What runs.
        says: The key of the result that an answer has to name.
        asks: Whole requests; `{slot}` stands for the argument of that name.
        slots: Values of the arguments.
        again: A follow-up that only makes sense after such a request.
        vague: A request that lacks something required, and words of which a question back names one.
        near: A request on its topic that it cannot serve.
        area: Tools of one area are never listed beside a request of another of that area unless it needs them.
    """

    function: Callable[..., Any]
    says: str
    asks: tuple[str, ...]
    slots: Mapping[str, tuple[Any, ...]]
    again: str
    vague: tuple[str, tuple[str, ...]]
    near: tuple[str, ...]
    area: str
    tool: Tool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tool", Tool.from_function(self.function))

    @property
    def name(self) -> str:
        return str(self.function.__name__)


@dataclass(frozen=True, slots=True)
class Chain:
    """Two tools of which the second needs what the first gives.

    Attributes:
        first: Name of the first.
        second: Name of the second.
        gives: Key of the first one's result that is the second one's argument of the same name.
        asks: Requests that need both; slots are the first tool's.
    """

    first: str
    second: str
    gives: str
    asks: tuple[str, ...]


TOOLS: tuple[HeldOut, ...] = (
    HeldOut(
        made.find_hive, "hive",
        ("Which hive does {beekeeper} look after?", "Tell me the number of {beekeeper}'s hive."),
        {"beekeeper": made.KEEPERS}, "And {beekeeper}'s?",
        ("Which hive does our new beekeeper look after?", ("beekeeper", "name", "who")),
        ("Why do bees dance?", "How is honey made?"), "bees",
    ),
    HeldOut(
        made.hive_weight, "kilograms",
        ("How much does hive {hive} weigh?", "What is the weight of beehive {hive}?"),
        {"hive": ("H23", "H31", "H46", "H58", "H62", "H77")}, "And hive {hive}?",
        ("How much does my beehive weigh today?", ("hive", "number", "which")),
        ("How many bees live in a hive?", "What does a queen bee do all day?"), "bees",
    ),
    HeldOut(
        made.feed_bees, "jar",
        ("Feed hive {hive} with {litres} litres of syrup and tell me the jar.",
         "Give the bees of hive {hive} {litres} litres of syrup. Which jar was it?"),
        {"hive": ("H23", "H31", "H46", "H58", "H62"), "litres": (2, 3, 4, 5)}, "Now hive {hive}, {litres} litres.",
        ("Give the bees 3 litres of syrup.", ("hive", "which", "number")),
        ("Is honey healthier than sugar?",), "bees",
    ),
    HeldOut(
        made.ship_berth, "berth",
        ("At which berth does the {ship} lie?", "Where in the harbour is the {ship}? I need the berth."),
        {"ship": made.SHIPS}, "And the {ship}?",
        ("At which berth is the ship?", ("ship", "name", "which")),
        ("Why do ships float?", "Who was the first to sail around the world?"), "harbour",
    ),
    HeldOut(
        made.berth_depth, "metres",
        ("How deep is the water at berth {berth}?", "What depth does berth {berth} have?"),
        {"berth": (17, 24, 36, 42, 58, 63)}, "And at berth {berth}?",
        ("How deep is the water at our berth?", ("berth", "number", "which")),
        ("What makes the sea salty?",), "harbour",
    ),
    HeldOut(
        made.assign_pilot, "pilot",
        ("Assign a pilot to the {ship} at {hour} o'clock. Who is it?",
         "The {ship} needs a harbour pilot at {hour}:00, who will come?"),
        {"ship": made.SHIPS, "hour": (6, 9, 14, 17, 20)}, "The {ship} too, at {hour} o'clock.",
        ("Assign a pilot to the Kestrel, please.", ("hour", "time", "when")),
        ("How does one become a harbour pilot?",), "harbour",
    ),
    HeldOut(
        made.glaze_temperature, "celsius",
        ("At what temperature is the {glaze} glaze fired?", "How hot does {glaze} glaze have to be fired?"),
        {"glaze": made.GLAZES}, "And {glaze}?",
        ("How hot do I have to fire this glaze?", ("glaze", "name", "which")),
        ("Why does pottery crack?", "What is a glaze made of?"), "pottery",
    ),
    HeldOut(
        made.fire_kiln, "firing",
        ("Fire the kiln at {celsius} degrees and give me the firing number.",
         "Start the kiln at {celsius} degrees Celsius. What is the number of the firing?"),
        {"celsius": (950, 1040, 1180, 1220, 1260)}, "Once more, at {celsius} degrees.",
        ("Fire up the kiln.", ("temperature", "degrees", "hot")),
        ("Who invented the potter's wheel?",), "pottery",
    ),
    HeldOut(
        made.clay_stock, "bags",
        ("How many bags of {clay} clay are left?", "How much {clay} clay do we have?"),
        {"clay": made.CLAYS}, "And {clay}?",
        ("How many bags of clay are left of that kind?", ("kind", "clay", "type")),
        ("What is the difference between clay and mud?",), "pottery",
    ),
    HeldOut(
        made.chest_size, "centimetres",
        ("What is the chest size of {customer}?", "Look up the chest size that we measured for {customer}."),
        {"customer": made.GUESTS}, "And that of {customer}?",
        ("What is the customer's chest size?", ("customer", "name", "who")),
        ("Does a dark suit go with brown shoes?",), "tailor",
    ),
    HeldOut(
        made.cloth_needed, "metres",
        ("How much cloth does a jacket with a chest of {centimetres} cm take?",
         "For a chest size of {centimetres} cm, how many metres of cloth do I need?"),
        {"centimetres": (88, 94, 100, 106, 112)}, "And for {centimetres} cm?",
        ("How much cloth do I need for a jacket?", ("chest", "size", "centimetre", "measure")),
        ("How is wool turned into cloth?",), "tailor",
    ),
    HeldOut(
        made.button_count, "buttons",
        ("How many {colour} buttons are in the drawers?", "Count the {colour} buttons that we have."),
        {"colour": ("ivory", "navy", "amber", "olive")}, "And {colour} ones?",
        ("How many buttons of that colour do we have?", ("colour", "color", "which")),
        ("How do I sew on a button?",), "tailor",
    ),
    HeldOut(
        made.prop_shelf, "shelf",
        ("On which shelf is the {prop}?", "Where in the store do I find the {prop}?"),
        {"prop": made.PROPS}, "And the {prop}?",
        ("On which shelf is the prop?", ("prop", "which", "item")),
        ("Who wrote the play Hamlet?", "What makes a good stage actor?"), "theatre",
    ),
    HeldOut(
        made.shelf_key, "code",
        ("What code opens shelf {shelf}?", "Give me the code of shelf {shelf}."),
        {"shelf": ("S14", "S27", "S38", "S45", "S52")}, "And of shelf {shelf}?",
        ("What code opens the shelf?", ("shelf", "number", "which")),
        ("When was the first theatre built?",), "theatre",
    ),
    HeldOut(
        made.find_understudy, "actor",
        ("Who stands in for the role of {role}?", "Who is the understudy of {role}?"),
        {"role": made.ROLES}, "And of {role}?",
        ("Who is the understudy for the role?", ("role", "which", "name")),
        ("How do actors learn their lines?",), "theatre",
    ),
    HeldOut(
        made.pet_chip, "chip",
        ("What is the chip number of {pet}?", "Look up {pet}'s chip."),
        {"pet": made.PETS}, "And {pet}'s?",
        ("What is the chip number of my pet?", ("pet", "name", "called")),
        ("Why do cats purr?", "Can dogs eat cheese?"), "clinic",
    ),
    HeldOut(
        made.vaccine_due, "month",
        ("When is the next vaccine due for chip {chip}?", "In which month does chip {chip} need a vaccine?"),
        {"chip": (20417, 33850, 47112, 58206, 71934)}, "And for chip {chip}?",
        ("When is my pet's next vaccine due?", ("chip", "number", "which")),
        ("How does a vaccine work?",), "clinic",
    ),
    HeldOut(
        made.kennel_place, "kennel",
        ("Keep a kennel place for {pet} for {nights} nights. Which kennel is it?",
         "{pet} stays for {nights} nights, which kennel will that be?"),
        {"pet": made.PETS, "nights": (2, 3, 5, 6)}, "{pet} as well, {nights} nights.",
        ("Keep a kennel place for Luna.", ("night", "long", "how many")),
        ("Do dogs miss their owners?",), "clinic",
    ),
    HeldOut(
        made.seed_drawer, "drawer",
        ("In which drawer are the {plant} seeds?", "Which drawer holds the seeds of {plant}?"),
        {"plant": made.PLANTS}, "And {plant}?",
        ("In which drawer are the seeds that I want?", ("plant", "seed", "which")),
        ("Why do leaves turn red in autumn?", "Which flowers like shade?"), "seeds",
    ),
    HeldOut(
        made.drawer_humidity, "percent",
        ("How humid is it in drawer {drawer}?", "What is the humidity of drawer {drawer}?"),
        {"drawer": ("D15", "D28", "D34", "D47", "D59")}, "And in drawer {drawer}?",
        ("How humid is it in the drawer?", ("drawer", "number", "which")),
        ("What is humidity?",), "seeds",
    ),
    HeldOut(
        made.sow_tray, "tray",
        ("Sow {seeds} seeds of {plant} and tell me the tray.",
         "Put {seeds} {plant} seeds into a tray. Which one is it?"),
        {"plant": made.PLANTS, "seeds": (12, 24, 30, 48)}, "Now {seeds} seeds of {plant}.",
        ("Sow some lupin seeds.", ("seeds", "many", "number")),
        ("How do seeds know when to sprout?",), "seeds",
    ),
    HeldOut(
        made.repair_ticket, "ticket",
        ("What is the repair number of {rider}'s bicycle?", "Find the number of the repair that {rider} left."),
        {"rider": made.RIDERS}, "And {rider}'s?",
        ("What is the number of the bicycle repair?", ("rider", "name", "who", "whose")),
        ("Who invented the bicycle?", "Is cycling good for the knees?"), "bicycles",
    ),
    HeldOut(
        made.repair_price, "euros",
        ("What does repair {ticket} cost?", "How many euros is repair number {ticket}?"),
        {"ticket": (2310, 3475, 4106, 5528, 6642)}, "And repair {ticket}?",
        ("What does my bicycle repair cost?", ("number", "ticket", "which")),
        ("Why are racing bicycles so light?",), "bicycles",
    ),
    HeldOut(
        made.book_stand, "stand",
        ("Book a work stand for {rider} at {hour} o'clock. Which stand is it?",
         "{rider} wants a work stand at {hour}:00, which one can it be?"),
        {"rider": made.RIDERS, "hour": (8, 10, 13, 16)}, "{rider} too, at {hour} o'clock.",
        ("Book a work stand for Freya.", ("hour", "time", "when")),
        ("How do I patch a flat tyre?",), "bicycles",
    ),
    HeldOut(
        made.lift_queue, "minutes",
        ("How long is the wait at the {lift} lift?", "How many minutes do people queue at the {lift} lift?"),
        {"lift": made.LIFTS}, "And at the {lift} lift?",
        ("How long is the wait at the lift?", ("lift", "name", "which")),
        ("Is skiing harder than snowboarding?",), "skiing",
    ),
    HeldOut(
        made.singer_voice, "voice",
        ("Which voice does {singer} sing?", "What voice is {singer} in the choir?"),
        {"singer": made.SINGERS}, "And {singer}?",
        ("Which voice does the new member sing?", ("singer", "name", "who", "member")),
        ("How do I sing without getting hoarse?", "What is a fugue?"), "choir",
    ),
    HeldOut(
        made.rehearsal_room, "room",
        ("In which room does the {voice} rehearse?", "Where does the {voice} group rehearse, which room?"),
        {"voice": ("soprano", "alto", "tenor", "bass")}, "And the {voice}?",
        ("In which room does my voice rehearse?", ("voice", "which", "sing")),
        ("How long should a choir rehearse?",), "choir",
    ),
    HeldOut(
        made.dough_batch, "batch",
        ("Which batch of dough is for the {bread}?", "Tell me the dough batch of the {bread} bread."),
        {"bread": made.BREADS}, "And for the {bread}?",
        ("Which batch of dough is for this bread?", ("bread", "kind", "which")),
        ("Why does dough rise?", "What is gluten?"), "bakery",
    ),
    HeldOut(
        made.batch_oven, "oven",
        ("Which oven bakes batch {batch}?", "In which oven is batch {batch}?"),
        {"batch": ("B13", "B26", "B35", "B44", "B57")}, "And batch {batch}?",
        ("Which oven bakes the batch?", ("batch", "number", "which")),
        ("Why is the crust of bread brown?",), "bakery",
    ),
    HeldOut(
        made.sample_freezer, "freezer",
        ("Which freezer holds the {sample} sample?", "Where is the {sample} sample, in which freezer?"),
        {"sample": made.SAMPLES}, "And the {sample} sample?",
        ("Which freezer holds the sample?", ("sample", "which", "kind")),
        ("Why does ice float on water?",), "laboratory",
    ),
    HeldOut(
        made.freezer_degrees, "below_zero",
        ("How many degrees below zero has freezer {freezer}?", "How cold is freezer {freezer}?"),
        {"freezer": ("F12", "F25", "F33", "F48", "F56")}, "And freezer {freezer}?",
        ("How cold is the freezer?", ("freezer", "number", "which")),
        ("What is absolute zero?",), "laboratory",
    ),
)  # fmt: skip
BY_NAME: dict[str, HeldOut] = {tool.name: tool for tool in TOOLS}
CHAINS: tuple[Chain, ...] = (
    Chain("find_hive", "hive_weight", "hive", ("How heavy is the hive that {beekeeper} looks after?",
          "Find {beekeeper}'s hive and tell me what it weighs.")),
    Chain("ship_berth", "berth_depth", "berth", ("How deep is the water at the berth of the {ship}?",
          "Find the berth of the {ship}, then look up how deep the water is there.")),
    Chain("glaze_temperature", "fire_kiln", "celsius", (
          "Fire the kiln at the temperature that the {glaze} glaze needs, and give me the firing number.",
          "Look up how hot {glaze} glaze is fired, fire the kiln that hot, and tell me the firing number.")),
    Chain("chest_size", "cloth_needed", "centimetres", ("How much cloth does a jacket for {customer} take?",
          "Look up the chest size of {customer}, then tell me how many metres of cloth a jacket takes.")),
    Chain("prop_shelf", "shelf_key", "shelf", ("What is the code of the shelf on which the {prop} lies?",
          "Find the shelf of the {prop} and tell me the code that opens it.")),
    Chain("pet_chip", "vaccine_due", "chip", ("In which month is {pet}'s next vaccine due?",
          "Get the chip number of {pet} and find out when the next vaccine is due.")),
    Chain("seed_drawer", "drawer_humidity", "drawer", ("How humid is the drawer with the {plant} seeds?",
          "Find the drawer of the {plant} seeds and check its humidity.")),
    Chain("repair_ticket", "repair_price", "ticket", ("What does the repair of {rider}'s bicycle cost?",
          "Find {rider}'s repair number and tell me what the repair costs.")),
    Chain("singer_voice", "rehearsal_room", "voice", ("In which room does {singer}'s voice rehearse?",
          "Find out which voice {singer} sings and in which room that voice rehearses.")),
    Chain("dough_batch", "batch_oven", "batch", ("In which oven is the dough for the {bread} baked?",
          "Find the batch of the {bread} and tell me which oven bakes it.")),
    Chain("sample_freezer", "freezer_degrees", "freezer", ("How cold is the freezer with the {sample} sample?",
          "Find the freezer of the {sample} sample and tell me how many degrees below zero it has.")),
)  # fmt: skip
