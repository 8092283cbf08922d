"""What becomes of the fields that clients send beyond what an endpoint's schema has: one table.

*mapped*: it has a meaning here, under another name or in another form. *ignored*: it cannot change an answer; the
response's header `x-specdec-ignored` and the log name it. *refused*: leaving it out would change the answer in silence;
so is every field that is not known. `Settings.strict` refuses all that are not the schemas' own.

`page` is docs/endpoint-fields.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from specdec_server import mappings
from specdec_server.mappings import JSON, FieldMapping, FieldPlace
from specdec_server.schemas import Form

EVERY_FORM: tuple[Form, ...] = get_args(Form)
FORMS: tuple[Form, ...] = ("chat", "completions", "responses", "messages")
"""Of requests for answers."""
PATHS: Mapping[Form, str] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "embeddings": "/v1/embeddings",
}
Treatment = Literal["mapped", "ignored", "refused"]


@dataclass(frozen=True, slots=True)
class FieldRule:
    """Of the fields at `paths`, where `[]` stands for each item of a list."""

    treatment: Treatment
    paths: tuple[str, ...]
    meaning: str
    """For the docs."""
    example: Any = None
    """What a client may send there."""
    forms: tuple[Form, ...] = FORMS
    mapping: FieldMapping | None = None
    """None where the schema knows the field itself."""


def _mapped(mapping: FieldMapping | None, meaning: str, *paths: str, forms: tuple[Form, ...] = FORMS) -> FieldRule:
    return FieldRule("mapped", paths, meaning, forms=forms, mapping=mapping)


def _ignored(meaning: str, *paths: str, example: Any = "x", forms: tuple[Form, ...] = FORMS) -> FieldRule:
    return FieldRule("ignored", paths, meaning, example, forms)


def _refused(meaning: str, *paths: str, example: Any = "x", forms: tuple[Form, ...] = FORMS) -> FieldRule:
    return FieldRule("refused", paths, meaning, example, forms)


_CHAT: tuple[Form, ...] = ("chat",)
_OPENAI: tuple[Form, ...] = ("chat", "responses")
_CHATS: tuple[Form, ...] = ("chat", "responses", "messages")
_RESPONSES: tuple[Form, ...] = ("responses",)
_MESSAGES: tuple[Form, ...] = ("messages",)

TABLE = (
    _mapped(
        mappings.instead(-1, None),
        "-1 and null: as many tokens as the context allows. More than that is cut to it.",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
    ),
    _mapped(mappings.whole_number, "100.0 is 100.", "n", "best_of", "seed", "min_tokens", "logprobs", "top_logprobs"),
    _mapped(mappings.whole_number, "100.0 is 100.", "dimensions", forms=("embeddings",)),
    _mapped(mappings.instead(-1, 0), "-1: off, as 0 is.", "top_k"),
    _mapped(mappings.renamed("repetition_penalty"), "`repetition_penalty`.", "repeat_penalty"),
    _mapped(None, "Whose turn it is among those who wait.", "user", "safety_identifier"),
    _mapped(mappings.moved("user"), "`user`.", "metadata.user_id", forms=_MESSAGES),
    _mapped(None, "Variables of the chat template, as they are.", "chat_template_kwargs"),
    _mapped(
        None,
        "Thinking off (false, `none`), on, or how much: in the template's own words, as far as it has some.",
        "enable_thinking",
        "reasoning_effort",
    ),
    _mapped(mappings.moved("reasoning_effort"), "`reasoning_effort`.", "reasoning.effort", "output_config.effort"),
    _mapped(
        mappings.moved("max_reasoning_tokens"),
        "`max_reasoning_tokens`.",
        "reasoning.max_tokens",
        "thinking.budget_tokens",
        "thinking_budget",
        "thinking_token_budget",
    ),
    _mapped(mappings.whole_number, "Tokens that a thought may have.", "max_reasoning_tokens"),
    _ignored(
        "How thoughts are shown: they come as they are, never summed up.",
        "reasoning.summary",
        "reasoning.generate_summary",
        "reasoning.exclude",
        "thinking.display",
        "include_reasoning",
        forms=_CHATS,
    ),
    _mapped(
        mappings.switch,
        "`enable_thinking`: true, false, an effort, or an object whose `type` is enabled, adaptive or disabled.",
        "reasoning.enabled",
        "thinking.type",
        "reasoning",
        "thinking",
        "think",
    ),
    _mapped(
        mappings.own_tools("function"),
        "Functions. Tools of other types (web_search, custom, namespace ...) run at a service: they are skipped, and "
        "named in the header.",
        "tools",
        forms=_OPENAI,
    ),
    _mapped(
        mappings.own_tools("custom"),
        "Functions, whose type is missing or custom. Tools of other types run at a service: they are skipped, and "
        "named in the header.",
        "tools",
        forms=_MESSAGES,
    ),
    _mapped(
        mappings.tool_choice(nested=True),
        "All forms: a word, an object with it as its type (any is required), a function by name, allowed_tools.",
        "tool_choice",
        forms=_CHAT,
    ),
    _mapped(mappings.tool_choice(nested=False), "As of a chat.", "tool_choice", forms=_RESPONSES),
    _mapped(mappings.schema_of_format, "Beside json_object: a JSON schema.", "response_format.schema", forms=_CHAT),
    _mapped(
        mappings.instead("auto", "disabled"),
        "auto is disabled: a prompt that is too long is refused, and never cut.",
        "truncation",
        forms=_RESPONSES,
    ),
    _mapped(
        mappings.history,
        "An assistant's or a tool's content may be null. Calls and results whose ids are null go together in order.",
        "messages",
        forms=_CHAT,
    ),
    _mapped(
        mappings.renamed("reasoning_content"),
        "`reasoning_content`: what an assistant thought.",
        "messages[].reasoning",
        forms=_CHAT,
    ),
    _mapped(
        mappings.reasoning_details,
        "Their texts, unless there is reasoning_content. What is encrypted is dropped.",
        "messages[].reasoning_details",
        forms=_CHAT,
    ),
    _mapped(
        mappings.arguments,
        "An object is its JSON.",
        "messages[].tool_calls[].function.arguments",
        "input[].arguments",
        forms=_OPENAI,
    ),
    _mapped(mappings.refusal_part, "Text.", "messages[].content[].refusal", "input[].content[].refusal", forms=_OPENAI),
    _ignored(
        "Storage, prices, caches and notes of a service. Prefixes are cached anyway.",
        "store",
        "service_tier",
        "cache_control",
        "cache_prompt",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prompt_cache_options",
        "client_metadata",
        "keep_alive",
        "ttl",
        "include",
        "verbosity",
        "web_search_options",
        forms=EVERY_FORM,
    ),
    _ignored(
        "Notes of a client.", "metadata", example={"a": "b"}, forms=("chat", "completions", "messages", "embeddings")
    ),
    _ignored("How much to write, which no model here was taught.", "text.verbosity", forms=_RESPONSES),
    _ignored(
        "Of calls at the service, and of its streams.",
        "max_tool_calls",
        "stream_options",
        example={"include_obfuscation": False},
        forms=_RESPONSES,
    ),
    _ignored(
        "Of a service's own models and sessions.",
        "container",
        "context_management",
        "diagnostics",
        "inference_geo",
        "mcp_servers",
        "speed",
        "user_profile_id",
        "workspace_id",
        forms=_MESSAGES,
    ),
    _ignored(
        "Where a prompt's cache ends.",
        "tools[].cache_control",
        "tools[].function.cache_control",
        "system[].cache_control",
        "messages[].cache_control",
        "messages[].content[].cache_control",
        "messages[].content[].content[].cache_control",
        example={"type": "ephemeral"},
    ),
    _ignored(
        "How a service would use a tool.",
        "tools[].allowed_callers",
        "tools[].defer_loading",
        "tools[].eager_input_streaming",
        "tools[].input_examples",
        example=["x"],
    ),
    _ignored(
        "What earlier answers have that no model reads.",
        "messages[].phase",
        "messages[].provider_specific_fields",
        "messages[].tool_calls[].extra_content",
        "messages[].tool_calls[].provider_specific_fields",
        "messages[].content[].caller",
        "messages[].content[].citations",
        "messages[].content[].is_error",
        "messages[].content[].toolset_name",
        "input[].encrypted_content",
        "input[].phase",
    ),
    _refused("Templates are the model's own.", "chat_template", "documents"),
    _refused("Nothing is kept between requests.", "previous_response_id", "conversation", "prompt", forms=_RESPONSES),
    _refused("Not there yet.", "background", "top_logprobs", example=3, forms=_RESPONSES),
    _refused("Not there yet.", "echo", example="x", forms=("completions",)),
    _refused("Older forms of `tools` and `tool_choice`.", "functions", "function_call", forms=_CHAT),
    _refused("Older names of `structured_outputs`.", "guided_json", "guided_regex", "guided_choice", "guided_grammar"),
    _refused("Ollama's own form of sampling parameters.", "options", example={"temperature": 0}),
    _refused("Sampling that is not there.", "typical_p", "mirostat", "dry_multiplier", "xtc_probability", example=0.5),
)


def _inner(ways: Iterable[str]) -> Mapping[str, Mapping[str, str]]:
    inner = dict[str, dict[str, str]]()
    for way in ways:
        before = ""
        for step in filter(None, way.split(".")):
            further = f"{before}.{step}".removeprefix(".")
            inner.setdefault(before, {})[step.removesuffix("[]")] = further
            before = further
    return inner


_SETTLED: Mapping[Form, Sequence[tuple[str, str, FieldRule]]] = {
    form: [
        (*path.removesuffix("[]").rpartition(".")[::2], rule)
        for rule in TABLE
        for path in rule.paths
        if form in rule.forms and (rule.mapping or rule.treatment == "ignored")
    ]
    for form in EVERY_FORM
}
"""The way to what holds a field, the field, and what becomes of it."""
_INNER: Mapping[Form, Mapping[str, Mapping[str, str]]] = {
    form: _inner(way for way, _, _ in settled) for form, settled in _SETTLED.items()
}
"""By a way: what lies within what it leads to, as far as that holds fields, and the ways there."""


def settle(body: Any, form: Form) -> list[str]:
    """Map what is mapped and drop what is ignored, in place. Returns what was ignored. The rest is the schema's to
    judge."""
    ignored, found = dict[str, None](), dict[str, list[JSON]]()
    for way, key, rule in _SETTLED[form] if isinstance(body, dict) else ():
        if way and way.partition(".")[0].removesuffix("[]") not in body:
            continue
        if way and not found:
            found = _holders(body, form)
        for holder in found.get(way, ()) if way else (body,):
            if key not in holder:
                continue
            place = FieldPlace(body, holder, key, holder[key])
            if rule.mapping:
                ignored |= dict.fromkeys(rule.mapping(place) or ())
                found = {}  # it may have moved them
            elif place.take():  # null, false and nothing ask for nothing
                ignored[f"{way}.{key}" if way else key] = None
    return list(ignored)


def _holders(body: JSON, form: Form) -> dict[str, list[JSON]]:
    """What in `body` holds fields, by its way. A conversation may have hundreds of messages: each is looked at once."""
    found, inner = dict[str, list[JSON]](), _INNER[form]
    left: list[tuple[str, JSON]] = [("", body)]
    for way, holder in left:
        found.setdefault(way, []).append(holder)
        for name, further in inner.get(way, {}).items():
            value = holder.get(name)
            items = value if further.endswith("[]") and isinstance(value, list) else (value,)
            left += [(further, item) for item in items if isinstance(item, dict)]
    return found


def page() -> str:
    """The table as the docs have it."""
    lines = [
        "# Fields of the endpoint",
        "",
        "Besides the fields of OpenAI and Anthropic that mean what they say there, the endpoint does this with what",
        "clients send. `--strict` refuses all of it that is no part of the schema at `/openapi.json`. `[]` stands for",
        "each item of a list. Made of the table in `specdec_server/fields.py`:",
        "`python -c 'from specdec_server.fields import page; print(page(), end=str())' > docs/endpoint-fields.md`.",
    ]
    for treatment, meaning in (
        ("mapped", "It has a meaning here, under another name or in another form."),
        ("ignored", "It cannot change an answer. The response's header `x-specdec-ignored` and the log name it."),
        ("refused", "Leaving it out would change the answer in silence. So is every field that is in no table."),
    ):
        lines += [
            "",
            f"## {treatment.capitalize()}",
            "",
            meaning,
            "",
            "| field | of | meaning |",
            "| --- | --- | --- |",
        ]
        for rule in TABLE:
            if rule.treatment == treatment:
                names = ", ".join(f"`{path}`" for path in rule.paths)
                every = {FORMS: "all answers", EVERY_FORM: "all"}
                where = every.get(rule.forms) or ", ".join(PATHS[form] for form in rule.forms)
                lines.append(f"| {names} | {where} | {rule.meaning} |")
    return "\n".join(lines) + "\n"
