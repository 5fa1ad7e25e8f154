"""Words from which made requests take their values: one named pool a line."""

from __future__ import annotations

import random

_POOLS = """
city: Vienna; Lisbon; Nairobi; Toronto; Osaka; Denver; Prague; Lima; Oslo; Hanoi; Austin; Leeds; Cairo; Seville; Perth; Boston; Mumbai; Quebec City; Cape Town; Buenos Aires; New Orleans; Salt Lake City; Naples; Ghent; San Diego; Krakow; Ankara; Manila; Bogota; Helsinki; Dallas, TX; Portland, OR; Kyoto; Miami; Rome; Dubai
country: Austria; Kenya; Peru; Japan; Norway; Canada; Portugal; Vietnam; Mexico; Egypt; New Zealand; South Korea; Chile; Poland; Morocco; Iceland; Thailand; Brazil; Ireland; Ghana
state: Texas; Ohio; Nevada; Oregon; Georgia; Maine; Utah; Florida; Virginia; Colorado; Michigan; New Mexico
person: Maria Lopez; John Carter; Aisha Khan; Tom Becker; Yuki Tanaka; Elena Petrova; Samuel Osei; Grace Hill; Omar Haddad; Nina Berg; Pedro Alves; Lucy Chen; Ivan Novak; Priya Nair; Daniel Roth; Fatima Noor
firstname: Anna; Ben; Clara; David; Emma; Felix; Hugo; Ines; Jonas; Kira; Leo; Mona; Noah; Olga; Paul; Rita
company: Nordwind; Acme Corp; Siemens; Toyota; Nestle; Samsung; Netflix; Spotify; Boeing; Adidas; Unilever; Intel; Shell; Ikea; Volvo; Nokia
ticker: AAPL; MSFT; TSLA; NFLX; IBM; ORCL; INTC; AMD; NVDA; SAP; KO; GE
celebrity: Marie Curie; Isaac Newton; Frida Kahlo; Nelson Mandela; Ada Lovelace; Leonardo da Vinci; Charles Darwin; Cleopatra; Galileo Galilei; Jane Austen; Mozart; Nikola Tesla
movie: Inception; The Matrix; Amelie; Parasite; Casablanca; Interstellar; Spirited Away; Jaws; Gladiator; Coco; Alien; Rocky; Arrival; Up
series: Dark; The Office; Lost; Sherlock; The Crown; Narcos; Friends; The Wire
book: Dune; Emma; The Hobbit; Moby Dick; Middlemarch; Beloved; Dracula; The Stranger; Ulysses; Persuasion; Walden; Frankenstein
song: Yesterday; Hallelujah; Imagine; Thriller; Halo; Bohemian Rhapsody; Jolene; Creep; Wonderwall; Hello; Africa; Clocks
artist: Adele; Radiohead; Miles Davis; Bjork; Coldplay; Nina Simone; Daft Punk; Bob Marley; Shakira; Queen; The Beatles; Drake
genre: jazz; rock; comedy; thriller; horror; drama; science fiction; classical; folk; documentary; romance; hip hop
team: Real Madrid; Chicago Bulls; Boston Celtics; Manchester City; Juventus; LA Lakers; Green Bay Packers; Toronto Raptors; Ajax; New York Yankees; Bayern Munich; Miami Heat
league: NBA; Premier League; La Liga; NFL; Serie A; MLB; Bundesliga; NHL
athlete: Serena Williams; Lionel Messi; Usain Bolt; Simone Biles; LeBron James; Roger Federer; Mo Farah; Tiger Woods
sport: tennis; basketball; swimming; football; cricket; rowing; volleyball; hockey; chess; golf
food: lentil soup; banana bread; pad thai; lasagna; guacamole; paella; pancakes; ramen; chili; apple pie; greek salad; risotto
ingredient: tomatoes; chickpeas; spinach; rice; eggs; tofu; salmon; mushrooms; potatoes; basil; garlic; cheddar
cuisine: Italian; Thai; Mexican; Indian; Ethiopian; Greek; Japanese; French; Korean; Vietnamese
allergen: peanuts; gluten; dairy; shellfish; soy; eggs
language: Spanish; German; French; Japanese; Swahili; Arabic; Polish; Korean; Italian; Dutch; Hindi; Turkish
currency: USD; EUR; GBP; JPY; CHF; CAD; AUD; SEK; INR; MXN
coin: Bitcoin; Ethereum; Solana; Dogecoin; Litecoin
animal: elephants; wolves; sea turtles; bees; tigers; penguins; owls; dolphins; bats; foxes
breed: Golden Retriever; Beagle; Poodle; Siamese cat; Border Collie; Maine Coon
plant: tomato; basil; rose; orchid; fern; lavender; oak; maple; bamboo; cactus
element: gold; iron; oxygen; sodium; helium; carbon; copper; neon; uranium; silver
molecule: caffeine; glucose; ethanol; methane; aspirin; ammonia; benzene; water
material: steel; glass; copper; oak; aluminium; concrete; rubber; ice
planet: Mars; Venus; Jupiter; Saturn; Mercury; Neptune
star: Sirius; Vega; Betelgeuse; Polaris; Rigel
gene: BRCA1; TP53; CFTR; APOE; MTHFR; EGFR
disease: malaria; diabetes; asthma; measles; influenza; migraine; anemia; tuberculosis
drug: ibuprofen; metformin; amoxicillin; aspirin; warfarin; insulin
event: the French Revolution; the Battle of Hastings; the moon landing; the fall of the Berlin Wall; World War I; the Boston Tea Party; the Black Death; the Treaty of Versailles
empire: Roman Empire; Ottoman Empire; Ming dynasty; Inca Empire; British Empire; Mughal Empire
landmark: Eiffel Tower; Big Ben; Machu Picchu; Grand Canyon; Niagara Falls; Mount Fuji; Colosseum; Golden Gate Bridge
museum: Louvre; Prado; British Museum; MoMA; Uffizi; Rijksmuseum
painting: Starry Night; Mona Lisa; Guernica; The Scream; Water Lilies; Girl with a Pearl Earring
style: modern; rustic; minimalist; baroque; industrial; art deco
instrument: violin; piano; flute; cello; guitar; trumpet; drums
scale: C major; A minor; G major; D minor; E major; F sharp minor
airport: JFK; LHR; CDG; SFO; NRT; FRA; SYD; DXB; AMS; ORD
airline: Lufthansa; Delta; Emirates; KLM; Qantas; United
hotel: Hilton; Grand Plaza; Marriott; Seaside Inn; Hotel Astoria; Park Lodge
restaurant: La Piazza; Green Garden; Sushi Bar Kiku; The Oak Room; Casa Lola; Blue Door Bistro
product: running shoes; a desk lamp; wireless headphones; a coffee grinder; a yoga mat; a backpack; a phone case; a rain jacket
brand: Nike; Sony; Bosch; Patagonia; Lego; Canon
colour: red; blue; green; black; white; yellow; navy; purple; orange
room: kitchen; bedroom; living room; garage; office; bathroom; hallway
device: coffee machine; heater; fan; dishwasher; radio; robot vacuum; projector
email: anna@mail.com; sales@nordwind.org; j.carter@acme.com; hr@contoso.net; mona.k@uni.edu; support@shop.io
topic: climate change; machine learning; electric cars; ancient Egypt; renewable energy; space travel; healthy eating; remote work; quantum computing; urban planning
subject: lunch with Anna; dentist; team meeting; yoga class; project review; car service; birthday party; budget call
message: I will be ten minutes late; The report is ready; Happy birthday!; Please call me back; See you at noon; The meeting moved to Friday; Don't forget the keys
note: buy milk and bread; call the plumber; renew the passport; water the plants; pay the rent; book the flights
sentence: The cat sat on the mat; Good morning, how are you?; I would like a glass of water; Where is the train station?; We love this place; The service was slow but the food was great
word: serendipity; level; banana; kayak; knowledge; rhythm; ephemeral; listen; algorithm; bookkeeper
keyword: solar panels; vegan recipes; used bikes; tax rules; remote jobs; marathon training; hiking trails; laptop deals
degree: computer science; mechanical engineering; nursing; economics; biology; law
university: Stanford University; MIT; Oxford; ETH Zurich; University of Toronto; Kyoto University
job: data analyst; nurse; electrician; software engineer; graphic designer; teacher; accountant
skill: Python; negotiation; welding; SQL; photography; public speaking; Excel
crime: burglary; fraud; vandalism; arson; car theft
lawtopic: tenant rights; copyright; overtime pay; data protection; divorce; trademark
casename: Smith v. Jones; Brown v. Board; Doe v. Acme; Lee v. Harbor City
game: chess; poker; Catan; Minecraft; Zelda; Tetris; Monopoly; Scrabble
hobby: hiking; painting; fishing; photography; gardening; knitting; cycling
exercise: running; cycling; swimming; rowing; yoga; weight lifting
file: report.pdf; data.csv; notes.txt; photo.png; budget.xlsx; main.py
folder: /home/anna/docs; /tmp; Downloads; /var/log; projects/alpha
url: https://example.org; https://news.site/today; https://shop.test/item/42; http://docs.site.io
table: customers; orders; employees; products; invoices; sensors
column: age; price; city; salary; status; created_at; name
time: 09:00; 14:30; 18:45; 7:15 AM; 3 PM; 10:30 AM; 20:00; 6:30 PM
when: tomorrow; next Monday; this weekend; tonight; next week; on Friday; today
era: Renaissance; Bronze Age; Middle Ages; Victorian era; Iron Age
street: 12 Oak Street; 5 Rue Verte; 48 Main Avenue; 221 Hill Road; 9 Harbour Lane
idcode: A1042; ORD-7731; X99-20; TK5580; 48213; INV-2024-017; C-310; 900417
flightno: LH441; BA117; UA930; AF66; EK201; DL45; QF12; KL1023; SQ318; AA100
river: Nile; Danube; Amazon; Thames; Mekong; Rhine
mountain: Mont Blanc; Kilimanjaro; Everest; Denali; Elbrus; Aconcagua
fish: clownfish; sea bass; trout; rays; seahorses; carp; sturgeon; moray eels; blue tangs; pike; tilapia; salmon
vehicle: Toyota Corolla; Ford F-150; Tesla Model 3; Honda Civic; VW Golf; BMW X5
"""

