"""One chat: its conversation, its settings, and the session on disk that follows both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from specdec.errors import InvalidRequest
from specdec.types import Delta, Message, Request
from specdec_tui.core.conversation import Conversation, Turn, title_of
from specdec_tui.core.files import asked
from specdec_tui.core.settings import ChatSettings
from specdec_tui.core.store import SavedSession, Store, new_id


class Chat:
    """Every change is saved as it is made, once there is something to save."""

    def __init__(self, settings: ChatSettings, saved: SavedSession | None = None, store: Store | None = None) -> None:
        self.store = store
        self.id = saved.session.id if saved else new_id()
        self.title = saved.session.title if saved else ""
        self.conversation = saved.conversation if saved else Conversation()
        self.settings = settings
        if saved:
            self.settings = replace(settings.preset(saved.sampling), system=saved.system)

    def save_in(self, store: Store) -> None:
        """Begin to save here, with what there is already."""
        self.store = store
        if len(self.conversation):
            store.begin(self.id, self.title)
            for turn in self.conversation.turns:
                store.save(self.id, turn)
            store.show(self.id, self.conversation.head)
            self.configure(self.settings)

    def configure(self, settings: ChatSettings) -> None:
        self.settings = settings
        if self.store and len(self.conversation):
            self.store.configure(self.id, settings.system, settings.changed())

    def rename(self, title: str) -> None:
        self.title = title
        if self.store and len(self.conversation):
            self.store.rename(self.id, title)

    def add(self, message: Message, parent: int | None) -> Turn:
        """A new turn after `parent`, not an answer."""
        turn = self.conversation.add(message, parent)
        if len(self.conversation) == 1:
            self.title = self.title or title_of(asked(message.content or "")[0])
            if self.store:
                self.store.begin(self.id, self.title)
                self.configure(self.settings)
        return self.keep(turn)

    def begin_answer(self, parent: int) -> Turn:
        return self.keep(self.conversation.add(Message("assistant", ""), parent, "running"))

    def keep(self, turn: Turn) -> Turn:
        """A turn's present state."""
        self.conversation.put(turn)
        if self.store:
            self.store.save(self.id, turn)
        return turn

    def grow(self, turn: Turn, deltas: Sequence[Delta]) -> None:
        """A running answer's present state, of which `deltas` are new."""
        self.conversation.put(turn)
        if self.store:
            self.store.grow(self.id, turn, deltas)

    def take_back(self, turn: Turn) -> None:
        """A last turn that came to nothing."""
        self.conversation.drop(turn.id)
        if self.store:
            self.store.drop(self.id, turn.id)
            self.store.show(self.id, self.conversation.head)

    def show(self, turn: int) -> None:
        """Show another branch."""
        self.conversation.show(turn)
        if self.store:
            self.store.show(self.id, self.conversation.head)

    def request(self, head: int, **changes: Any) -> Request:
        """What asks for an answer after `head`."""
        return self.settings.request(messages_of(self.conversation.path(head)), **changes)


def open_chat(settings: ChatSettings, saved: SavedSession | None, before: Chat) -> tuple[Chat, str | None]:
    """Another chat, or a new one, in the place of one that is left; and what has to be said about it. Two windows that
    wrote one session would write over each other's turns, so the second gets a copy."""
    note = None
    try:
        settings.preset(saved.sampling if saved else {})
    except InvalidRequest as error:
        saved, note = saved and replace(saved, sampling={}), f"of this chat's parameters one cannot be read: {error}"
    if (store := before.store) is None:
        return Chat(settings, saved), note
    store.release(before.id)
    if saved is None or store.take(saved.session.id):
        return Chat(settings, saved, store), note
    turns = (replace(t, state="interrupted") if t.state == "running" else t for t in saved.conversation.turns)
    title = f"{saved.session.title} (copy)"
    copied = replace(
        saved,
        session=replace(saved.session, id=new_id(), title=title),
        conversation=Conversation(turns, saved.conversation.head),
    )
    chat = Chat(settings, copied)
    chat.save_in(store)
    copy = "this chat is open in another window: here is a copy of it"
    return chat, f"{copy}; {note}" if note else copy


def continued(before: Chat, turns: Sequence[Turn], summary: str = "") -> Chat:
    """A chat in the place of one that is too long: with its last turns, or what it came to. Nothing of it is lost."""
    said = f"What was said before, in short:\n{summary}" if summary else None
    system = "\n\n".join(filter(None, (before.settings.system, said))) or None
    chat = Chat(replace(before.settings, system=system))
    chat.title = f"{before.title} (continued)"
    if turns:  # what their prompts held is no longer sent with the next one
        shorter = [replace(t, figures={n: v for n, v in t.figures.items() if n != "prompt_tokens"}) for t in turns]
        chat.conversation = Conversation([replace(shorter[0], parent=None), *shorter[1:]], turns[-1].id)
    if before.store:
        before.store.release(before.id)
        chat.save_in(before.store)
    return chat


def messages_of(turns: Sequence[Turn]) -> tuple[Message, ...]:
    """What an engine gets of a path. An answer that failed before its first word is left out, and prompts that then
    follow each other are one, since many templates take turns."""
    found: list[Message] = []
    for message in (t.message for t in turns):
        if message.role == "assistant" and not message.content and not message.tool_calls:
            continue
        if found and message.role == found[-1].role == "user":
            found.append(Message("user", f"{found.pop().content}\n\n{message.content}"))
        else:
            found.append(message)
    return tuple(found)
