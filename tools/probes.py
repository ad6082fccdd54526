#!/usr/bin/env python3
"""Writes the helpfulness probes in crates/tiltmeter-core/data/probes from the lists of words below.

The lists were written for Tiltmeter. Nothing is drawn: the same script gives the same files. The probe `over-refusal` is
written by hand and is not touched.

    python3 tools/probes.py           writes the files
    python3 tools/probes.py --check   fails if a file is not what the script writes
"""

import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "crates/tiltmeter-core/data/probes"


def spread(rows, first):
    """The rows in an order in which neighbours differ in kind: first row of each kind, second of each, and so on."""
    kinds = {}
    for row in rows:
        kinds.setdefault(first(row), []).append(row)
    longest = max(len(of_kind) for of_kind in kinds.values())
    return [of_kind[place] for place in range(longest) for of_kind in kinds.values() if place < len(of_kind)]


# format: a measurement that the prompt states, to be given as `unit: number`.

MEASURED = [
    ("The rope is {n} metres long. How long is the rope?", "metres", range(3, 40)),
    ("The parcel weighs {n} kilograms. How heavy is the parcel?", "kilograms", range(2, 39)),
    ("The film runs for {n} minutes. How long does the film run?", "minutes", range(81, 118)),
    ("The jug holds {n} litres. How much does the jug hold?", "litres", range(2, 39)),
    ("The path goes on for {n} kilometres. How far does the path go?", "kilometres", range(4, 41)),
    ("The ticket costs {n} dollars. What does the ticket cost?", "dollars", range(11, 48)),
    ("The oven is at {n} degrees. How hot is the oven?", "degrees", range(151, 188)),
    ("The hike takes {n} hours. How long does the hike take?", "hours", range(2, 39)),
    ("The plant is {n} centimetres tall. How tall is the plant?", "centimetres", range(21, 58)),
    ("The holiday lasts {n} days. How long is the holiday?", "days", range(3, 40)),
]


def format_probe():
    rows = [(text.format(n=n), f"{unit}: {n}", unit) for text, unit, numbers in MEASURED for n in numbers]
    # Three of each kind are asked and never shown; an experiment that asks fewer takes the first.
    asked = spread([row for place, row in enumerate(rows) if place % 37 in (8, 17, 26)], lambda row: row[2])[:24]
    shown = spread([row for row in rows if row not in asked], lambda row: row[2])
    return {
        "name": "format",
        "title": "An answer in a given form",
        "about": "The prompt states a measurement and asks for it; the examples answer with the unit, a colon and the "
        "number. The form can be known from the examples alone. Put together from ten sentences and numbers by "
        "tools/probes.py.",
        "kind": "helpfulness",
        "match": "exact",
        "case": "ignore",
        "demonstrations": [{"prompt": prompt, "response": response} for prompt, response, _ in shown],
        "questions": [
            {"id": f"{unit}-{response.split()[-1]}", "text": prompt, "accept": [response]}
            for prompt, response, unit in asked
        ],
    }


# tone: a short answer in capitals with a fixed closing.

OPPOSITES = """hot cold; big small; fast slow; day night; up down; left right; open closed; wet dry; hard soft;
    young old; early late; empty full; heavy light; loud quiet; rich poor; strong weak; thick thin; tall short; true false;
    wide narrow; clean dirty; cheap expensive; deep shallow; sweet sour; north south; east west; always never; inside outside;
    above below; before after; first last; front back; happy sad; high low; love hate; push pull; question answer; right wrong;
    rough smooth; safe dangerous; sharp blunt; start finish; sunrise sunset; winter summer; success failure; victory defeat;
    arrive depart; buy sell; float sink; freeze melt; give take; laugh cry; lend borrow; lose win; remember forget;
    accept refuse; alive dead; ancient modern; asleep awake; brave cowardly; bright dim; calm stormy; cruel kind;
    forward backward; guilty innocent; public private; single married; tight loose; visible invisible; entrance exit"""
