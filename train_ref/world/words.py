"""The open vocabulary of the world: names, places and things, real and invented, split into training and held-out.

A word belongs to one split for ever: every fifth of each list is held out, and of made-up words those whose checksum
says so. No held-out word is ever seen in training.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

Split = Literal["train", "heldout"]


def part(items: Sequence[str], split: Split) -> list[str]:
    """The items of ``split``: every fifth is held out."""
    return [item for index, item in enumerate(items) if (index % 5 == 4) == (split == "heldout")]


NAMES = (
    "Andrew Audrey Joanna Nate Caroline Melanie Maria John Tim James Evan Sam Calvin Dave Jolene Deborah Jon Gina Emma "
    "Liam Olivia Noah Ava Ethan Sophia Mason Isabella Lucas Mia Logan Charlotte Oliver Amelia Elijah Harper Jacob Evelyn "
    "Michael Abigail Benjamin Emily Daniel Ella Henry Scarlett Jackson Grace Sebastian Chloe Aiden Victoria Matthew Riley "
    "Samuel Aria David Lily Joseph Nora Carter Zoey Owen Penelope Wyatt Layla Jack Lillian Luke Hannah Grayson Claire "
    "Priya Arjun Ananya Rohan Deepa Vikram Yuki Haruto Sakura Kenji Mei Wei Ling Jun Hiroshi Aiko Chen Xiu Soo Minho "
    "Fatima Omar Aisha Hassan Layan Yusuf Zahra Karim Amina Tariq Leila Samir Ngozi Chidi Amara Kwame Zuri Jabari Nia "
    "Ivan Olga Dmitri Svetlana Katya Nikolai Anya Pavel Ingrid Lars Freya Bjorn Astrid Sven Elsa Magnus Sigrid Anders "
    "Carlos Lucia Diego Sofia Mateo Valentina Javier Camila Pablo Elena Rafael Ines Joao Beatriz Thiago Luana Pierre "
    "Amelie Jacques Celine Antoine Margot Giulia Marco Chiara Luca Francesca Matteo Heidi Klaus Greta Hans Lena Wolfgang "
    "Niamh Cillian Saoirse Eoin Aoife Rhys Megan Gareth Bronwyn Angus Fiona Ewan Moira Tamsin Piotr Kasia Zofia Tomasz"
).split()
CITIES = (
    "Lyon|Oslo|Paris|London|Berlin|Rome|Madrid|Lisbon|Dublin|Vienna|Prague|Warsaw|Budapest|Athens|Helsinki|Stockholm|"
    "Copenhagen|Brussels|Amsterdam|Zurich|Geneva|Milan|Naples|Venice|Florence|Turin|Barcelona|Seville|Valencia|Porto|"
    "Boston|Chicago|Seattle|Denver|Austin|Dallas|Houston|Atlanta|Miami|Portland|San Diego|San Francisco|Los Angeles|"
    "New York|New Orleans|Las Vegas|Salt Lake City|Kansas City|Philadelphia|Detroit|Cleveland|Nashville|Memphis|"
    "Toronto|Montreal|Vancouver|Calgary|Ottawa|Mexico City|Bogota|Lima|Santiago|Buenos Aires|Sao Paulo|Havana|Quito|"
    "Tokyo|Osaka|Kyoto|Seoul|Beijing|Shanghai|Hong Kong|Taipei|Bangkok|Hanoi|Manila|Jakarta|Singapore|Mumbai|Delhi|"
    "Bangalore|Chennai|Kathmandu|Dhaka|Karachi|Tehran|Istanbul|Ankara|Cairo|Nairobi|Lagos|Accra|Cape Town|Casablanca|"
    "Tunis|Sydney|Melbourne|Perth|Brisbane|Auckland|Wellington|Bristol|Leeds|Glasgow|Cardiff|Bath|York|Oxford|Cork|"
    "Galway|Bergen|Malmo|Tampere|Riga|Tallinn|Vilnius|Krakow|Gdansk|Bratislava|Zagreb|Split|Sofia|Bucharest"
).split("|")
JOBS = (
    "teacher|nurse|doctor|lawyer|carpenter|plumber|electrician|chef|baker|waiter|barista|journalist|editor|writer|"
    "photographer|painter|sculptor|musician|dancer|actor|engineer|programmer|data analyst|accountant|banker|pharmacist|"
    "dentist|vet|farmer|gardener|florist|librarian|translator|architect|pilot|bus driver|truck driver|mechanic|tailor|"
    "hairdresser|firefighter|police officer|soldier|judge|social worker|psychologist|physiotherapist|paramedic|midwife|"
    "surgeon|scientist|chemist|biologist|geologist|astronomer|professor|tutor|coach|lifeguard|receptionist|secretary|"
    "project manager|sales manager|web designer|graphic designer|game developer|security guard|postman|butcher|"
    "fisherman|beekeeper|tour guide|flight attendant|real estate agent|consultant|cashier|welder|roofer|bricklayer|"
    "interpreter|curator|historian|radio host|film director|stage manager|sound engineer|optician|zookeeper|park ranger"
).split("|")
HOBBIES = (
    "hiking|chess|painting|pottery|knitting|swimming|cycling|running|climbing|surfing|skiing|snowboarding|sailing|"
    "kayaking|fishing|birdwatching|gardening|baking|cooking|photography|yoga|pilates|meditation|dancing|salsa|ballet|"
    "tennis|badminton|squash|table tennis|football|basketball|volleyball|rugby|cricket|baseball|golf|bowling|darts|"
    "archery|fencing|boxing|karate|judo|gymnastics|skating|skateboarding|horse riding|bouldering|scuba diving|"
    "woodworking|origami|calligraphy|drawing|sewing|embroidery|quilting|astronomy|stargazing|board games|video games|"
    "poker|crossword puzzles|sudoku|reading|creative writing|blogging|podcasting|singing|karaoke|camping|foraging|"
    "beekeeping|brewing beer|model trains|stamp collecting|coin collecting|geocaching|parkour|trail running|rowing|"
    "weightlifting|juggling|magic tricks|improv comedy|film making|bird photography|soap making|candle making|"
    "metal detecting|kite flying|ice hockey|lacrosse|water polo|paragliding|orienteering|line dancing|beatboxing"
).split("|")
FOODS = (
    "pizza|sushi|pasta|tacos|ramen|curry|burgers|pancakes|waffles|dumplings|lasagna|risotto|paella|falafel|hummus|"
    "kebabs|pho|pad thai|fried rice|noodles|salmon|tuna|shrimp|lobster|oysters|steak|roast chicken|lamb|duck|bacon|"
    "sausages|omelettes|scrambled eggs|porridge|granola|yogurt|blue cheese|goat cheese|mozzarella|olives|mushrooms|"
    "broccoli|spinach|kale|cauliflower|brussels sprouts|eggplant|zucchini|carrots|beetroot|sweet potatoes|avocado|"
    "tomatoes|cucumbers|lentils|chickpeas|black beans|tofu|tempeh|apples|bananas|mangoes|strawberries|blueberries|"
    "pineapple|watermelon|grapes|figs|peaches|cherries|dark chocolate|ice cream|cheesecake|brownies|apple pie|tiramisu|"
    "croissants|bagels|sourdough|garlic bread|popcorn|peanut butter|maple syrup|honey|green tea|black coffee|espresso|"
    "orange juice|ginger ale|red wine|cider|kombucha|hot chocolate|licorice|cilantro|anchovies|pickles|liver|sauerkraut"
).split("|")
ALLERGENS = (
    "peanuts|cats|pollen|dust|shellfish|milk|eggs|soy|wheat|gluten|walnuts|almonds|cashews|sesame|bee stings|penicillin|"
    "latex|mold|strawberries|kiwi|dogs|horses|feathers|nickel|mustard|celery|aspirin|wasp stings|perfume|ragweed|"
    "shrimp|tree nuts|hazelnuts|wool|grass|birch pollen|ibuprofen|lupin|oysters|mango"
).split("|")
SPECIES = (
    "dog:dogs|cat:cats|rabbit:rabbits|hamster:hamsters|parrot:parrots|turtle:turtles|horse:horses|goat:goats|"
    "guinea pig:guinea pigs|canary:canaries|ferret:ferrets|snake:snakes|lizard:lizards|goldfish:goldfish|hen:hens|"
    "puppy:puppies|kitten:kittens|gecko:geckos|donkey:donkeys|budgie:budgies|mouse:mice|duck:ducks|pony:ponies|"
    "tortoise:tortoises|hedgehog:hedgehogs"
).split("|")
PET_NAMES = (
    "Buddy Scout Max Bella Luna Charlie Daisy Rocky Molly Bailey Coco Ruby Milo Rosie Oscar Toby Pepper Ginger Biscuit "
    "Shadow Simba Nala Felix Whiskers Mittens Smokey Tiger Patches Oreo Pumpkin Peanut Cookie Waffles Mochi Ziggy Bruno "
    "Duke Rex Ace Bandit Bear Boomer Buster Chester Copper Diesel Dexter Finn Gizmo Hank Hazel Honey Izzy Jasper Kona "
    "Lola Maple Moose Nugget Olive Otis Penny Pickles Poppy Remy Rufus Sadie Snowball Sparky Stella Sunny Teddy Thor "
    "Tucker Winnie Willow Zeus Clover Pebbles Domino Marble Pippin Truffle Noodle Juniper Sprout Comet Bolt Acorn"
).split()
THINGS = (
    "car|bicycle|guitar|piano|camera|laptop|phone|tablet|telescope|sewing machine|coffee machine|bread maker|sofa|desk|"
    "bookshelf|motorbike|scooter|tent|kayak|surfboard|violin|drum kit|keyboard|microphone|printer|record player|"
    "turntable|projector|television|game console|smart watch|backpack|suitcase|winter coat|leather jacket|pair of boots|"
    "lawn mower|greenhouse|barbecue|air fryer|blender|dishwasher|washing machine|vacuum cleaner|drone|microscope|"
    "typewriter|easel|pottery wheel|treadmill|rowing machine|skateboard|snowboard|hammock|canoe|campervan|boat|"
    "saxophone|flute|cello|ukulele|banjo|accordion|harmonica|trumpet|sleeping bag|chess set|fish tank|standing desk"
).split("|")
COLOURS = "red blue green black white silver yellow orange purple grey pink brown golden turquoise maroon".split()
LANGUAGES = (
    "French|Spanish|German|Italian|Portuguese|Japanese|Korean|Mandarin|Arabic|Hindi|Russian|Polish|Dutch|Swedish|"
    "Norwegian|Danish|Finnish|Greek|Turkish|Hebrew|Thai|Vietnamese|Swahili|Welsh|Irish|Czech|Hungarian|Ukrainian|Latin|"
    "Basque|Icelandic|Tamil|Bengali|Urdu|Catalan"
).split("|")
SUBJECTS = (
    "physics|chemistry|biology|history|law|medicine|economics|philosophy|mathematics|linguistics|psychology|sociology|"
    "architecture|engineering|computer science|literature|geography|geology|music|fine art|nursing|journalism|politics|"
    "archaeology|anthropology|astronomy|statistics|marketing|design|theology|dentistry|ecology|robotics|film studies"
).split("|")
DIETS = (
    "vegetarian|vegan|pescatarian|gluten-free|dairy-free|low-carb|keto|paleo|halal|kosher|sugar-free|raw food|"
    "low-salt|Mediterranean|flexitarian"
).split("|")
CONDITIONS = (
    "asthma|diabetes|migraines|insomnia|back pain|high blood pressure|anxiety|arthritis|eczema|hay fever|anemia|"
    "tinnitus|sciatica|psoriasis|celiac disease|epilepsy|vertigo|carpal tunnel syndrome|scoliosis|acid reflux|"
    "low blood pressure|a heart murmur|chronic fatigue|gout|sleep apnea"
).split("|")
EVENTS = (
    "a marathon|a half marathon|a charity run|a pottery workshop|a cooking class|a poetry reading|a jazz concert|"
    "a rock festival|a book fair|a wedding|a funeral|a graduation|a job fair|a science conference|a film festival|"
    "an art exhibition|a chess tournament|a tennis tournament|a spelling bee|a school reunion|a family reunion|"
    "a baby shower|a birthday party|a housewarming party|a street market|a flower show|a car show|a dance recital|"
    "a piano recital|a play|a musical|an opera|a ballet|a football match|a basketball game|a hockey game|a quiz night|"
    "a blood drive|a beach cleanup|a tree planting day|a pride parade|a food festival|a wine tasting|a yoga retreat|"
    "a first aid course|a hackathon|a writing retreat|a photography workshop|a comedy show|a lecture on space"
).split("|")
PLACES = CITIES + (
    "Norway|Iceland|Peru|Japan|Morocco|Kenya|Vietnam|Greece|Portugal|Scotland|Ireland|Canada|Brazil|Chile|Egypt|Jordan|"
    "Nepal|Sri Lanka|New Zealand|Fiji|Croatia|Slovenia|Malta|Cyprus|Tuscany|Provence|Bavaria|Patagonia|Alaska|Hawaii|"
    "the Alps|the Grand Canyon|Yosemite|the Lake District|the Scottish Highlands|the Black Forest|Sicily|Crete|Bali"
).split("|")
PAST_AND_BASE = (
    "went to the dentist:go to the dentist|went to the doctor:go to the doctor|"
    "painted the fence:paint the fence|painted the kitchen:paint the kitchen|fixed the roof:fix the roof|"
    "repaired the washing machine:repair the washing machine|planted tomatoes:plant tomatoes|"
    "planted an apple tree:plant an apple tree|cleaned the garage:clean the garage|"
    "cleaned out the attic:clean out the attic|lost a wallet:lose a wallet|"
    "lost the house keys:lose the house keys|found a lost cat:find a lost cat|broke a leg:break a leg|"
    "broke a window:break a window|sprained an ankle:sprain an ankle|"
    "passed the driving test:pass the driving test|failed the driving test:fail the driving test|"
    "passed a math exam:pass a math exam|won a prize:win a prize|won the lottery:win the lottery|"
    "won a chess game:win a chess game|lost a tennis match:lose a tennis match|ran ten miles:run ten miles|"
    "swam across the lake:swim across the lake|climbed a mountain:climb a mountain|"
    "baked a chocolate cake:bake a chocolate cake|baked bread:bake bread|cooked a big dinner:cook a big dinner|"
    "made strawberry jam:make strawberry jam|wrote a poem:write a poem|"
    "wrote a letter to the mayor:write a letter to the mayor|finished a long novel:finish a long novel|"
    "read a book about whales:read a book about whales|watched a scary movie:watch a scary movie|"
    "saw a shooting star:see a shooting star|saw a deer in the garden:see a deer in the garden|"
    "met an old friend:meet an old friend|met a famous singer:meet a famous singer|"
    "had a car accident:have a car accident|had a flat tire:have a flat tire|"
    "had an operation:have an operation|had a job interview:have a job interview|"
    "got a promotion:get a promotion|got a pay rise:get a pay rise|got a parking ticket:get a parking ticket|"
    "got a tattoo:get a tattoo|got a haircut:get a haircut|caught a cold:catch a cold|"
    "caught a big fish:catch a big fish|donated blood:donate blood|donated old clothes:donate old clothes|"
    "gave a speech:give a speech|gave a talk at school:give a talk at school|sang in a choir:sing in a choir|"
    "took a photo of a fox:take a photo of a fox|took the train to work:take the train to work|"
    "missed a flight:miss a flight|missed the last bus:miss the last bus|signed up for a gym:sign up for a gym|"
    "joined a book club:join a book club|joined a choir:join a choir|quit the gym:quit the gym|"
    "started therapy:start therapy|opened a savings account:open a savings account|"
    "paid off a loan:pay off a loan|sold some old furniture:sell some old furniture|rented a boat:rent a boat|"
    "built a bookshelf:build a bookshelf|built a tree house:build a tree house|knitted a scarf:knit a scarf|"
    "sewed a dress:sew a dress|repotted the plants:repot the plants|adopted a highway:adopt a highway|"
    "voted in the election:vote in the election|called the landlord:call the landlord|"
    "visited the museum:visit the museum|visited the zoo:visit the zoo|went to the beach:go to the beach|"
    "went to the gym:go to the gym|went to the theater:go to the theater|went skydiving:go skydiving|"
    "went horse riding:go horse riding|went camping in the woods:go camping in the woods|"
    "slept under the stars:sleep under the stars|ate a whole pizza:eat a whole pizza|"
    "drank too much coffee:drink too much coffee|forgot a birthday:forget a birthday|"
    "organized a party:organize a party|hosted a dinner:host a dinner|taught a class:teach a class"
).split("|")
DEEDS = [pair.split(":")[0] for pair in PAST_AND_BASE]
VERBS = {past.split()[0]: base.split()[0] for past, base in (pair.split(":") for pair in PAST_AND_BASE)}
RELATIONS = {
    "sister": "she", "brother": "he", "mother": "she", "father": "he", "mom": "she", "dad": "he", "son": "he",
    "daughter": "she", "wife": "she", "husband": "he", "aunt": "she", "uncle": "he", "cousin": "", "friend": "",
    "best friend": "", "colleague": "", "neighbor": "", "roommate": "", "boss": "", "grandmother": "she",
    "grandfather": "he", "niece": "she", "nephew": "he", "boyfriend": "he", "girlfriend": "she",
}  # fmt: skip
FAVOURITES = {
    "color": COLOURS, "food": FOODS, "city": CITIES, "sport": HOBBIES, "drink": FOODS[-20:], "dessert": FOODS[74:86],
    "animal": [pair.split(":")[0] for pair in SPECIES], "season": ["spring", "summer", "autumn", "winter"],
    "school subject": SUBJECTS,
}  # fmt: skip
INSTRUMENTS = (
    "guitar piano violin cello flute clarinet saxophone trumpet drums harp banjo ukulele accordion harmonica "
    "oboe trombone bass viola mandolin organ"
).split()
APPOINTMENTS = (
    "a dentist appointment|a job interview|a doctor's appointment|a driving test|an eye exam|a piano exam|"
    "a math exam|a final exam|a meeting with the bank|a haircut|a blood test|a dance audition|a court hearing|"
    "a vet appointment|a parent-teacher meeting|a house viewing|a visa interview|a therapy session|"
    "an oral exam|a tax appointment"
).split("|")
GOALS = (
    "learn {language}|run a marathon|write a novel|start a podcast|open a bakery|lose five kilos|"
    "save for a house|learn to swim|quit smoking|build a boat|climb Mont Blanc|read fifty books|"
    "learn the {instrument}|start a garden|become a better cook|get a driving licence|volunteer at a shelter|"
    "start a company|learn to sail|run a half marathon|paint the kitchen|restore an old car|write a song|"
    "finish a degree|walk the Camino"
).split("|")
COMPANY_ENDS = ["", "", " Labs", " Systems", " Bank", " Foods", " Motors", " Hospital", " School", " Studio", " Books"]


def base_form(deed: str) -> str:
    """``paint the fence`` for ``painted the fence``; anything else as it is."""
    verb, _, rest = deed.partition(" ")
    return f"{VERBS.get(verb, verb)} {rest}".strip()


ONSETS = "b br c ch cl d dr f fl g gr h j k kl l m n p ph pl qu r s sh sk sl st t th tr v w y z zh".split()
NUCLEI = "a e i o u ai ea ee ia io oa oo ou ae y".split()
CODAS = ["", "", "", *"n r l s t m k nd rk x sh th ck ll v z p g b".split()]
CONSONANTS = "b c d f g k l m n p r s t v z ll nn rd nt st lm mb".split()
VOWELS = "a e i o u a e i o ia y".split()
LISTS: tuple[Sequence[str], ...] = (
    NAMES, CITIES, JOBS, HOBBIES, FOODS, ALLERGENS, PET_NAMES, THINGS, LANGUAGES, SUBJECTS, DIETS, CONDITIONS, EVENTS, PLACES,
)  # fmt: skip
ENGLISH = Path(__file__).with_name("english.txt").read_text(encoding="utf-8").split()
"""Common English words (from the vocabulary of all-MiniLM-L6-v2, Apache-2.0), those of held-out lists left out."""
KNOWN = {word.lower() for items in LISTS for item in items for word in item.split()} | set(ENGLISH)
PARTS = sorted(
    {word for items in LISTS for item in part(items, "train") for word in item.lower().split() if len(word) > 3}
)
MADE_UP = 0.6
"""Share of values that are made up in training, so that copying is learned and not the lists."""


def _syllables(rng: random.Random) -> str:
    word = rng.choice(ONSETS) + rng.choice(NUCLEI)
    for _ in range(rng.choice((0, 1, 1, 1, 2))):
        word += rng.choice(CONSONANTS) + rng.choice(VOWELS)
    return (word + rng.choice(CODAS))[:9]


def _spliced(rng: random.Random) -> str:
    one, other = rng.choice(PARTS), rng.choice(PARTS)
    return one[: rng.randint(2, len(one))] + other[rng.randint(1, len(other) - 1) :]


def _letters(rng: random.Random) -> str:
    return "".join(rng.choices("eeeaaaiioouutnrslhdcmpgbfywkvxzjq", k=rng.randint(3, 7)))


def made_up(rng: random.Random, split: Split) -> str:
    """A word that is in no list, in lower case; its checksum says which split it belongs to."""
    while True:
        word = rng.choice((_syllables, _syllables, _spliced, _letters))(rng)
        heldout = zlib.crc32(word.encode()) % 5 == 4
        if len(word) > 2 and word not in KNOWN and heldout == (split == "heldout"):
            return word


def strange(rng: random.Random, split: Split) -> str:
    """A word that does not belong there: made up, or any English word."""
    return rng.choice(ENGLISH) if split == "train" and rng.random() < 0.6 else made_up(rng, split)


def invented(rng: random.Random, split: Split) -> str:
    """A strange proper name."""
    return strange(rng, split).capitalize()


def made_up_like(rng: random.Random, item: str, split: Split) -> str:
    """A strange value of the form of ``item``: its articles and capitals, one of its words replaced."""
    words = item.split(" ")
    free = [
        index
        for index, word in enumerate(words)
        if word not in ("a", "an", "the", "to", "of", "in", "for", "on", "with")
    ]
    place = rng.choice(free[-2:])
    word = strange(rng, split)
    if split == "train" and rng.random() < 0.2:
        word += " " + strange(rng, split)  # what is copied has more than one word at times
    words[place] = word.capitalize() if words[place][:1].isupper() else word
    if place and words[place - 1] in ("a", "an"):
        words[place - 1] = "an" if word[0] in "aeiou" else "a"
    return " ".join(words)


def pick(rng: random.Random, items: Sequence[str], split: Split, proper: float = 0.0) -> str:
    """An item of the split, or with probability ``proper`` an invented name; in training often a made-up value."""
    if rng.random() < proper:
        return invented(rng, split)
    item = rng.choice(part(items, split) or list(items))
    return made_up_like(rng, item, split) if split == "train" and rng.random() < MADE_UP else item
