"""What all tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# Nothing a test does may reach for a hub, colour its output, depend on the width of its terminal,
# nor on what its user has set.
os.environ.update({"HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb"})
os.environ["SPECDEC_CONFIG"] = os.devnull

# Processes of tests share the cores. Threads of one product wait for each other awake: with more of them than cores, a
# test takes several times as long, of every core. `tests/threads` has several threads of its own.
workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if workers > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

# Without a GPU the kernels run in Triton's interpreter. Triton decides that when it is first imported, by whomever.
if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg")):
    os.environ["TRITON_INTERPRET"] = "1"

# A shell's background jobs, and all that they start, ignore Ctrl-C; the programs that tests interrupt must not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):  # below nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
