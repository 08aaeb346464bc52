"""Sampling completions under an output template, and scoring the same ids again for training.

What inference forbids is forbidden here: the template, the tokens of free text and the agent's words come from
``memr1_lite``. At every token the policy chooses among those that are allowed, and its probability is meant among
these; a token with no alternative is not chosen, and stays out of the loss. Ids in, ids out: nothing is tokenised
again, and no id is added to what was sampled.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from memr1_lite.llama.wording import Wording
from memr1_lite.llm import Choice, Forced, FreeText, OutputTemplate, Segment
from train_ref.grpo import allowed_log_probs, entropy
from train_ref.vocabulary import AgentVocabulary, Mask


@dataclass
class Rollout:
    """One completion of T tokens. ``allowed`` is None where the token was forced; ``log_probs`` is 0 there.

    ``values`` are what the template's steps said; they are whole only where ``ended``. ``entropies`` are in nats.
    """

    ids: list[int] = field(default_factory=list)
    allowed: list[Mask | None] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    values: tuple[str, ...] = ()
    ended: bool = False

    @property
    def chosen(self) -> list[int]:
        """Places of the tokens that the policy chose: those that the loss is about."""
        return [place for place, mask in enumerate(self.allowed) if mask is not None]


@dataclass(frozen=True)
class Group:
    """The ids of a prompt, and the completions that it got."""

    prompt: tuple[int, ...]
    rollouts: tuple[Rollout, ...]


@dataclass(frozen=True)
class Prompt:
    """What a policy is asked: segments and the template of the output."""

    segments: tuple[Segment, ...]
    template: OutputTemplate


class Session(Protocol):
    """Prompts that are being continued; see :class:`train_ref.decode.Branches`."""

    logits_PV: Tensor

    def step(self, tokens_PG: Tensor) -> Tensor:
        """One more token for every branch: the logits after it, (P, G, V)."""

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""


class Sampler(Protocol):
    """A language model that can be sampled from."""

    vocabulary: AgentVocabulary

    def begin(self, prompts: Sequence[Sequence[int]], group: int) -> Session:
        """Read the prompts, for ``group`` branches of each."""


class Scorer(Protocol):
    """A language model that can score what was sampled."""

    vocabulary: AgentVocabulary

    def logits(self, groups: Sequence[Group]) -> Tensor:
        """Logits that chose the chosen tokens of all completions, one after the other. (N, V), with gradient."""


class Policy(Sampler, Scorer, Protocol):
    """What is trained."""

    def parameters(self) -> list[nn.Parameter]:
        """Everything that is trained."""

    def reference(self) -> Scorer:
        """The policy as it is now, frozen, to be held to."""

    def state(self) -> dict[str, Tensor]:
        """What a run has to keep to go on."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what :meth:`state` gave."""

    def save(self, folder: Path) -> None:
        """Write a checkpoint folder."""


class Rules:
    """What may be said after one prompt. The masks of its completions are shared: most say the same for a while."""

    def __init__(self, vocabulary: AgentVocabulary, wording: Wording | None) -> None:
        self.vocabulary, self._wording = vocabulary, wording
        self._texts: dict[tuple[bytes, int | None], Mask] = {}
        self._options: dict[tuple[int, ...], Mask] = {}

    def options(self, tokens: Sequence[int]) -> Mask:
        """Exactly these tokens."""
        key = tuple(tokens)
        if key not in self._options:
            self._options[key] = np.zeros(self.vocabulary.size, dtype=np.bool_)
            self._options[key][list(tokens)] = True
        return self._options[key]

    def free_text(self, written: bytes, stop: int) -> Mask:
        """What may follow ``written``: text, or the stop once something can be seen and no word is half said."""
        may_stop = _visible(written)
        mask, whole = self.vocabulary.free_text, True
        key = (written, stop if may_stop else None)
        if self._wording is None:  # the text itself then makes no difference
            key = (b"", stop if may_stop else None)
        if key not in self._texts:
            if self._wording is not None:
                allowed, whole = self._wording.allowed(written)
                mask = mask & allowed
            mask = mask.copy()
            mask[stop] = may_stop and whole
            self._texts[key] = mask
        return self._texts[key]


