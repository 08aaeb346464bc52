"""What a run will take, in bytes, said before it starts: what it learns, what it samples with, what a step keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from train_ref.config import Config
from train_ref.policy import OwnPolicy
from train_ref.rollout import Policy

FP32 = 4
ADAM = 3 * FP32
"""Bytes of gradient and of both moments, per trained parameter."""


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes at most, where every prompt is as long as the longest and every completion is ``max_output`` tokens long.

    ``cache`` are the keys and values of a whole step's completions while they are sampled. ``logits`` and
    ``activations`` are what one micro-batch keeps for its gradient: one copy of the logits (softmax and masks take
    their size some times over), and what the layers keep, with gradient checkpointing the input of each. The frozen
    Answer Agent and torch itself come on top.
    """

    trained: int
    weights: int
    optimizer: int
    reference: int
    cache: int
    logits: int
    activations: int

    def __str__(self) -> str:
        parts = {
            "weights": self.weights, "gradients and Adam": self.optimizer, "reference": self.reference,
            "keys and values": self.cache, "logits": self.logits, "activations": self.activations,
        }  # fmt: skip
        said = ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in parts.items())
        return f"{self.trained / 1e6:.2f} million trained parameters; {said}"


def memory_plan(policy: Policy, c: Config, prompt: int) -> MemoryPlan:
    """The plan for prompts of at most ``prompt`` tokens.

    Fewer ``prompts`` make the cache smaller, fewer ``micro_prompts`` the logits and activations, never the gradient.
    """
    model: Any = policy.model  # type: ignore[attr-defined]
    trained = sum(p.numel() for p in policy.parameters())
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    full = trained == sum(p.numel() for p in model.parameters())
    own = isinstance(policy, OwnPolicy)
    shape = model.config if own else model.config.get_text_config()
    element = FP32 if own else model.get_base_model().dtype.itemsize
    layers, hidden, heads = shape.num_hidden_layers, shape.hidden_size, shape.num_attention_heads
    head = getattr(shape, "head_dim", None) or hidden // heads
    if own:
        # A group is one row: its completions share the prompt.
        row = prompt + c.group * c.max_output
        columns = c.prompts * row
        # Nothing is computed again. Of a layer are kept: three of the stream at each norm; queries before, in and
        # behind their norm, keys and values for every head, what they give, and that again in one piece; keys before
        # and in their norm; four at the gate. Then the last norm's, and a row's mask.
        layer = 6 * hidden + head * (7 * heads + 2 * shape.num_key_value_heads) + 4 * shape.intermediate_size
        kept = c.micro_prompts * row * (layers * layer + 2 * hidden + row)
    else:
        columns = c.prompts * c.group * (prompt + c.max_output)
        kept = c.micro_prompts * c.group * (prompt + c.max_output) * layers * hidden
    return MemoryPlan(
        trained=trained,
        weights=weights,
        optimizer=ADAM * trained,
        reference=weights if c.beta and full else 0,
        cache=2 * layers * shape.num_key_value_heads * head * columns * element,
        logits=c.micro_prompts * c.group * c.max_output * shape.vocab_size * FP32,
        activations=kept * element,
    )
