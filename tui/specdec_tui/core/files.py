"""Files that a prompt names: @README.md, @"a name with spaces", @folder. Their text goes out behind the question."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from specdec.errors import InvalidRequest, extra

SUGGESTED = 8
"""Ways to go on, at most."""
MOST_BYTES = 2 * 2**20
"""Of all that one prompt names."""
_MOST_FILES = 200
_IMAGES = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".svgz", ".tiff", ".heic"}
_OTHERS = {"node_modules", "__pycache__", "venv", "dist", "build"}
"""Folders that hold what others made."""
_NAMED = re.compile(r'(?<!\S)@(?:"([^"\n]+)"|([^\s"]+))')
_BEGUN = re.compile(r'(?<!\S)@([^\s"]*)$')
_BLOCK = re.compile(r'\n\n<file path="([^"\n]+)">\n(.*?)\n</file>(?=\n\n<file path="|\Z)', re.DOTALL)


def expanded(name: str | Path) -> Path:
    """With ~ filled in. Path's own fails for a user whom nobody knows, as in `@~fox`."""
    return Path(os.path.expanduser(name))


def named(text: str) -> list[Path]:
    """The files and folders behind an @ that exist. All else that begins so is text."""
    found: dict[Path, None] = {}
    for quoted, plain in _NAMED.findall(text):
        for name in (quoted,) if quoted else (plain, plain.rstrip(".,;:!?)")):
            path = expanded(name)
            if name and os.path.lexists(path):
                found[path] = None
                break
    return list(found)


def with_files(text: str) -> str:
    """The text, and behind it what it names. Raises InvalidRequest for what cannot be read as text."""
    room, blocks = MOST_BYTES, []
    for path in named(text):
        for file in _files(path):
            content = read(file, most=room)
            room -= len(content.encode())
            blocks.append(f'\n\n<file path="{file.as_posix()}">\n{content}\n</file>')
    return text + "".join(blocks)


def asked(text: str) -> tuple[str, list[tuple[str, str]]]:
    """A prompt that was sent, parted again: the question, and paths with their contents."""
    blocks = list(_BLOCK.finditer(text))
    if not blocks or blocks[-1].end() != len(text):
        return text, []
    return text[: blocks[0].start()], [(block[1], block[2]) for block in blocks]


def read(path: Path, most: int = MOST_BYTES) -> str:
    """A file's text; that of a PDF's pages, too."""
    if path.suffix.lower() in _IMAGES:
        raise InvalidRequest("file", str(path), "text: images are not read here")
    if not path.is_file():
        raise InvalidRequest("file", str(path), "a file or a folder that is there")
    try:
        if path.stat().st_size > most and path.suffix.lower() != ".pdf":
            raise InvalidRequest("file", str(path), f"files of at most {MOST_BYTES:,} bytes together")
        text = _pages(path) if path.suffix.lower() == ".pdf" else path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    except OSError as error:
        raise InvalidRequest("file", str(path), f"a file that can be read ({error.strerror})") from None
    if "\0" in text:
        raise InvalidRequest("file", str(path), "text in UTF-8, or a PDF")
    return text.rstrip("\n")


def complete(text: str) -> list[str]:
    """Paths that the @ at the text's end could become. A folder's ends in a slash."""
    begun = _BEGUN.search(text)
    if begun is None:
        return []
    folder, _, start = begun[1].rpartition("/")
    shown = f"{folder}/" if folder or begun[1].startswith("/") else ""
    try:
        entries = sorted(os.scandir(expanded(shown or ".")), key=lambda e: (not e.is_dir(), e.name))
    except (OSError, ValueError):  # a null in it
        return []
    fitting = [e for e in entries if e.name.startswith(start) and (start.startswith(".") or e.name[0] != ".")]
    return [f"{shown}{e.name}{'/' if e.is_dir() else ''}" for e in fitting[:SUGGESTED]]


def completed(text: str, path: str) -> str:
    """The text with this path at its end. A name with spaces is quoted."""
    begun = _BEGUN.search(text)
    assert begun is not None
    return text[: begun.start()] + (f'@"{path}"' if " " in path else f"@{path}") + ("" if path[-1] == "/" else " ")


def walk(folder: Path) -> Iterator[Path]:
    """Files in it and below, but hidden ones and what tools put there."""
    for place, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if name[0] != "." and name not in _OTHERS)
        yield from (Path(place, name) for name in sorted(names) if name[0] != ".")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files: list[Path] = []
    for file in walk(path):
        if len(files) == _MOST_FILES:
            raise InvalidRequest("folder", str(path), f"at most {_MOST_FILES} files")
        if file.suffix.lower() not in _IMAGES and _is_text(file):
            files.append(file)
    return files


def _is_text(file: Path) -> bool:
    """By its beginning. A pipe is none, nor a link to nothing."""
    try:
        if not file.is_file():
            return False
        with file.open("rb") as start:
            return b"\0" not in start.read(1024)
    except OSError:
        return False


def _pages(path: Path) -> str:
    with extra("tui", "a PDF"):
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    try:
        return "\n\n".join(page.extract_text() for page in PdfReader(path).pages)
    except PyPdfError as error:
        raise InvalidRequest("file", str(path), f"a PDF that can be read ({error})") from None