_MORE = """
city: Paris; London; Berlin; Madrid; Sydney; Tokyo; Seattle; San Francisco; Los Angeles; New York City; Chicago; Houston; Phoenix; Atlanta; Dublin; Lyon; Zurich; Munich; Warsaw; Budapest; Athens; Istanbul; Delhi; Jakarta; Bangkok; Seoul; Shanghai; Melbourne; Auckland; Santiago; Havana; Accra; Lagos; Casablanca; Reykjavik; Tallinn; Riga; Bruges; Porto; Florence; Las Vegas; St. Louis; San Jose, CA; Boston, MA; Paris, France; London, UK; Austin, Texas
country: France; Germany; Italy; Spain; India; China; Australia; Argentina; Sweden; Finland; Turkey; Nigeria; South Africa; United States; United Kingdom; Greece; Switzerland; Indonesia; Cuba; Nepal
company: Apple; Microsoft; Amazon; Tesla; Google; Sony; Airbus; Bayer; Zalando; Walmart; Pfizer; Coca-Cola; Brightwater Labs; Hillcrest Foods; Tidewater Bank; Oakline Motors; Polar Systems
ticker: GOOG; AMZN; META; V; JPM; DIS; BA; NKE; PFE; WMT
celebrity: Albert Einstein; Napoleon Bonaparte; Abraham Lincoln; Vincent van Gogh; Pablo Picasso; Mahatma Gandhi; Florence Nightingale; Rosalind Franklin; Alan Turing; William Shakespeare; Johann Sebastian Bach; Amelia Earhart
movie: Titanic; Avatar; The Godfather; Pulp Fiction; Frozen; Toy Story; Heat; Her; Memento; The Lion King; Blade Runner; Psycho; Roma; La La Land
book: Pride and Prejudice; 1984; The Great Gatsby; War and Peace; The Odyssey; Jane Eyre; Brave New World; Hamlet; Don Quixote; The Trial
song: Let It Be; Smells Like Teen Spirit; Billie Jean; Purple Rain; Shape of You; Rolling in the Deep; Sweet Caroline; Dancing Queen; Hey Jude; No Surprises
artist: Taylor Swift; Ed Sheeran; Beyonce; David Bowie; Madonna; Metallica; Johnny Cash; Billie Eilish; Stevie Wonder; Pink Floyd; ABBA
team: Los Angeles Lakers; Golden State Warriors; Liverpool; Barcelona; Arsenal; Dallas Cowboys; Boston Red Sox; Inter Milan; Paris Saint-Germain; Chelsea
food: pizza; chocolate chip cookies; beef stew; fried rice; tacos; sushi; mushroom soup; omelette; cheesecake; falafel; bread; spaghetti carbonara; tomato salad
ingredient: chicken; beef; onions; flour; milk; butter; broccoli; bananas; apples; avocado; pasta; beans; lemons; cheese
topic: artificial intelligence; the stock market; global warming; data privacy; world history; nutrition; cryptocurrency; public transport; mental health; sea levels; wildlife; gene editing; robotics; education; modern art
subject: doctor's appointment; sales review; board meeting; lunch break; gym session; parents' evening; product launch; interview; book club
message: Running late, sorry; Call me when you can; Thank you for the dinner; Are we still on for tonight?; Please bring the documents; The package has arrived; Congratulations on the new job; I am on my way
note: pick up the dry cleaning; send the contract; feed the cat; order new batteries; prepare the slides; clean the garage; charge the camera; return the library books; cancel the subscription
sentence: The food was cold and the waiter was rude; I really enjoyed the concert; Can you help me please?; The battery dies after an hour; What time is it?; It was the best day of my life; The delivery was two weeks late; Nothing works as promised
word: racecar; hello; kitten; algorithm; madam; programming; umbrella; silent; noon; elephant
keyword: best pizza in town; cheap flights; electric guitars; home insurance; python tutorials; garden furniture; running events; chocolate cake; noise cancelling headphones
product: a blue jacket; a bluetooth speaker; a novel; leather boots; a tent; a monitor; a gaming chair; a set of knives; a smart watch; a toaster; a baby carriage
language: English; Portuguese; Russian; Chinese; Greek; Norwegian; Czech; Thai
job: lawyer; chef; mechanic; project manager; biologist; translator; architect; web developer; pilot; pharmacist
exercise: jogging; dancing; climbing; tennis; walking; pilates
file: summary.docx; sales_2023.csv; holiday.jpg; readme.md; backup.zip; slides.pptx; measurements.json
hotel: Harbour View; The Grand; Hotel Bellevue; Mountain Lodge; Holiday Inn; The Ritz
restaurant: Pizza Corner; Golden Dragon; Chez Marie; The Copper Kettle; Taj Palace; Burger Lab
idcode: 5521; 88412; AB12CD; P-0045; 2023-118; XJ9; 307; 12B
time: 8 AM; 12:00; 5:45 PM; noon; 16:20; 11:15 PM; 6 a.m.; 21:30
"""

