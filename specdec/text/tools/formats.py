"""How chat templates have their models write tool calls and reasoning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from specdec.errors import InvalidRequest
from specdec.text.tools.template import ResponseTemplate


@dataclass(frozen=True, slots=True)
class ArgumentTags:
    """Arguments as pairs, `key KEY key_end value VALUE value_end gap` each: texts as they are, other values as JSON."""

    key: str
    key_end: str
    value: str
    value_end: str
    gap: str
    other: str = ""
    """What stands for `value` before all that is no text; "" where that is not told apart."""
    empty: str = ""
    """What may stand where there are no pairs."""


@dataclass(frozen=True, slots=True)
class CallHead:
    """How a call starts that is no JSON object: `lead NAME ARGUMENTS`, where `name_end` is before arguments in JSON."""

    lead: str
    name_end: str
    number: tuple[str, str] = ("", "")
    """What stands behind the name, before `name_end`: a mark, and a pattern of letters or digits."""
    call_id: str = ""
    """How a call's id comes of its `name` and `number`; "" where the model writes none."""
    tags: ArgumentTags | None = None
    """Arguments that are not JSON."""
    quote: str = ""
    """Of arguments in the notation `{key:value,...}`, the mark before and behind texts; see `NotationReader`."""


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """One way to write calls: `begin before CALL tail (between CALL tail)* after`. A CALL is a JSON object of a name
    and `arguments`, or starts with a `head`. Nothing but text and reasoning goes before, and nothing follows."""

    name: str
    begin: str
    """The mark that turns text into calls; "" where an answer that starts with a brace is one."""
    before: str
    between: str | None
    """None where an answer holds one call at most."""
    after: str
    end: str = ""
    """The mark behind a call or behind all, within `between` and `after`."""
    arguments: str = "arguments"
    short_ids: bool = False
    """The template takes call ids of nine letters and digits only."""
    head: CallHead | None = None
    tail: str = ""
    signs: tuple[str, ...] = ()
    """Texts of a template that has its model write so; formats with more telling ones come first."""
    gap: str = ""
    """What may stand before `begin` even where nothing else does."""


@dataclass(frozen=True, slots=True)
class Channels:
    """Where each part of an answer is a message of its own, on a channel: what goes before one in text, before one in
    text that calls follow, and behind the end of a message before the next."""

    text: str
    lead: str
    next: str


