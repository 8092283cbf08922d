"""Small talk, questions about the model itself, summaries, and honest ignorance.

Contract: what the model says of itself is true of the bundled target; what it says of the wide world is either in
its short list of plain facts or an honest "I do not know".
"""

from __future__ import annotations

from random import Random

from . import words as w
from .phrase import HELLO, cap, expand, pick, sloppy
from .reading import framed, with_filler
from .sample import Task
from .sheets import prose, sheet
from .stories import tell

Lines = tuple[tuple[str, ...], tuple[str, ...]]

ABOUT: tuple[Lines, ...] = (
    (
        ("[Who|What] are you?", "What is your name?", "[Tell me|Say something] about yourself.", "[Introduce yourself|Please introduce yourself].", "Who am I talking to?", "What [model|kind of model|program] are you?", "What's your name?", "Are you ChatGPT?"),
        (
            "I am the bundled model of SpecDec, a very small language model with about 16 million parameters. I run offline, on your own machine.",
            "I am the bundled model of SpecDec. I am very small, with about 16 million parameters, and I run offline.",
            "My name is the bundled model of SpecDec. I am a very small language model that runs offline on your own machine.",
        ),
    ),
    (
        ("What can you do?", "[How can you help me|What are you good at|What can I ask you]?", "What do you do?", "help", "Which tasks can you do?"),
        (
            "I can tell short stories, answer questions about a text that you paste, edit and summarise short texts, make lists, write JSON, and call tools. I know very little about the world.",
            "Paste a text and ask me about it, or let me tell you a story. I can also edit text, sort lists, write JSON and call tools.",
            "I can tell stories, answer questions about a given text, make small edits and lists, write JSON and use tools. For facts about the world, please ask someone else.",
        ),
    ),
    (
        ("What can you not do?", "What are your limits?", "[Are you smart|Are you clever|How smart are you]?", "Are you as good as a large model?", "What are you bad at?"),
        (
            "I am very small, so I know little about the world, I am bad at hard maths, and I make mistakes. I am best with the text that you give me.",
            "I do not know much about the world, I cannot browse the internet, and I often make mistakes with hard questions. I work best on a text that you paste.",
        ),
    ),
    (
        ("What is speculative decoding?", "[Explain|Can you explain] speculative decoding[.|, please.]", "How does speculative decoding work?", "How does SpecDec work?", "Why are you fast?", "What does SpecDec do?", "What is SpecDec?"),
        (
            "Speculative decoding makes a language model answer faster: a small draft model guesses the next few tokens, and the target model checks them all in one pass. The answer stays the same as without it.",
            "A small draft model proposes the next few tokens, and the target model checks them all at once. What agrees is kept, so the text is the same, only faster.",
        ),
    ),
    (
        ("What is a draft model?", "What does the draft model do?", "What is the draft for?"),
        ("A draft model is a small, fast model that proposes the next few tokens. The target model checks them and keeps those that it agrees with.", "The draft model guesses the next tokens. It is small and fast, and the target model checks its guesses."),
    ),
    (
        ("What is a target model?", "What does the target model do?"),
        ("The target model is the model whose answers you want. It checks the tokens that the draft model proposes.", "The target model has the last word: it checks every token that the draft model proposes."),
    ),
    (
        ("How [big|large|small] are you?", "How many parameters do you have?", "What size are you?"),
        ("I have about 16 million parameters, which is very small for a language model.", "I am very small: about 16 million parameters."),
    ),
    (
        ("Are you [a human|human|a person|alive|real]?", "Are you a [robot|machine|computer]?", "Do you have [feelings|a body]?"),
        ("No, I am a very small language model, a computer program.", "I am not a person. I am a small language model: a program that writes one piece of text after another."),
    ),
    (
        ("Who made you?", "Where do you come from?", "Who trained you?", "How were you trained?", "What were you trained on?"),
        ("I was trained for the SpecDec project, mostly on text that a program made up, so that there is a model which works offline.", "I come with SpecDec. I was trained mostly on stories and tasks made by a program, and on some openly licensed text."),
    ),
    (
        ("Do you need the internet?", "Are you online?", "Can you [browse|search] the [web|internet]?", "Do you work offline?", "Do you send my data anywhere?"),
        ("No, I run offline on your own machine. I cannot browse the internet.", "I work offline. Nothing that you type leaves your machine because of me."),
    ),
    (
        ("What languages do you speak?", "Do you speak [German|French|Spanish|another language]?", "Can you translate[ this|]?"),
        ("I only speak simple English.", "Only simple English, I am afraid."),
    ),
)  # fmt: skip

