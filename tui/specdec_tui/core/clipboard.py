"""Where a copied text goes: to this machine's clipboard, else to the terminal's, else into a file."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from specdec_tui.core.sequences import clipboard

_MOST = 70_000
"""Bytes of a sequence that terminals still take."""
_PATIENCE = 2.0
_PROGRAMS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "darwin": (("", ("pbcopy",)),),
    "win32": (("", ("clip",)),),
    "linux": (
        ("WAYLAND_DISPLAY", ("wl-copy",)),
        ("DISPLAY", ("xclip", "-selection", "clipboard")),
        ("DISPLAY", ("xsel", "--clipboard", "--input")),
    ),
}
"""What fills the clipboard of each system, and the variable without which it cannot."""


def copy(text: str, environment: Mapping[str, str], say: Callable[[str], object]) -> str:
    """What became of it, in words. `say` writes to the terminal."""
    length = f"{len(text):,} characters"
    if _into_this_machine(text, environment):
        return f"{length} copied"
    sequence = clipboard(text, environment)
    if len(sequence) <= _MOST:
        say(sequence)
        return f"{length} sent to the terminal's clipboard; not every terminal takes them"
    file = Path(tempfile.mkdtemp(prefix="specdec-"), "copied.md")
    file.write_text(text, "utf-8")
    return f"{length}, too many for a terminal's clipboard: they are in {file}"


def _into_this_machine(text: str, environment: Mapping[str, str]) -> bool:
    """False where it has no clipboard, or where whoever looks sits at another one."""
    if "SSH_CONNECTION" in environment:
        return False
    for variable, command in _PROGRAMS.get(sys.platform, ()):
        program = shutil.which(command[0], path=environment.get("PATH"))
        if program and (not variable or environment.get(variable)):
            data = text.encode("utf-16" if sys.platform == "win32" else "utf-8")
            call, nowhere = [program, *command[1:]], subprocess.DEVNULL  # some stay behind to hand it out
            try:
                subprocess.run(call, input=data, stdout=nowhere, stderr=nowhere, timeout=_PATIENCE, check=True)  # noqa: S603
            except (OSError, subprocess.SubprocessError):
                continue
            return True
    return False
