"""The words of the world: names, places, things, and endless invented ones.

Contract: tuples of plain strings, and functions that draw from them with the caller's `Random`. Invented words
exist so that copying is the only way to get them right.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

GIRLS = tuple(
    "Mia Anna Lily Emma Sara Nora Ella Zoe Lucy Ivy Rosa Clara Alice Maya Leah Ruth Nina Eva Grace Hana Amara Priya "
    "Mei Yuki Fatima Leila Aisha Zara Olga Vera Ingrid Astrid Freya Sofia Lena Greta Heidi Marta Elena Carmen Lucia "
    "Paula Ines Bella Daisy Poppy Hazel Holly Iris Jade Ruby Pearl Stella Tess Tilda Wendy Willow Abby Ada Amy Beth "
    "Cora Dora Edith Faye Gina Hope Isla Jane June Kate Kira Luna Mabel Molly Nell Olive Penny Rita Rose Sally Sue "
    "Tara Una Viola Wanda Yara Zelda Naomi Esther Judith Miriam Noor Samira Chloe Julia Laura Maria Nadia Petra "
    "Thea Anika Bao Chidi Dalia Emilia Farah Gloria Helena Imani Joy Kamala Lola Mina Nia Oona Pia Quinn Rina Selma "
    "Talia Ursula Violet Xenia Yasmin Zuri".split()
)
BOYS = tuple(
    "Tom Ben Sam Max Leo Jack Noah Finn Adam Omar Ali Ravi Arjun Kenji Hiro Wei Jin Ivan Oleg Boris Lars Sven Erik "
    "Nils Hugo Felix Otto Emil Karl Hans Paul Luis Diego Pablo Mateo Carlos Juan Marco Luca Enzo Nico Theo Oscar "
    "Arlo Barry Bill Bob Carl Charlie Colin Dan David Dean Dylan Eddie Eli Ethan Frank Fred Gary George Gus Harry "
    "Henry Ian Isaac Jake James Jim Joe John Jonas Josh Kai Ken Kofi Kwame Liam Louis Luke Mark Martin Matt Mike "
    "Milo Ned Neil Nick Oliver Owen Pat Peter Phil Ray Rob Ron Roy Rory Sean Simon Stan Steve Tim Toby Tony Troy "
    "Victor Walt Will Yusuf Zack Abel Amir Bruno Cyrus Dario Elias Faisal Gabriel Hassan Idris Jamal Kiran Levi "
    "Musa Nate Obi Pedro Quentin Rafi Samir Tariq Umar Vikram Wes Xavier Yan Zane".split()
)
SURNAMES = tuple(
    "Smith Brown Green Baker Carter Cook Fisher Hill King Lake Marsh North Parker Reed Stone Turner Vance Walker Wood "
    "Young Adeyemi Bauer Costa Dubois Eriksen Fontaine Garcia Haddad Ito Jansen Kowalski Larsen Moreau Novak Okafor "
    "Patel Quist Rossi Silva Tanaka Ueda Vogel Weber Yilmaz Zhang Bell Cole Drake Ellis Ford Grant Hale Irwin".split()
)
PLACES = tuple(
    "the park|the garden|the forest|the beach|the old library|the market|the school yard|the river bank|the hill|the "
    "barn|the kitchen|the attic|the meadow|the bakery|the train station|the harbour|the lighthouse|the mill|the bridge|"
    "the orchard|the farm|the lake|the museum|the playground|the village square|the toy shop|the greenhouse|the "
    "castle|the cave|the pond|the boat house|the bus stop|the tower|the cellar|the workshop|the zoo|the fair|the "
    "old well|the stone wall|the post office|the swimming pool|the theatre|the campsite|the wheat field".split("|")
)
THINGS = tuple(
    "key|ball|book|hat|map|lamp|drum|kite|coin|ring|shell|rope|basket|bell|cup|blanket|whistle|scarf|puzzle|flute|"
    "letter|umbrella|compass|mirror|button|ladder|bucket|brush|candle|clock|feather|lantern|necklace|notebook|pebble|"
    "pencil|robot|rocket|teddy bear|toy boat|toy car|trumpet|wagon|watch|wooden box|paper plane|flower pot|magnet|"
    "marble|photo|spoon|stick|torch|violin|apple|cake|cookie|pie|pumpkin|egg|glove|boot|jar|violet stone|crown|mask|"
    "telescope|sled|skateboard|bicycle|doll|puppet|guitar|painting|backpack|hammer|seashell|snow globe|lunch box".split(
        "|"
    )
)
ANIMALS = tuple(
    "dog|cat|rabbit|fox|bear|mouse|owl|duck|frog|horse|goat|sheep|hen|pig|turtle|squirrel|hedgehog|deer|crow|parrot|"
    "donkey|badger|otter|beaver|lamb|puppy|kitten|goose|swan|monkey|elephant|lion|tiger|penguin|seal|crab|snail|bee|"
    "pony|robin|wolf|mole|lizard|camel|panda|koala".split("|")
)
COLOURS = tuple("red blue green yellow orange purple pink brown black white grey silver golden".split())
ADJECTIVES = tuple(
    "small big old new shiny round heavy light strange pretty wooden broken clean dusty tiny huge soft warm striped "
    "bright smooth cracked painted rusty beautiful simple lucky".split()
)
TRAITS = tuple(
    "kind brave curious shy clever cheerful careful patient gentle quiet lively honest playful helpful stubborn "
    "friendly thoughtful dreamy".split()
)
FRUITS = tuple(
    "apple banana pear peach plum cherry grape lemon orange mango kiwi melon fig apricot strawberry raspberry "
    "blueberry pineapple coconut lime".split()
)
VEGETABLES = tuple(
    "carrot potato onion tomato cucumber pepper cabbage spinach pea bean leek lettuce broccoli pumpkin celery radish "
    "garlic mushroom".split()
)
GROCERIES = tuple(
    "milk|bread|eggs|butter|cheese|rice|flour|sugar|salt|tea|coffee|honey|jam|pasta|soap|apples|bananas|carrots|onions|"
    "tomatoes|beans|yogurt|oats|olive oil|paper towels|matches|candles|nuts|raisins|fish|chicken|lemons|potatoes".split(
        "|"
    )
)
FOODS = tuple(
    "soup|pizza|rice|pasta|pancakes|salad|bread and cheese|apple pie|noodles|fish|stew|curry|dumplings|tacos|waffles|"
    "vegetable soup|porridge|beans|toast|ice cream".split("|")
)
JOBS = tuple(
    "teacher baker nurse farmer driver painter doctor gardener cook carpenter pilot writer singer dentist librarian "
    "plumber tailor fisherman engineer shopkeeper builder waiter vet mechanic photographer".split()
)
HOBBIES = tuple(
    "painting|swimming|reading|chess|dancing|cooking|running|fishing|singing|hiking|gardening|cycling|sewing|skating|"
    "climbing|photography|knitting|football|drawing|playing the piano".split("|")
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = tuple("January February March April May June July August September October November December".split())
CITIES = tuple(
    "Paris London Berlin Madrid Rome Lisbon Vienna Prague Oslo Dublin Cairo Tokyo Lima Delhi Boston Chicago Denver "
    "Toronto Sydney Seoul Athens Warsaw Helsinki Nairobi Lagos Accra Geneva Milan Porto Lyon Hamburg Bergen Quito "
    "Bogota Havana Hanoi Manila Kyoto Osaka Dakar Tunis".split()
)
WEATHERS = ("sunny", "rainy", "cloudy", "windy", "snowy", "foggy", "stormy", "clear")
ROOMS = tuple(
    "the main hall|Room 4|the library|the gym|Room 12|the garden tent|the music room|the blue room|the town hall|the "
    "reading corner|the east wing|Lab 2|the lobby|the roof terrace|the school canteen".split("|")
)
EVENTS = tuple(
    "meeting|concert|workshop|picnic|book club|chess tournament|bake sale|science fair|film night|school play|music "
    "lesson|swimming class|garden party|yoga class|art show|quiz night|team lunch|fire drill|town walk|craft fair".split(
        "|"
    )
)
MATERIALS = ("wood", "steel", "glass", "paper", "cotton", "wool", "leather", "plastic", "clay", "bamboo", "stone", "copper")

_STARTS = tuple("b br c ch d dr f fl g gl h j k kr l m n p pl qu r s sh sk st t th tr v w y z zh".split())
_VOWELS = tuple("a e i o u a e i o u ai ee ia oo ou au ei".split())
_ENDS = tuple("n r l s t k m x nd rt ll sh th ck ".split(" "))


def invented(rng: Random, syllables: int = 0) -> str:
    """A word nobody has seen: "zhoora", "kraimel"."""
    count = syllables or (2 if rng.random() < 0.7 else 3)
    word = "".join(rng.choice(_STARTS) + rng.choice(_VOWELS) for _ in range(count))
    return word + rng.choice(_ENDS)


def name(rng: Random) -> str:
    """A first name, now and then an invented one."""
    if rng.random() < 0.25:
        return invented(rng).capitalize()
    return rng.choice(GIRLS if rng.random() < 0.5 else BOYS)


def full_name(rng: Random) -> str:
    """A first name and a surname."""
    last = rng.choice(SURNAMES) if rng.random() < 0.7 else invented(rng).capitalize()
    return f"{name(rng)} {last}"


def city(rng: Random) -> str:
    """A town, often an invented one."""
    if rng.random() < 0.5:
        return rng.choice(CITIES)
    end = rng.choice(("", "ville", "ford", "ton", "burg", " Bay", " Hill", "stad", "mouth"))
    return invented(rng).capitalize() + end


_REGIONS = tuple(
    "CA NY TX WA FL OR IL MA CO GA OH PA BC ON UK USA France Spain Italy Japan Canada Germany India Brazil Peru Kenya Norway".split()
)
_TOWNS = tuple(
    "San Francisco|New York|Los Angeles|San Diego|Las Vegas|New Orleans|Salt Lake City|Cape Town|Hong Kong|Buenos Aires|Mexico City|"
    "Rio de Janeiro|Kansas City|Santa Fe|St. Louis|New Delhi|Tel Aviv|Addis Ababa|Kuala Lumpur|Saint Petersburg|El Paso|Fort Worth".split("|")
)


def place(rng: Random) -> str:
    """A town as forms want it: "Oslo", "San Diego, CA", "Little Fanford, Peru"."""
    town = rng.choice(_TOWNS) if rng.random() < 0.35 else city(rng)
    if rng.random() < 0.2:
        town = f"{rng.choice(('San', 'New', 'Santa', 'Port', 'North', 'Little', 'Old', 'Mount'))} {invented(rng).capitalize()}"
    return f"{town}, {rng.choice(_REGIONS)}" if rng.random() < 0.5 else town


_SCRIPTS = ((0x4E00, 0x9F00), (0x4E00, 0x9F00), (0x3041, 0x3097), (0x30A1, 0x30FB), (0xAC00, 0xD7A4), (0x410, 0x450), (0x391, 0x3CA), (0x627, 0x64B), (0x905, 0x93A), (0xC0, 0x17F))


def foreign(rng: Random) -> str:
    """A word in another script, which can only be copied letter by letter."""
    scripts = [rng.choice(_SCRIPTS)] * 3 + [rng.choice(_SCRIPTS)]
    letters = (chr(rng.randrange(*rng.choice(scripts))) for _ in range(rng.randrange(2, 8)))
    return "".join(c for c in letters if c.isalpha()) or "\u4f60\u597d"


def code(rng: Random) -> str:
    """A code that can only be copied: "QX-4821"."""
    letters = "".join(rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZ", k=rng.choice((1, 2, 2, 3))))
    return f"{letters}{rng.choice(('-', '', '-', ' '))}{rng.randrange(10, 10 ** rng.choice((2, 3, 4, 5)))}"


def clock(rng: Random) -> str:
    """A time of day."""
    hour, minute = rng.randrange(1, 13), rng.choice((0, 0, 15, 30, 45, rng.randrange(60)))
    style = rng.random()
    if style < 0.4:
        return f"{hour + rng.choice((0, 11)):02d}:{minute:02d}"
    return f"{hour}{f':{minute:02d}' if minute else ''} {rng.choice(('am', 'pm'))}"


def date(rng: Random) -> str:
    """A date in one of a few styles."""
    day, month = rng.randrange(1, 29), rng.randrange(12)
    style = rng.randrange(4)
    if style == 0:
        return f"{rng.randrange(1990, 2035)}-{month + 1:02d}-{day:02d}"
    if style == 1:
        return f"{MONTHS[month]} {day}"
    if style == 2:
        return f"{day} {MONTHS[month]} {rng.randrange(1990, 2035)}"
    return f"{rng.choice(DAYS)}, {day} {MONTHS[month]}"


def phone(rng: Random) -> str:
    """A telephone number that cannot be a real one."""
    return f"555-{rng.randrange(1000, 10000)}" if rng.random() < 0.6 else f"0{rng.randrange(10, 100)} 555 {rng.randrange(100, 1000)}"


def email(rng: Random, who: str) -> str:
    """An address at a domain reserved for examples."""
    first = who.lower().replace(" ", rng.choice((".", "_", "")))
    return f"{first}@{rng.choice(('example.com', 'example.org', 'mail.example', invented(rng) + '.example'))}"


def price(rng: Random) -> str:
    """A price in one of a few styles."""
    whole, cents = rng.randrange(1, rng.choice((10, 100, 2000))), rng.choice((0, 50, 99, 25, rng.randrange(100)))
    style = rng.randrange(4)
    return (f"${whole}", f"${whole}.{cents:02d}", f"{whole} euros", f"{whole}.{cents:02d} euros")[style]


def number(rng: Random) -> int:
    """A whole number of one to five digits."""
    return rng.randrange(2, 10 ** rng.choice((1, 2, 2, 3, 3, 4, 5)))


@dataclass(frozen=True)
class Being:
    """Someone in a story, with the words that stand for them."""

    name: str
    kind: str
    he: str
    him: str
    his: str

    def slots(self, prefix: str) -> dict[str, str]:
        """Template slots for this being: {h}, {hhe}, {hhis}, {hHe} and so on."""
        return {
            prefix: self.name,
            f"{prefix}kind": self.kind,
            f"{prefix}he": self.he,
            f"{prefix}him": self.him,
            f"{prefix}his": self.his,
            f"{prefix}He": self.he.capitalize(),
            f"{prefix}His": self.his.capitalize(),
        }


def person(rng: Random, avoid: tuple[str, ...] = ()) -> Being:
    """A girl, boy, woman or man whose name is not taken."""
    female = rng.random() < 0.5
    while True:
        new = rng.choice(GIRLS if female else BOYS) if rng.random() < 0.85 else invented(rng).capitalize()
        if new not in avoid:
            break
    young = rng.random() < 0.8
    kind = ("girl" if young else "woman") if female else ("boy" if young else "man")
    return Being(new, kind, "she", "her", "her") if female else Being(new, kind, "he", "him", "his")


def beast(rng: Random, avoid: tuple[str, ...] = ()) -> Being:
    """An animal with a name of its own."""
    new = rng.choice(("Bruno", "Pip", "Mossy", "Biscuit", "Patch", "Nutmeg", "Pepper", "Coco", "Rusty", "Button", "Socks"))
    while new in avoid or rng.random() < 0.3:
        new = invented(rng, 2).capitalize()
    female = rng.random() < 0.5
    kind = rng.choice(ANIMALS)
    return Being(new, kind, "she", "her", "her") if female else Being(new, kind, "he", "him", "his")