_CALL, _CALL_END = "<tool_call>", "</tool_call>"
_NEXT, _LAST = f"\n{_CALL_END}\n{_CALL}\n", f"\n{_CALL_END}"
_DEEPSEEK, _DEEPSEEK_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_ONE, _ONE_END, _SEP = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
_KIMI, _KIMI_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
_MISTRAL = "[TOOL_CALLS]"
_HARMONY_SIGNS = ("<|start|>", "<|channel|>", "<|message|>")
_QWEN_TAGS = ArgumentTags("<parameter=", ">", "\n", "\n</parameter>", "\n")
_GLM_TAGS = ArgumentTags("<arg_key>", "</arg_key>", "\n<arg_value>", "</arg_value>", "\n")
_GLM_DENSE_TAGS = ArgumentTags("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "")
_DSML_TAGS = ArgumentTags(
    '<｜DSML｜parameter name="', '" string="', 'true">', "</｜DSML｜parameter>", "\n", other='false">', empty="\n"
)
_GEMMA, _GEMMA_END = "<|tool_call>", "<tool_call|>"
_FUNCTION_GEMMA, _FUNCTION_GEMMA_END = "<start_function_call>", "<end_function_call>"


def _dsml(name: str, block: str) -> ToolFormat:
    return ToolFormat(
        name,
        f"<｜DSML｜{block}>",
        "\n",
        "",
        f"</｜DSML｜{block}>",
        f"</｜DSML｜{block}>",
        signs=("｜DSML｜", f"{block}>"),
        head=CallHead('<｜DSML｜invoke name="', '">\n', tags=_DSML_TAGS),
        tail="</｜DSML｜invoke>\n",
        gap="\n\n",
    )


_FORMATS = (
    ToolFormat(
        "gemma",
        _GEMMA,
        "",
        f"{_GEMMA_END}{_GEMMA}",
        _GEMMA_END,
        _GEMMA_END,
        signs=(f"{_GEMMA}call:", '<|"|>'),
        head=CallHead("call:", "", quote='<|"|>'),
    ),
    ToolFormat(
        "function_gemma",
        _FUNCTION_GEMMA,
        "",
        f"{_FUNCTION_GEMMA_END}{_FUNCTION_GEMMA}",
        _FUNCTION_GEMMA_END,
        _FUNCTION_GEMMA_END,
        signs=(_FUNCTION_GEMMA, "<escape>"),
        head=CallHead("call:", "", quote="<escape>"),
    ),
    ToolFormat(
        "kimi",
        _KIMI,
        "",
        "",
        _KIMI_END,
        _KIMI_END,
        signs=(_KIMI,),
        head=CallHead(
            "<|tool_call_begin|>functions.",
            "<|tool_call_argument_begin|>",
            (":", "[0-9]{1,4}"),
            "functions.{name}:{number}",
        ),
        tail="<|tool_call_end|>",
    ),
    _dsml("deepseek_v32", "function_calls"),
    _dsml("deepseek_v4", "tool_calls"),
    ToolFormat(
        "deepseek_r1",
        _DEEPSEEK,
        "",
        "\n",
        _DEEPSEEK_END,
        _DEEPSEEK_END,
        signs=(_DEEPSEEK, "```json"),
        head=CallHead(f"{_ONE}function{_SEP}", "\n```json\n"),
        tail=f"\n```{_ONE_END}",
    ),
    ToolFormat(
        "deepseek",
        _DEEPSEEK,
        "",
        "",
        _DEEPSEEK_END,
        _DEEPSEEK_END,
        signs=(_DEEPSEEK,),
        head=CallHead(_ONE, _SEP),
        tail=_ONE_END,
    ),
    ToolFormat(
        "glm",
        _CALL,
        "",
        f"{_CALL_END}\n{_CALL}",
        _CALL_END,
        _CALL_END,
        signs=("<arg_key>", "</arg_key>\n"),
        head=CallHead("", "\n", tags=_GLM_TAGS),
    ),
    ToolFormat(
        "glm_dense",
        _CALL,
        "",
        f"{_CALL_END}{_CALL}",
        _CALL_END,
        _CALL_END,
        signs=("<arg_key>",),
        head=CallHead("", "", tags=_GLM_DENSE_TAGS),
    ),
    ToolFormat(
        "qwen_xml",
        _CALL,
        "\n",
        _NEXT,
        _LAST,
        _CALL_END,
        signs=(_CALL, "<function=", "<parameter="),
        head=CallHead("<function=", ">\n", tags=_QWEN_TAGS),
        tail="</function>",
    ),
    ToolFormat(
        "mistral_ids",
        _MISTRAL,
        "",
        _MISTRAL,
        "",
        short_ids=True,
        signs=("[CALL_ID]", "[ARGS]"),
        head=CallHead("", "[ARGS]", ("[CALL_ID]", "[a-zA-Z0-9]{9}"), "{number}"),
    ),
    ToolFormat(
        "mistral_args",
        _MISTRAL,
        "",
        _MISTRAL,
        "",
        short_ids=True,
        signs=(_MISTRAL, "[ARGS]"),
        head=CallHead("", "[ARGS]"),
    ),
    ToolFormat(
        "harmony",
        "",
        "",
        None,
        "",
        signs=(*_HARMONY_SIGNS, "functions."),
        head=CallHead("<|channel|>commentary to=functions.", " <|constrain|>json<|message|>"),
    ),
    ToolFormat("hermes", _CALL, "\n", _NEXT, _LAST, _CALL_END, signs=(_CALL,)),
    ToolFormat("mistral", _MISTRAL, " [", ", ", "]", short_ids=True, signs=(_MISTRAL,)),
    ToolFormat("llama3", "", "", None, "", arguments="parameters", signs=("ipython", '"parameters"')),
)
TOOL_FORMATS: Mapping[str, ToolFormat] = {form.name: form for form in _FORMATS}
_HARMONY = Channels("<|channel|>final<|message|>", "<|channel|>commentary<|message|>", "<|start|>assistant")
_HARMONY_THOUGHT = ("<|channel|>analysis<|message|>", "<|end|>")
HARMONY_MARKS = ("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>")
_FOREIGN = ("<function=", "<invoke", "<tool_calls>")
"""Signs of calls that no format here has, but for the one that knows them."""
_THOUGHTS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<|channel>", "<channel|>"))
_LABELS = {"<|channel>": "thought\n"}
"""What stands first in a thought behind such a mark."""
Thought = Literal["none", "possible", "open"]
"""Where an answer starts: without a thought, maybe with one, or inside one."""
PYTHON_TAG = "<|python_tag|>"
"""Llama 3 may write it before a call."""


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """How a checkpoint writes its answers. `ids` are the marks that are tokens of their own; the others are text."""

    tools: ToolFormat | None = None
    thought: tuple[str, str] | None = None
    """The marks around reasoning."""
    ids: Mapping[str, int] = field(default_factory=dict)
    channels: Channels | None = None
    template: ResponseTemplate | None = None
    """Reads the answers of chats where none of our formats is the checkpoint's."""

    @classmethod
    def of(
        cls, name: str, template: str, tokens: Mapping[str, int], described: ResponseTemplate | None = None
    ) -> AnswerFormat:
        """`name` is "auto" (as the chat template shows, else as `described`), "none" or a tool format; `tokens` are the
        added ones."""
        if name not in ("auto", "none", *TOOL_FORMATS):
            raise InvalidRequest("tool_format", name, "auto, none, " + " or ".join(TOOL_FORMATS))
        if name == "auto":
            read = template.replace("\\n", "\n")
            name = next((form.name for form in _FORMATS if all(sign in read for sign in form.signs)), name)
            known = TOOL_FORMATS.get(name, _FORMATS[-1]).signs
            if any(sign in template and sign not in known for sign in _FOREIGN):
                name = "auto"
        tools = TOOL_FORMATS.get(name)
        if all(mark in template for mark in _HARMONY_SIGNS):
            return cls.harmony(tools, tokens)
        thought = next((marks for marks in _THOUGHTS if all(mark in template for mark in marks)), None)
        wanted = [*(thought or ()), *((tools.begin, tools.end, PYTHON_TAG) if tools else ())]
        within = inner_texts(tools) if tools else ()
        inner = [mark for mark in tokens if len(mark) > 1 and any(mark in text for text in within)]
        ids = {mark: tokens[mark] for mark in (*wanted, *inner) if mark in tokens}
        return cls(tools, thought, ids, template=described if name == "auto" else None)

    @classmethod
    def harmony(cls, tools: ToolFormat | None, tokens: Mapping[str, int]) -> AnswerFormat:
        """That of gpt-oss."""
        ids = {mark: tokens[mark] for mark in HARMONY_MARKS if mark in tokens}
        return cls(tools, _HARMONY_THOUGHT, ids, _HARMONY)

    @property
    def name(self) -> str | None:
        """Of the way in which calls are written; None where none is known."""
        return self.tools.name if self.tools else "template" if self.template else None

    @property
    def thinks(self) -> bool:
        """Whether thoughts are told apart."""
        return self.thought is not None or (self.template is not None and self.template.thinks)

    @property
    def label(self) -> str:
        """What a thought's first line is, which is no thought."""
        return _LABELS.get(self.thought[0], "") if self.thought else ""

    def thought_behind(self, prompt: str) -> Thought:
        """Some templates end a prompt inside a thought, or behind an empty one."""
        begin, end = self.thought or ("", "")
        if self.thought is None or prompt.rstrip().endswith(end):
            return "none"
        return "open" if prompt.rstrip().endswith((begin + self.label).rstrip()) else "possible"


def inner_texts(tools: ToolFormat) -> tuple[str, ...]:
    """What stands around the name and the arguments of a call that has a head."""
    if tools.head is None:
        return ()
    head, tags = tools.head, tools.head.tags
    around = (tags.key, tags.key_end, tags.value, tags.value_end, tags.other) if tags else ()
    return (head.lead, head.number[0], head.name_end, head.quote, tools.tail, *around)
