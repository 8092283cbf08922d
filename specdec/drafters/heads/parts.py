"""What every kind of head is made of."""

from __future__ import annotations

from dataclasses import dataclass

from specdec.drafters.heads.checkpoint import HeadTensors
from specdec.drafters.heads.config import HeadConfig
from specdec.drafters.heads.layers import HeadBody, MakeBody
from specdec.drafters.heads.vocabulary import HeadVocabulary
from specdec.models.base import ModelEnds, ModelInfo


@dataclass(frozen=True, slots=True)
class HeadParts:
    """A checkpoint's config and tensors, and what it takes from its target."""

    config: HeadConfig
    tensors: HeadTensors
    vocabulary: HeadVocabulary
    ends: ModelEnds
    """The target's embedding and head."""
    make_body: MakeBody
    """What runs its layers."""

    @classmethod
    def read(
        cls,
        config: HeadConfig,
        tensors: HeadTensors,
        ends: ModelEnds,
        target: ModelInfo,
        make_body: MakeBody = HeadBody,
    ) -> HeadParts:
        return cls(config, tensors, HeadVocabulary.read(tensors, config, ends, target), ends, make_body)