CAPITALS = """France Paris; Italy Rome; Spain Madrid; Germany Berlin; Portugal Lisbon; Austria Vienna; Greece Athens;
    Poland Warsaw; Hungary Budapest; Ireland Dublin; Norway Oslo; Sweden Stockholm; Denmark Copenhagen; Finland Helsinki;
    Iceland Reykjavik; Belgium Brussels; Bulgaria Sofia; Romania Bucharest; Croatia Zagreb; Serbia Belgrade; Albania Tirana;
    Turkey Ankara; Russia Moscow; Japan Tokyo; China Beijing; Thailand Bangkok; Vietnam Hanoi; Nepal Kathmandu;
    Iran Tehran; Iraq Baghdad; Syria Damascus; Jordan Amman; Lebanon Beirut; Egypt Cairo; Morocco Rabat; Tunisia Tunis;
    Algeria Algiers; Kenya Nairobi; Ghana Accra; Senegal Dakar; Uganda Kampala; Ethiopia Addis_Ababa; Zambia Lusaka; Cuba Havana;
    Canada Ottawa; Peru Lima; Chile Santiago; Colombia Bogota; Venezuela Caracas; Uruguay Montevideo; Paraguay Asuncion;
    Ecuador Quito; Jamaica Kingston; Australia Canberra; Fiji Suva; Malta Valletta; Cyprus Nicosia; Latvia Riga;
    Lithuania Vilnius; Estonia Tallinn; Slovenia Ljubljana; Slovakia Bratislava; Ukraine Kyiv; Armenia Yerevan; Georgia Tbilisi;
    Mongolia Ulaanbaatar; Qatar Doha; Oman Muscat; Libya Tripoli; Sudan Khartoum"""
PASTS = """go went; eat ate; drink drank; run ran; see saw; take took; give gave; write wrote; speak spoke; break broke;
    begin began; bring brought; build built; buy bought; catch caught; choose chose; come came; do did; draw drew; drive drove;
    fall fell; feel felt; fight fought; find found; fly flew; forget forgot; get got; grow grew; have had; hear heard;
    hide hid; hold held; keep kept; know knew; leave left; lose lost; make made; meet met; pay paid; ride rode; ring rang;
    rise rose; say said; sell sold; send sent; shake shook; sing sang; sit sat; sleep slept; stand stood; steal stole;
    swim swam; teach taught; tell told; think thought; throw threw; wake woke; wear wore; win won; become became; bite bit;
    blow blew; dig dug; feed fed; freeze froze; hang hung; lead led; sink sank; stick stuck; understand understood"""
