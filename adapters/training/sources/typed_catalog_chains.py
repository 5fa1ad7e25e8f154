"""Made tools, part seven: pairs of tools of which the second takes what the first one finds.

The notation is described in `typed.py`. A line with `&` asks for both: it says what the first tool takes.
"""

from __future__ import annotations

CATALOG = """
@ school
student locker | Locker that a student uses.
 student: pool(person) | Name of the student
> Which locker does {student} have
> Tell me the number of {student}'s locker
! Which locker is hers?
locker combination | Combination that opens a locker.
 locker: code(L) | Number of the locker, such as L20
> What is the combination of locker {locker}
> How do I open locker {locker}
~ locker {locker}
& What combination opens {student}'s locker
& Find the locker of {student} and tell me its combination
@ stable
horse stall | Stall in which a horse stands.
 horse: pool(coined) | Name of the horse
> In which stall does {horse} stand
> Which stall is {horse}'s
~ {horse}
! Which stall is the horse in?
clean stall | Have a stall of the stable cleaned.
 stall: int(1,40) | Number of the stall
 minutes?: int(5,60,5) = 20 | Minutes it may take | in {minutes} minutes
> Clean stall {stall}
> Have stall {stall} cleaned
~ stall {stall}
& Clean the stall of {horse}
& Find out where {horse} stands and have that stall cleaned
! Have the stall cleaned, please.
@ hotel
guest room | Room that a guest of the house is staying in.
 guest: pool(titled) | Name of the guest with the title
> Which room is {guest} in
> Look up {guest}'s room
~ {guest}
! Which room is the guest in?
wake up call | Order a call that wakes a guest up.
 room: int(101,640) | Room number
 hour: int(4,11) | Hour of the morning
> Order a wake-up call for room {room} at {hour} o'clock
> Wake room {room} at {hour}:00
~ room {room} at {hour} o'clock
& Wake {guest} at {hour} o'clock
& Look up the room of {guest} and order a wake-up call there at {hour} o'clock
! Order a wake-up call for room 214.
@ brewery
beer barrel | Barrel in which a beer is ripening.
 beer: pool(compound) | Name of the beer
> Which barrel holds the {beer} beer
> In which barrel is {beer} ripening
~ {beer}
barrel strength | Alcohol in a barrel, in percent by volume.
 barrel: code(B) | Number of the barrel, such as B17
> How strong is the beer in barrel {barrel}
> What is the alcohol content of barrel {barrel}
~ barrel {barrel}
& How strong is the {beer} beer
& Find the barrel of the {beer} and give me its alcohol content
@ aquarium
fish tank | Tank of the aquarium where a kind of fish lives.
 fish: pool(fish) | Kind of fish
> In which tank are the {fish}
> Where do the {fish} live? I need the number of the tank
~ the {fish}
! In which tank is that fish?
tank temperature | Temperature of the water in a tank.
 tank: int(1,60) | Number of the tank
> How warm is tank {tank}
> What is the temperature of the water in tank {tank}
~ tank {tank}
& How warm is the water of the {fish}
& Look up the tank of the {fish} and tell me how warm it is
feed tank | Feed the fish of a tank.
 tank: int(1,60) | Number of the tank
 grams: int(5,200,5) | Grams of food
> Feed tank {tank} with {grams} grams
> Give the fish in tank {tank} {grams} grams of food
~ tank {tank} with {grams} grams
! Feed the fish in tank 12.
@ camp
scout tent | Tent in which a scout sleeps.
 scout: pool(firstname) | First name of the scout
> Which tent does {scout} sleep in
> Find {scout}'s tent
~ {scout}
tent leader | Leader who is responsible for a tent.
 tent: code(T) | Number of the tent, such as T4
> Who is the leader of tent {tent}
> Who looks after tent {tent}
~ tent {tent}
& Who is the leader of {scout}'s tent
& Find out where {scout} sleeps and who looks after that tent
! Who looks after the tent?
@ pool
swimmer lane | Lane that a swimmer was given.
 swimmer: pool(firstname) | First name of the swimmer
> Which lane did {swimmer} get
> On which lane does {swimmer} swim
~ {swimmer}
close lane | Close a lane of the swimming pool for some minutes.
 lane: int(1,10) | Number of the lane
 minutes: int(10,120,10) | For how long
> Close lane {lane} for {minutes} minutes
~ lane {lane} for {minutes} minutes
& Close the lane of {swimmer} for {minutes} minutes
& Look up which lane {swimmer} has, then close it for {minutes} minutes
! Close lane 4 for a while.
@ chess_club
player rating | Rating of a player of the club.
 player: pool(person) | Name of the player
> What rating does {player} have
> Tell me {player}'s rating
~ {player}
! What rating does the player have?
rating title | Title that a rating entitles to.
 rating: int(1000,2700) | Rating points
> Which title goes with a rating of {rating}
> What title do {rating} rating points entitle to
~ a rating of {rating}
& Which title does {player}'s rating entitle to
& Get the rating of {player} and tell me what title goes with it
@ dye_works
yarn vat | Vat in which a yarn is being dyed.
 yarn: pool(compound) | Name of the yarn
> Which vat is the {yarn} yarn in
> In which vat is {yarn} dyed
~ {yarn}
vat acidity | Acidity of the bath in a vat, as a pH value.
 vat: int(1,30) | Number of the vat
> What pH does vat {vat} have
> How acid is vat {vat}
~ vat {vat}
& How acid is the bath of the {yarn} yarn
& Find the vat with the {yarn} yarn, then give me its pH
stir vat | Stir the bath in a vat.
 vat: int(1,30) | Number of the vat
 seconds: int(10,300,10) | How long to stir
> Stir vat {vat} for {seconds} seconds
~ vat {vat} for {seconds} seconds
! Stir the vat for me.
@ archive
map sheet | Sheet of the map collection that shows a place.
 place: pool(city) | Name of the place
> Which map sheet shows {place}
> On which sheet do I find {place}
~ {place}
sheet scale | Scale in which a map sheet was drawn.
 sheet: code(M) | Number of the sheet, such as M31
> In which scale is sheet {sheet} drawn
> What is the scale of map sheet {sheet}
~ sheet {sheet}
& In which scale is the map of {place} drawn
& Find the sheet that shows {place} and tell me its scale
@ airfield
glider hangar | Hangar in which a glider is parked.
 glider: pool(coined) | Name of the glider
> In which hangar is the {glider}
> Where is the glider {glider} parked
~ the {glider}
! Where is my glider parked?
unlock hangar | Unlock a hangar of the airfield.
 hangar: int(1,20) | Number of the hangar
> Unlock hangar {hangar}
> Open the door of hangar {hangar}
~ hangar {hangar}
& Unlock the hangar of the {glider}
& Look up where the {glider} is parked and unlock that hangar
! Unlock the hangar.
@ rail_yard
wagon track | Track of the yard on which a wagon stands.
 wagon: int(1000,9999) | Number of the wagon
> On which track is wagon {wagon}
> Which track does the wagon {wagon} stand on
~ wagon {wagon}
track length | Usable length of a track in metres.
 track: code(R) | Number of the track, such as R12
> How long is track {track}
> What is the usable length of track {track}
~ track {track}
& How long is the track on which wagon {wagon} stands
& Find the track of wagon {wagon} and tell me its length
@ farm
cow collar | Collar number of a cow.
 cow: pool(coined) | Name of the cow
> What is the collar number of {cow}
> Which collar does {cow} wear
~ {cow}
! What is the cow's collar number?
milk yield | Milk that the cow with a collar gave yesterday, in litres.
 collar: int(100,999) | Number of the collar
> How much milk did the cow with collar {collar} give
> What is the milk yield for collar {collar}
~ collar {collar}
& How much milk did {cow} give yesterday
& Get the collar number of {cow}, then look up the milk yield
@ fire_station
engine bay | Bay of the fire station where an engine is kept.
 engine: pool(coined) | Call name of the engine
> In which bay is engine {engine}
> Where is {engine} kept
~ {engine}
bay door | Open or close the door of a bay.
 bay: int(1,12) | Number of the bay
 open: bool | Whether to open it
> Make the door of bay {bay} {open:open//closed}
~ bay {bay} {open:open//closed}
& Make the door of {engine}'s bay {open:open//closed}
@ laundry
laundry bag | Bag with the laundry of a customer.
 customer: pool(titled) | Name of the customer with the title
> Which bag is {customer}'s
> Find the laundry bag of {customer}
~ {customer}
bag price | What the laundry in a bag costs.
 bag: int(10,990) | Number of the bag
 express?: bool = false | Whether it must be ready today | ready today // ready any time
> What does bag {bag} cost
> Give me the price for laundry bag {bag}
~ bag {bag}
& What does {customer}'s laundry cost
& Find the bag of {customer} and give me its price
! What does that bag cost?
@ car_park
car level | Level of the car park on which a car stands.
 plate: code(KX) | Number plate
> On which level is the car {plate}
> Where did we park {plate}
~ {plate}
level spaces | Free spaces on a level of the car park.
 level: int(1,9) | Level
> How many spaces are free on level {level}
> Count the free spaces on level {level}
~ level {level}
& How many spaces are free on the level of the car {plate}
& Find the level where {plate} stands, then count the free spaces there
! How many spaces are free on that level?
@ fish_farm
pond of species | Pond in which a species is bred.
 species: pool(fish) | Species of fish
> Which pond are the {species} bred in
> Find the pond with the {species}
~ the {species}
pond oxygen | Oxygen in the water of a pond, in milligrams per litre.
 pond: code(P) | Number of the pond, such as P3
> How much oxygen is in pond {pond}
> Measure the oxygen of pond {pond}
~ pond {pond}
& How much oxygen do the {species} have in their pond
& Look up the pond of the {species} and measure its oxygen
"""
