"""Made tools, part six: the same few operations on many kinds of things, so that tools of one family differ in one point.

Each line of `_THINGS` is a kind of thing: `singular/plural: kind of its names`, then attributes, each
`name: kind = description = the clause that asks for it`. The text is turned into the notation of `typed.py`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from loraloop.adapters.training.sources.records import generator

_THINGS = """
hotel/hotels: pool(hotel) ; city: pool(city) = City = in {city} ; stars: int(1,5) = Number of stars = with {stars} stars ; max_price: int(40,400,10) = Highest price a night = for at most {max_price} a night ; pets: bool = Whether pets are allowed = where pets are allowed // without pets
restaurant/restaurants: pool(restaurant) ; cuisine: pool(cuisine) = Kind of cuisine = with {cuisine} food ; city: pool(city) = City = in {city} ; min_rating: num(2,5,1) = Lowest rating = rated {min_rating} or better ; outdoor: bool = Whether it has seats outside = with seats outside // indoors
movie/movies: pool(movie) ; genre: pool(genre) = Genre = of the genre {genre} ; year: int(1950,2024) = Year of release = from {year} ; director: pool(person) = Director = directed by {director} ; max_length: int(80,200,5) = Longest length in minutes = of at most {max_length} minutes
book/books: pool(book) ; author: pool(person) = Author = by {author} ; genre: pool(genre) = Genre = in the genre {genre} ; pages: int(80,900,10) = Number of pages = with {pages} pages ; language: pool(language) = Language = in {language}
song/songs: pool(song) ; artist: pool(artist) = Artist = by {artist} ; decade: enum(1960s/1970s/1980s/1990s/2000s) = Decade = from the {decade} ; tempo: int(60,180,5) = Beats per minute = at {tempo} beats per minute
flight/flights: pool(flightno) ; origin: pool(airport) = Airport of departure = from {origin} ; destination: pool(airport) = Airport of arrival = to {destination} ; day: date = Day in YYYY-MM-DD format = on {day} ; airline: pool(airline) = Airline = with {airline} ; direct: bool = Direct flights only = without a stop // with stops
train/trains: pool(idcode) ; start: pool(city) = First station = from {start} ; end: pool(city) = Last station = to {end} ; day: date = Day in YYYY-MM-DD format = on {day} ; seat_class: enum(first/second) = Class = in {seat_class} class
apartment/apartments: pool(idcode) ; city: pool(city) = City = in {city} ; rooms: int(1,6) = Number of rooms = with {rooms} rooms ; max_rent: int(400,4000,50) = Highest rent = for up to {max_rent} a month ; furnished: bool = Whether furnished = that are furnished // unfurnished
job/jobs: pool(idcode) ; title: pool(job) = Job title = as a {title} ; location: pool(city) = Place = in {location} ; min_salary: int(20000,120000,1000) = Lowest salary = paying at least {min_salary} ; contract: enum(full-time/part-time/internship) = Kind of contract = with a {contract} contract
employee/employees: pool(person) ; department: enum(sales/marketing/finance/legal/research) = Department = in the {department} department ; role: pool(job) = Role = working as {role} ; since: int(2000,2023) = Year of hiring = hired in {since}
customer/customers: pool(person) ; country: pool(country) = Country = from {country} ; segment: enum(private/business/public) = Segment = of the {segment} segment ; min_orders: int(1,40) = Fewest orders = with at least {min_orders} orders
order/orders: pool(idcode) ; customer: pool(person) = Customer = of {customer} ; status: enum(open/shipped/returned/paid) = Status = with the status {status} ; min_total: int(10,900,10) = Lowest total = over {min_total} dollars
invoice/invoices: pool(idcode) ; customer: pool(company) = Customer = for {customer} ; amount: num(10,5000,2) = Amount = of {amount} dollars ; due: date = Due day in YYYY-MM-DD format = due on {due}
product/products: pool(product) ; brand: pool(brand) = Brand = made by {brand} ; max_price: int(10,900,5) = Highest price = under {max_price} dollars ; colour: pool(colour) = Colour = in {colour} ; in_stock: bool = Only what is in stock = that are in stock // even if sold out
recipe/recipes: pool(food) ; cuisine: pool(cuisine) = Cuisine = from {cuisine} cuisine ; ingredient: pool(ingredient) = Main ingredient = with {ingredient} ; max_minutes: int(10,120,5) = Longest time in minutes = that take at most {max_minutes} minutes ; vegan: bool = Vegan only = that are vegan // with meat
patient/patients: pool(person) ; doctor: pool(person) = Doctor = treated by {doctor} ; diagnosis: pool(disease) = Diagnosis = with {diagnosis} ; age: int(1,95) = Age in years = aged {age}
appointment/appointments: pool(idcode) ; person: pool(person) = Who it is with = with {person} ; day: date = Day in YYYY-MM-DD format = on {day} ; time: pool(time) = Time = at {time} ; minutes: int(10,90,5) = Length in minutes = for {minutes} minutes
event/events: pool(subject) ; city: pool(city) = City = in {city} ; day: date = Day in YYYY-MM-DD format = on {day} ; category: enum(concert/fair/lecture/festival/match) = Category = of the category {category} ; free: bool = Only free ones = with free entry // with tickets
course/courses: pool(degree) ; teacher: pool(person) = Teacher = taught by {teacher} ; level: enum(beginner/intermediate/advanced) = Level = at {level} level ; weeks: int(2,30) = Length in weeks = lasting {weeks} weeks ; online: bool = Online only = held online // held in class
student/students: pool(person) ; university: pool(university) = University = at {university} ; subject: pool(degree) = Subject = studying {subject} ; year: int(1,6) = Year of study = in year {year}
museum/museums: pool(museum) ; city: pool(city) = City = in {city} ; kind: enum(art/science/history/technology) = Kind = about {kind} ; max_fee: int(5,40) = Highest fee = for less than {max_fee} euros
painting/paintings: pool(painting) ; artist: pool(celebrity) = Artist = by {artist} ; year: int(1400,1990) = Year = from {year} ; style: pool(style) = Style = in {style} style
athlete/athletes: pool(athlete) ; sport: pool(sport) = Sport = who do {sport} ; country: pool(country) = Country = from {country} ; min_titles: int(1,20) = Fewest titles = with {min_titles} titles or more
match/matches: pool(idcode) ; team: pool(team) = Team = of {team} ; season: int(2005,2024) = Season = in the season {season} ; league: pool(league) = League = in the {league} ; home: bool = Home games only = at home // away
car/cars: pool(vehicle) ; city: pool(city) = City = in {city} ; max_price: int(2000,60000,500) = Highest price = for up to {max_price} dollars ; fuel: enum(petrol/diesel/electric/hybrid) = Fuel = that run on {fuel} ; seats: int(2,9) = Number of seats = with {seats} seats
plant/plants: pool(plant) ; room: pool(room) = Room = in the {room} ; light: enum(low/medium/bright) = Light needed = for {light} light ; height: int(10,300,10) = Height in centimetres = up to {height} cm high
animal/animals: pool(animal) ; habitat: enum(forest/desert/ocean/savanna/mountains) = Habitat = living in the habitat {habitat} ; country: pool(country) = Country = of {country} ; endangered: bool = Only endangered ones = that are endangered // that are common
device/devices: pool(device) ; room: pool(room) = Room = in the {room} ; max_watts: int(10,3000,10) = Highest power = using at most {max_watts} watts ; online: bool = Only those that are connected = that are online // that are offline
sensor/sensors: pool(idcode) ; room: pool(room) = Room = in the {room} ; kind: enum(temperature/humidity/motion/smoke) = What it measures = measuring {kind} ; interval: int(1,60) = Minutes between readings = read every {interval} minutes
server/servers: pool(idcode) ; region: enum(eu-west/us-east/ap-south) = Region = in {region} ; memory: int(2,256,2) = Memory in gigabytes = with {memory} GB of memory ; system: enum(Linux/Windows/BSD) = Operating system = running {system}
document/documents: pool(file) ; author: pool(person) = Author = written by {author} ; topic: pool(topic) = Topic = about {topic} ; since: date = Earliest day in YYYY-MM-DD format = since {since}
task/tasks: pool(note) ; assignee: pool(firstname) = Who does it = for {assignee} ; due: date = Due day in YYYY-MM-DD format = due on {due} ; priority: enum(low/normal/high/urgent) = Priority = with {priority} priority
project/projects: pool(topic) ; leader: pool(person) = Who leads it = led by {leader} ; budget: int(1000,900000,1000) = Budget = with a budget of {budget} ; status: enum(planned/running/stopped) = Status = with the status {status}
lawyer/lawyers: pool(person) ; city: pool(city) = City = in {city} ; field: pool(lawtopic) = Field of law = for {field} ; max_fee: int(50,500,10) = Highest hourly fee = for up to {max_fee} an hour
court case/court cases: pool(casename) ; topic: pool(lawtopic) = Topic = about {topic} ; year: int(1950,2024) = Year = from {year} ; state: pool(state) = State = in {state}
star/stars: pool(star) ; constellation: enum(Orion/Lyra/Leo/Taurus/Virgo) = Constellation = in {constellation} ; max_distance: int(4,900) = Largest distance in light years = within {max_distance} light years
river/rivers: pool(river) ; country: pool(country) = Country = in {country} ; min_length: int(50,5000,50) = Smallest length in kilometres = longer than {min_length} km
mountain/mountains: pool(mountain) ; country: pool(country) = Country = in {country} ; min_height: int(500,8000,100) = Smallest height in metres = over {min_height} metres
battle/battles: pool(event) ; century: int(5,20) = Century as a number = of century {century} ; empire: pool(empire) = State that took part = of the {empire}
medicine/medicines: pool(drug) ; illness: pool(disease) = Illness = against {illness} ; form: enum(tablet/syrup/injection/cream) = Form = as a {form} ; max_price: int(2,90) = Highest price = under {max_price} dollars
game/games: pool(game) ; players: int(1,8) = Number of players = for {players} players ; max_minutes: int(10,240,10) = Longest time in minutes = that take up to {max_minutes} minutes ; platform: enum(PC/console/phone/table) = Platform = on {platform}
playlist/playlists: pool(genre) ; mood: enum(happy/calm/sad/energetic) = Mood = for a {mood} mood ; length: int(10,90,5) = Number of songs = with {length} songs ; public: bool = Whether others see it = that others can see // that stay private
trail/hiking trails: pool(idcode) ; region: pool(state) = Region = in {region} ; max_km: num(2,40,1) = Longest length in kilometres = no longer than {max_km} km ; difficulty: enum(easy/moderate/hard) = Difficulty = of {difficulty} difficulty
charity/charities: pool(company) ; cause: pool(topic) = Cause = for {cause} ; country: pool(country) = Country = in {country}
wine/wines: pool(idcode) ; region: pool(country) = Country = from {region} ; vintage: int(1980,2022) = Year = of {vintage} ; grape: enum(merlot/riesling/syrah/malbec) = Grape = made of {grape} ; max_price: int(8,200) = Highest price = for up to {max_price} dollars
"""

Attribute = tuple[str, str, str, str]


def _find(one: str, many: str, name: str, a: list[Attribute], rng: random.Random) -> list[str]:
    verb, what = (
        rng.choice(("find", "search", "list", "get")),
        rng.choice(("Finds", "Searches for", "Returns", "Lists")),
    )
    return [
        f"{verb} {many} | {what} {many}.",
        _required(a[0]),
        *map(_optional, a[1:4]),
        f"> Find {many} {_said(a[0])}",
        f"> Which {many} are there {_said(a[0])}",
        f"> I am looking for {many} {_said(a[0])}",
        f"~ {many} {_said(a[0])}",
        f"! Find {many} for me.",
    ]


def _details(one: str, many: str, name: str, a: list[Attribute], rng: random.Random) -> list[str]:
    fields = "/".join(part[0] for part in a[:4])
    return [
        f"get {one} {rng.choice(('details', 'info', 'data', 'profile'))} | "
        + rng.choice((f"Returns what is known about a {one}.", f"Details of one {one}.", f"Looks up a {one}.")),
        f" {_key(one)}: {name} | {rng.choice((f'The {one}', f'Name or number of the {one}', f'Which {one}'))}",
        f" fields?: [enum({fields})](1,2) | Which fields to return | , only {{fields}}",
        f"> Show me the details of the {one} {{{_key(one)}}}",
        f"> What do we know about the {one} {{{_key(one)}}}",
        f"> Look up the {one} {{{_key(one)}}}",
        f"~ the {one} {{{_key(one)}}}",
        f"! Show me that {one}.",
    ]


def _add(one: str, many: str, name: str, a: list[Attribute], rng: random.Random) -> list[str]:
    return [
        f"{rng.choice(('add', 'create', 'register', 'new'))} {one} | "
        + rng.choice((f"Adds a {one}.", f"Creates a new {one} record.", f"Stores a {one} in the database.")),
        f" {_key(one)}: {name} | {rng.choice((f'The new {one}', 'What it is called', 'Name or number'))}",
        _required(a[0]),
        *map(_optional, a[1:4]),
        f"> Add the {one} {{{_key(one)}}} {_said(a[0])}",
        f"> Create a {one} {{{_key(one)}}} {_said(a[0])}",
        f"~ {{{_key(one)}}} {_said(a[0])}",
        f"! Add a new {one}.",
    ]


def _change(one: str, many: str, name: str, a: list[Attribute], rng: random.Random) -> list[str]:
    field, kind, described, _ = rng.choice([part for part in a if part[1] != "bool"])
    words = field.replace("_", " ")
    return [
        f"{rng.choice(('update', 'change', 'set'))} {one} {words} | Changes the {words} of a {one}.",
        f" {_key(one)}: {name} | Which {one}",
        f" new_{field}: {kind} | New value. {described}",
        f" notify?: bool = {rng.choice(('true', 'false'))} | Tell others about it"
        " | and tell everyone about it // and tell nobody",
        f"> Change the {words} of the {one} {{{_key(one)}}} to {{new_{field}}}",
        f"> Set the {words} of {one} {{{_key(one)}}} to {{new_{field}}}",
        f"~ the {one} {{{_key(one)}}} to {{new_{field}}}",
        f"! Change the {words} of the {one}.",
    ]


def _remove(one: str, many: str, name: str, a: list[Attribute], rng: random.Random) -> list[str]:
    verb = rng.choice(("delete", "remove", "archive"))
    return [
        f"{verb} {one} | {verb.capitalize()}s a {one}.",
        f" {_key(one)}: {name} | The {one}",
        " reason?: enum(duplicate/outdated/mistake) | Why | marked as {reason}",
        f"> {verb.capitalize()} the {one} {{{_key(one)}}}",
        f"~ the {one} {{{_key(one)}}}",
        f"! {verb.capitalize()} the {one}.",
    ]


def _count(one: str, many: str, name: str, a: list[Attribute], rng: random.Random) -> list[str]:
    return [
        f"count {many} | {rng.choice(('Counts', 'Returns the number of'))} {many}.",
        _required(a[0]),
        *map(_optional, a[1:3]),
        f"> How many {many} are there {_said(a[0])}",
        f"> Count the {many} {_said(a[0])}",
        f"~ {many} {_said(a[0])}",
    ]


def _compare(one: str, many: str, name: str, a: list[Attribute], rng: random.Random) -> list[str]:
    fields = "/".join(part[0] for part in a[:4])
    first, second = rng.choice((("first", "second"), (f"{_key(one)}1", f"{_key(one)}2"), ("item_a", "item_b")))
    return [
        f"compare {many} | Compares two {many}.",
        f" {first}: {name} | First {one}",
        f" {second}: {name} | Second {one}",
        f" criterion?: enum({fields}) | What to compare | by {{criterion}}",
        f"> Compare the {one} {{{first}}} with the {one} {{{second}}}",
        f"> How does the {one} {{{first}}} differ from {{{second}}}",
        f"~ {{{first}}} with {{{second}}}",
        f"! Compare the {one} with another one.",
    ]


def _rate(one: str, many: str, name: str, a: list[Attribute], rng: random.Random) -> list[str]:
    return [
        f"rate {one} | Stores a rating of a {one}.",
        f" {_key(one)}: {name} | The {one}",
        " rating: int(1,5) | Rating, 5 is best",
        ' comment?: pool(sentence) | What to say about it | with the comment "{comment}"',
        f"> Rate the {one} {{{_key(one)}}} with {{rating}}",
        f"> Give the {one} {{{_key(one)}}} {{rating}} out of 5",
        f"~ {{{_key(one)}}} with {{rating}}",
        f"! Rate that {one} for me.",
    ]


def _similar(one: str, many: str, name: str, a: list[Attribute], rng: random.Random) -> list[str]:
    return [
        f"similar {many} | {rng.choice(('Recommends', 'Suggests', 'Finds'))} {many} that are like a given one.",
        f" {_key(one)}: {name} | The {one} to start from",
        f" limit?: int(2,20) = {rng.choice((3, 5, 10))} | How many | and give me {{limit}} of them",
        *map(_optional, a[:1]),
        f"> Which {many} are like {{{_key(one)}}}",
        f"> Recommend {many} similar to {{{_key(one)}}}",
        f"~ {many} like {{{_key(one)}}}",
    ]


def _history(one: str, many: str, name: str, a: list[Attribute], rng: random.Random) -> list[str]:
    return [
        f"{one} history | Returns changes of a {one} over the years.",
        f" {_key(one)}: {name} | The {one}",
        " from_year: int(1990,2012) | First year",
        " to_year: int(2013,2025) | Last year",
        " format?: enum(table/text/csv) = table | Form of the result | as {format}",
        f"> How did the {one} {{{_key(one)}}} change from {{from_year}} to {{to_year}}",
        f"> Get the history of the {one} {{{_key(one)}}} between {{from_year}} and {{to_year}}",
        f"~ {{{_key(one)}}} from {{from_year}} to {{to_year}}",
        f"! How did the {one} change over the years?",
    ]


_OPERATIONS: tuple[Callable[[str, str, str, list[Attribute], random.Random], list[str]], ...] = (
    *(_find, _details, _add, _change, _remove, _count, _compare, _rate, _similar, _history),
)


def catalog() -> str:
    """The specifications of all families, in the notation of made tools."""
    lines = []
    for line in _THINGS.strip().splitlines():
        head, *parts = line.split(" ; ")
        names, _, kind = head.partition(": ")
        one, many = names.split("/")
        attributes = [_attribute(part) for part in parts]
        rng = generator("families", one)
        lines.append(f"@ {many.split()[-1]}")
        for operation in sorted(rng.sample(_OPERATIONS, 6), key=_OPERATIONS.index):
            lines += operation(one, many, kind, attributes, rng)
    return re.sub(r"\ba (?=[aeio][a-z])", "an ", "\n".join(lines))


def _attribute(text: str) -> Attribute:
    head, described, clause = text.split(" = ")
    name, _, kind = head.partition(": ")
    return name, kind, described, clause


def _required(attribute: Attribute) -> str:
    return f" {attribute[0]}: {attribute[1]} | {attribute[2]}"


def _optional(attribute: Attribute) -> str:
    return f" {attribute[0]}?: {attribute[1]} | {attribute[2]} | {attribute[3]}"


def _said(attribute: Attribute) -> str:
    return attribute[3]


def _key(one: str) -> str:
    return one.split()[-1]
