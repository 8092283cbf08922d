"""What all tests share."""

from __future__ import annotations

import os

# Nothing a test does may reach for a hub, colour its output or depend on the width of the terminal that runs it.
os.environ.update({"HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb"})
