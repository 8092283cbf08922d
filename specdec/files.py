"""Files that hold something else than their names say: what downloads and copies leave when they go wrong."""

from __future__ import annotations

from pathlib import Path

_HEAD = 512
_STARTS = {
    b"version https://git-lfs": "a git-lfs pointer, not the file itself; fetch it with: git lfs pull",
    b"<!doctype html": "an HTML page, as sites answer instead of a file; fetch it again",
    b"<html": "an HTML page, as sites answer instead of a file; fetch it again",
    b"<?xml": "an XML page, as sites answer instead of a file; fetch it again",
    b"gguf": "a GGUF file",
    b"pk\x03\x04": "a zip archive, which torch.save writes too",
    b"\x1f\x8b": "packed with gzip; unpack it",
}


def mistaken(path: Path) -> str | None:
    """What a file is that stands in the place of weights, a config or a vocabulary; None if nothing speaks against it.
    To be asked when reading it failed, or when anything at all could be read from it."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    if not head.strip(b"\0 \t\r\n"):
        return "blank; fetch it again"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if known := next((what for mark, what in _STARTS.items() if start.startswith(mark)), None):
        return known
    line = head.decode("latin-1").splitlines()[0]
    # Weights begin with the length of their header, so text is never theirs.
    is_text = path.suffix == ".safetensors" and head.isascii() and line.isprintable()
    return f"text that begins {line[:60]!r}; fetch it again" if is_text else None
