"""System messages anywhere, under templates of every kind: each text is shown, as near to its place as can be."""

from __future__ import annotations

import pytest

from specdec.errors import InvalidRequest
from specdec.text.tokenizer import Tokenizer
from specdec.types import Message, ToolCall

TURN = "[{{ m.role }}]{{ m.content | trim }}{% endfor %}"
LEAD = (
    "{% set rest = messages %}{% if messages[0].role == 'system' %}[system]{{ messages[0].content }}"
    "{% set rest = messages[1:] %}{% endif %}{% for m in rest %}"
)
TEMPLATES = {
    "anywhere": "{% for m in messages %}" + TURN,
    "first": "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('too late') }}"
    "{% endif %}" + TURN,
    "alternating": LEAD + "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}" + TURN,
    "dropping": LEAD + "{% if m.role == 'system' %}{% continue %}{% endif %}" + TURN,
    "front": "{% set ns = namespace(late=false) %}{% for m in messages %}{% if m.role != 'system' %}"
    "{% set ns.late = true %}{% elif ns.late %}{{ raise_exception('too late') }}{% endif %}" + TURN,
    "never": "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    + TURN,
}  # fmt: skip
CHATS = {
    "late": ["s:A", "u:b", "a:c", "s:D", "u:e"],
    "several": ["s:A", "s:B", "u:c"],
    "last": ["s:A", "u:b", "s:C"],
    "alone": ["s:A"],
    "between": ["u:a", "s:B", "a:c", "u:d"],
    "plain": ["s:A", "u:b", "a:c", "u:d"],
}
SHOWN = {
    ("anywhere", "late"): "[system]A[user]b[assistant]c[system]D[user]e",
    ("anywhere", "several"): "[system]A[system]B[user]c",
    ("first", "late"): "[system]A[user]b[assistant]c[user]D\n\ne",
    ("first", "several"): "[system]A\n\nB[user]c",
    ("first", "last"): "[system]A[user]b\n\nC",
    ("front", "several"): "[system]A[system]B[user]c",
    ("front", "late"): "[system]A[user]b[assistant]c[user]D\n\ne",
    ("alternating", "late"): "[system]A[user]b[assistant]c[user]D\n\ne",
    ("alternating", "several"): "[system]A\n\nB[user]c",
    ("alternating", "between"): "[user]a\n\nB[assistant]c[user]d",
    ("dropping", "late"): "[system]A[user]b[assistant]c[user]D\n\ne",
    ("dropping", "several"): "[system]A\n\nB[user]c",
    ("never", "late"): "[user]A\n\nb[assistant]c[user]D\n\ne",
    ("never", "several"): "[user]A\n\nB\n\nc",
    ("never", "alone"): "[user]A",
}
ROLES = {"s": "system", "u": "user", "a": "assistant"}


def _chat(turns: list[str]) -> list[Message]:
    return [Message(ROLES[turn[0]], turn[2:]) for turn in turns]  # type: ignore[arg-type]


@pytest.fixture
def tokenizer(tokenizers: dict[str, Tokenizer]) -> Tokenizer:
    """Whose template may be set."""
    return Tokenizer(type(tokenizers["byte_level"]._backing)(tokenizer_object=tokenizers["byte_level"]._fast))


@pytest.mark.parametrize(("template", "chat"), SHOWN)
def test_where_texts_go(tokenizer: Tokenizer, template: str, chat: str) -> None:
    tokenizer._backing.chat_template = TEMPLATES[template]
    prompt = tokenizer.chat(_chat(CHATS[chat]))
    assert prompt.text == SHOWN[template, chat]
    assert prompt.tokens == tokenizer.encode_plain(prompt.text)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("chat", CHATS)
def test_every_text_is_shown_once(tokenizer: Tokenizer, template: str, chat: str) -> None:
    tokenizer._backing.chat_template = TEMPLATES[template]
    text = tokenizer.chat(_chat(CHATS[chat])).text
    letters = text.replace("[system]", "").replace("[user]", "").replace("[assistant]", "").replace("\n", "")
    assert sorted(letters) == sorted(turn[2:] for turn in CHATS[chat])


@pytest.mark.parametrize("template", sorted(set(TEMPLATES) - {"never"}))
def test_a_chat_that_a_template_takes_is_as_it_was(tokenizer: Tokenizer, template: str) -> None:
    tokenizer._backing.chat_template = TEMPLATES[template]
    chat = _chat(CHATS["plain"])
    openai = [{"role": m.role, "content": m.content} for m in chat]
    assert tokenizer.chat(chat).text == tokenizer._backing.apply_chat_template(openai, tokenize=False)


def test_behind_a_tool_s_answer_where_no_user_speaks(tokenizer: Tokenizer) -> None:
    calling = Message("assistant", "c", tool_calls=(ToolCall("1", "f", "{}"),))
    chat = [*_chat(["s:A", "u:b"]), calling, Message("tool", "d", tool_call_id="1"), Message("system", "E")]
    tokenizer._backing.chat_template = TEMPLATES["first"]
    assert tokenizer.chat(chat).text == "[system]A[user]b[assistant]c[tool]d[user]E"
    tokenizer._backing.chat_template = TEMPLATES["first"].replace(
        "{{ m", "{% if m.role == 'user' and loop.index0 > 1 %}{{ raise_exception('no') }}{% endif %}{{ m"
    )
    assert tokenizer.chat(chat).text == "[system]A\n\nE[user]b[assistant]c[tool]d"


def test_names_of_users_are_kept(tokenizer: Tokenizer) -> None:
    tokenizer._backing.chat_template = TEMPLATES["never"] + "{{ messages[0].name }}"
    assert tokenizer.chat([Message("system", "A"), Message("user", "b", "Bo")]).text == "[user]A\n\nbBo"


def test_a_text_that_the_template_changes_is_not_moved(tokenizer: Tokenizer) -> None:
    tokenizer._backing.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content | upper }}{% endfor %}"
    assert tokenizer.chat(_chat(["s:a", "u:b", "s:c"])).text == "[system]A[user]B[system]C"


def test_a_chat_that_no_template_could_take_is_refused_as_it_is(tokenizer: Tokenizer) -> None:
    tokenizer._backing.chat_template = TEMPLATES["alternating"]
    with pytest.raises(InvalidRequest, match=r"\['user', 'user', 'assistant', 'system'\]; .*roles must alternate"):
        tokenizer.chat(_chat(["u:a", "u:b", "a:c", "s:D"]))