def spoken(template: OutputTemplate, rules: Rules) -> Generator[int | Mask, int, tuple[tuple[str, ...], bool]]:
    """Walk an output: yields a forced token, or a mask to choose from and is sent the choice.

    Returns the values and whether the output came to its end.
    """
    vocabulary = rules.vocabulary
    values: list[str] = []
    while (step := template.next_step(tuple(values))) is not None:
        if isinstance(step, Forced):
            yield from vocabulary.tokenize(Segment(step.text, trusted=True))
            values.append(step.text)
        elif isinstance(step, Choice):
            values.append((yield from _choice(step, rules)))
        else:
            text, ended = yield from _text(step, rules)
            if not ended:
                return tuple(values), False
            values.append(text)
    return tuple(values), True


def _choice(step: Choice, rules: Rules) -> Generator[int | Mask, int, str]:
    left = {option: rules.vocabulary.tokenize(Segment(option, trusted=True)) for option in step.options}
    depth = 0
    while len(left) > 1:
        forks = sorted({ids[depth] for ids in left.values()})
        token = forks[0]
        if len(forks) > 1:
            token = yield rules.options(forks)
        else:
            yield token
        left = {option: ids for option, ids in left.items() if ids[depth] == token}
        depth += 1
    ((option, ids),) = left.items()
    for token in ids[depth:]:
        yield token
    return option


def _text(step: FreeText, rules: Rules) -> Generator[int | Mask, int, tuple[str, bool]]:
    (stop,) = rules.vocabulary.tokenize(Segment(step.stop, trusted=True))
    written = b""
    for _ in range(step.max_tokens):
        token = yield rules.free_text(written, stop)
        if token == stop:
            return written.decode("utf-8", "replace"), True
        written += rules.vocabulary.piece(token)
    return "", False


def _visible(text: bytes) -> bool:
    return any(letter.isprintable() and not letter.isspace() for letter in text.decode("utf-8", "replace"))


class _Branch:
    """One completion while it is said."""

    def __init__(self, prompt: Prompt, rules: Rules, max_output: int) -> None:
        self.rollout = Rollout()
        self._walk = spoken(prompt.template, rules)
        self._max_output = max_output
        self.want: int | Mask | None = None
        self._advance(None)

    def say(self, token: int, log_prob: float, spread: float) -> None:
        """Note a token, and find out what comes next."""
        mask = self.want if isinstance(self.want, np.ndarray) else None
        r = self.rollout
        r.ids.append(token)
        r.allowed.append(mask)
        r.log_probs.append(log_prob)
        r.entropies.append(spread)
        self._advance(token)

    def _advance(self, token: int | None) -> None:
        try:
            self.want = next(self._walk) if token is None else self._walk.send(token)
        except StopIteration as end:
            self.want = None
            self.rollout.values, self.rollout.ended = end.value
        if len(self.rollout.ids) >= self._max_output:
            self.want = None  # cut, unless it has just ended


def sample(
    policy: Sampler,
    prompts: Sequence[Prompt],
    group: int,
    *,
    temperature: float,
    max_output: int,
    generator: torch.Generator | None = None,
) -> list[Group]:
    """``group`` completions of every prompt. At ``temperature`` 0 the likeliest token is taken, as at inference."""
    vocabulary = policy.vocabulary
    rules = [Rules(vocabulary, vocabulary.wording(prompt.segments)) for prompt in prompts]
    branches = [
        [_Branch(prompt, rule, max_output) for _ in range(group)] for prompt, rule in zip(prompts, rules, strict=True)
    ]
    ids = [vocabulary.prompt_ids(prompt.segments) for prompt in prompts]
    session = policy.begin(ids, group)
    rows = branches
    logits_PGV = session.logits_PV[:, None].expand(-1, group, -1)
    while True:
        tokens_PG = _say(rows, logits_PGV, temperature, generator)
        active = [place for place, row in enumerate(rows) if any(branch.want is not None for branch in row)]
        if not active:
            said = [tuple(branch.rollout for branch in row) for row in branches]
            return [Group(prompt, rollouts) for prompt, rollouts in zip(ids, said, strict=True)]
        if len(active) <= len(rows) // 2:
            kept = torch.tensor(active, device=tokens_PG.device)
            session.keep(kept)
            rows, tokens_PG = [rows[place] for place in active], tokens_PG[kept]
        logits_PGV = session.step(tokens_PG)