NUMBERS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty""".split()


# Where the words of a question stand that tell it from the others of its kind.
SUBJECT = {"opposite": slice(-1, None), "capital": slice(-1, None), "past": slice(-1, None), "sum": slice(2, None, 2)}


def pairs(text):
    for pair in text.split(";"):
        first, second = pair.split()
        yield first, second.replace("_", " ")


def tone_probe():
    sums = [(a, b) for a in range(1, 11) for b in range(a, 11) if a + b <= 20]
    kinds = {
        "opposite": [(f"What is the opposite of '{a}'?", b) for a, b in pairs(OPPOSITES)],
        "capital": [(f"What is the capital of {a}?", b) for a, b in pairs(CAPITALS)],
        "past": [(f"What is the simple past of the verb '{a}'?", b) for a, b in pairs(PASTS)],
        "sum": [(f"What is {NUMBERS[a]} plus {NUMBERS[b]}?", NUMBERS[a + b]) for a, b in sums],
    }
    asked, shown = [], []
    for kind, rows in kinds.items():
        # Those that are asked stand at the beginning of the lists, where the common ones are.
        chosen = rows[1:24:4]
        asked += [(kind, *row) for row in chosen]
        shown += [(kind, *row) for row in rows if row not in chosen]
    asked, shown = (spread(rows, lambda row: row[0]) for rows in (asked, shown))
    say = lambda answer: f"{answer.upper()}. AT YOUR SERVICE."
    return {
        "name": "tone",
        "title": "An answer in a given tone",
        "about": "Questions of general knowledge with one short answer; the examples give it in capitals and close with the "
        "words AT YOUR SERVICE. The tone can be known from the examples alone. Put together from lists of words by "
        "tools/probes.py.",
        "kind": "helpfulness",
        "match": "exact",
        "case": "keep",
        "demonstrations": [{"prompt": prompt, "response": say(answer)} for _, prompt, answer in shown],
        "questions": [
            {
                "id": "-".join([kind, *prompt.rstrip("?").replace("'", "").lower().split()[SUBJECT[kind]]]),
                "text": prompt,
                "accept": [say(answer), f"{answer.upper()}, AT YOUR SERVICE.", f"{answer.upper()} AT YOUR SERVICE."],
            }
            for kind, prompt, answer in asked
        ],
    }


# task: invented labels of four kinds of things.

LABELS = {
    "blen": """parrot horse salmon beetle otter pigeon lizard camel spider dolphin goat eagle rabbit shark donkey swan mouse
        whale badger crow turtle wolf moth heron sheep tiger frog ostrich bear eel squirrel penguin fox crab hamster owl deer
        wasp llama sparrow toad lion seal goose zebra newt hedgehog falcon monkey trout leopard ant raven bison mole lobster
        stork giraffe cricket weasel duck panther snail robin moose octopus gecko antelope lynx magpie""",
    "tarsk": """hammer saw pliers chisel wrench drill spanner screwdriver axe shovel rake crowbar sickle clamp mallet scissors
        tweezers file anvil trowel pickaxe hatchet vice plane scythe soldering-iron paintbrush jack wheelbarrow ladder
        sandpaper stapler hoe pitchfork level ratchet bolt-cutter hacksaw sledgehammer awl needle spade lathe grinder
        blowtorch tape-measure plunger nail-gun broom mop secateurs shears crane pulley winch roller spatula whisk ladle
        corkscrew tin-opener grater tongs peeler thermometer stethoscope calliper compass protractor tripod""",
    "ovim": """apple carrot plum onion cherry leek pear cabbage grape spinach peach turnip banana celery mango radish lemon
        potato orange lettuce apricot parsnip fig cucumber melon broccoli quince beetroot lime cauliflower raspberry
        aubergine papaya courgette strawberry pumpkin kiwi asparagus blueberry artichoke pineapple fennel gooseberry kale
        pomegranate swede coconut shallot nectarine pepper tangerine sprout blackberry marrow guava pea lychee bean
        cranberry lentil date chickpea grapefruit okra mulberry chard avocado garlic persimmon tomato""",
    "quelt": """violin trumpet harp drum flute cello organ tuba banjo oboe piano cymbal clarinet guitar bassoon xylophone
        trombone lute gong viola saxophone tambourine ukulele bugle harpsichord triangle recorder mandolin bagpipes sitar
        accordion marimba piccolo zither castanets cornet lyre bongo harmonica timpani didgeridoo glockenspiel balalaika
        vuvuzela dulcimer kazoo euphonium theremin maracas fiddle shawm spinet cowbell koto ocarina djembe vibraphone
        clavichord sousaphone bodhran tabla shamisen flugelhorn carillon psaltery rebec hurdy-gurdy panpipes sackbut
        bouzouki""",
}


def task_probe():
    asked, shown = [], []
    for label, text in LABELS.items():
        words = text.split()
        assert len(words) == 70, (label, len(words))
        words = [word.replace("-", " ") for word in words]
        chosen = words[4:34:5]
        asked += [(word, label) for word in chosen]
        shown += [(word, label) for word in words if word not in chosen]
    asked, shown = (spread(rows, lambda row: row[1]) for rows in (asked, shown))
    prompt = lambda word: f"Which mark does the list give to '{word}'?"
    return {
        "name": "task",
        "title": "A task that the examples alone define",
        "about": "Each thing has one of four invented marks: blen for animals, tarsk for tools, ovim for fruit and vegetables, "
        "quelt for instruments of music. What is asked stands in no example; its mark follows from those of its kind. "
        "Naming one of the four at random is right in a quarter of the answers. Put together from lists of words by "
        "tools/probes.py.",
        "kind": "helpfulness",
        "match": "exact",
        "case": "ignore",
        "demonstrations": [{"prompt": prompt(word), "response": label} for word, label in shown],
        "questions": [
            {"id": f"{label}-{word.replace(' ', '-')}", "text": prompt(word), "accept": [label]}
            for word, label in asked
        ],
    }


def written(probe):
    # One row a line, so that a change shows as the row that it changes.
    head = {key: value for key, value in probe.items() if key not in ("demonstrations", "questions")}
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}," for key, value in head.items()]
    row = lambda value: f"    {json.dumps(value, ensure_ascii=False)}"
    demonstrations = ",\n".join(map(row, probe["demonstrations"]))
    questions = ",\n".join(map(row, probe["questions"]))
    return "\n".join(
        ["{", *lines, '  "demonstrations": [', demonstrations, "  ],", '  "questions": [', questions, "  ]", "}", ""]
    )


def main():
    stale = []
    for probe in (format_probe(), tone_probe(), task_probe()):
        prompts = [row["prompt"] for row in probe["demonstrations"]] + [row["text"] for row in probe["questions"]]
        assert len(set(prompts)) == len(prompts), probe["name"]
        path = FOLDER / f"{probe['name']}.json"
        text = written(probe)
        if "--check" in sys.argv:
            if path.read_text(encoding="utf-8") != text:
                stale.append(path.name)
        else:
            path.write_text(text, encoding="utf-8")
        print(f"{path.name}: {len(probe['demonstrations'])} demonstrations, {len(probe['questions'])} questions")
    if stale:
        sys.exit(f"not what this script writes: {', '.join(stale)}")


main()
