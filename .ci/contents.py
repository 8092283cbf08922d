"""Says what the built wheel and sdist hold, and refuses what should not be in them or what is missing."""  # noqa: INP001

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

PACKAGES = ("specdec", "langchain_specdec", "llama_index/llms/specdec", "specdec_server", "specdec_tui")
LARGEST = 60e6
"""Bytes; the bundled pair is most of it."""

folder = Path(sys.argv[1])
(wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
shipped = set(zipfile.ZipFile(wheel).namelist())
with tarfile.open(sdist) as archive:
    source = {name.partition("/")[2] for name in archive.getnames()}

wanted = {f"{package}/py.typed" for package in PACKAGES} | {"specdec/bundled/target/tokenizer.json"}
faults = [f"{wheel.name} lacks {name}" for name in sorted(wanted - shipped)]
faults += [
    f"{wheel.name} has {name}" for name in sorted(shipped) if name.startswith(("tests/", "benchmarks/", "docs/"))
]
faults += [f"{sdist.name} lacks {name}" for name in ("README.md", "LICENSE", "CHANGELOG.md") if name not in source]
faults += [f"{sdist.name} has {name}" for name in sorted(source) if name.startswith((".venv", ".git/", "out/"))]
faults += [f"{file.name} has {file.stat().st_size} bytes" for file in (wheel, sdist) if file.stat().st_size > LARGEST]
for file, names in ((wheel, shipped), (sdist, source)):
    sys.stdout.write(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB, {len(names)} files\n")
sys.exit("\n".join(faults) or 0)