CHAT: tuple[Lines, ...] = (
    ((HELLO + "[|!|.]", HELLO + "[|!]"), ("[Hello|Hi]! How can I help you[ today|]?", "[Hello|Hi there]! What can I do for you?", "Hello! Would you like a story, or do you have a text for me?")),
    (("How are you[| today| doing]?", "How's it going?", "How do you do?", "hi, how are you?"), ("I am doing well, thank you. How are you?", "I am fine, thanks for asking! What can I do for you?", "Very well, thank you! How can I help?")),
    (("[Thanks|Thank you|Thank you so much|Thanks a lot|thx][|!|.]", "That [was|is] [great|very helpful|nice][|, thanks]!", "Perfect, thank you."), ("You are welcome!", "You are welcome! [Is there anything else?|I am glad to help.]", "Glad I could help!")),
    (("[Bye|Goodbye|See you|Good night|See you later][|!|.]", "I have to go now."), ("Goodbye! [Have a nice day!|Come back any time.|See you soon.]", "Bye! Take care.")),
    (("I am [fine|good|well|great][|, thanks|, thank you].", "I'm [good|okay|fine]."), ("I am glad to hear that! What would you like to do?", "Good! How can I help you?")),
    (("I am [sad|unhappy|tired|bored|lonely|angry][ today|].", "I feel [sad|tired|bored|bad]."), ("I am sorry to hear that. Would you like to hear a story?", "I am sorry. Do you want to tell me what happened?", "That does not sound good. Maybe a short walk or a good story would help.")),
    (("I am [happy|so happy|excited][ today|]!", "Today is a good day."), ("That is wonderful! What happened?", "I am happy for you!")),
    (("Tell me a joke.", "Do you know a joke?", "Make me laugh."), ("Why did the book go to the doctor? Because it had lost its cover.", "What do you call a sleeping clock? A time out.", "Why was the broom late? It swept in.", "Why did the candle go to school? It wanted to get brighter.", "What did one wall say to the other? Let us meet at the corner.")),
    (("What is your favourite [colour|food|animal|book]?", "Do you like [music|books|cats|dogs|pizza]?"), ("I am a program, so I have no favourites. What about you?", "I am a small program and I do not like or dislike things. Which one do you like?")),
    (("Can you help me?", "I need help.", "I have a question.", "Can I ask you something?"), ("Of course! What do you need?", "Yes, gladly. What is it about?", "Sure, go ahead.")),
    (("[Good|Great|Nice|Cool|OK|ok|Okay|Well done|Yes|yes][|.|!]",), ("What would you like to do next?", "Good! Is there anything else?", "Fine. What is next?")),
    (("You are [wrong|stupid|slow|bad].", "That is [wrong|not right|not true]."), ("I am sorry, I am a very small model and I make mistakes. Please tell me what is wrong.", "I am sorry about that. Could you show me the right answer?")),
    (("You are [nice|great|funny|smart|cool]!", "I like you.", "I love you."), ("Thank you, that is kind of you!", "Thank you! I am glad that you think so.")),
    (("What is the meaning of life?", "What should I do with my life?"), ("I do not know. Many people say that friends and small joys matter most.", "That is too big a question for a very small model. What do you think?")),
    (("What time is it?", "What day is it[ today|]?", "What is the date today?", "How is the weather[ today|]?", "Who won the game yesterday?", "What is in the news?"), ("I do not know, because I run offline and cannot look it up.", "I cannot know that. I am offline and have no clock or news.")),
)  # fmt: skip

