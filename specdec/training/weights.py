"""Drafters that learn: the tensors of a checkpoint as parameters, in the forms that the drafters' own modules take.

So a drafter is trained by the very code that runs it. Every training begins with a checkpoint on disk, a published one
or a new one, and writes the same names again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

from specdec.drafters.heads.checkpoint import HeadTensors
from specdec.models.base import DECODE_ROWS, Model
from specdec.models.weights.checkpoint import SINGLE
from specdec.models.weights.dense import DenseWeight
from specdec.training.workspace import replacing


class LearningTensors(HeadTensors):
    """See `HeadTensors`. Whatever is asked for as numbers is a parameter, in 32 bits; the rest is kept as it is."""

    learns = True

    def __init__(self, folder: Path, device: torch.device) -> None:
        super().__init__(folder, device, torch.float32, DenseWeight)
        self.learning: dict[tuple[str, ...], tuple[Parameter, tuple[int, ...]]] = {}
        """By the names of the tensors that it is made of, one below the other, and how many rows each has."""
        self._constant: dict[str, Tensor] = {}

    def raw(self, name: str) -> Tensor:
        """See `HeadTensors.raw`."""
        found = super().raw(name)
        self._constant[name] = found
        return found

    def tensor(self, name: str, *shape: int) -> Tensor:
        """See `HeadTensors.tensor`."""
        return self._learning((name,), [super().tensor(name, *shape)])

    def stack(self, names: Sequence[str], rows: Sequence[int], columns: int) -> tuple[Tensor, Tensor | None]:
        """See `HeadTensors.stack`. One parameter, of which others may be views: a step changes it in place."""
        read = super().tensor
        kept = tuple(f"{name}.weight" for name in names)
        whole = self._learning(kept, [read(name, count, columns) for name, count in zip(kept, rows, strict=True)])
        biases = tuple(f"{name}.bias" for name in names)
        if biases[0] not in self:
            return whole, None
        return whole, self._learning(biases, [read(name, count) for name, count in zip(biases, rows, strict=True)])

    def _learning(self, names: tuple[str, ...], parts: Sequence[Tensor]) -> Parameter:
        parameter = Parameter(torch.cat(list(parts)))
        self.learning[names] = parameter, tuple(map(len, parts))
        return parameter

    @property
    def matrices(self) -> list[tuple[Parameter, tuple[int, ...]]]:
        """The products inside, with the rows of each part."""
        return [(p, rows) for names, (p, rows) in self.learning.items() if p.dim() == 2 and not _of_tokens(names[0])]

    @property
    def rest(self) -> list[Parameter]:
        """Norms, and what belongs to single tokens."""
        return [p for names, (p, _) in self.learning.items() if p.dim() != 2 or _of_tokens(names[0])]

    def learnt(self) -> dict[str, Tensor]:
        """What learns, by the checkpoint's own names, in 32 bits."""
        found: dict[str, Tensor] = {}
        for names, (parameter, rows) in self.learning.items():
            found |= dict(zip(names, torch.split(parameter.detach(), list(rows)), strict=True))
        return found

    def state(self) -> dict[str, Tensor]:
        """The same beside what is kept as it is: everything."""
        found = self.learnt()
        return {name: tensor for name, tensor in self._constant.items() if name not in found} | found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `learnt` gave."""
        with torch.no_grad():
            for names, (parameter, _) in self.learning.items():
                parameter.copy_(torch.cat([state[name] for name in names]))


def _of_tokens(name: str) -> bool:
    """Whether it holds a row for each token."""
    return "embed" in name or name == "lm_head.weight"


def write_tensors(folder: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """As the one safetensors file of a checkpoint, numbers in this precision."""
    from safetensors.torch import save_file

    kept = {
        name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in tensors.items()
    }
    with replacing(folder / SINGLE) as fresh:
        save_file(kept, fresh, metadata={"format": "pt"})


class FrozenEnds:
    """The target's embedding, and its head as a plain product that gradients go through (a `ModelEnds`)."""

    rounded = False

    def __init__(self, target: Model) -> None:
        assert target.ends is not None
        self._ends = target.ends
        self.hidden, self.layers = target.ends.hidden, target.ends.layers
        self.head = plain_head(target)

    def embed(self, tokens: Tensor) -> Tensor:
        """See `ModelEnds.embed`."""
        return self._ends.embed(tokens)

    def unembed(self, x: Tensor) -> Tensor:
        """See `ModelEnds.unembed`."""
        return F.linear(x.to(self.head.dtype), self.head).float()


def plain_head(target: Model) -> Tensor:
    """The target's head [V, H], whatever format it is kept in: what it makes of each unit vector."""
    info, ends = target.info, target.ends
    assert ends is not None
    with torch.no_grad():
        units = torch.eye(ends.hidden, dtype=info.dtype, device=info.device)
        parts = [ends.unembed(rows).to(info.dtype) for rows in torch.split(units, DECODE_ROWS)]
        return torch.cat(parts).T.contiguous()