@torch.no_grad()
def _say(
    rows: Sequence[Sequence[_Branch]], logits_PGV: Tensor, temperature: float, generator: torch.Generator | None
) -> Tensor:
    """Say the next token of every branch: a forced one, or one drawn from what is allowed. (P, G)."""
    tokens = [[0] * len(row) for row in rows]
    choosing = []
    for p, row in enumerate(rows):
        for g, branch in enumerate(row):
            if isinstance(branch.want, np.ndarray):
                choosing.append((p, g, branch))
            elif branch.want is not None:
                tokens[p][g] = branch.want
                branch.say(branch.want, 0.0, 0.0)
    if choosing:
        places = torch.tensor([(p, g) for p, g, _ in choosing], device=logits_PGV.device)
        allowed_NV = _stacked([branch.want for _, _, branch in choosing], logits_PGV.device)
        lp_NV = allowed_log_probs(logits_PGV[places[:, 0], places[:, 1]], temperature or 1.0, allowed_NV)
        drawn_N = _drawn(lp_NV, temperature, generator)
        lp_N = lp_NV.gather(1, drawn_N[:, None])[:, 0].tolist()
        spread_N = entropy(lp_NV).tolist()
        for (p, g, branch), token, lp, spread in zip(choosing, drawn_N.tolist(), lp_N, spread_N, strict=True):
            tokens[p][g] = token
            branch.say(token, lp, spread)
    return torch.tensor(tokens, device=logits_PGV.device)


def _drawn(lp_NV: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    if temperature == 0:
        return lp_NV.argmax(1)
    # On the CPU whatever the device, so that a seed means the same draws everywhere.
    return torch.multinomial(lp_NV.exp().cpu(), 1, generator=generator)[:, 0].to(lp_NV.device)


def _stacked(masks: Sequence[object], device: torch.device) -> Tensor:
    return torch.from_numpy(np.stack(masks)).to(device)  # type: ignore[call-overload]


@dataclass(frozen=True)
class Scored:
    """Chosen tokens of B completions, by their place among the chosen. (B, T), 0 where ``mask_BT`` is False."""

    lp_BT: Tensor
    old_BT: Tensor
    entropy_BT: Tensor
    mask_BT: Tensor


def score(policy: Scorer, groups: Sequence[Group], temperature: float) -> Scored:
    """Log-probabilities of what was sampled, by the same distribution: the gradient goes through ``lp_BT``."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    lengths = torch.tensor([len(rollout.chosen) for rollout in rollouts])
    mask_BT = torch.arange(max(1, int(lengths.max())))[None] < lengths[:, None]
    logits_NV = policy.logits(groups)
    device = logits_NV.device
    mask_BT = mask_BT.to(device)
    chosen = [(rollout, place) for rollout in rollouts for place in rollout.chosen]
    if not chosen:
        zeros = torch.zeros(mask_BT.shape, device=device)
        return Scored(zeros, zeros, zeros, mask_BT)
    allowed_NV = _stacked([rollout.allowed[place] for rollout, place in chosen], device)
    lp_NV = allowed_log_probs(logits_NV, temperature, allowed_NV)
    ids_N = torch.tensor([rollout.ids[place] for rollout, place in chosen], device=device)
    old_N = torch.tensor([rollout.log_probs[place] for rollout, place in chosen], device=device)

    def spread(values_N: Tensor) -> Tensor:
        return torch.zeros(mask_BT.shape, device=device).masked_scatter(mask_BT, values_N)

    lp_N = lp_NV.gather(1, ids_N[:, None])[:, 0]
    return Scored(spread(lp_N), spread(old_N), spread(entropy(lp_NV.detach())), mask_BT)
