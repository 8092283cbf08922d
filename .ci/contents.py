"""Says what the built wheels and sdists hold, and refuses what should not be in them or what is missing.

contents.py FOLDER [ADDRESS]: built for that public address, they have to name it."""  # noqa: INP001

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

ENGINE = "specdec_engine"
NAMES = (ENGINE, "langchain_specdec", "llama_index_llms_specdec")
"""The latter two hold no module: they ask for the engine of their own version."""
PACKAGES = (
    "specdec",
    "langchain_specdec",
    "llama_index/llms/specdec",
    "llama_index/embeddings/specdec",
    "specdec_server",
    "specdec_tui",
)
LINKED = {"Homepage", "Documentation", "Issues", "Changelog", "Source"}
LARGEST = 60e6
"""Bytes; the bundled pair is most of it."""

folder, address = Path(sys.argv[1]), "".join(sys.argv[2:])
faults = list[str]()
versions = set[str]()
for name in NAMES:
    (wheel,), (sdist,) = folder.glob(f"{name}-*.whl"), folder.glob(f"{name}-*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
        (described,) = (inside for inside in shipped if inside.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(described))
    with tarfile.open(sdist) as archive:
        source = {inside.partition("/")[2] for inside in archive.getnames()}
    versions.add(metadata["Version"])
    wanted, wanted_source = set[str](), {"README.md", "pyproject.toml"}
    if name == ENGINE:
        wanted = {f"{package}/py.typed" for package in PACKAGES} | {"specdec/bundled/target/tokenizer.json"}
        wanted_source |= {"LICENSE", "CHANGELOG.md"}
        unwanted = {inside for inside in shipped if inside.startswith(("tests/", "benchmarks/", "docs/"))}
    else:
        unwanted = {inside for inside in shipped if ".dist-info/" not in inside}
        if not any(f"=={metadata['Version']}" in line for line in metadata.get_all("Requires-Dist")):
            faults.append(f"{wheel.name} does not ask for specdec-engine of its own version")
    faults += [f"{wheel.name} lacks {inside}" for inside in sorted(wanted - shipped)]
    faults += [f"{wheel.name} has {inside}" for inside in sorted(unwanted)]
    faults += [f"{sdist.name} lacks {inside}" for inside in sorted(wanted_source - source)]
    stray = sorted(inside for inside in source if inside.startswith((".venv", ".git/", "out/")))
    faults += [f"{sdist.name} has {inside}" for inside in stray]
    faults += [
        f"{wheel.name} shows a link that leads nowhere on an index: {link}"
        for link in re.findall(r"\]\((?!https?:)[^)]*\)", str(metadata.get_payload()))
    ]
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL", []))
    if set(urls) != (LINKED if address else set()) or not all(url.startswith(address) for url in urls.values()):
        faults.append(f"{wheel.name} has the links {urls}")
    if name == ENGINE and address and f"]({address}/raw/" not in str(metadata.get_payload()):
        faults.append(f"{wheel.name} shows no picture of {address}")
    for file, names in ((wheel, shipped), (sdist, source)):
        size = file.stat().st_size
        faults += [f"{file.name} has {size} bytes"] if size > LARGEST else []
        sys.stdout.write(f"{file.name}: {size / 1e6:.1f} MB, {len(names)} files\n")
faults += [f"versions differ: {sorted(versions)}"] if len(versions) > 1 else []
sys.exit("\n".join(faults) or 0)
