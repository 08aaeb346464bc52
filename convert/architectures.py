"""The language models that can be converted, by the ``model_type`` of their ``config.json``.

Sentence encoders have a verb of their own, :mod:`convert.encoder`.
"""

from __future__ import annotations

from convert import arch_llama, arch_qwen2, arch_qwen3
from convert.checkpoint import Checkpoint
from convert.decoder import Decoder
from convert.errors import ConvertError

ARCHITECTURES: dict[str, Decoder] = {
    "llama": arch_llama.ARCHITECTURE,
    "qwen2": arch_qwen2.ARCHITECTURE,
    "qwen3": arch_qwen3.ARCHITECTURE,
}


def architecture_of(checkpoint: Checkpoint) -> Decoder:
    """The architecture of a checkpoint.

    :raises ConvertError: it is none of :data:`ARCHITECTURES`
    """
    kind = checkpoint.config.get("model_type")
    if kind not in ARCHITECTURES:
        path = checkpoint.folder / "config.json"
        raise ConvertError(
            f"{str(path)!r} has the model_type {kind!r}; known are {sorted(ARCHITECTURES)} (sentence encoders have"
            " a verb of their own, 'encoder')."
        )
    return ARCHITECTURES[kind]
