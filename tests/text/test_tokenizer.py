from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import decoders
from transformers import PreTrainedTokenizerFast

from specdec.errors import CheckpointCorrupt, CheckpointNotFound, InvalidRequest, TokenizerMismatch
from specdec.text.tokenizer import Tokenizer, check_same_tokens
from specdec.types import Message, ToolCall, token_text

TEMPLATE = (
    "{{ bos_token }}{% if tools %}[{{ tools | length }} tools]{% endif %}{% for m in messages %}"
    "{% if m.role == 'system' and not loop.first %}{{ raise_exception('system comes first') }}{% endif %}"
    "<|end|>{{ m.role }}: {{ m.content | trim }}"
    "{% for c in m.tool_calls or [] %}call {{ c.function.name }} {{ c.function.arguments['b'] }}{% endfor %}"
    "{% if 'tool_call_id' in m %} for {{ m.tool_call_id }}{% endif %}"
    "{% if m.name is defined %} by {{ m.name }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|end|>assistant:{% endif %}"
)


@pytest.fixture
def chatty(tokenizers: dict[str, Tokenizer]) -> Tokenizer:
    """A byte-level tokenizer that puts bos before every text, and whose template writes it as well."""
    from tokenizers.processors import TemplateProcessing

    backend = type(tokenizers["byte_level"]._fast).from_str(tokenizers["byte_level"]._fast.to_str())
    backend.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    backing = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    backing.chat_template = TEMPLATE
    return Tokenizer(backing)


def written(tokenizer: Tokenizer, ids: list[int]) -> str:
    return tokenizer.decode_window(ids)


def test_encode_adds_the_tokenizers_own_special_tokens(chatty: Tokenizer) -> None:
    assert chatty.encode("hello")[0] == 0
    assert chatty.encode("hello")[1:] == chatty.encode_plain("hello")


def test_chat_template_has_one_bos_and_a_generation_prompt(chatty: Tokenizer) -> None:
    ids = chatty.chat([Message("system", "Be kind"), Message("user", " hello ")]).tokens
    assert ids.count(0) == 1
    assert written(chatty, ids) == "<s><|end|>system: Be kind<|end|>user: hello<|end|>assistant:"


def test_chat_template_equals_the_library(chatty: Tokenizer) -> None:
    chat = [Message("user", "naïve 😀")]
    plain = [{"role": "user", "content": "naïve 😀"}]
    library = chatty._backing.apply_chat_template(plain, add_generation_prompt=True, return_dict=False)
    assert chatty.chat(chat).tokens == library


def test_chat_template_sees_tools_calls_and_results(chatty: Tokenizer) -> None:
    call = ToolCall("c1", "add", '{"a": 1, "b": 2}')
    chat = [
        Message("user", "1+2"),
        Message("assistant", tool_calls=(call,)),
        Message("tool", "3", "add", (), "c1"),
    ]
    text = written(chatty, chatty.chat(chat, [{"type": "function", "function": {"name": "add"}}]).tokens)
    assert "[1 tools]" in text
    assert "assistant: call add 2" in text
    assert "tool: 3 for c1 by add" in text


def test_arguments_are_text_where_the_template_joins_them(chatty: Tokenizer) -> None:
    call = "{{ '<' + messages[1].tool_calls[0].function.arguments + '>' }}"
    chatty._backing.chat_template = call
    chat = [Message("user", "x"), Message("assistant", None, tool_calls=(ToolCall("1", "f", '{"a": "é"}'),))]
    assert chatty.chat(chat).text == '<{"a": "é"}>'
    chatty._backing.chat_template = call.replace("arguments", "arguments.a")
    assert chatty.chat(chat).text == "<é>"


def test_chat_template_sees_its_variables(chatty: Tokenizer) -> None:
    chatty._backing.chat_template = "{{ messages[0].content }}{{ '!' if loud else '.' }}"
    assert chatty.chat([Message("user", "a")]).text == "a."
    assert chatty.chat([Message("user", "a")], (), {"loud": True, "other": 1}).text == "a!"
    with pytest.raises(InvalidRequest, match="tokenize"):
        chatty.chat([Message("user", "a")], (), {"tokenize": True})


def test_refusing_template_is_an_invalid_request(chatty: Tokenizer) -> None:
    chatty._backing.chat_template = "{{ raise_exception('no ' + messages[0].role + '\n today') }}"
    with pytest.raises(InvalidRequest, match=r"\['user', 'system'\]; .* takes \(no user today\)") as caught:
        chatty.chat([Message("user", "a"), Message("system", "b")])
    assert caught.value.field == "messages"
    assert "\n" not in str(caught.value)


def test_no_chat_template_says_what_to_pass_instead(tokenizer: Tokenizer) -> None:
    assert not tokenizer.has_chat_template
    with pytest.raises(InvalidRequest, match="no chat template") as caught:
        tokenizer.chat([Message("user", "a")])
    assert caught.value.field == "prompt"


def test_unpaired_surrogates_are_refused(chatty: Tokenizer) -> None:
    with pytest.raises(InvalidRequest, match="surrogates"):
        chatty.encode("a\ud800")
    with pytest.raises(InvalidRequest, match="surrogates"):
        chatty.chat([Message("user", "\udfff")])


