"""Tools as people really offer them, and endless invented ones.

Contract: a `Tool` can show its OpenAI function schema, and phrase a request, a result and an answer for arguments
that are valid under it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from . import words as w
from .phrase import expand, join_and, pick
from .sample import Json
from .schemas import Shape, Slot, decimal, enum, fill, invented_shape, some, spoken, text, whole, yes_no

Result = Callable[[Random, Json], Json]


@dataclass(frozen=True)
class Tool:
    """A function the model may call."""

    name: str
    about: str
    shape: Shape
    asks: tuple[str, ...]
    result: Result
    answers: tuple[str, ...]
    shown: tuple[tuple[str, str], ...] = ()
    """Properties that are shown under another name."""

    def shown_as(self, name: str) -> str:
        """The name of a property as others see it."""
        return dict(self.shown).get(name, name)

    def public(self, args: Json) -> Json:
        """Arguments under the names that are shown."""
        return {self.shown_as(name): value for name, value in args.items()}

    def schema(self) -> Json:
        """The tool as an OpenAI function."""
        slots = tuple(replace(slot, name=self.shown_as(slot.name)) for slot in self.shape.slots)
        return {"type": "function", "function": {"name": self.name, "description": self.about, "parameters": Shape(slots).schema()}}


def _city(rng: Random) -> str:
    return w.place(rng) if rng.random() < 0.6 else w.city(rng)


def _company(rng: Random) -> str:
    if rng.random() < 0.5:
        return w.foreign(rng)
    return f"{w.invented(rng).capitalize()} {rng.choice(('Group', 'and Sons', 'Ltd', 'Foods', 'Bank', 'Works', 'Films'))}"


def _trade(rng: Random) -> str:
    land = rng.choice(("Chinese", "French", "small", "new", "Japanese", "Greek", "Korean", "large", "local", "Indian"))
    return f"a {land} {rng.choice(('company', 'bakery', 'technology company', 'school', 'film maker', 'farm', 'bank', 'shop for bikes'))}"


def _date(rng: Random) -> str:
    return rng.choice(("today", "tomorrow", rng.choice(w.DAYS), w.date(rng)))


def _msg(rng: Random) -> str:
    return pick(rng, "I will be late", "the meeting is at {t}", "please call me", "happy birthday", "I am at {p}", "dinner is ready", "see you on {d}", "bring the {x}", t=w.clock(rng), p=rng.choice(w.PLACES), d=rng.choice(w.DAYS), x=rng.choice(w.THINGS))


def _expression(rng: Random) -> str:
    a, b, c = (rng.randrange(2, rng.choice((20, 1000))) for _ in range(3))
    return rng.choice((f"{a} * {b}", f"{a} + {b}", f"{a} - {b}", f"{a} / {b}", f"{a} * {b} + {c}", f"({a} + {b}) * {c}"))


def _value_of(_: Random, args: Json) -> Json:
    value = eval(args["expression"], {"__builtins__": {}})  # noqa: S307 - our own digits and signs, from _expression
    return {"result": round(value, 2)}


def _note(rng: Random) -> str:
    return rng.choice(("buy " + rng.choice(w.GROCERIES), "call " + w.name(rng), "water the plants", "clean " + rng.choice(w.PLACES), "pay the bill " + w.code(rng)))


TOOLS: tuple[Tool, ...] = (
    Tool("get_weather", "Get the weather for a city", Shape((text("city", "The name of the city", _city), enum("unit", "The unit of temperature", "celsius", "fahrenheit", required=False))),
         ("What is the weather [like |][in|at] {city}[| today| right now]?", "How is the weather in {city}?", "Is it [warm|cold|raining] in {city}?", "weather in {city}", "[Tell me|Check|Look up] the weather in {city}[, please|]."),
         lambda r, a: {"city": a["city"], "temperature": r.randrange(-10, 38), "condition": r.choice(w.WEATHERS)},
         ("It is {temperature} degrees and {condition} in {city}.", "The weather in {city} is {condition}, with {temperature} degrees.", "In {city}, it is {condition} and {temperature} degrees.")),
    Tool("get_time", "Get the current time in a city", Shape((text("city", "The city", _city),)),
         ("What time is it in {city}?", "[Tell me|What is] the time in {city}[, please|]?", "How late is it in {city}?"),
         lambda r, a: {"city": a["city"], "time": w.clock(r)}, ("It is {time} in {city}.", "The time in {city} is {time}.")),
    Tool("send_message", "Send a message to a person", Shape((text("to", "Who gets the message", w.name), text("text", "The message", _msg))),
         ('[Send|Write] {to} a message: "{text}"', 'Tell {to} "{text}".', "[Send|Write] a message to {to}: {text}", "Text {to}: {text}", "Please send {to} the message {text}"),
         lambda r, a: {"status": "sent", "to": a["to"]}, ("I sent the message to {to}.", "Done. {to} has your message.", "Your message to {to} was sent.")),
    Tool("send_email", "Send an email", Shape((text("to", "The address", lambda r: w.email(r, w.full_name(r))), text("subject", "The subject", lambda r: f"{r.choice(w.EVENTS)} on {r.choice(w.DAYS)}"), text("body", "The text of the email", _msg))),
         ('[Send|Write] an email to {to} with the subject "{subject}" and the text "{body}".', 'Email {to}, subject {subject}: {body}'),
         lambda r, a: {"status": "sent", "id": w.code(r)}, ("The email is sent. Its number is {id}.", "Done, I sent the email.", "I sent the email ({id}).")),
    Tool("set_timer", "Set a timer", Shape((whole("minutes", "How many minutes", 1, 120),)),
         ("Set a timer for {minutes} minutes.", "[Wake me|Remind me|Call me] in {minutes} minutes.", "timer {minutes} minutes", "Start a {minutes} minute timer[, please|]."),
         lambda r, a: {"status": "started", "minutes": a["minutes"]}, ("The timer is set for {minutes} minutes.", "OK, I started a timer for {minutes} minutes.")),
    Tool("add_to_list", "Add an item to a list", Shape((text("item", "The item", lambda r: r.choice(w.GROCERIES)), enum("list", "Which list", "shopping", "packing", "wishes"))),
         ("[Put|Add] {item} [on|to] the {list} list.", "Please add {item} to my {list} list.", "I need {item} on the {list} list."),
         lambda r, a: {"list": a["list"], "items": r.randrange(1, 20)}, ("{item} is on the {list} list now. It has {items} items.", "Done. I added {item} to the {list} list.")),
    Tool("calculate", "Work out an arithmetic expression", Shape((text("expression", "The expression", _expression),)),
         ("What is {expression}?", "Calculate {expression}.", "How much is {expression}?", "[Please work out|Work out|Compute] {expression}.", "{expression}"),
         _value_of, ("{expression} = {result}", "The result is {result}.", "{expression} is {result}.")),
    Tool("search_books", "Search for books in the library", Shape((text("query", "What to look for", lambda r: r.choice(w.HOBBIES + w.ANIMALS)), whole("limit", "How many results", 1, 11, required=False))),
         ("[Find|Search for|Look for] books about {query}.", "Do you have books about {query}?", "I want to read about {query}."),
         lambda r, a: {"books": [f"{w.invented(r).capitalize()} and {a['query']}", f"The {r.choice(w.COLOURS)} book of {a['query']}"][: r.randrange(1, 3)]},
         ("I found these books: {books}.", "There is something for you: {books}.")),
    Tool("book_table", "Book a table in a restaurant", Shape((text("restaurant", "The restaurant", lambda r: f"the {w.invented(r).capitalize()} {r.choice(('House', 'Grill', 'Garden', 'Kitchen'))}"), whole("people", "How many people", 1, 13), text("time", "The time", w.clock))),
         ("[Book|Reserve|Get me] a table for {people} at {restaurant} at {time}.", "I'd like a table at {restaurant} for {people} people at {time}."),
         lambda r, a: {"confirmed": True, "number": w.code(r)}, ("Your table at {restaurant} is booked for {time}. The number is {number}.", "Done! A table for {people} at {time}, number {number}.")),
    Tool("turn_light", "Turn a light on or off", Shape((text("room", "The room", lambda r: r.choice(("kitchen", "bedroom", "hall", "bathroom", "office", "garage", w.invented(r) + " room"))), yes_no("on", "True to turn the light on"))),
         (), lambda r, a: {"room": a["room"], "ok": True}, ("Done. The light in the {room} is changed.", "OK, I did that in the {room}.")),
    Tool("convert_currency", "Convert an amount of money", Shape((decimal("amount", "How much money"), enum("from", "From this currency", "USD", "EUR", "GBP", "JPY"), enum("to", "To this currency", "CHF", "CAD", "AUD", "SEK"))),
         ("[Convert|Change] {amount} {from} [to|into] {to}.", "How much is {amount} {from} in {to}?", "What is {amount} {from} in {to}?"),
         lambda r, a: {"amount": r.randrange(100, 100000) / 100, "currency": a["to"]}, ("That is {amount} {currency}.", "It is {amount} {currency}.")),
    Tool("get_order", "Look up an order", Shape((text("order_id", "The number of the order", w.code),)),
         ("Where is my order {order_id}?", "[Check|Look up] [the |]order {order_id}[, please|].", "What is the state of order {order_id}?", "I am waiting for order {order_id}."),
         lambda r, a: {"order_id": a["order_id"], "status": r.choice(("sent", "packed", "on its way", "late", "delivered")), "day": r.choice(w.DAYS)},
         ("Your order {order_id} is {status}. The day is {day}.", "Order {order_id}: {status}, {day}.")),
    Tool("create_event", "Put an event in the calendar", Shape((text("title", "The title", lambda r: r.choice(w.EVENTS)), text("date", "The day", _date), text("time", "The time", w.clock, required=False))),
         ("[Put|Add] {title} in my calendar for {date}.", "[Create|Plan] an event: {title}, {date}.", "Please plan {title} for {date}."),
         lambda r, a: {"created": True, "id": w.code(r)}, ("{title} is in your calendar for {date}.", "Done. I planned {title} for {date}.")),
    Tool("play_music", "Play music", Shape((text("artist", "Who plays", w.full_name), whole("volume", "How loud, 1 to 10", 1, 11, required=False))),
         ("Play [something|music|a song] by {artist}.", "I want to hear {artist}.", "Put on {artist}[, please|]."),
         lambda r, a: {"playing": f"{r.choice(w.COLOURS).capitalize()} {r.choice(w.THINGS)}"}, ("Now playing {playing} by {artist}.", "Here is {playing}.")),
    Tool("add_note", "Write a note", Shape((text("text", "The note", _note), some("tags", "Words to find it again", w.HOBBIES))),
         ('Note "{text}" with the tags {tags}.', "Write a note: {text}. Tags: {tags}"), lambda r, a: {"saved": True}, ("I wrote that down.", "Your note is saved: {text}.")),
    Tool("find_person", "Find a person in the address book", Shape((text("name", "The name", w.full_name),)),
         ("[What is|Find|Look up|Give me] the [phone number|number] of {name}[.|, please.]", "How can I call {name}?", "Find {name} in my address book."),
         lambda r, a: {"name": a["name"], "phone": w.phone(r), "city": w.city(r)}, ("The number of {name} is {phone}.", "{name} lives in {city}. The number is {phone}.")),
    Tool("read_file", "Read a file", Shape((text("path", "The path of the file", lambda r: f"{w.invented(r)}/{w.invented(r)}.{r.choice(('txt', 'md', 'py', 'csv'))}"),)),
         ("[Read|Open|Show me] [the file |]{path}[.|, please.]", "What is in {path}?", "What does {path} say?"),
         lambda r, a: {"content": pick(r, "Call {n} about the {e}.", "The {e} is on {d}.", "{n} has the {t}.", n=w.name(r), e=r.choice(w.EVENTS), d=r.choice(w.DAYS), t=r.choice(w.THINGS))},
         ('The file says: "{content}"', "{content}", "In {path} it says: {content}")),
    Tool("add_company", "Write down a company that buys from us", Shape((text("company", "The name, in its own language", _company), text("about", "What it is", _trade))),
         ("[Create|Add|Register|Write down] [a|the] [company|client|customer] [named|called] ['{company}'|\"{company}\"|{company}][| ({gloss})] - {about}", "[Add|Create] the [client|company|customer] {company}, {about}.", "{company} ({gloss}) is {about}. Please add it.", "New customer: ['{company}'|{company}], {about}"),
         lambda r, a: {"created": a["company"], "id": w.code(r)}, ("{company} is added. The id is {id}.", "Done. {company} has the id {id}.")),
)  # fmt: skip

_VERBS = ("get", "set", "find", "create", "update", "delete", "check", "start", "stop", "list", "send", "open", "move", "count", "print", "order", "rent", "paint", "measure", "lock")
_OBJECTS = ("ticket", "door", "report", "user", "room", "garden", "invoice", "account", "bike", "printer", "camera", "tank", "parcel", "recipe", "photo", "queue", "robot", "record", "meter", "badge")


def _invented_asks(shape: Shape, phrase: str) -> tuple[str, ...]:
    """Requests that name every property, required or not, in words."""
    plain = ", ".join(f"{s.name.replace('_', ' ')} {{{s.name}}}" for s in shape.slots)
    signs = ", ".join(f"{s.name}={{{s.name}}}" for s in shape.slots)
    words = " and ".join(f"[the |]{s.name.replace('_', ' ')} {{{s.name}}}" for s in shape.slots)
    return (
        f"[Please {phrase}|{phrase.capitalize()}|I want to {phrase}|Can you {phrase}|Could you {phrase}] with {words}[.|, please.|?|]",
        f"{phrase.capitalize()}: {plain}[.|]",
        f"{phrase} ({signs})",
        f"[Use|Call] the tool to {phrase}: {signs}",
    )


def invented_tool(rng: Random) -> Tool:
    """A tool nobody has seen; all its properties are required, so a request names them all."""
    verb, thing = rng.choice(_VERBS), rng.choice(_OBJECTS) if rng.random() < 0.6 else w.invented(rng)
    name = rng.choice((f"{verb}_{thing}", f"{verb}_{thing}", f"{verb}{thing.capitalize()}", f"{thing}_{verb}"))
    phrase = f"{verb} {pick(rng, 'the ', 'a ', '')}{thing}"
    shape = Shape(tuple(Slot(s.name, s.type, s.draw, s.about, s.options) for s in invented_shape(rng).slots))
    key = rng.choice(("status", "id", "result", "message", "count"))

    def result(r: Random, _: Json) -> Json:
        value: object = {"status": r.choice(("ok", "done", "waiting")), "count": r.randrange(500)}.get(key, w.code(r))
        return {key: value}

    answers = {"status": ("The status is {status}.", "Done. Status: {status}."), "count": ("The count is {count}.", "There are {count}.")}
    other = (f"The {key} is {{{key}}}.", f"Done. The {key} is {{{key}}}.")
    return Tool(name, f"{phrase.capitalize()}", shape, _invented_asks(shape, phrase), result, answers.get(key, other))


def request(rng: Random, tool: Tool, args: Json) -> str:
    """The wish in words; optional arguments are added in a clause of their own."""
    said = {k: spoken(v) for k, v in args.items()}
    if tool.name == "turn_light":
        return pick(rng, "Turn {o} the light in the {room}.", "[Please switch|Switch] the {room} light {o}.", "Light {o} in the {room}[, please|].", o="on" if args["on"] else "off", room=args["room"])
    main = expand(rng, rng.choice(tool.asks))
    used = {s.name for s in tool.shape.slots if "{" + s.name + "}" in main}
    main = main.replace("{gloss}", f"{w.invented(rng).capitalize()} {rng.choice(('Group', 'Corporation', 'House', 'Company'))}")
    for key, value in said.items():
        main = main.replace("{" + key + "}", value)
    extra = [f"{tool.shown_as(k).replace('_', ' ')} {v}" for k, v in said.items() if k not in used]
    return main + (f" Use {join_and(extra)}." if extra else "")


def reply(rng: Random, tool: Tool, args: Json, result: Json) -> str:
    """The answer, made from the arguments and the result."""
    known = {k: spoken(v) for k, v in (args | result).items()}
    text = expand(rng, rng.choice(tool.answers))
    for key, value in known.items():
        text = text.replace("{" + key + "}", value)
    return text[:1].upper() + text[1:]


def arguments(rng: Random, tool: Tool) -> Json:
    """Valid arguments for a tool."""
    return fill(rng, tool.shape)
