"""Token by token through our transformer, for many prompts and all completions of each, with cached keys and values.

The completions of one prompt are branches of one row, as in training (:mod:`train_ref.packing`): they share the
prompt's keys and values instead of each having a copy. Prompts are padded on the left, and masks are made by position,
never by looking for a token, so a prompt may hold any token, the end of a turn too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from train_ref.model import Transformer, rotate

CHUNK = 32
"""Steps of output for which room is made at a time."""


class Branches:
    """P prompts with G branches each. Every call of :meth:`step` says one more token in every branch."""

    def __init__(self, model: Transformer, prompts: Sequence[Sequence[int]], group: int, pad: int) -> None:
        self._model, self._group = model, group
        device = model.embed_tokens.weight.device
        longest = max(map(len, prompts))
        self._lengths_P = torch.tensor([len(prompt) for prompt in prompts], device=device)
        ids_PT = torch.tensor([[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
        positions_PT = (torch.arange(longest, device=device)[None] - (longest - self._lengths_P)[:, None]).clamp(min=0)
        real_PT = torch.arange(longest, device=device)[None] >= (longest - self._lengths_P)[:, None]
        causal = torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
        # Padding may look at itself, or its softmax would be over nothing; nobody looks at it.
        mask_PTT = (causal & real_PT[:, None]) | torch.eye(longest, dtype=torch.bool, device=device)
        self._used, self._spoken = 0, 0
        self._seen_PL = real_PT
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._reserve(longest + group * CHUNK, len(prompts), device)
        self.logits_PV = self._run(ids_PT, positions_PT, mask_PTT)[:, -1]
        """After each prompt."""

    def step(self, tokens_PG: Tensor) -> Tensor:
        """Append one token to every branch; returns the logits after each, (P, G, V)."""
        P, G = tokens_PG.shape
        positions_PG = (self._lengths_P + self._spoken)[:, None].expand(P, G)
        self._spoken += 1
        own_GL = torch.eye(G, dtype=torch.bool, device=tokens_PG.device).repeat(1, self._spoken)
        mask_PGL = torch.cat(
            (self._seen_PL[:, None].expand(P, G, -1), own_GL[None].expand(P, G, G * self._spoken)), dim=2
        )
        self._reserve(self._used + G, P, tokens_PG.device)
        return self._run(tokens_PG, positions_PG, mask_PGL)

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the prompts only, by their present rows."""
        self._lengths_P, self._seen_PL = self._lengths_P[rows], self._seen_PL[rows]
        self._keys = [keys[rows] for keys in self._keys]
        self._values = [values[rows] for values in self._values]

    def _reserve(self, columns: int, rows: int, device: torch.device) -> None:
        c = self._model.config
        if self._keys and columns <= self._keys[0].shape[2]:
            return
        shape = (rows, c.num_key_value_heads, columns + self._group * CHUNK, c.head_dim)
        for store in (self._keys, self._values):
            old = list(store)
            dtype = self._model.embed_tokens.weight.dtype
            store[:] = [torch.empty(shape, dtype=dtype, device=device) for _ in range(c.num_hidden_layers)]
            for new, full in zip(store, old, strict=bool(old)):
                new[:, :, : self._used] = full[:, :, : self._used]

    @torch.no_grad()
    def _run(self, ids_PT: Tensor, positions_PT: Tensor, mask_PTL: Tensor) -> Tensor:
        """Logits of new tokens, whose keys and values join the cache."""
        model = self._model
        c, (P, T) = model.config, ids_PT.shape
        angles = positions_PT[..., None].float() * model.frequencies
        cos, sin = angles.cos()[:, None], angles.sin()[:, None]
        groups = c.num_attention_heads // c.num_key_value_heads
        # The heads that share keys stand side by side as queries, so that no key is copied.
        x = model.embed_tokens(ids_PT)
        bias = torch.zeros(mask_PTL.shape, dtype=x.dtype, device=x.device).masked_fill_(~mask_PTL, float("-inf"))
        bias = bias[:, None].repeat(1, 1, groups, 1)
        end = self._used + T
        for layer, keys, values in zip(model.layers, self._keys, self._values, strict=True):
            a = layer.self_attn
            h = layer.input_layernorm(x)
            q, k, v = (
                projection(h).view(P, T, -1, c.head_dim).transpose(1, 2)
                for projection in (a.q_proj, a.k_proj, a.v_proj)
            )
            q, k = rotate(a.q_norm(q), cos, sin), rotate(a.k_norm(k), cos, sin)
            keys[:, :, self._used : end], values[:, :, self._used : end] = k, v
            q = q.reshape(P, c.num_key_value_heads, groups * T, c.head_dim)
            y = F.scaled_dot_product_attention(q, keys[:, :, :end], values[:, :, :end], attn_mask=bias)
            y = y.view(P, c.num_attention_heads, T, c.head_dim).transpose(1, 2).reshape(P, T, -1)
            x = x + a.o_proj(y)
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        self._used = end
        states = model.norm(x[:, -1:] if self._spoken == 0 else x)
        return F.linear(states, model.embed_tokens.weight).float()
