"""The plots that stories grow from.

Contract: a `Plot` is a row of beats; each beat lists ways to say the same event, so any choice keeps the story
true. Slots: {h} hero, {f} friend, {a} animal, {r} relative (each with {..he} {..him} {..his} {..He} {..His} and
{..kind}), {t} the bare thing, {at} "a blue key", {the} "the blue key", {p} {p2} {p3} places, {g} a gift, {food}, {day}.
`facts` are questions with the answers that the beats make true; `gist` sums the story up.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plot:
    """One kind of story."""

    name: str
    beats: tuple[tuple[str, ...], ...]
    gist: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    lesson: tuple[str, ...] = ("",)


OPENINGS = (
    "Once upon a time, there was a [young|little|small] {hkind} called {h}.",
    "There was once {antrait} {hkind} named {h}.",
    "{h} was {antrait} {hkind} who lived near {p3}.",
    "In a [small town|quiet village|little house] near {p3} lived {ahkind} called {h}.",
    "Once there was {ahkind} named {h}. {hHe} was [very|always] {trait}.",
    "{ahkind} called {h} lived [with {hhis} {r} ]in a [small|white|narrow|crooked] house near {p3}.",
    "This is the story of {h}, {antrait} {hkind}.",
    "Not long ago, {ahkind} named {h} lived close to {p3}.",
)

FIND = Plot(
    "find",
    (
        (
            "One {dayp}, {h} was [walking|playing|on {hhis} way] [near|by|close to] {p} when {hhe} saw something [shiny|strange|small] in the [grass|dust|leaves].",
            "On {day}, {h} went to {p}. [There|Under a bench|Behind a stone|Beside the path], {hhe} saw something that [did not belong there|shone a little].",
            "One {dayp}, while {hhe} was looking for {hhis} {g}, {h} [stopped|stood still] near {p}. Something lay on the ground.",
        ),
        ("It was {at}.", "{hHe} [bent down|knelt down] and picked it up. It was {at}!", "It was {at}, [half hidden under some leaves|lying all alone|cold from the night]."),
        (
            '"Who lost this?" {hhe} wondered.',
            '"[Someone|Somebody] must miss this {t}," said {h}.',
            "{h} turned it over in {hhis} hands. There was no name on it.",
            "{hHe} [wanted to keep it|liked it at once], but {hhe} knew that it belonged to someone.",
        ),
        (
            "So {hhe} took {the} to {hhis} friend {f}, who was at {p2}.",
            "{h} ran to {p2}, where {hhis} friend {f} was [working|reading|waiting].",
        ),
        (
            '"Do you know whose {t} this is?" asked {h}. "Yes," said {f}. "It belongs to {r2}. {r2He} has been looking for it all [day|week]."',
            '{f} looked at it. "I know this {t}," {fhe} said. "{r2} lost it on {day2}."',
            '"Oh!" said {f}. "That is the {t} of {r2}. [Let us take it back|We must bring it back]."',
        ),
        (
            "{h} and {f} went to {r2} [together|at once] and gave {the} back.",
            "Together, they [walked|hurried] to the house of {r2}. {h} held out {the}.",
        ),
        (
            "{r2} was so happy that {r2he} [laughed out loud|clapped {r2his} hands|had tears in {r2his} eyes].",
            '"My {t}!" cried {r2}. "[Thank you so much|Thank you both|How can I thank you], {h}!"',
        ),
        (
            "To thank them, {r2he} gave them {food}, and they ate it [together|in the sun|at a big table].",
            "{r2He} gave {h} {ag} as a present, and {h} [smiled all the way home|kept it for many years].",
        ),
    ),
    (
        "{h} finds {at} near {p}. With help from {f}, {hhe} learns that it belongs to {r2} and gives it back.",
        "{h} finds {at}, asks {f} about it, and gives it back to {r2}, who is very happy.",
    ),
    (
        ("[What did {h} find|What did {h} pick up|What was lying on the ground]?", "{h} found {at}."),
        ("[Who did the {t} belong to|Whose {t} was it]?", "The {t} belonged to {r2}."),
        ("[Who did {h} ask for help|Who knew whose {t} it was|Who told {h} about the {t}]?", "{h} asked {f}."),
        ("Where was {f}?", "{f} was at {p2}."),
    ),
    ("{h} had learned that giving something back can feel better than keeping it.", "", "And from that day on, the three of them were friends."),
)

LOST = Plot(
    "lost",
    (
        ("{hHe} had {at} that {hhe} loved more than anything.", "{hHe} never went anywhere without {hhis} {t}, {at} from {hhis} {r}."),
        (
            "One {dayp}, the {t} was gone. {h} [felt very sad|began to cry|did not know what to do].",
            "But on {day}, {h} could not find it. {hHe} looked [everywhere|high and low].",
            "On {day}, {h} [reached for it|woke up|came home] and saw that the {t} was missing.",
        ),
        (
            "First {hhe} looked in {p}, but it was not there.",
            "{hHe} ran to {p} and looked [under every leaf|in every corner|behind every door]. Nothing.",
        ),
        (
            'Then {hhe} met {f}. "What is wrong?" asked {f}. "I have lost my {t}," said {h}.',
            'On the way, {hhe} met {hhis} friend {f}. "Why are you [so sad|crying]?" {f} asked. {h} told {fhim} about the {t}.',
        ),
        ('"I will help you," said {f}. Together they [went|walked] to {p2}.', '{f} [thought for a moment|smiled]. "Where were you yesterday?" "At {p2}," said {h}. So they went there.'),
        (
            "There they heard a [small|funny|soft] sound. It was {a} the {akind}, and {ahe} was [sleeping on|sitting next to|playing with] {the}!",
            "And there sat {anakind} called {a}, with {the} [between {ahis} feet|right beside {ahim}]!",
        ),
        (
            '"{a} kept it safe for you," said {f}, and [they both laughed|{h} laughed].',
            "{a} [looked at them|blinked] and gave the {t} back.",
        ),
        (
            "{h} [hugged|held] {hhis} {t} and thanked {f} and {a}. Then they all shared {food}.",
            '"Thank you, {f}! Thank you, {a}!" said {h}. {hHe} was [so glad|very happy].',
        ),
    ),
    (
        "{h} loses {hhis} {t}. {hHe} looks in {p} first, and then finds it at {p2} with {f}; {a} the {akind} had it.",
        "{h} has lost {at}. {f} helps {hhim} look, and they find it at {p2}, where {a} the {akind} was keeping it.",
    ),
    (
        ("[What did {h} lose|What was missing]?", "{h} lost {hhis} {t}."),
        ("Where did {h} look first?", "{h} looked in {p} first."),
        ("[Where was the {t}|Where did they find the {t}]?", "The {t} was at {p2}."),
        ("Who helped {h}?", "{f} helped {h}."),
        ("[What kind of animal was {a}|What was {a}]?", "{a} was {anakind}."),
    ),
    ("From then on, {h} always put {hhis} {t} in the same place.", "", "That night, the {t} lay safely beside {hhis} bed."),
)

OPENS = Plot(
    "opens",
    (
        (
            "One {dayp}, {hhe} found [a small key|an old key|a rusty key|a silver key] in {p}.",
            "On {day}, {h} was cleaning {p} when a key fell [out of an old coat|from a shelf|on the floor].",
            "One {dayp}, {hhis} {r} asked {hhim} to sweep {p}. Under a mat, {h} found a key.",
        ),
        (
            '"What does this key open?" {hhe} [wondered|asked]. {hHe} tried it on every door, but it did not fit.',
            "{hHe} tried it in the front door, in the back door and in the [cupboard|desk], but it was always too small.",
        ),
        (
            '{h} showed it to {hhis} friend {f}. "Let us try {p2}," said {f}. "There are many old things there."',
            'So {hhe} asked {f}. "I once saw a locked chest in {p2}," said {f}.',
        ),
        (
            "They went to {p2}. In a dark corner stood [a wooden chest|a locked chest|an old chest] covered with dust.",
            "In {p2}, behind some boxes, they found an old chest with a small lock.",
        ),
        ("{h} put the key in the lock and turned it. Click! The chest [opened|was open].", "{hHis} hands were shaking. {hHe} turned the key, and slowly the lid went up."),
        (
            "Inside was {at}, and a letter. The letter said: \"{note}\"",
            "Inside lay {at} and a note. {h} read it aloud: \"{note}\"",
        ),
        (
            "{h} took {the} home and showed it to {hhis} {r}. \"[That was mine when I was young|I lost that key many years ago]!\" said {hhis} {r} with a smile.",
            '"We found a treasure," whispered {f}. "Yes," said {h}, "and we found it together."',
        ),
        ("After that, they [ate {food}|had {food}] and talked about the chest until it was dark.", "They closed the chest, and {h} put the key on a string around {hhis} neck."),
    ),
    (
        "{h} finds a key in {p}. With {f}, {hhe} discovers that it opens a chest in {p2}, and inside is {at}.",
        "A key that {h} finds in {p} opens an old chest in {p2}. In it, {h} and {f} find {at} and a note.",
    ),
    (
        ("[What did {h} find first|What did {h} find in {p}]?", "{h} found a key."),
        ("[Where was the chest|Where did they find the chest]?", "The chest was in {p2}."),
        ("[What was in the chest|What was inside the chest]?", "Inside the chest were {at} and a note."),
        ("[Who went with {h}|Who knew about the chest|Who helped {h}]?", "{f} helped {h}."),
        ("What did the note say?", 'The note said: "{note}"'),
    ),
    ("", "{h} never forgot that day.", "And {hhe} never lost that key again."),
)

RESCUE = Plot(
    "rescue",
    (
        (
            "One {dayp}, {h} heard a [sad|small|strange] cry near {p}.",
            "On {day}, {hhe} was walking past {p} when {hhe} heard [a noise|a cry for help].",
        ),
        (
            "It was {a}, a [little|young] {akind}. {aHis} [foot|leg] was caught [under a branch|in a net|between two stones].",
            "{anakind} called {a} was stuck [in a deep hole|in the mud|behind a fence], and {ahe} could not get out.",
        ),
        (
            '"Do not be afraid," said {h}. "I will help you." But {hhe} could not do it alone.',
            "{h} pulled and pulled, but {hhe} was not strong enough.",
        ),
        (
            "So {hhe} ran to {p2} and [asked {f} for help|called {f}]. {f} came with {at}.",
            '{hHe} hurried to {p2}, where {hhe} found {f}. "Bring {at}, quickly!" said {h}.',
        ),
        (
            "They used {the}, and soon {a} was free.",
            "{f} held {the} [tight|still], {h} pulled, and at last {a} was free.",
        ),
        ("{a} [jumped for joy|danced around them|shook {ahis} head and laughed].", '"Thank you," said {a}. "I was so [scared|lonely]."'),
        (
            "They gave {ahim} {food}, and then they took {ahim} home to {p3}.",
            "{h} carried {ahim} all the way to {p3}, where {ahis} family was waiting.",
        ),
    ),
    (
        "{h} hears {a} the {akind} crying near {p}. {f} brings {at}, and together they set {ahim} free.",
        "{a}, {anakind}, is stuck near {p}. {h} gets help from {f}, and with {at} they free {ahim}.",
    ),
    (
        ("[Who was stuck|Who needed help|Who was in trouble]?", "{a} the {akind} was stuck."),
        ("What kind of animal was {a}?", "{a} was {anakind}."),
        ("[Who helped {h}|Who did {h} call]?", "{f} helped {h}."),
        ("[What did they use|What did {f} bring]?", "They used {at}."),
        ("Where did {h} hear the cry?", "{h} heard it near {p}."),
        ("Where did they take {a}?", "They took {ahim} to {p3}."),
    ),
    ("After that, {a} came to visit {h} every {dayonly}.", "", "{h} and {a} stayed friends for the rest of their lives."),
)

JOURNEY = Plot(
    "journey",
    (
        (
            "One {dayp}, {hhis} {r} said, \"{h}, please take {the} to {f}. {fHe} lives near {p}, and {fhe} needs it today.\"",
            "{hHis} {r} gave {hhim} {at}. \"Take this to {f} at {p},\" said {hhis} {r}, \"and be careful.\"",
        ),
        ("So {h} put the {t} in {hhis} bag and set off.", "{h} was proud. {hHe} had never gone so far alone."),
        (
            "But at {p2}, {hhe} came to a [wide river|deep ditch|fallen tree]. There was no way [across|around it].",
            "On the way, near {p2}, it began to [rain|snow|get dark], and {h} lost the path.",
        ),
        (
            'Then {hhe} saw {a}, {anakind}. "I know another way," said {a}. "Follow me."',
            '{anakind} named {a} [was sitting there|came out of the grass]. "Are you lost?" asked {a}. "Yes," said {h}. "Then come with me."',
        ),
        ("{a} led {hhim} along a narrow path, over a [hill|wall|small bridge], and at last they saw {p}.", "Together they walked [past|around] {p3}, and they sang so that they would not be afraid."),
        (
            "{f} was waiting at {p}. {h} gave {fhim} {the}.",
            'When they came to {p}, {f} opened [the door|the gate]. "You brought my {t}!" {fhe} said.',
        ),
        (
            "{f} gave {h} and {a} {food}. They had never tasted anything so good.",
            'To thank {hhim}, {f} gave {h} {ag}. "{a} should have something too," said {h}, and {f} gave {ahim} {food}.',
        ),
    ),
    (
        "{h} has to bring {at} to {f} at {p}. {hHe} gets stuck near {p2}, but {a} the {akind} shows {hhim} the way.",
        "{h} carries {at} to {f}. When the way is blocked near {p2}, {a} the {akind} helps {hhim}.",
    ),
    (
        ("[What did {h} have to bring|What did {h} carry|What was in the bag]?", "{h} carried {at}."),
        ("[Who was the {t} for|Who needed the {t}|Who was waiting for {h}]?", "The {t} was for {f}."),
        ("[Who helped {h}|Who knew the way|Who showed {h} the way]?", "{a} the {akind} showed {h} the way."),
        ("[Where was {f}|Where did {h} have to go]?", "{f} was at {p}."),
        ("Who sent {h}?", "{hHis} {r} sent {hhim}."),
    ),
    ("{h} came home late, tired and happy.", "", 'At home, {hhis} {r} said, "I knew that you could do it."'),
)

SHARE = Plot(
    "share",
    (
        (
            "One {dayp}, {h} and {hhis} friend {f} were playing at {p}. {h} had {at}.",
            "{h} brought {at} to {p}, where {f} was already waiting.",
        ),
        ('"May I have it for a while?" asked {f}. "No," said {h}. "It is mine."', '{f} wanted to [try|hold] the {t} too, but {h} would not give it to {fhim}.'),
        (
            "{f} was [hurt|sad] and went away to {p2}. Now {h} was alone.",
            "So {f} walked off to {p2}, and {h} played alone. But it was no fun.",
        ),
        (
            '{hHis} {r} saw {hhim} and asked, "Where is {f}?" {h} looked at the ground. "I did not want to share my {t}," {hhe} said.',
            "After a while, {h} felt bad. \"A {t} is not as good as a friend,\" {hhe} thought.",
        ),
        (
            'So {h} went to {p2} and found {f}. "I am sorry," {hhe} said. "You can have {the} first."',
            '{h} ran to {p2}. "{f}, I am sorry," said {h}, and {hhe} gave {fhim} {the}.',
        ),
        ('{f} smiled. "Let us [play|use it] together," {fhe} said.', '"Thank you," said {f}. "I am sorry that I [ran|went] away."'),
        ("They played until the sun went down, and then they shared {food}.", "They took turns all afternoon, and [both of them laughed a lot|it was the best day of the week]."),
    ),
    (
        "{h} does not want to share {hhis} {t} with {f}, so {f} leaves. Later {h} says sorry, and they play together.",
        "{h} and {f} quarrel about {at}. {h} goes to {p2} to say sorry, and they become friends again.",
    ),
    (
        ("What did {h} have?", "{h} had {at}."),
        ("[Why was {f} sad|Why did {f} go away]?", "{f} went away because {h} did not want to share the {t}."),
        ("Where did {f} go?", "{f} went to {p2}."),
        ("[Who said sorry first|What did {h} say to {f}]?", "{h} said sorry to {f}."),
    ),
    ("{h} had learned to share.", "", "Since then, {h} and {f} have shared everything."),
)

FEAR = Plot(
    "fear",
    (
        (
            "{hHe} was afraid of only one thing: [the dark|deep water|thunder|high places|being alone].",
            "Everyone knew that {h} was afraid of [the dark|storms|deep water|climbing|speaking in front of people].",
        ),
        (
            "One {dayp}, {hhis} friend {f} came running. \"{h}, come quickly! {a} the {akind} is alone in {p}!\"",
            "On {day}, {a}, the {akind} of {hhis} friend {f}, ran away to {p}. \"Please help me,\" said {f}.",
        ),
        ("{h} was [afraid|scared]. {hHis} knees shook. But {hhe} thought of {a}.", '"I cannot do it," said {h}. Then {hhe} thought of {a}, all alone, and stood up.'),
        ("{hHe} took {at} and went in, one small step after another.", "With {at} in {hhis} hand, {hhe} walked slowly into {p}."),
        (
            'Inside it was very quiet. "{a}?" called {h}. Two bright eyes looked at {hhim}. It was {a}!',
            "{hHe} called and called. At last {hhe} saw {a} behind an old [door|barrel|wall].",
        ),
        (
            "{h} took {ahim} in {hhis} arms and carried {ahim} out to {f}.",
            "{a} came to {hhim} at once, and together they went back to {f}.",
        ),
        (
            '"You are the bravest {hkind} I know," said {f}. "I was afraid," said {h}, "but I went in anyway."',
            '{f} hugged them both. "Were you not afraid?" {fhe} asked. "I was," said {h}, "but {a} needed me."',
        ),
    ),
    (
        "{h} is often afraid, but when {a} the {akind} is alone in {p}, {hhe} goes in and brings {ahim} back to {f}.",
        "{a}, the {akind} of {f}, is lost in {p}. {h} is scared but goes in with {at} and finds {ahim}.",
    ),
    (
        ("[Who was lost|Who was in {p}]?", "{a} the {akind} was in {p}."),
        ("[What did {h} take with {hhim}|What did {h} have in {hhis} hand]?", "{h} took {at}."),
        ("Who asked {h} for help?", "{f} asked {h} for help."),
        ("[Why did {h} go in|Why was {h} brave]?", "{h} went in because {a} needed {hhim}."),
    ),
    ("From that day, {h} was a little less afraid.", "", "Being brave does not mean that you are never afraid."),
)

PARTY = Plot(
    "party",
    (
        (
            "On {day}, it was the birthday of {f}, and {h} wanted to make {food} for {fhim}.",
            "{h} wanted to surprise {hhis} friend {f} with {food} on {day}.",
        ),
        ("{hHe} looked in the kitchen, but there was no [flour|milk|sugar|salt|honey|butter] left.", "But when {hhe} began, the [pot|oven|big spoon|bowl] was broken."),
        (
            'So {hhe} went to {p}. There {hhe} met {r2}. "I can help you," said {r2}, "if you lend me {at}."',
            '"What can I do?" {hhe} thought. At {p}, {r2} had an idea. "Give me {at} for a day, and I will help you."',
        ),
        ("{h} had {at} at home. {hHe} [ran home|went back] and brought it to {r2}.", '"That is fair," said {h}, and {hhe} brought {r2} {the}.'),
        ("{r2} gave {hhim} everything {hhe} needed, and {h} cooked all [morning|afternoon].", "Together, {h} and {r2} made {food}. It smelled wonderful."),
        (
            'At {p2}, everyone was waiting. "Happy birthday!" they shouted. {f} [could not believe {fhis} eyes|was very surprised].',
            "In the evening, they carried it to {p2}, where {f} was sitting. {fHis} eyes grew wide.",
        ),
        ('"This is the best birthday I ever had," said {f}.', "{f} ate three [plates|bowls] and thanked {h} again and again."),
    ),
    (
        "{h} wants to make {food} for the birthday of {f}. {r2} helps, because {h} lends {r2him} {at}.",
        "For the birthday of {f}, {h} makes {food} with help from {r2}, and they celebrate at {p2}.",
    ),
    (
        ("[Whose birthday was it|Who had a birthday]?", "It was the birthday of {f}."),
        ("[What did {h} make|What did {h} want to make]?", "{h} made {food}."),
        ("[Who helped {h}|Who had an idea]?", "{r2} helped {h}."),
        ("What did {h} lend to {r2}?", "{h} lent {r2him} {at}."),
        ("[Where was the party|Where was {f} waiting]?", "{f} was at {p2}."),
    ),
    ("", "{r2} gave the {t} back the next day, as clean as new.", "And {h} was just as happy as {f}."),
)

NEWCOMER = Plot(
    "newcomer",
    (
        (
            "{h} had just moved to a new town, and {hhe} did not know anyone.",
            "It was {hhis} first week in the town, and {h} had no friends yet.",
        ),
        ("Every day {hhe} sat alone [at|near] {p} with {hhis} {t}, {at}.", "One {dayp}, {hhe} took {at} and went to {p}."),
        (
            'A {fkind} came by and stopped. "What a [lovely|funny|fine] {t}!" {fhe} said. "My name is {f}."',
            'There {hhe} saw a {fkind}. "Hello," said the {fkind}. "I am {f}. Is that your {t}?"',
        ),
        ('"I am {h}," {hhe} said [shyly|quietly]. "I am new here."', '{h} nodded. "I am {h}. I just moved here."'),
        ('"Then I will show you everything," said {f}. First they went to {p2}, and then to {p3}.', '"Come with me," said {f}, and took {hhim} to {p2}.'),
        ("There they met {a}, a [friendly|funny|fat] {akind} who [liked to dance|could open doors|was always hungry].", "At {p2} lived {anakind} called {a}, and {ahe} followed them everywhere."),
        ("In the evening, {h} gave {the} to {f}. \"Please keep it,\" {hhe} said. \"You are my first friend here.\"", 'When it got dark, {f} said, "Same time tomorrow?" {h} smiled. "Yes!"'),
    ),
    (
        "{h} is new in town and lonely. At {p}, {hhe} meets {f}, who shows {hhim} {p2} and becomes {hhis} friend.",
        "Because of {at}, {h}, who is new in town, makes friends with {f} and meets {a} the {akind}.",
    ),
    (
        ("[Who did {h} meet at {p}|Who became {hhis} friend]?", "{h} met {f}."),
        ("What did {h} have with {hhim}?", "{h} had {at}."),
        ("[Where did {f} take {h}|Where did they go first]?", "{f} took {h} to {p2}."),
        ("[What kind of animal was {a}|Who was {a}]?", "{a} was {anakind}."),
    ),
    ("The new town did not feel so new any more.", "", "{h} was not lonely any more."),
)

THIEF = Plot(
    "thief",
    (
        (
            "One {dayp}, strange things began to happen at {p}. First a {g} was gone, and then {the} of {f}.",
            "On {day}, {f} came to {h}. \"Someone took my {t} from {p}!\" {fhe} said.",
        ),
        ('"I will find out who did it," said {h}.', "{h} loved [puzzles|secrets]. \"Let us look for [signs|footprints],\" {hhe} said."),
        ("They found small footprints in the [mud|snow|sand]. The footprints led to {p2}.", "There were [crumbs|feathers|wet spots] on the floor, and they led all the way to {p2}."),
        (
            "They followed them quietly. And there, in a warm [nest|corner], sat {a}, {anakind}, with {the}!",
            "Behind a [bush|curtain|box] they found {anakind}. It was {a}, and {ahe} had {the}!",
        ),
        ('"Why did you take it?" asked {h}. "{a} looked down. "I was lonely," {ahe} said. "I only wanted you to come and visit me."'.replace('"{a}', "{a}"), '"So it was you!" said {f}. "I am sorry," said {a}. "It is so pretty, and my home is so empty."'),
        ('{f} was not angry any more. "You can play with us," {fhe} said, "but you must ask first."', '"Next time, just ask," said {h}. {a} promised, and gave the {t} back to {f}.'),
        ("Then all three of them had {food} [at|near] {p3}.", "To make it good again, {a} gave them {ag}."),
    ),
    (
        "The {t} of {f} disappears from {p}. {h} follows the signs to {p2} and finds that {a} the {akind} took it.",
        "{h} helps {f} look for {fhis} {t}. {a} the {akind} had taken it, says sorry, and becomes a friend.",
    ),
    (
        ("[What was gone|What was stolen|What did {f} lose]?", "The {t} of {f} was gone."),
        ("[Who took the {t}|Who was the thief|Who had the {t}]?", "{a} the {akind} took it."),
        ("Where did they find {a}?", "They found {a} at {p2}."),
        ("What kind of animal was {a}?", "{a} was {anakind}."),
    ),
    ("And nothing ever disappeared from {p} again.", "", "{h} was known as the best detective in town."),
)

GROW = Plot(
    "grow",
    (
        ("One {dayp}, {hhis} {r} gave {hhim} a [tiny|small|black|strange] seed.", "On {day}, {h} found a [tiny|round|strange] seed in {p}."),
        ("{h} put it in the ground near {p2} and gave it water every day.", "{hHe} planted it in a pot and carried it to {p2}, where the sun was warm."),
        ("A week went by, and nothing happened. \"Maybe it is [dead|asleep|only a stone],\" said {f}.", "{f} laughed. \"Nothing will grow there,\" {fhe} said. But {h} did not stop."),
        ("{h} waited. {hHe} sang to it, and {hhe} [built a little fence|used {at} to keep the wind away].", "Even when it rained, {h} went to look after it. {a} the {akind} kept {hhim} company."),
        ("Then, one morning, there was a small green leaf!", "At last, after [three|four|six] weeks, something green came out of the ground."),
        ("It grew and grew until it was taller than {h}, and it was full of {fruit}s.", "By summer it had become a [fine|strong] little tree with sweet {fruit}s."),
        ('{h} gave the first {fruit} to {f}. "I was wrong," said {f}. "You never gave up."', "{h} shared the {fruit}s with {f} and with {hhis} {r}. There were enough for everyone."),
    ),
    (
        "{h} plants a seed near {p2}. {f} does not believe in it, but {h} is patient, and it grows into a tree of {fruit}s.",
        "{h} looks after a seed for weeks, although {f} laughs, and in the end it bears {fruit}s.",
    ),
    (
        ("[What did {h} plant|What did {h} look after]?", "{h} planted a seed."),
        ("Where was the seed planted?", "It was planted near {p2}."),
        ("What grew on the tree?", "{fruit}s grew on it."),
        ("[Who laughed|Who did not believe {h}|Who was wrong]?", "{f} did not believe that it would grow."),
    ),
    ("Good things take time.", "", "{h} kept one seed for the next year."),
)

WISH = Plot(
    "wish",
    (
        ("One {dayp}, {hhe} met an old {akind} called {a} near {p}. {a} was [cold|hungry|tired].", "One {dayp}, an old {akind} named {a} sat beside the path to {p}."),
        ('"Do you have something to eat?" asked {a}. {h} had only {food}, but {hhe} gave {ahim} half of it.', "{h} had {food} in {hhis} bag, and {hhe} shared it with {ahim}."),
        ('"You are kind," said {a}. "I will give you one wish."', '"Because you shared with me, you have one wish," said {a}.'),
        ('{h} thought [hard|for a long time]. {hHe} could wish for gold, or for {at}. But then {hhe} remembered {f}, who was ill.', "{h} wanted {at} so much! But {hhis} friend {f} had been ill for many days."),
        ('"I wish that {f} gets well," {hhe} said.', 'So {hhe} said, "Please make {f} well again."'),
        ("{a} nodded, and a warm wind blew over {p2}.", "{a} closed {ahis} eyes. Far away, a bell rang."),
        ("When {h} came to {p2}, {f} was sitting in the sun, [laughing|quite well].", "The next day, {f} ran to meet {hhim} at {p2}. {fHe} was well!"),
        ("And beside {fhim} lay {the}, with a note: \"{note}\"", "In {hhis} bag, {h} found {at}. {a} had not forgotten."),
    ),
    (
        "{h} shares food with {a}, an old {akind}, and gets one wish. {hHe} uses it to make {f} well.",
        "{a} the {akind} gives {h} a wish. {h} wants {at}, but wishes that {f}, who is ill, gets well.",
    ),
    (
        ("[Who gave {h} a wish|Who did {h} meet]?", "{a} the {akind} gave {h} a wish."),
        ("[What did {h} wish for|What was the wish]?", "{h} wished that {f} would get well."),
        ("[Who was ill|Who was sick]?", "{f} was ill."),
        ("What did {h} share with {a}?", "{h} shared {food}."),
        ("[What did {h} want|What did {h} get in the end]?", "It was {at}."),
    ),
    ("", "{h} never saw {a} again, but {hhe} often thought of {ahim}."),
)

PLOTS = (FIND, LOST, OPENS, RESCUE, JOURNEY, SHARE, FEAR, PARTY, NEWCOMER, THIEF, GROW, WISH)
