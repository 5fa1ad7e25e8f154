"""Made tools, part five: services, business, devices, media and everyday life. The notation is in `typed.py`."""

from __future__ import annotations

CATALOG = """
@ banking
account balance | Balance of a bank account.
 account_id: pool(idcode) | Identifier of the account
 as_of?: date | Day in YYYY-MM-DD format | as of {as_of}
> What is the balance of account {account_id}
> Show me how much money is in account {account_id}
~ account {account_id}
! What is my balance?
transfer money | Transfers money between accounts.
 source_account: pool(idcode) | Account to take it from
 target_account: pool(idcode) | Account to send it to
 amount: num(5,3000,2) | Amount
 currency?: pool(currency) = USD | Currency code | in {currency}
> Transfer {amount} from {source_account} to {target_account}
> Move {amount} out of {source_account} into {target_account}
~ {amount} from {source_account} to {target_account}
! Transfer 200 dollars.
file claim | Files an insurance claim.
 policy: pool(idcode) | Policy number
 incident: enum(theft/fire/water damage/accident/storm) | What happened
 loss: int(100,20000,50) | Estimated loss in dollars
 on?: date | Day of the incident in YYYY-MM-DD format | that happened on {on}
> File a claim for {incident} under policy {policy} with a loss of {loss} dollars
~ {incident} under policy {policy} with a loss of {loss} dollars
! I want to file a claim because of a storm.
make invoice | Creates an invoice.
 customer: pool(company) | Customer
 items: [{product: pool(product), quantity: int(1,9), price: num(5,200,2)}](1,2) | Items sold
 due?: date | Due day in YYYY-MM-DD format | due on {due}
> Make an invoice for {customer} with: {items}
! Make an invoice for Siemens.
@ delivery
shipping cost | Cost of a parcel.
 weight: num(0.2,30,1) | Weight in kilograms
 destination: pool(country) | Country of the recipient
 service?: enum(standard/express/overnight) = standard | Speed | by {service} delivery
 insured?: bool = false | Whether insured | with insurance // without insurance
> What does it cost to send a parcel of {weight} kg to {destination}
> Get the price for shipping {weight} kg to {destination}
~ {weight} kg to {destination}
! How much is shipping to Japan?
schedule pickup | Books a courier.
 address: pool(street) | Where to pick up
 day: date | Day in YYYY-MM-DD format
 parcels: int(1,20) | Number of parcels
> Have {parcels} parcels picked up at {address} on {day}
> Schedule a pickup of {parcels} parcels at {address} for {day}
~ {parcels} parcels at {address} on {day}
order taxi | Orders a taxi.
 pickup: pool(street) | Where to start
 dropoff: pool(landmark) | Where to go
 passengers: int(1,6) | Number of passengers
 vehicle?: enum(sedan/van/electric) = sedan | Kind of car | in a {vehicle} car
> Order a taxi for {passengers} from {pickup} to {dropoff}
~ from {pickup} to {dropoff} for {passengers}
! Order a taxi to Big Ben.
train departures | Next trains from a station.
 station: pool(city) | City of the station
 toward?: pool(city) | Direction | toward {toward}
 limit?: int(2,10) = 5 | Number of trains | and list {limit} trains
> When do the next trains leave from {station}
> Show departures in {station}
~ {station}
parking spot | Finds a place to park.
 near: pool(landmark) | Where
 hours: int(1,12) | How long in hours
 covered?: bool = false | Whether covered | with a roof // in the open
> Find parking near the {near} for {hours} hours
~ the {near} for {hours} hours
traffic report | Traffic on the roads of a city.
 city: pool(city) | City
 road?: pool(street) | Street | around {road}
> How is the traffic in {city}
> Get the traffic report for {city}
~ {city}
@ streaming
watch series | Starts an episode of a series.
 series: pool(series) | Name of the series
 season: int(1,8) | Season
 episode: int(1,16) | Episode
 subtitles?: pool(language) | Language of subtitles | with {subtitles} subtitles
> Play episode {episode} of season {season} of {series}
> Start {series}, season {season}, episode {episode}
~ {series} season {season} episode {episode}
! Play the next episode.
song lyrics | Lyrics of a song.
 song: pool(song) | Title
 artist: pool(artist) | Artist
> Find the lyrics of {song} by {artist}
> What are the words of "{song}" by {artist}
~ {song} by {artist}
! Show me the lyrics of that song.
concert tickets | Finds or buys tickets for concerts.
 artist: pool(artist) | Who plays
 city: pool(city) | Where
 seats?: int(1,8) = 2 | Number of tickets | for {seats} people
 max_price?: int(20,300,5) | Highest price of a ticket | for at most {max_price} dollars each
> Get tickets for {artist} in {city}
> Find concert tickets for {artist} in {city}
~ {artist} in {city}
! Get me concert tickets in Boston.
podcast episodes | Finds episodes of podcasts.
 topic: pool(topic) | Topic
 language?: pool(language) = English | Language | in {language}
 max_minutes?: int(10,90,5) | Longest length | no longer than {max_minutes} minutes
> Find podcast episodes on {topic}
> Which podcasts talk about {topic}
~ {topic}
artist albums | Albums of an artist.
 artist: pool(artist) | Artist
 since_year?: int(1970,2022) | First year | since {since_year}
> Which albums did {artist} make
> List the albums of {artist}
~ {artist}
movie cast | Actors of a film.
 film: pool(movie) | Title of the film
 year?: int(1960,2023) | Year, if several films share the title | from {year}
> Who plays in {film}
> List the cast of {film}
~ {film}
rate movie | Stores a rating of a film.
 title: pool(movie) | Film
 stars: int(1,10) | Rating from 1 to 10
 comment?: pool(sentence) | Comment | with the comment "{comment}"
> Give {title} {stars} stars
> Rate the film {title} with {stars}
~ {title} with {stars}
! Rate Dune for me.
@ social
create post | Publishes a post.
 content: pool(message) | Text of the post
 platform: enum(Mastodon/LinkedIn/Facebook/Bluesky) | Where
 tags?: [pool(keyword)](1,2) | Tags | tagged {tags}
> Post "{content}" on {platform}
> Publish on {platform}: "{content}"
~ "{content}" on {platform}
follower count | Followers of an account.
 account: pool(firstname) | Account name
 network: enum(Mastodon/Instagram/YouTube/TikTok) | Network
> How many followers does {account} have on {network}
~ {account} on {network}
schedule meeting | Finds a time and invites people.
 attendees: [pool(firstname)](2,4) | Who takes part
 duration: int(15,120,15) | Length in minutes
 topic?: pool(topic) | Subject | about {topic}
> Set up a {duration} minute meeting with {attendees}
> Arrange a meeting of {duration} minutes with {attendees}
! Set up a meeting with Anna.
set reminder | Sets a reminder.
 what: pool(note) | What to remember
 at: pool(time) | Time
 repeat?: enum(daily/weekly/monthly) | How often | {repeat}
> Remind me at {at} to {what}
> Set a reminder for {at} to {what}
~ at {at} to {what}
! Remind me to buy milk.
find contact | Looks up a person in the contacts.
 name: pool(person) | Full name
 field?: enum(phone/email/address) = phone | What is wanted | and give me the {field}
> Find {name} in my contacts
> Look up the contact {name}
~ {name}
call person | Starts a phone call.
 person: pool(person) | Who to call
 speaker?: bool = false | Use the loudspeaker | on speaker // not on speaker
> Call {person}
> Phone {person}
~ {person}
@ hiring
employee leave | Enters a leave of absence.
 employee: pool(person) | Full name
 start: date | First day in YYYY-MM-DD format
 end: date | Last day in YYYY-MM-DD format
 kind?: enum(vacation/sick/parental/unpaid) = vacation | Kind of leave | as {kind} leave
> Enter a leave for {employee} from {start} to {end}
> Note that {employee} is away from {start} until {end}
~ {employee} from {start} to {end}
! Enter a leave for Tom Becker.
payroll report | Payroll of a department.
 department: enum(sales/engineering/marketing/legal/support) | Department
 month: int(1,12) | Month as a number
 year: int(2018,2025) | Year
> Create the payroll report of {department} for month {month} of {year}
~ {department} for month {month} of {year}
rank candidates | Ranks applicants for a role.
 role: pool(job) | Role
 skills: [pool(skill)](2,3) | Skills needed
 top?: int(2,10) = 5 | How many to return | and return the top {top}
> Rank the applicants for {role} by {skills}
> Who fits the role of {role} best, given that we need {skills}
! Rank the applicants.
course enrol | Enrols a student in a course.
 student: pool(person) | Student
 course: pool(degree) | Course
 term: enum(spring/summer/autumn/winter) | Term
> Enrol {student} in {course} for the {term} term
> Sign {student} up for {course} in {term}
~ {student} in {course} for {term}
grade average | Average of grades.
 grades: [int(40,100)](3,6) | Grades in percent
 weights?: [num(0.1,0.9,1)](3,3) | Weight of each grade | weighted by {weights}
> What is the average of the grades {grades}
~ the grades {grades}
@ servers
restart service | Restarts a service on a server.
 service: enum(nginx/redis/postgres/mailer/scheduler) | Service
 host: enum(web-1/web-2/db-1/cache-3/edge-7) | Server
 force?: bool = false | Kill it if it hangs | by force // gently
> Restart {service} on {host}
> Bring {service} on {host} back up, it hangs
~ {service} on {host}
! Restart nginx.
search logs | Searches log files.
 pattern: enum(timeout/connection refused/out of memory/permission denied) | Text to look for
 host: enum(web-1/web-2/db-1/cache-3/edge-7) | Server
 minutes?: int(5,240,5) = 60 | How far back | in the last {minutes} minutes
 level?: enum(debug/info/warning/error) | Lowest level | at level {level}
> Search the logs of {host} for "{pattern}"
~ "{pattern}" on {host}
scale deployment | Sets the number of copies of a deployment.
 deployment: enum(api/frontend/worker/billing/search) | Deployment
 replicas: int(1,20) | Number of copies
 region?: enum(eu-west/us-east/ap-south) | Region | in {region}
> Scale {deployment} to {replicas} replicas
> Run {replicas} copies of {deployment}
~ {deployment} to {replicas}
create branch | Creates a branch in a repository.
 repository: enum(webshop/mobile-app/docs/data-tools) | Repository
 branch: enum(fix-login/new-header/speed-up/tests) | Name of the branch
 from_branch?: enum(main/develop/release) = main | Where it starts | starting from {from_branch}
> Create the branch {branch} in {repository}
~ {branch} in {repository}
open ticket | Opens a ticket in the issue tracker.
 title: enum(Login fails/Page is slow/Wrong total/Broken link) | Title
 project: enum(webshop/mobile-app/docs/data-tools) | Project
 priority?: enum(low/medium/high/critical) = medium | Priority | with {priority} priority
 labels?: [enum(bug/ui/backend/security)](1,2) | Labels | labelled {labels}
> Open a ticket "{title}" for {project}
> Report "{title}" in {project}
~ "{title}" in {project}
insert row | Inserts a row into a database table.
 table: pool(table) | Table
 row: {name: pool(person), city: pool(city), age: int(18,80)} | Column values
> Insert {row} into {table}
! Insert a row into customers.
compress folder | Packs a folder into an archive.
 folder: pool(folder) | Folder
 format: enum(zip/tar.gz/7z) | Kind of archive
 delete_after?: bool = false | Delete the folder afterwards | and delete the folder afterwards // and keep the folder
> Pack {folder} as {format}
> Compress {folder} into a {format} archive
~ {folder} as {format}
convert file | Converts a file to another format.
 input: pool(file) | File
 output_format: enum(pdf/docx/png/json/csv/mp3) | Format wanted
> Convert {input} to {output_format}
> Turn {input} into a {output_format} file
~ {input} to {output_format}
! Convert a file to pdf.
hash text | Hash of a text.
 text: pool(word) | Text
 algorithm: enum(md5/sha1/sha256/sha512) | Algorithm
> Compute the {algorithm} hash of "{text}"
~ the {algorithm} of "{text}"
regex replace | Replaces a pattern in a text.
 text: pool(sentence) | Text
 pattern: enum([0-9]+/a|e|o/and|or/s$) | Regular expression
 replacement: enum(X/-/#/*) | Replacement
> Replace {pattern} with {replacement} in "{text}"
@ household
water plants | Waters a zone of the garden.
 zone: enum(front yard/vegetable bed/greenhouse/balcony) | Zone
 minutes: int(2,45) | Minutes
> Water the {zone} for {minutes} minutes
~ the {zone} for {minutes} minutes
! Water the garden.
lock door | Locks or unlocks a door.
 door: enum(front door/back door/garage door/cellar door) | Door
 action: enum(lock/unlock) | What to do
> Please {action} the {door}
~ {action} the {door}
camera snapshot | Takes a picture with a camera of the house.
 camera: pool(room) | Room of the camera
 resolution?: enum(720p/1080p/4k) = 1080p | Resolution | in {resolution}
> Take a picture with the camera in the {camera}
~ the {camera}
wash cycle | Starts the washing machine.
 program: enum(cotton/wool/delicates/quick/eco) | Program
 temperature: int(20,90,10) | Temperature in Celsius
 spin?: int(400,1400,200) | Spin speed | spinning at {spin}
> Start the {program} program at {temperature} degrees
~ {program} at {temperature} degrees
shopping list add | Adds things to the shopping list.
 items: [pool(ingredient)](1,4) | What to add
 list_name?: enum(weekly/party/office) = weekly | Which list | to the {list_name} list
> Add {items} to my shopping list
> Put {items} on the shopping list
meal plan | Plans meals.
 days: int(2,14) | Number of days
 diet: enum(vegan/vegetarian/keto/low carb/mediterranean) | Diet
 calories?: int(1200,3200,100) | Calories a day | with {calories} calories a day
 avoid?: [pool(allergen)](1,2) | What to avoid | without {avoid}
> Make a {diet} meal plan for {days} days
~ {days} days of {diet} food
! Make me a meal plan.
cooking time | Time to cook something.
 food: pool(ingredient) | Food
 method: enum(boil/bake/grill/steam/fry) | How
 weight?: int(100,3000,50) | Weight in grams | weighing {weight} grams
> How long do I need to {method} {food}
~ {food}, I want to {method} it
@ wellbeing
target heart rate | Heart rate zone for training.
 age: int(15,85) | Age in years
 intensity?: enum(low/moderate/high) = moderate | Intensity | for {intensity} intensity
> Which heart rate should a {age} year old train at
> Compute the target heart rate at age {age}
~ age {age}
! What should my heart rate be?
medicine reminder | Sets reminders to take a medicine.
 medicine: pool(drug) | Medicine
 times: [pool(time)](1,3) | Times of day
 with_food?: bool = false | Whether with food | with food // on an empty stomach
> Remind me to take {medicine} at {times}
> Set reminders for {medicine} at {times}
! Remind me to take my pills.
side effects | Side effects of a medicine.
 medicine: pool(drug) | Medicine
 age_group?: enum(children/adults/elderly) = adults | Who takes it | for {age_group}
> What are the side effects of {medicine}
~ {medicine}
find gym | Finds gyms.
 city: pool(city) | City
 facilities?: [enum(pool/sauna/climbing wall/courts)](1,2) | What it must have | with {facilities}
 max_fee?: int(15,120,5) | Highest monthly fee | for less than {max_fee} a month
> Find a gym in {city}
> Which gyms are there in {city}
~ {city}
pregnancy due date | Due date of a pregnancy.
 last_period: date | First day of the last period in YYYY-MM-DD format
 cycle?: int(24,35) = 28 | Length of the cycle in days | with a cycle of {cycle} days
> When is the baby due if the last period began on {last_period}
! When is my baby due?
@ nature
species info | Facts on an animal.
 animal: pool(animal) | Animal
 facts?: [enum(habitat/diet/lifespan/weight)](1,3) | Which facts | , above all {facts}
> Tell me about {animal}
> Find information on {animal}
~ {animal}
tide times | Tides at a place on a day.
 harbour: pool(city) | Harbour
 day: date | Day in YYYY-MM-DD format
> When is high tide in {harbour} on {day}
> Get the tides for {harbour} on {day}
~ {harbour} on {day}
earthquakes | Recent earthquakes of a region.
 region: pool(country) | Country
 min_magnitude?: num(2.5,7,1) = 4.5 | Smallest magnitude | of magnitude {min_magnitude} or more
 days?: int(1,60) = 7 | How far back | in the last {days} days
> List the earthquakes in {region}
> Were there any earthquakes in {region}
~ {region}
crop yield | Expected yield of a field.
 crop: enum(wheat/maize/rice/soybeans/potatoes) | Crop
 hectares: num(1,300,1) | Size of the field in hectares
 irrigated?: bool = false | Whether irrigated | with irrigation // without irrigation
> What yield can I expect from {hectares} hectares of {crop}
~ {hectares} hectares of {crop}
identify bird | Identifies a bird.
 colour: pool(colour) | Main colour
 size: enum(small/medium/large) | Size
 location: pool(country) | Where it was seen
> Which {size} {colour} bird did I see in {location}
~ a {size} {colour} one in {location}
"""
