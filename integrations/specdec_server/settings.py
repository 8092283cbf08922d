"""What an operator may set, with the defaults of a server that only this machine talks to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from specdec.errors import InvalidRequest

Pacing = Literal["round", "smooth"]
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Settings:
    """All times in seconds, sizes in bytes."""

    model: str | None = None
    """The name that clients call the model by; None: the target's own."""
    hosts: tuple[str, ...] = LOOPBACK
    """What a request's Host may name, without the port."""
    any_address: bool = False
    """Besides `hosts`, any IP address. For a server that other machines reach; a rebound name is never an address."""
    origins: tuple[str, ...] = ()
    """Web pages that may call, each as https://name:port."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """What clients must present, one of these, by names that the log has; none: whoever may reach the server."""
    queue: int = 64
    """Answers that may wait beyond those that run; further ones are refused with 429."""
    choices: int = 8
    """Answers to one request: its prompts times its `n`."""
    body: int = 4 * 2**20
    request_seconds: float = 600.0
    """How long one request may take, waiting included."""
    reader_seconds: float = 20.0
    """How long a reader may leave a full buffer unread."""
    keep_alive: float = 10.0
    """Between two comments on a stream."""
    grace: float = 10.0
    """What running answers get to finish in once the server is told to stop."""
    any_name: bool = False
    """Answer every name of a model that there is not with the first model."""
    idle_unload: float | None = None
    """After how long a model leaves that nobody asks; None: never. Of models that the server loads itself."""
    max_loaded: int = 4
    """How many of these are in memory at once; others leave for one that is asked for."""
    pacing: Pacing = "round"
    strict: bool = False
    """Refuse the fields that are else mapped or ignored (see `fields`)."""
    log_prompts: bool = False

    def __post_init__(self) -> None:
        for name in ("choices", "body", "request_seconds", "reader_seconds", "keep_alive", "max_loaded", "idle_unload"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise InvalidRequest(name, value, "a number above 0")
        for name in ("queue", "grace"):
            if getattr(self, name) < 0:
                raise InvalidRequest(name, getattr(self, name), "a number, 0 or more")
        for origin in self.origins:
            if "://" not in origin or origin.endswith("/") or "*" in origin:
                raise InvalidRequest("origins", origin, "an origin such as https://app.example:8443")
