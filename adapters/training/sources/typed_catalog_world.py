"""Made tools, part two: places, culture, food and home. The notation is described in `typed.py`."""

from __future__ import annotations

CATALOG = """
@ weather
weather forecast | Weather forecast of a place.
 location: pool(city) | City, or city and state
 days?: int(2,14) = 1 | Number of days | for the next {days} days
 unit?: enum(celsius/fahrenheit) = celsius | Temperature unit | in {unit}
> What will the weather be like in {location}
> Show me the weather forecast of {location}
~ {location}
! What's the weather going to be like?
air quality | Air quality index of a city.
 city: pool(city) | City name
 date?: date | Day in YYYY-MM-DD format | on {date}
> How good is the air in {city}
> Get the air quality index of {city}
~ {city}
snow report | Snow conditions of a mountain.
 mountain: pool(mountain) | Name of the mountain
 include_lifts?: bool = false | Whether to report open lifts | and tell me which lifts are open // without the lifts
> How much snow is there on {mountain}
~ {mountain}
@ travel
search flights | Searches flights.
 origin: pool(airport) | Airport code of departure
 destination: pool(airport) | Airport code of arrival
 date: date | Day of departure, YYYY-MM-DD
 seats?: int(2,6) = 1 | Number of seats | for {seats} people
 cabin?: enum(economy/business/first) = economy | Cabin class | in {cabin} class
> Find a flight from {origin} to {destination} on {date}
> I need to fly from {origin} to {destination} on {date}
~ {origin} to {destination} on {date}
! Find me a flight to {destination}.
book hotel | Books a hotel room.
 hotel_name: pool(hotel) | Name of the hotel
 city: pool(city) | City of the hotel
 nights: int(1,14) | Number of nights
 room_type?: enum(single/double/suite) = double | Kind of room | in a {room_type} room
 breakfast?: bool = false | Include breakfast | with breakfast // without breakfast
> Book {nights} nights at the {hotel_name} in {city}
> Reserve the {hotel_name} in {city} for {nights} nights
~ the {hotel_name} in {city} for {nights} nights
! Book me a hotel room in {city}.
driving distance | Driving distance between two places.
 start: pool(city) | Where the trip begins
 end: pool(city) | Where the trip ends
 avoid?: [enum(tolls/highways/ferries)](1,2) | What to avoid | avoiding {avoid}
 unit?: enum(km/miles) = km | Unit of the distance | in {unit}
> How far is it by car from {start} to {end}
> Find the driving distance between {start} and {end}
~ from {start} to {end}
find route | Plans a route with stops.
 origin: pool(city) | Starting point
 destination: pool(city) | Final point
 stops?: [pool(city)](1,3) | Places to pass on the way | passing through {stops}
 mode?: enum(car/train/bike/walk) = car | Means of transport | by {mode}
> Plan a route from {origin} to {destination}
> What is the best way from {origin} to {destination}
~ {origin} to {destination}
travel itinerary | Makes an itinerary.
 destination: pool(city) | City to visit
 days: int(2,14) | Length of the trip in days
 budget?: int(100,900,50) | Daily budget in dollars | with a daily budget of {budget} dollars
 interests?: [pool(hobby)](1,3) | Interests of the traveller | focused on {interests}
> Create a {days} day itinerary for {destination}
> Plan {days} days in {destination}
~ {days} days in {destination}
rent car | Rents a car.
 city: pool(city) | City of pick-up
 pickup_date: date | First day in YYYY-MM-DD format
 days: int(1,20) | Number of days
 car_type?: enum(compact/SUV/van/electric) = compact | Kind of car | a {car_type} one if possible
> Rent a car in {city} from {pickup_date} for {days} days
~ in {city} from {pickup_date} for {days} days
visa requirements | Visa rules for travellers.
 nationality: pool(country) | Country of the passport
 destination: pool(country) | Country to visit
 purpose?: enum(tourism/business/study) = tourism | Purpose of the stay | for {purpose}
> Does someone with a passport from {nationality} need a visa for {destination}
~ a passport from {nationality} and a visit to {destination}
flight status | Status of a flight.
 flight_number: pool(idcode) | Flight number
 airline?: pool(airline) | Airline | with {airline}
> Is flight {flight_number} on time
> Check the status of flight {flight_number}
~ flight {flight_number}
@ geography
country info | Facts on a country.
 country: pool(country) | Name of the country
 fields: [enum(population/capital/area/languages)](1,3) | Facts wanted
> What are the {fields} of {country}
> Look up the {fields} for {country}
~ the {fields} of {country}
population density | People per square kilometre.
 country: pool(country) | Country
 year: int(1960,2023) | Year
> How densely populated was {country} in {year}
> Get the population density of {country} in {year}
~ {country} in {year}
nearby places | Finds places around a location.
 location: pool(landmark) | Where to search
 category: enum(cafe/pharmacy/park/museum/gas station/supermarket) | Kind of place
 radius?: int(200,5000,100) = 1000 | Search radius in metres | within {radius} metres
 open_now?: bool = false | Only places open now | that is open now // open or not
> Find a {category} near the {location}
> Is there a {category} close to the {location}
~ a {category} near the {location}
elevation | Elevation of coordinates.
 coordinates: {lat: num(-60,60,2), lon: num(-170,170,2)} | Position in degrees
> What is the elevation at {coordinates}
river length | Length of a river.
 river: pool(river) | Name of the river
 unit?: enum(km/miles) = km | Unit | in {unit}
> How long is the {river}
~ the {river}
mountain height | Height of a mountain.
 name: pool(mountain) | Name of the mountain
 unit?: enum(meters/feet) = meters | Unit of the height | in {unit}
> How high is {name}
> Tell me the height of {name}
~ {name}
@ history
event date | Date of a historical event.
 event: pool(event) | The event
> When was {event}
> Find the date of {event}
~ {event}
ruler in year | Who ruled a state in a year.
 country: pool(empire) | State or empire
 year: int(100,1900) | Year, AD
 full_name?: bool = true | Give the full name | with the full name // first name only
> Who ruled the {country} in {year}
~ the {country} in {year}
scientist contributions | Contributions of a person to a field.
 person: pool(celebrity) | Name
 field?: enum(physics/chemistry/art/politics/literature) | Field of work | in the field of {field}
> What did {person} contribute
> List the main contributions of {person}
~ {person}
historical timeline | Timeline of an era.
 era: pool(era) | Era
 region?: pool(country) | Region | in {region}
 max_events?: int(3,20) = 10 | Most events to return | with at most {max_events} events
> Show me a timeline of the {era}
~ the {era}
@ culture
artwork details | Details of a painting.
 title: pool(painting) | Title of the work
 details?: [enum(artist/year/medium/location)](1,3) = all | Details to return | I need the {details}
> Tell me about the painting {title}
~ {title}
museum hours | Opening hours of a museum.
 museum: pool(museum) | Museum
 day: enum(Monday/Tuesday/Friday/Saturday/Sunday) | Day of the week
> When does the {museum} open on {day}
> Check the opening hours of the {museum} for {day}
~ the {museum} on {day}
museum tickets | Buys museum tickets.
 museum: pool(museum) | Museum
 tickets: {adult: int(1,5), child: int(1,4)} | Number of tickets of each kind
 date: date | Day of the visit, YYYY-MM-DD
> Buy tickets for the {museum} on {date}, {tickets}
scale notes | Notes of a musical scale.
 scale: pool(scale) | Name of the scale
 octaves?: int(2,4) = 1 | Number of octaves | over {octaves} octaves
> Which notes are in {scale}
> Show the notes of the scale {scale}
~ {scale}
make melody | Composes a melody.
 notes: [enum(C/D/E/F/G/A/B)](3,6) | Notes to use
 tempo: int(60,180) | Beats per minute
 instrument?: pool(instrument) = piano | Instrument | for {instrument}
> Compose a melody from the notes {notes} at {tempo} bpm
~ {notes} at {tempo} bpm
play music | Plays a song.
 song: pool(song) | Title
 artist?: pool(artist) | Artist | by {artist}
 shuffle?: bool = false | Shuffle afterwards | and shuffle afterwards // without shuffle
 volume?: int(10,100) | Volume in percent | at volume {volume}
> Play {song}
> Put on the song {song}
~ {song}
make playlist | Creates a playlist.
 name: enum(Morning/Focus/Party/Road Trip/Rainy Day) | Name of the playlist
 songs: [pool(song)](2,4) | Songs to put in
 public?: bool = false | Visible to everyone | and make it public // and keep it private
> Create a playlist called {name} with {songs}
movie showtimes | Showtimes of a film.
 movie: pool(movie) | Title of the film
 city: pool(city) | City
 date?: when | Day | {date}
 format?: enum(2D/3D/IMAX) = 2D | Format | in {format}
> When can I see {movie} in {city}
> Find showtimes of {movie} in {city}
~ {movie} in {city}
movie details | Details of a film.
 title: pool(movie) | Title of the film
 year?: int(1960,2023) | Year of release | from {year}
 language?: pool(language) | Language of the details | in {language}
> Give me details on the film {title}
> What is the film {title} about
~ {title}
find books | Finds books.
 genre: pool(genre) | Genre
 min_rating?: num(3,5,1) | Lowest rating | rated at least {min_rating}
 max_pages?: int(120,600,10) | Most pages | with at most {max_pages} pages
> Recommend a {genre} book
> Find books of the genre {genre}
~ {genre} books
library search | Whether a library has a book.
 title: pool(book) | Title of the book
 branch: pool(city) | Branch of the library
 hold?: bool = false | Put it on hold | and put it on hold // without a hold
> Does the library in {branch} have {title}
~ {title} in {branch}
@ sports
game score | Score of a team's last game.
 team: pool(team) | Team
 league?: pool(league) | League | in the {league}
 include_opponent?: bool = false | Also name the opponent | and tell me who they played // score only
> How did {team} do in their last game
> Get the latest score of {team}
~ {team}
player stats | Statistics of an athlete.
 player: pool(athlete) | Name of the athlete
 season: int(2005,2023) | Season, by its first year
 stats?: [enum(wins/points/goals/assists/titles)](1,3) = all | Statistics to return | I care about {stats}
> Show the statistics of {player} for the season {season}
> How did {player} perform in {season}
~ {player} in {season}
league table | Standings of a league.
 league: pool(league) | League
 season?: int(2000,2023) = 2023 | Season | of the season {season}
 top?: int(3,10) | Only the first places | limited to the top {top}
> Show me the standings of the {league}
~ the {league}
next match | Next match of a team.
 team: pool(team) | Team
 home_only?: bool = false | Home games only | at home // home or away
> When do {team} play next
~ {team}
training plan | Makes a training plan.
 sport: pool(exercise) | Activity
 weeks: int(4,20) | Length in weeks
 sessions: int(2,6) | Sessions a week
 level?: enum(beginner/intermediate/advanced) = beginner | Level | for {level} athletes
> Make a {weeks} week plan for {sport} with {sessions} sessions a week
~ {weeks} weeks of {sport}, {sessions} sessions a week
@ food
find recipe | Finds recipes.
 dish: pool(food) | Name of the dish
 max_minutes?: int(15,120,5) | Longest cooking time in minutes | ready in {max_minutes} minutes
 diet?: enum(vegan/vegetarian/keto/gluten-free) | Diet | that is {diet}
 servings?: int(2,8) = 2 | Servings | for {servings} people
> Find a recipe for {dish}
> How do I cook {dish}
~ {dish}
recipe from ingredients | Suggests recipes for ingredients at hand.
 ingredients: [pool(ingredient)](2,4) | What is available
 avoid?: [pool(allergen)](1,2) | What must not be used | avoiding {avoid}
> What can I cook with {ingredients}
> Suggest a dish made of {ingredients}
~ {ingredients}
nutrition facts | Nutrition of a food.
 food: pool(food) | The food
 grams: int(50,500,10) | Amount in grams
 nutrients?: [enum(calories/protein/fat/carbs)](1,3) = all | Nutrients to return | I want the {nutrients}
> How nutritious are {grams} grams of {food}
> Get the nutrition facts of {grams} g of {food}
~ {grams} g of {food}
find restaurant | Finds restaurants.
 cuisine: pool(cuisine) | Kind of food
 city: pool(city) | City
 max_price?: int(15,90,5) | Highest price per person | under {max_price} dollars a person
 features?: [enum(outdoor seating/live music/parking/wifi)](1,2) | Wanted features | with {features}
> Find a {cuisine} restaurant in {city}
> Where can I eat {cuisine} food in {city}
~ {cuisine} in {city}
reserve table | Reserves a table.
 restaurant: pool(restaurant) | Name of the restaurant
 people: int(2,12) | Number of guests
 time: pool(time) | Time of day
 date?: date | Day in YYYY-MM-DD format | on {date}
> Reserve a table for {people} at {restaurant} at {time}
> Book {restaurant} for {people} people at {time}
~ {restaurant} for {people} at {time}
! Reserve a table at {restaurant}.
order food | Orders food.
 restaurant: pool(restaurant) | Where to order
 items: [{name: pool(food), quantity: int(1,5)}](1,2) | Dishes and how many of each
 address?: pool(street) | Delivery address | to {address}
> Order from {restaurant}: {items}
@ home
set thermostat | Sets the temperature of a room.
 room: pool(room) | Room
 temperature: num(16,27,1) | Target temperature in degrees Celsius
 mode?: enum(heat/cool/auto) = auto | Mode | in {mode} mode
> Set the {room} to {temperature} degrees
> Make the {room} {temperature} degrees warm
~ the {room} to {temperature} degrees
! Set the thermostat, please.
switch device | Turns a device on or off.
 device: pool(device) | Device
 on: bool | True to turn on, false to turn off
 room?: pool(room) | Room of the device | in the {room}
> {on:Turn on//Turn off} the {device}
> {on:Switch on//Switch off} the {device}
~ {on:turn on//turn off} the {device}
set lights | Sets lights.
 room: pool(room) | Room
 brightness: pct(5,100) | Brightness in percent
 colour?: pool(colour) = white | Colour | in {colour}
> Dim the lights in the {room} to {brightness}
> Set the {room} lights to {brightness}
~ the {room} lights to {brightness}
set alarm | Sets an alarm.
 time: pool(time) | Time of the alarm
 days?: [enum(Monday/Tuesday/Wednesday/Thursday/Friday)](1,3) | Days on which it repeats | every {days}
 label?: pool(note) | Label | labelled "{label}"
> Set an alarm for {time}
> Wake me up at {time}
~ {time}
start timer | Starts a timer.
 minutes: int(1,90) | Minutes
 name?: pool(food) | Name of the timer | for the {name}
> Start a timer of {minutes} minutes
> Count down {minutes} minutes
~ {minutes} minutes
plant care | Care advice for a plant.
 plant: pool(plant) | Plant
 indoor: bool | True if the plant stands inside
 light?: enum(low/medium/bright) | Light available | in {light} light
> How do I take care of {indoor:an indoor//an outdoor} {plant}
~ {indoor:an indoor//an outdoor} {plant}
interior design | Suggests interior design.
 room: pool(room) | Room to furnish
 style: pool(style) | Style
 colours?: [pool(colour)](1,3) | Colours | with {colours}
> Suggest a {style} design for my {room}
~ a {style} {room}
"""