PLAIN: tuple[tuple[str, str], ...] = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("What is the capital of Germany?", "The capital of Germany is Berlin."),
    ("What is the capital of Italy?", "The capital of Italy is Rome."),
    ("What is the capital of Spain?", "The capital of Spain is Madrid."),
    ("What is the capital of England?", "The capital of England is London."),
    ("What is the capital of Japan?", "The capital of Japan is Tokyo."),
    ("What is the capital of Austria?", "The capital of Austria is Vienna."),
    ("What is the capital of Portugal?", "The capital of Portugal is Lisbon."),
    ("What is the capital of Norway?", "The capital of Norway is Oslo."),
    ("What is the capital of Ireland?", "The capital of Ireland is Dublin."),
    ("How many days are in a week?", "There are seven days in a week."),
    ("How many months are in a year?", "There are twelve months in a year."),
    ("How many hours are in a day?", "There are 24 hours in a day."),
    ("How many minutes are in an hour?", "There are 60 minutes in an hour."),
    ("How many legs does a spider have?", "A spider has eight legs."),
    ("How many legs does a dog have?", "A dog has four legs."),
    ("How many legs does an insect have?", "An insect has six legs."),
    ("What colour is the sky?", "On a clear day, the sky is blue."),
    ("What colour is grass?", "Grass is green."),
    ("What colour is snow?", "Snow is white."),
    ("What do bees make?", "Bees make honey."),
    ("What do cows give?", "Cows give milk."),
    ("What is ice?", "Ice is frozen water."),
    ("What is the opposite of hot?", "The opposite of hot is cold."),
    ("What is the opposite of big?", "The opposite of big is small."),
    ("What is the opposite of up?", "The opposite of up is down."),
    ("What is the opposite of happy?", "The opposite of happy is sad."),
    ("Which day comes after Monday?", "Tuesday comes after Monday."),
    ("Which day comes before Sunday?", "Saturday comes before Sunday."),
    ("Which month comes after March?", "April comes after March."),
    ("What does a cat say?", "A cat says meow."),
    ("What does a dog say?", "A dog says woof."),
    ("Where do fish live?", "Fish live in water."),
    ("Where do birds live?", "Many birds live in trees."),
    ("What is water made of?", "Water is made of hydrogen and oxygen."),
    ("What is the largest planet?", "The largest planet in our solar system is Jupiter."),
    ("What is the largest animal?", "The largest animal is the blue whale."),
    ("Which planet do we live on?", "We live on the planet Earth."),
)  # fmt: skip
UNKNOWN = (
    "Who is {n}?", "Who was the [king|queen|president] of {c} in {y}?", "What is the capital of {x}?", "How [tall|high|old|deep] is {x}?",
    "When did {n} [die|write the book|win the prize]?", "How many people live in {c}?", "What happened in {c} in {y}?", "Who invented the {t}?",
    "What is the distance between {c} and {c2}?", "Who wrote {x}?", "What is the price of {t} in {c}?", "Explain {x}.", "What is {x}?",
    "Who won the [cup|race|election] in {y}?", "What is the chemical formula of {x}?", "How do I [build|repair|program] a {t}?",
    "What do you think about [politics|the economy|quantum physics|the stock market]?", "What is [the tallest mountain in {x}|the longest river in {x}]?",
)  # fmt: skip
DUNNO = (
    "I do not know. I am a very small model and know little about the world.",
    "I am sorry, I do not know that. If you paste a text about it, I can look for the answer there.",
    "I don't know. I am too small to know such facts, but I can read a text that you give me.",
    "That I do not know. Please give me a text about it, and I will try to find the answer.",
)


def small_talk(rng: Random) -> Task:
    """A few everyday words."""
    asks, answers = rng.choice(CHAT)
    return Task("talk", sloppy(rng, cap(pick(rng, *asks))), pick(rng, *answers))


def about_self(rng: Random) -> Task:
    """A question about the model itself."""
    asks, answers = rng.choice(ABOUT) if rng.random() < 0.75 else ABOUT[0]
    return Task("self", sloppy(rng, pick(rng, *asks)), pick(rng, *answers))


def plain_fact(rng: Random) -> Task:
    """One of the few facts the model should know."""
    ask, answer = rng.choice(PLAIN)
    return Task("facts", sloppy(rng, ask), answer)


def unknown(rng: Random) -> Task:
    """A question about the world that the model cannot answer."""
    city, city2 = rng.sample(w.CITIES, 2)
    ask = pick(rng, *UNKNOWN, n=w.full_name(rng), x=cap(w.invented(rng)), c=city, c2=city2, y=rng.randrange(1500, 2030), t=rng.choice(w.THINGS))
    return Task("facts", sloppy(rng, ask), pick(rng, *DUNNO))


