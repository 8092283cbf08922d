"""addressed.py ADDRESS FOLDER: a copy of the repository whose distributions name its public address, for a release."""  # noqa: INP001

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
address, folder = sys.argv[1].rstrip("/"), Path(sys.argv[2])
version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
urls = f"""
[project.urls]
Homepage = "{address}"
Documentation = "{address}/tree/v{version}/docs"
Issues = "{address}/issues"
Changelog = "{address}/blob/v{version}/CHANGELOG.md"
Source = "{address}/tree/v{version}"
"""

listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)  # noqa: S607
for name in listed.rstrip("\0").split("\0"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(ROOT / name, folder / name)
for project in (folder / "pyproject.toml", *folder.glob("integrations/distributions/*/pyproject.toml")):
    with project.open("a", encoding="utf-8") as file:
        file.write(urls)
readme = (folder / "README.md").read_text("utf-8")
for link, view in ((r"(!\[[^\]]*\]\()", "raw"), (r"((?<!!)\[[^\]]*\]\()", "blob")):
    readme = re.sub(link + r"(?!https?:)", rf"\g<1>{address}/{view}/v{version}/", readme)
(folder / "README.md").write_text(readme, "utf-8")
