"""Made tools, part three: work, shopping, law, health, computing, games. The notation is described in `typed.py`."""

from __future__ import annotations

CATALOG = """
@ office
create event | Creates a calendar event.
 title: pool(subject) | Title of the event
 date: date | Day in YYYY-MM-DD format
 time: pool(time) | Start
 duration?: int(15,180,15) = 60 | Minutes | for {duration} minutes
 guests?: [pool(email)](1,3) | Addresses of guests | and invite {guests}
> Put {title} in my calendar on {date} at {time}
> Schedule {title} for {date} at {time}
~ {title} on {date} at {time}
! Schedule {title} for me.
send email | Sends an email.
 to: [pool(email)](1,3) | Addresses of the recipients
 subject: pool(subject) | Subject line
 body: pool(message) | Text of the email
 urgent?: bool = false | Mark as urgent | and mark it urgent // not urgent
> Email {to} with the subject "{subject}" saying "{body}"
> Send an email to {to}, subject "{subject}", text "{body}"
! Send an email to {to}.
send message | Sends a text message.
 recipient: pool(firstname) | Who receives it
 text: pool(message) | The message
 app?: enum(SMS/WhatsApp/Signal) = SMS | App to use | via {app}
> Send {recipient} the message "{text}"
> Text {recipient}: "{text}"
~ {recipient} "{text}"
! Send a message to {recipient}.
make note | Stores a note.
 text: pool(note) | The note
 tags?: [pool(topic)](1,2) | Tags | tagged {tags}
> Make a note: {text}
> Remember to {text}
translate text | Translates text.
 text: pool(sentence) | Text to translate
 target: pool(language) | Language to translate into
 source?: pool(language) | Language of the text | from {source}
 formal?: bool = false | Formal style | in a formal style // in a casual style
> Translate "{text}" into {target}
> How do you say "{text}" in {target}
~ "{text}" into {target}
sentiment | Sentiment of a text.
 text: pool(sentence) | Text
 detailed?: bool = false | Give a score for each sentence | with a score for each sentence // only the total
> Is this positive or negative: "{text}"
> Analyse the sentiment of "{text}"
~ "{text}"
web search | Searches the web.
 query: pool(keyword) | What to search for
 results?: int(3,20) = 10 | Number of results | and show {results} results
 fresh?: bool = false | Recent pages only | only recent pages // of any age
> Search the web for {query}
> Look up {query} online
~ {query}
news articles | Finds news.
 topic: pool(topic) | Topic
 country?: pool(country) | Country of the sources | from {country}
 limit?: int(2,10) = 5 | Number of articles | at most {limit} articles
 since?: date | Earliest day in YYYY-MM-DD format | since {since}
> What is the news on {topic}
> Get news articles about {topic}
~ {topic}
find jobs | Finds job offers.
 title: pool(job) | Job title
 location: pool(city) | City
 min_salary?: int(30000,120000,1000) | Lowest yearly salary | paying at least {min_salary}
 remote?: bool = false | Remote jobs | that I can do remotely // on site
> Find jobs as a {title} in {location}
~ {title} in {location}
add employee | Adds an employee to the staff list.
 name: pool(person) | Full name
 role: pool(job) | Job title
 salary: int(30000,120000,500) | Yearly salary
 skills?: [pool(skill)](1,3) | Skills | with skills in {skills}
> Add {name} as a {role} with a salary of {salary}
~ {name} as a {role} with a salary of {salary}
university programs | Finds study programs.
 field: pool(degree) | Field of study
 university: pool(university) | University
 level?: enum(bachelor/master/PhD) = bachelor | Level | at {level} level
> Does {university} teach {field}
> Find programs in {field} at {university}
~ {field} at {university}
@ shopping
search product | Searches a shop.
 query: pool(product) | What to look for
 brand?: pool(brand) | Brand | made by {brand}
 price_range?: {min: int(5,40), max: int(50,300)} | Prices in dollars | with a price of {price_range}
 colours?: [pool(colour)](1,2) | Colours | in {colours}
> Find me {query}
> Search the shop for {query}
~ {query}
track order | Tracks an order.
 order_id: pool(idcode) | Number of the order
 notify?: bool = false | Send updates | and send me updates // without updates
> Where is my order {order_id}
> Track the order {order_id}
~ order {order_id}
! Where is my order?
discount price | Price after a discount.
 price: num(5,900,2) | Price before
 discount: pct(5,70) | Discount in percent
 tax?: rate = 0 | Tax rate | plus {tax} tax
> What do I pay for something that costs ${price} with {discount} off
> Calculate the price of a ${price} item after a discount of {discount}
~ ${price} with {discount} off
add to cart | Puts items into a cart.
 items: [{product: pool(product), quantity: int(1,6)}](1,2) | Items and quantities
 user_id: int(100,9999) | Number of the customer
> Add to the cart of customer {user_id}: {items}
car value | Estimates the value of a used car.
 model: pool(vehicle) | Make and model
 year: int(2005,2023) | Year it was built
 mileage: int(5000,150000,1000) | Miles driven
 accidents?: bool = false | Had accidents | which had an accident // free of accidents
> What is a {model} from {year} with {mileage} miles worth
~ a {model} from {year} with {mileage} miles
property search | Finds homes.
 city: pool(city) | City
 bedrooms: int(1,5) | Number of bedrooms
 budget: {min: int(50000,150000,5000), max: int(200000,900000,5000)} | Prices in dollars
 garden?: bool = false | Must have a garden | with a garden // without a garden
> Find a home in {city} with {bedrooms} bedrooms and a budget of {budget}
@ law
find cases | Finds court cases.
 topic: pool(lawtopic) | Topic
 state: pool(state) | State
 since_year?: int(1990,2023) | First year | since {since_year}
> Find court cases on {topic} in {state}
~ {topic} in {state}
case details | Details of a court case.
 case: pool(casename) | Name or number
 include_verdict?: bool = false | Also return the verdict | including the verdict // without the verdict
> Show me the details of {case}
~ {case}
crime rate | Crime rate of a place.
 city: pool(city) | City
 year: int(2000,2023) | Year
 type?: pool(crime) | Kind of crime | for {type}
> How high was the crime rate of {city} in {year}
~ {city} in {year}
find lawyer | Finds lawyers.
 specialty: pool(lawtopic) | Area of law
 city: pool(city) | City
 max_fee?: int(80,500,10) | Highest fee an hour | charging at most {max_fee} dollars an hour
> Find a lawyer for {specialty} in {city}
~ {specialty} in {city}
@ health
disease info | Information on a disease.
 disease: pool(disease) | Disease
 aspects: [enum(symptoms/causes/treatment/prevention)](1,3) | What to tell
> What are the {aspects} of {disease}
~ the {aspects} of {disease}
drug interaction | Checks whether drugs go together.
 drugs: [pool(drug)](2,3) | Names of the drugs
> Can I take {drugs} together
> Check {drugs} for interactions
~ {drugs}
book doctor | Books a doctor.
 specialty: enum(dentist/dermatologist/cardiologist/pediatrician) | Specialty
 city: pool(city) | City
 date?: date | Day, YYYY-MM-DD | on {date}
 insured?: bool = true | Has insurance | with insurance // without insurance
> Book a {specialty} in {city}
> I need an appointment with a {specialty} in {city}
~ a {specialty} in {city}
log sleep | Logs sleep.
 hours: num(3,11,1) | Hours slept
 quality: enum(poor/fair/good) | Quality
> Log {hours} hours of {quality} sleep
~ {hours} hours of {quality} sleep
@ computing
read csv | Reads rows of a CSV file.
 path: pool(file) | File
 rows?: int(5,500) = 10 | Rows to read | only the first {rows} rows
 columns?: [pool(column)](1,3) | Columns to keep | with the columns {columns}
> Read the file {path}
~ {path}
query table | Reads rows of a database table.
 table: pool(table) | Table
 filters: [{column: pool(column), operator: enum(=/>/<), value: int(1,99)}](1,2) | Conditions
 limit?: int(5,100) | Most rows | limited to {limit} rows
> Select from {table} where {filters}
delete files | Deletes files in a folder.
 folder: pool(folder) | Folder
 older_than?: int(7,365) | Age in days | older than {older_than} days
 dry_run?: bool = false | Only show what would go | but only as a dry run // for real
> Delete the files in {folder}
~ {folder}
resize image | Resizes an image.
 path: pool(file) | Image
 width: int(100,2000,10) | Width in pixels
 height: int(100,2000,10) | Height in pixels
 keep_ratio?: bool = true | Keep the proportions | keeping the proportions // ignoring the proportions
> Resize {path} to {width} by {height} pixels
~ {path} to {width} by {height}
word count | Counts words or characters.
 text: pool(sentence) | Text
 unit?: enum(words/characters) = words | What to count | counting {unit}
> How long is the text "{text}"
~ "{text}"
check palindrome | Whether a word is a palindrome.
 word: pool(word) | Word
 ignore_case?: bool = true | Ignore case | ignoring case // respecting case
> Is "{word}" a palindrome
~ "{word}"
random password | Makes a password.
 length: int(8,32) | Number of characters
 symbols?: bool = true | Use symbols | with symbols // without symbols
> Generate a password of {length} characters
~ {length} characters
http request | Sends an HTTP request.
 url: pool(url) | Address
 method: enum(GET/POST/PUT/DELETE) | Method
 headers?: {Accept: enum(json/html/text)} | Headers | with the headers {headers}
 timeout?: int(5,60) = 30 | Seconds to wait | and a timeout of {timeout} seconds
> Send a {method} request to {url}
~ a {method} request to {url}
train model | Trains a model on a table.
 table: pool(table) | Training data
 target: pool(column) | Column to predict
 features: [pool(column)](2,3) | Columns used as input
 test_share?: num(0.1,0.4,1) = 0.2 | Share kept for testing | keeping {test_share} for testing
> Train a model on {table} that predicts {target} from {features}
@ space
planet info | Facts on a planet.
 planet: pool(planet) | Planet
 facts?: [enum(mass/radius/moons/distance)](1,2) = all | Facts | I want its {facts}
> Tell me about {planet}
~ {planet}
orbital period | Orbital period of a satellite.
 altitude: int(200,36000,50) | Altitude in kilometres
 body?: pool(planet) = Earth | Body it circles | around {body}
> How long does a satellite at {altitude} km need for one orbit
~ {altitude} km
star distance | Distance of a star.
 star: pool(star) | Star
 unit?: enum(light years/parsecs) = light years | Unit | in {unit}
> How far away is {star}
~ {star}
sunrise | Sunrise and sunset of a place.
 city: pool(city) | City
 date: date | Day, YYYY-MM-DD
> When does the sun rise in {city} on {date}
~ {city} on {date}
@ games
deal cards | Deals cards.
 players: int(2,8) | Number of players
 cards: int(2,10) | Cards for each
 jokers?: bool = false | Use jokers | with jokers // without jokers
> Deal {cards} cards to each of {players} players
game rules | Rules of a game.
 game: pool(game) | Game
 players?: int(2,6) | Number of players | for {players} players
> Explain the rules of {game}
~ {game}
game achievements | Achievements of a player.
 game: pool(game) | Game
 player: pool(firstname) | Name of the player
 only_rare?: bool = false | Rare ones only | only the rare ones // all of them
> Which achievements does {player} have in {game}
~ {player} in {game}
pet adoption | Finds pets to adopt.
 breed: pool(breed) | Breed
 city: pool(city) | City
 max_age?: int(1,10) | Highest age in years | not older than {max_age} years
> Find a {breed} to adopt in {city}
~ a {breed} in {city}
"""
