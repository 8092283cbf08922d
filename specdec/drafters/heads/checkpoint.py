"""The tensors of a head, as safetensors or as torch.save wrote them, read into the forms that products take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from specdec.errors import CheckpointCorrupt
from specdec.models.weights.base import Weight
from specdec.models.weights.checkpoint import Safetensors, pickles, unpickled
from specdec.models.weights.dense import dense

Make = Callable[[Tensor, Tensor | None], Weight]


class HeadTensors:
    """Tensors by name, on one device in one precision. `make` turns [N, K] and a bias into what multiplies with it."""

    learns = False
    """Whether they will change, so that none may be left out for being equal to the target's."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype, make: Make = dense) -> None:
        self.folder, self._device, self._dtype, self.make = folder, device, dtype, make
        self._files = pickles(folder)
        self._pickled = {name: x for file in self._files for name, x in unpickled(file, "cpu").items()}
        self._safe = None if self._files else Safetensors(folder)
        self._prefix = "model." if "model.fc.weight" in self._names else ""
        self.parameters = self.nbytes = 0

    @property
    def readable(self) -> bool:
        """Whether there are values, not shapes alone."""
        return self._device.type != "meta"

    @property
    def _names(self) -> Safetensors | dict[str, Tensor]:
        return self._pickled if self._safe is None else self._safe

    def names(self) -> list[str]:
        """Of all tensors."""
        found = self._pickled if self._safe is None else [header.name for header in self._safe.headers()]
        return [name.removeprefix(self._prefix) for name in found]

    def _where(self, name: str) -> str:
        return self._prefix + name if self._prefix + name in self._names else name

    def __contains__(self, name: str) -> bool:
        return self._where(name) in self._names

    def raw(self, name: str) -> Tensor:
        """As it is stored."""
        at = self._where(name)
        if self._safe is not None:
            return self._safe.tensor(at)
        if at not in self._pickled:
            raise CheckpointCorrupt(f"{self.folder} lacks the tensor {name}")
        return self._pickled[at]

    def tensor(self, name: str, *shape: int) -> Tensor:
        """One of this shape."""
        found = self.raw(name)
        if tuple(found.shape) != shape:
            raise CheckpointCorrupt(
                f"{self.folder}: {name} has shape {tuple(found.shape)}; expected {shape} by its config and its target"
            )
        return self._counted(found.to(self._device, self._dtype))

    def weight(self, names: Sequence[str], rows: Sequence[int], columns: int) -> Weight:
        """A product with the named weights, one below the other."""
        return self.make(*self.stack(names, rows, columns))

    def stack(self, names: Sequence[str], rows: Sequence[int], columns: int) -> tuple[Tensor, Tensor | None]:
        """The named weights [N, K] and their biases [N], one below the other."""
        whole = torch.cat([self.tensor(f"{n}.weight", r, columns) for n, r in zip(names, rows, strict=True)])
        biases = [f"{name}.bias" for name in names]
        bias = None
        if biases[0] in self:
            bias = torch.cat([self.tensor(name, count) for name, count in zip(biases, rows, strict=True)])
        return whole, bias

    def _counted(self, tensor: Tensor) -> Tensor:
        self.parameters += tensor.numel()
        self.nbytes += tensor.nbytes
        return tensor

    def close(self) -> None:
        """Let go of the files."""
        self._pickled.clear()
        if self._safe is not None:
            self._safe.close()
