"""Made tools, part eight: more pairs of tools of which the second takes what the first one finds; signed numbers."""

from __future__ import annotations

CATALOG = """
@ radio_station
presenter studio | Studio from which a presenter speaks today.
 presenter: pool(person) | Name of the presenter
> Which studio does {presenter} use today
> Where does {presenter} speak from
~ {presenter}
! Which studio does the presenter use?
studio phone | Phone extension of a studio.
 studio: code(S-) | Number of the studio, such as S-2
> What is the extension of studio {studio}
> How do I call studio {studio}
~ studio {studio}
& Which extension do I call to reach {presenter} in the studio
& Find {presenter}'s studio and give me its extension
@ rink
skater coach | Coach who trains a skater.
 skater: pool(firstname) | First name of the skater
> Who coaches {skater}
> Who is {skater}'s coach
~ {skater}
! Who is the skater's coach?
coach hours | Hours at which a coach is at the rink.
 coach: pool(person) | Name of the coach
> When is {coach} at the rink
> Look up the hours of the coach {coach}
~ {coach}
& When is {skater}'s coach at the rink
& Find out who coaches {skater} and when that coach is there
@ hospital
patient bed | Bed in which a patient lies.
 patient: pool(titled) | Name of the patient with the title
> Which bed is {patient} in
> Find the bed of {patient}
~ {patient}
! Which bed is the patient in?
bed nurse | Nurse who is responsible for a bed.
 bed: int(1,90) | Number of the bed
> Which nurse is responsible for bed {bed}
> Who is the nurse of bed {bed}
~ bed {bed}
& Which nurse is responsible for {patient}
& Find the bed of {patient} and tell me who its nurse is
@ vineyard
grape row | First row in which a grape grows.
 grape: enum(merlot/riesling/syrah/malbec/pinot noir) | Kind of grape
> In which row does the {grape} begin
> Where are the {grape} vines? I need the first row
~ {grape}
water row | Water a row of vines.
 row: int(1,80) | Number of the row
 litres: int(20,400,10) | Litres of water
> Water row {row} with {litres} litres
~ row {row} with {litres} litres
& Water the first row of {grape} with {litres} litres
& Find the row where the {grape} begins, then give it {litres} litres of water
! Water row 7.
@ jeweller
ring tray | Tray in which a ring lies.
 ring: pool(compound) | What the ring is called
> Which tray is the {ring} ring in
> Find the tray of the ring "{ring}"
~ {ring}
tray value | Value of everything in a tray.
 tray: code(J) | Number of the tray, such as J8
> What is tray {tray} worth
> How much are the pieces in tray {tray} worth
~ tray {tray}
& What is the tray with the {ring} ring worth
& Find the tray of the {ring} and tell me what it is worth
@ market
trader pitch | Pitch of a trader on the market.
 trader: pool(person) | Name of the trader
> Which pitch does {trader} have
> Where on the market is {trader}
~ {trader}
pitch fee | Daily fee for a pitch.
 pitch: int(1,120) | Number of the pitch
 days?: int(2,30) = 1 | For how many days | for {days} days
> What does pitch {pitch} cost
> Look up the fee for pitch {pitch}
~ pitch {pitch}
& What does {trader}'s pitch cost
& Find the pitch of {trader}, then look up its fee
! What does my pitch cost?
@ gym
member card | Card number of a member.
 member: pool(person) | Name of the member
> What is the card number of {member}
> Look up {member}'s card
~ {member}
! What is the card number of the member?
card expiry | Month in which a card expires.
 card: int(1000,99999) | Number of the card
> When does card {card} expire
> In which month does the card {card} end
~ card {card}
& When does {member}'s card expire
& Get the card number of {member} and find out when it expires
renew card | Renew the card of a member.
 card: int(1000,99999) | Number of the card
 months: int(1,24) | For how many months
> Renew card {card} for {months} months
~ card {card} for {months} months
! Renew card 5521.
@ tram_depot
tram driver | Driver of a tram today.
 tram: int(1,99) | Number of the tram
> Who drives tram {tram} today
> Which driver is on tram {tram}
~ tram {tram}
! Who drives the tram?
driver shift | Time at which the shift of a driver ends.
 driver: pool(person) | Name of the driver
> When does {driver}'s shift end
> Until when does {driver} work today
~ {driver}
& Until when does the driver of tram {tram} work
& Find out who drives tram {tram} and when that shift ends
@ lighthouse
lighthouse channel | Radio channel of a lighthouse.
 lighthouse: pool(coined) | Name of the lighthouse
> On which channel is the {lighthouse} lighthouse
> What is the radio channel of {lighthouse}
~ {lighthouse}
tune radio | Tune the radio to a channel.
 channel: int(1,88) | Channel
> Tune the radio to channel {channel}
> Switch to channel {channel}
~ channel {channel}
& Tune the radio to the channel of the {lighthouse} lighthouse
& Look up the channel of {lighthouse} and tune the radio to it
! Tune the radio, please.
@ printing_house
job press | Press on which a job is printed.
 job: code(Q-) | Number of the job
> Which press prints job {job}
> On which press is {job}
~ job {job}
press ink | Ink left in a press, in percent.
 press: enum(Alba/Heidi/Orion/Pressa) | Name of the press
> How much ink is left in {press}
> Check the ink of the press {press}
~ {press}
& How much ink is left in the press that prints job {job}
& Find out which press has job {job} and check its ink
! How much ink is left?
@ cinema
film hall | Hall in which a film is shown tonight.
 film: pool(movie) | Title of the film
> In which hall is {film} shown
> Which hall shows {film} tonight
~ {film}
! In which hall is the film?
hall seats | Free seats in a hall tonight.
 hall: int(1,16) | Number of the hall
> How many seats are free in hall {hall}
> Count the free seats of hall {hall}
~ hall {hall}
& How many seats are left for {film}
& Find the hall that shows {film}, then count its free seats
@ museum_store
fossil cabinet | Cabinet in which a fossil is kept.
 fossil: pool(compound) | What the fossil is called
> In which cabinet is the {fossil} fossil
> Where do we keep the fossil {fossil}
~ {fossil}
cabinet light | Switch the light in a cabinet on or off.
 cabinet: code(C) | Number of the cabinet, such as C9
 on: bool | Whether it shall be on
> Switch the light in cabinet {cabinet} {on:on//off}
> Turn {on:on//off} the light of cabinet {cabinet}
~ cabinet {cabinet} {on:on//off}
& Switch the light of the cabinet with the {fossil} fossil {on:on//off}
@ joinery
wood price | Price of a kind of wood, in euros a square metre.
 wood: enum(oak/ash/walnut/larch/cherry/beech) | Kind of wood
> What does {wood} cost a square metre
> How expensive is {wood} wood
~ {wood}
! What does that wood cost?
table quote | Offer for a table by the price of its wood.
 price: num(10,190,1) | Price of the wood in euros a square metre
 legs?: int(3,8) = 4 | Number of legs | with {legs} legs
> Make me an offer for a table if the wood is {price} euros a square metre
> What would a table of wood for {price} euros a square metre cost
~ wood for {price} euros
& What would a table of {wood} cost
& Look up the price of {wood} and make an offer for a table of it
@ weather_stations
station altitude | Altitude of a weather station in metres.
 station: pool(coined) | Name of the station
> At what altitude is the station {station}
> How high up is {station}
~ {station}
! How high up is the station?
boiling point | Temperature at which water boils at an altitude.
 altitude: int(-50,4800,10) | Altitude in metres
> At what temperature does water boil at {altitude} metres
> What is the boiling point of water at an altitude of {altitude} m
~ {altitude} metres
& At what temperature does water boil at the station {station}
& Look up the altitude of {station}, then tell me the boiling point of water there
@ courier
courier zone | Zone in which a courier delivers.
 courier: pool(firstname) | First name of the courier
> Which zone does {courier} deliver in
> What is {courier}'s zone
~ {courier}
zone parcels | Parcels that wait for delivery in a zone.
 zone: code(Z) | Number of the zone, such as Z5
> How many parcels are waiting in zone {zone}
> Count the parcels of zone {zone}
~ zone {zone}
& How many parcels are waiting in {courier}'s zone
& Find the zone of {courier} and count the parcels there
assign courier | Send a courier to a zone.
 courier: pool(firstname) | First name of the courier
 zone: code(Z) | Number of the zone
> Send {courier} to zone {zone}
> Let {courier} deliver in zone {zone}
~ {courier} to {zone}
! Send Ben to another zone.
@ observatory
star telescope | Telescope that watches a star tonight.
 star: pool(star) | Name of the star
> Which telescope watches {star} tonight
> What is {star} watched with
~ {star}
move telescope | Turn a telescope by some degrees; negative is to the left.
 telescope: code(O) | Number of the telescope, such as O2
 degrees: int(-90,90,5) | Degrees
> Turn telescope {telescope} by {degrees} degrees
~ {telescope} by {degrees} degrees
& Turn the telescope that watches {star} by {degrees} degrees
! Turn telescope O4, please.
@ signed_numbers
sum changes | Sum of changes, which may be negative.
 changes: [int(-60,60)](3,7) | The changes in order
> Add up the changes {changes}
> What do the changes {changes} come to
~ {changes}
warmest of | Highest of some temperatures in degrees Celsius.
 temperatures: [int(-30,40)](3,7) | Temperatures
> Which of the temperatures {temperatures} is the highest
> Find the warmest of {temperatures}
~ {temperatures}
profit series | Statistics of monthly profits, losses being negative.
 profits: [num(-90,90,1)](3,6) | Profit of each month
 mean?: bool = false | Return the mean as well | with the mean // without the mean
> Summarise the monthly profits {profits}
> I had profits of {profits}, how is that overall
~ {profits}
vector product | Scalar product of two vectors.
 v: [int(-12,12)](3,3) | First vector
 w: [int(-12,12)](3,3) | Second vector
> What is the scalar product of {v} and {w}
> Multiply the vectors {v} and {w}
~ {v} and {w}
line through points | Straight line through two points.
 p: [int(-30,30)](2,2) | First point as [x, y]
 q: [int(-30,30)](2,2) | Second point as [x, y]
> Which line goes through {p} and {q}
> Find the line from {p} to {q}
~ {p} and {q}
polynomial value | Value of a polynomial at a point.
 coefficients: [int(-9,9)](2,5) | Coefficients, highest power first
 x: num(-5,5,1) | Where to evaluate it
> Evaluate the polynomial with coefficients {coefficients} at x = {x}
> What is the value at {x} of the polynomial with the coefficients {coefficients}
~ {coefficients} at {x}
shift signal | Adds an offset to every sample of a signal.
 samples: [num(-3,3,2)](3,6) | Samples
 offset: num(-2,2,1) | What to add
> Shift the signal {samples} by {offset}
> Add {offset} to every sample of {samples}
~ {samples} by {offset}
"""