SURNAMES = (
    *("Smith", "Johnson", "Brown", "Garcia", "Miller", "Davis", "Martinez", "Wilson", "Anderson", "Taylor", "Moore"),
    *("Lee", "Walker", "Young", "King", "Wright", "Scott", "Green", "Baker", "Nelson", "Rossi", "Schmidt", "Dubois"),
    *("Silva", "Kowalski", "Jensen", "Ito", "Kim", "Patel", "Ali", "Mensah", "Ivanova", "O'Brien", "van Dijk", "Weber"),
)

POOLS: dict[str, tuple[str, ...]] = {
    name: tuple(item.strip() for item in items.split(";"))
    for name, _, items in (line.partition(": ") for line in _POOLS.strip().splitlines())
}
for _name, _, _items in (line.partition(": ") for line in _MORE.strip().splitlines()):
    POOLS[_name] += tuple(item.strip() for item in _items.split(";"))


_BEGINNINGS = (
    "Al",
    "Bren",
    "Cor",
    "Del",
    "Fen",
    "Gar",
    "Hal",
    "Ker",
    "Lor",
    "Mar",
    "Nim",
    "Or",
    "Per",
    "Rav",
    "Tam",
    "Vel",
)
_ENDINGS = ("a", "dan", "don", "ella", "en", "ia", "ick", "ina", "is", "mere", "o", "rin", "ta", "us", "vale", "wick")
_QUALITIES = ("Black", "Bright", "Copper", "Grey", "Iron", "Little", "Lucky", "North", "Old", "Quiet", "Swift", "White")
_BEINGS = (
    "Arrow",
    "Badger",
    "Comet",
    "Falcon",
    "Heron",
    "Lark",
    "Otter",
    "Raven",
    "Star",
    "Storm",
    "Thistle",
    "Willow",
)
_SHADES = (
    "amber",
    "autumn",
    "blue",
    "dusty pink",
    "golden",
    "old",
    "pale",
    "red",
    "royal",
    "smoked",
    "stone",
    "winter",
)
_STUFFS = ("agate", "apple", "barley", "bell", "birch", "fern", "garnet", "honey", "leaf", "moss", "pearl", "wheat")
_TITLES = ("Mr", "Mrs", "Ms", "Dr", "Professor")