def test_vocabulary_counts_added_tokens(tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers["byte_level"]
    assert tokenizer.vocab_size == max(tokenizer.names) + 1 == len(tokenizer.names)
    assert tokenizer.names[tokenizer.vocab_size - 1] == "日 x"
    assert tokenizer.eos_ids == (1,)


def test_token_text_shows_every_token(tokenizer: Tokenizer) -> None:
    assert all(tokenizer.token_text(i) for i in range(tokenizer.vocab_size + 1))
    assert tokenizer.token_text(1) == "</s>"
    assert tokenizer.token_text(10**6) == "<1000000>"


def test_tokens_tell_their_own_bytes(byte_tokenizer: Tokenizer) -> None:
    text = "Hi 😊 é, over"
    ids = byte_tokenizer.encode_plain(text)
    pieces = [byte_tokenizer.token_bytes(i) for i in ids]
    assert b"".join(pieces).decode().lstrip() == text
    assert b"\x98" in pieces
    for piece, token in zip(pieces, ids, strict=True):
        assert byte_tokenizer.token_text(token) == (r"\x98" if piece == b"\x98" else token_text(piece))
    assert (byte_tokenizer.token_text(1), byte_tokenizer.token_bytes(1)) == ("</s>", b"</s>")


def test_bytes_that_stand_for_themselves_are_told_by_any_decoder(tokenizers: dict[str, Tokenizer]) -> None:
    """Where tokens have no bytes of their own, there is still `<0xE2>`."""
    backend = type(tokenizers["llama_form"]._fast).from_str(tokenizers["llama_form"]._fast.to_str())
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer = Tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>"))
    assert tokenizer.pieces is None
    assert tokenizer.token_bytes(backend.token_to_id("<0xE2>")) == b"\xe2"
    assert tokenizer.token_bytes(backend.token_to_id("▁over")) == b" over"


def test_token_text_keeps_the_space_before_a_word(tokenizers: dict[str, Tokenizer]) -> None:
    for kind, word in (("byte_level", "Ġover"), ("llama_form", "▁over"), ("metaspace", "▁over")):
        tokenizer = tokenizers[kind]
        assert tokenizer.token_text(tokenizer._fast.token_to_id(word)) == " over"


# ---- loading


def save(tokenizer: Tokenizer, folder: Path, **generation: object) -> Path:
    tokenizer._backing.save_pretrained(folder)
    if generation:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def test_load_reads_what_was_saved(chatty: Tokenizer, tmp_path: Path) -> None:
    loaded = Tokenizer.load(save(chatty, tmp_path, eos_token_id=[3, 1]))
    text = "hello 😀 日本 <tool_call>"
    assert loaded.encode(text) == chatty.encode(text)
    assert loaded.names == chatty.names
    assert loaded.eos_ids == (1, 3)
    assert loaded.has_chat_template


def test_load_without_a_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound, match="absent"):
        Tokenizer.load(tmp_path / "absent")


def test_load_without_tokenizer_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CheckpointCorrupt, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)


def test_load_of_damaged_files_is_one_line(tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    save(tokenizers["byte_level"], tmp_path)
    (tmp_path / "tokenizer.json").write_text("{ not json")
    with pytest.raises(CheckpointCorrupt) as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


# ---- the same tokens


def variant(tokenizer: Tokenizer, swap: tuple[str, str] = ("", ""), added: tuple[str, ...] = ()) -> Tokenizer:
    """The tokenizer with one token under another name, or with more added tokens."""
    from transformers import PreTrainedTokenizerFast

    text = tokenizer._fast.to_str().replace(f'"{swap[0]}":', f'"{swap[1]}":')
    backend = type(tokenizer._fast).from_str(text)
    backend.add_tokens(list(added))
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>"))


def test_same_tokens_pass(tokenizers: dict[str, Tokenizer]) -> None:
    for tokenizer in tokenizers.values():
        check_same_tokens(tokenizer, variant(tokenizer), "big", "small")


def test_added_tokens_beyond_the_smaller_vocabulary_pass(tokenizers: dict[str, Tokenizer]) -> None:
    small, large = tokenizers["byte_level"], variant(tokenizers["byte_level"], added=("<think>",))
    check_same_tokens(large, small, "big", "small")
    check_same_tokens(small, large, "big", "small")


def test_first_differing_id_is_named(tokenizers: dict[str, Tokenizer]) -> None:
    target = tokenizers["words"]
    draft = variant(target, swap=("lazy", "eager"))
    token = target._fast.token_to_id("lazy")
    with pytest.raises(TokenizerMismatch, match=f"token {token} is 'lazy' to big and 'eager' to small"):
        check_same_tokens(target, draft, "big", "small")


def test_different_tokenizers_and_missing_tokens_are_refused(tokenizers: dict[str, Tokenizer]) -> None:
    with pytest.raises(TokenizerMismatch, match="token 4 is"):
        check_same_tokens(tokenizers["byte_level"], tokenizers["words"], "big", "small")
    state = json.loads(tokenizers["words"]._fast.to_str())
    last = max(state["model"]["vocab"], key=state["model"]["vocab"].get)
    del state["model"]["vocab"][last]
    from transformers import PreTrainedTokenizerFast

    backend = type(tokenizers["words"]._fast).from_str(json.dumps(state))
    less = Tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend))
    with pytest.raises(TokenizerMismatch, match="nothing to small"):
        check_same_tokens(tokenizers["words"], less, "big", "small")
    with pytest.raises(TokenizerMismatch, match="nothing to big"):
        check_same_tokens(less, tokenizers["words"], "big", "small")