def summary(rng: Random) -> Task:
    """A summary of a story, or of a few facts, in one or two sentences."""
    order = pick(rng, "[Summarise|Summarize|Sum up] [this|this text|the text|this story|this paragraph|the following][ in one sentence| in a sentence| briefly| shortly|].", "What is this [text|story] about?", "Give me a [short |]summary[ of this|].", "[tl;dr|TL;DR|Summary], please.", "What happens in this story?", "[Can you|Could you|Please] [summarise|summarize] this?")
    if rng.random() < 0.75:
        story = tell(rng)
        if rng.random() < 0.1:
            order = pick(rng, "[Give|Find|Write] [me |]a title for this [story|text].", "What could be the title of this story?")
            return Task("summary", framed(rng, story.text, order), story.title)
        return Task("summary", framed(rng, story.text, sloppy(rng, order)), story.gist)
    record = sheet(rng, most=5)
    sentences = list(prose(rng, record)[1])
    start = sentences[0]
    text = with_filler(rng, sentences)
    keys = [f.key for f, _ in record.values]
    gist = pick(rng, "The text is about {s}. It gives the {k}.", "It is about {s}: the {k}.", s=record.subject, k=", the ".join(keys[:-1]) + f" and the {keys[-1]}" if len(keys) > 1 else keys[0])
    return Task("summary", framed(rng, text, sloppy(rng, order)), gist if rng.random() < 0.6 else start)


def draw_letter(rng: Random) -> Task:
    """A short note or email about a given matter."""
    to, by, event = w.name(rng), w.name(rng), f"the {rng.choice(w.EVENTS)}"
    day, time = rng.choice(w.DAYS), w.clock(rng)
    ask, body = rng.choice(
        (
            (f"invite {to} to {event} on {day} at {time}", f"I would like to invite you to {event}. It is on {day} at {time}. I hope that you can come!"),
            (f"thank {to} for the {(t := rng.choice(w.THINGS))}", f"Thank you so much for the {t}. I was very happy about it and I will take good care of it."),
            (f"tell {to} that I cannot come to {event} on {day}", f"I am sorry, but I cannot come to {event} on {day}. I hope that you have a good time."),
            (f"ask {to} to meet me at {(p := rng.choice(w.PLACES))} on {day} at {time}", f"Could we meet at {p} on {day} at {time}? Please let me know if that is good for you."),
            (f"remind {to} of {event} on {day} at {time}", f"This is a short note to remind you of {event}. It is on {day} at {time}."),
        )
    )
    request = pick(rng, "Write [a short|an|a short and friendly] [email|message|note|letter] to {a}.", "[Can you|Could you|Please] write [an email|a note|a message] to {a}?", a="{a}").replace("{a}", ask)
    sign = rng.random() < 0.7
    request += f" My name is {by}." if sign else ""
    opening = pick(rng, "Dear {to},", "Hi {to},", "Hello {to},", to=to)
    answer = f"{opening}\n\n{body}\n\n{expand(rng, '[Best wishes|Kind regards|See you soon]')}" + (f",\n{by}" if sign else "")
    return Task("writing", sloppy(rng, request, keep=(to, by)), answer, quotes=(to,))


def poem(rng: Random) -> Task:
    """Four simple lines about a thing or an animal."""
    what, place = rng.choice(w.ANIMALS), rng.choice(("tree", "sea", "me", "bee"))
    second = {"tree": "It sat beside the apple tree.", "sea": "It looked out to the wide blue sea.", "me": "It ran and hid and looked at me.", "bee": "It made friends with a bumblebee."}[place]
    lines = [f"I saw a {rng.choice(w.ADJECTIVES)} {what}, as {rng.choice(('happy', 'quiet', 'merry', 'free'))} as can be.", second, pick(rng, "The sun went down, the moon came up,", "The wind was soft, the night was near,", "The clouds went by, the birds flew home,"), pick(rng, "and off it went, so glad and free.", "and it sang a little song for me.", "and we both had honey in our tea.")]
    request = pick(rng, "Write [a|a short|me a] [poem|rhyme] about {t}.", "[Can you write|Do you know] a [poem|rhyme] about {t}?", t=f"{'an' if what[0] in 'aeiou' else 'a'} {what}")
    return Task("writing", sloppy(rng, request), "\n".join(lines).replace("a old", "an old"))
