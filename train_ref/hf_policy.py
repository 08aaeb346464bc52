"""Any causal language model of Hugging Face as a policy, trained through a LoRA (extra ``train-hf``).

Rows are padded as transformers wants them, and masks are made by position. The model's own ``generation_config`` is
never asked: sampling is :mod:`train_ref.rollout`'s. Such a model was not trained for its role, so its prompts carry the
instructions of ``memr1_lite``, as they do at inference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from train_ref.rollout import Group
from train_ref.vocabulary import AgentVocabulary

REFERENCE = "reference"
BF16_GAP = 0.5
"""In bfloat16 the cached pass and the whole one differ by rounding; a wrong sampler differs by whole nats."""


def local_folder(base: str) -> Path:
    """The folder of ``base``; a name of the hub is fetched by its own client, or found in its cache."""
    if Path(base).is_dir():
        return Path(base)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(base, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.txt"]))


class Where(TypedDict):
    """What a model computes in, and on which device."""

    dtype: torch.dtype
    device: str


def fastest() -> Where:
    """bfloat16 on a GPU where there is one, else float32 on the CPU."""
    if torch.cuda.is_available():
        return Where(dtype=torch.bfloat16, device="cuda")
    return Where(dtype=torch.float32, device="cpu")


class HfPolicy:
    """A :class:`~train_ref.rollout.Policy`. Only the LoRA is trained; its dropout is 0.

    :param adapter: go on from this LoRA, which then is also the reference; None begins a fresh one that does nothing
    """

    def __init__(
        self,
        base: str,
        *,
        rank: int = 32,
        adapter: Path | None = None,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        checkpointing: bool = True,
    ) -> None:
        from peft import LoraConfig, PeftModel, get_peft_model
        from transformers import AutoModelForCausalLM

        folder = local_folder(base)
        self.vocabulary = AgentVocabulary(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device)
        if getattr(model.config, "final_logit_softcapping", None):
            raise ValueError("models that cap their logits are not supported: they are computed here without the cap")
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if adapter is None:
            config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear")
            self.model: Any = get_peft_model(model, config)
        else:
            self.model = PeftModel.from_pretrained(model, str(adapter), is_trainable=True)
        for parameter in self.parameters():  # the optimizer's own weights, whatever the model computes in
            parameter.data = parameter.data.float()
        self._adapter, self._checkpointing = adapter, checkpointing
        for module in self.model.modules():  # nothing drops out, so that what is scored is what was sampled
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        self.model.config.attention_dropout = 0.0
        self.model.eval()

    def reference(self) -> AsReference:
        """The policy as it began: the base where the LoRA is fresh, a frozen copy of the LoRA that is continued."""
        if self._adapter is not None and REFERENCE not in self.model.peft_config:
            self.model.load_adapter(str(self._adapter), REFERENCE, is_trainable=False)
            self.model.set_adapter("default")
        return AsReference(self)

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """Within, the model is the reference."""
        if self._adapter is None:
            with self.model.disable_adapter():
                yield
            return
        self.model.set_adapter(REFERENCE)
        try:
            yield
        finally:
            self.model.set_adapter("default")

    def begin(self, prompts: Sequence[Sequence[int]], group: int) -> PaddedSession:
        """Read every prompt once, then copy what was cached for its branches."""
        return PaddedSession(self.model, prompts, group, self.vocabulary.pad)

    def logits(self, groups: Sequence[Group]) -> Tensor:
        """Logits behind the chosen tokens, (N, V); the head runs on these places alone."""
        rows = [(group.prompt, rollout) for group in groups for rollout in group.rollouts]
        longest = max(len(prompt) + len(rollout.ids) for prompt, rollout in rows)
        pad, device = self.vocabulary.pad, self.model.device
        ids_BT = torch.tensor([[*p, *r.ids, *[pad] * (longest - len(p) - len(r.ids))] for p, r in rows], device=device)
        lengths_B = torch.tensor([len(p) + len(r.ids) for p, r in rows], device=device)
        seen_BT = (torch.arange(longest, device=device)[None] < lengths_B[:, None]).long()
        base = self.model.get_base_model()
        # transformers checkpoints only in training mode and caches only outside it; nothing else tells them apart.
        self.model.train(self._checkpointing and torch.is_grad_enabled())
        states = base.get_decoder()(input_ids=ids_BT, attention_mask=seen_BT, use_cache=False).last_hidden_state
        self.model.eval()
        places = [row * longest + len(prompt) - 1 + place for row, (prompt, r) in enumerate(rows) for place in r.chosen]
        chosen_NC = states.flatten(0, 1)[torch.tensor(places, dtype=torch.long, device=device)]
        logits: Tensor = base.get_output_embeddings()(chosen_NC).float()
        return logits

    def parameters(self) -> list[nn.Parameter]:
        """The LoRA's."""
        return [p for name, p in self.model.named_parameters() if p.requires_grad and REFERENCE not in name]

    def state(self) -> dict[str, Tensor]:
        """The LoRA's weights."""
        from peft import get_peft_model_state_dict

        return {name: value.detach().cpu() for name, value in get_peft_model_state_dict(self.model).items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what :meth:`state` gave."""
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(self.model, dict(state))

    def save(self, folder: Path) -> None:
        """Write the LoRA in peft's format, and the tokenizer it belongs to."""
        self.model.save_pretrained(str(folder), selected_adapters=["default"])
        self.vocabulary.copy_files(folder)


class AsReference:
    """The policy it was made from, with its adapter off or the one it began with; frozen."""

    def __init__(self, policy: HfPolicy) -> None:
        self._policy = policy
        self.vocabulary = policy.vocabulary

    def begin(self, prompts: Sequence[Sequence[int]], group: int) -> PaddedSession:
        """As the policy's, in the reference."""
        return PaddedSession(self._policy.model, prompts, group, self.vocabulary.pad, self._policy.as_reference)

    def logits(self, groups: Sequence[Group]) -> Tensor:
        """As the policy's, without a gradient."""
        with torch.no_grad(), self._policy.as_reference():
            return self._policy.logits(groups)


@contextmanager
def unchanged() -> Iterator[None]:
    """The model as it is."""
    yield


class PaddedSession:
    """P * G rows with a cache of their own each, prompts padded on the left."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - a peft model
        prompts: Sequence[Sequence[int]],
        group: int,
        pad: int,
        mode: Callable[[], AbstractContextManager[None]] = unchanged,
    ) -> None:
        from transformers import DynamicCache

        self._model, self._mode, self._prompts = model, mode, len(prompts)
        longest, device = max(map(len, prompts)), model.device
        ids_PT = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in prompts], device=device)
        lengths_P = torch.tensor([len(p) for p in prompts], device=device)
        self._seen = (torch.arange(longest, device=device)[None] >= longest - lengths_P[:, None]).long()
        self._positions = lengths_P - 1
        self._cache = DynamicCache(config=model.config)
        positions_PT = (self._seen.cumsum(1) - 1).clamp(min=0)
        self.logits_PV = self._run(ids_PT, positions_PT)
        self._cache.batch_repeat_interleave(group)
        self._seen = self._seen.repeat_interleave(group, 0)
        self._positions = self._positions.repeat_interleave(group)

    def step(self, tokens_PG: Tensor) -> Tensor:
        """Append one token to every branch; returns the logits after each, (P, G, V)."""
        self._positions = self._positions + 1
        self._seen = torch.cat((self._seen, torch.ones_like(self._seen[:, :1])), 1)
        return self._run(tokens_PG.reshape(-1, 1), self._positions[:, None]).view(*tokens_PG.shape, -1)

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the prompts only."""
        group = len(self._positions) // self._prompts
        kept = (rows[:, None] * group + torch.arange(group, device=rows.device)).flatten()
        self._cache.batch_select_indices(kept)
        self._seen, self._positions = self._seen[kept], self._positions[kept]
        self._prompts = len(rows)

    @torch.no_grad()
    def _run(self, ids: Tensor, positions: Tensor) -> Tensor:
        with self._mode():
            out = self._model(
                input_ids=ids, attention_mask=self._seen, position_ids=positions, past_key_values=self._cache,
                use_cache=True, logits_to_keep=1,
            )  # fmt: skip
        logits: Tensor = out.logits[:, -1].float()
        return logits