MADE_UP = ("coined", "compound", "titled")
"""Pools without a list."""


def _made_up(name: str, rng: random.Random) -> str | None:
    """An item of one of `MADE_UP`, None for another pool."""
    match name:
        case "coined" if rng.random() < 0.5:
            return rng.choice(_BEGINNINGS) + rng.choice(_ENDINGS)
        case "coined":
            return f"{rng.choice(_QUALITIES)} {rng.choice(_BEINGS)}"
        case "compound" if rng.random() < 0.3:
            return rng.choice(_STUFFS)
        case "compound":
            return f"{rng.choice(_SHADES)} {rng.choice(_STUFFS)}"
        case "titled":
            return f"{rng.choice(_TITLES)} {rng.choice(SURNAMES)}"
    return None


def pooled(name: str, rng: random.Random) -> str:
    """An item of a pool; people and numbers of things are mostly made up."""
    if (made_up := _made_up(name, rng)) is not None:
        return made_up
    if name == "person" and rng.random() < 0.7:
        return f"{rng.choice(POOLS['firstname'])} {rng.choice(SURNAMES)}"
    if name == "idcode" and rng.random() < 0.7:
        form = rng.choice(
            ("####", "#####", "######", "@-###", "@@####", "@@@-##", "#@#@#", "@###@", "##-####", "@@@##")
        )
        return "".join({"#": str(rng.randrange(10)), "@": chr(65 + rng.randrange(26))}.get(c, c) for c in form)
    if name == "flightno" and rng.random() < 0.7:
        return f"{rng.choice(('LH', 'BA', 'UA', 'AF', 'EK', 'DL', 'QF', 'KL'))}{rng.randrange(10, 4000)}"
    if name == "email" and rng.random() < 0.7:
        return f"{rng.choice(POOLS['firstname']).lower()}{rng.choice(('', '.', '_'))}{rng.choice(SURNAMES[:22]).lower()}@{rng.choice(('mail.com', 'example.com', 'work.org', 'post.net'))}"
    return rng.choice(POOLS[name])


OPENERS = (
    "Please {}",
    "Can you {}?",
    "Could you {}?",
    "Could you please {}?",
    "I need you to {}.",
    "I'd like you to {}.",
    "I want to {}.",
    "I would like to {}.",
    "Help me {}.",
    "Hey, {}.",
    "Would you {} for me?",
    "Next, {}.",
    "Quickly {}.",
    "We have to {}.",
)
PREFACES = (
    "Hi there!",
    "Hello.",
    "I'm doing my homework.",
    "I'm helping a friend.",
    "Quick question.",
    "I'm preparing a presentation.",
    "We are planning ahead.",
    "I was just wondering.",
    "This is for a report.",
    "Thanks for your help earlier.",
    "My boss asked me this.",
    "I've been thinking about this for a while.",
)
