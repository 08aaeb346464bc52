"""Our own small transformer as a policy: a checkpoint folder in, a checkpoint folder out."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from train_ref.decode import Branches
from train_ref.model import Transformer
from train_ref.packing import Row, collate
from train_ref.rollout import Group
from train_ref.vocabulary import AgentVocabulary


class OwnPolicy:
    """A :class:`~train_ref.rollout.Policy` in fp32. Nothing in it drops out, so two passes give the same numbers."""

    def __init__(self, model: Transformer, vocabulary: AgentVocabulary) -> None:
        self.model, self.vocabulary = model.float(), vocabulary

    @classmethod
    def load(cls, folder: Path) -> OwnPolicy:
        """Read a checkpoint folder as ``train_ref.sft`` leaves it."""
        return cls(Transformer.load(folder), AgentVocabulary(folder))

    def save(self, folder: Path) -> None:
        """Write a checkpoint folder that ``convert`` reads; the tokenizer's files are those of the one it came from."""
        self.vocabulary.copy_files(folder)
        self.model.save(folder, eos=self.vocabulary.end, pad=self.vocabulary.pad)

    def parameters(self) -> list[nn.Parameter]:
        """All weights: everything is trained."""
        return list(self.model.parameters())

    def state(self) -> dict[str, Tensor]:
        """What a run has to keep to go on."""
        return dict(self.model.state_dict())

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what :meth:`state` gave."""
        self.model.load_state_dict(state)

    def reference(self) -> OwnPolicy:
        """A frozen copy, to be held to."""
        return OwnPolicy(copy.deepcopy(self.model).requires_grad_(False), self.vocabulary)

    def begin(self, prompts: Sequence[Sequence[int]], group: int) -> Branches:
        """Read the prompts; all branches of a group share its prompt's keys and values."""
        return Branches(self.model, prompts, group, self.vocabulary.pad)

    def logits(self, groups: Sequence[Group]) -> Tensor:
        """Logits behind the chosen tokens, (N, V). Each prompt is read once for its whole group."""
        rows = [packed(group) for group in groups]
        b = collate(rows, max(len(row.ids) for row in rows), self.vocabulary.pad)
        device = self.model.embed_tokens.weight.device
        states = self.model.hidden(b.ids_BT.to(device), b.positions_BT.to(device), b.mask_BTT().to(device))
        return F.linear(states[b.targets_BT.to(device) >= 0], self.model.embed_tokens.weight).float()


def packed(group: Group) -> Row:
    """A prompt and its completions as the branches of one row; targets where the policy chose.

    The prompt's last token is repeated in every branch, for it is what each first token is chosen after.
    """
    *shared, last = group.prompt
    row = Row(list(shared), list(range(len(shared))), [0] * len(shared), [-1] * len(shared))
    for number, rollout in enumerate(group.rollouts, start=1):
        ids = [last, *rollout.ids[:-1]]
        row.ids.extend(ids)
        row.positions.extend(range(len(shared), len(shared) + len(ids)))
        row.branch.extend([number] * len(ids))
        row.targets.extend(
            token if mask is not None else -1 for token, mask in zip(rollout.ids, rollout.allowed, strict=True)
        )
    return row
