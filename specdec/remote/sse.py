"""Server-sent events, out of bytes that may be cut anywhere."""

from __future__ import annotations

from collections.abc import Iterator


class Events:
    """Takes bytes as they arrive, gives the data of every event that is complete.

    Other fields are passed over; lines end in LF, CR LF or CR.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self.comment = ""
        """The last one, by which a server keeps the connection alive."""

    def feed(self, received: bytes) -> Iterator[bytes]:
        """The data of each event that these bytes complete."""
        lines = (self._rest + received).splitlines(keepends=True)
        # a CR at the very end may be half of a CR LF; a line without an end is not whole
        self._rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        for line in (line.rstrip(b"\r\n") for line in lines):
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif line.startswith(b":"):
                self.comment = line[1:].decode(errors="replace").strip()
            elif not line and self._data:
                data, self._data = b"\n".join(self._data), []
                yield data
