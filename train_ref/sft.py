"""Supervised training of one agent from scratch: ``python -m train_ref.sft manager --out runs/manager --minutes 90``.

Copying and binding come as jumps, not slopes, so the lists begin short and grow (the curriculum below). Matrices are
trained by Muon, the rest by AdamW; bf16 autocast, fp32 weights. Everything needed to go on is in ``state.pt``:
run the same command again and it continues.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import parametrize
from tqdm import tqdm

from memr1_lite import answer_agent, memory_manager
from train_ref import tokenizer as tokenizers
from train_ref.curves import plot
from train_ref.model import ModelConfig, Transformer
from train_ref.own_words import own_words
from train_ref.packing import PADDING, Batch, Role, batch, source
from train_ref.tokenizer import AgentTokenizer
from train_ref.transplant import transplanted, with_heads
from train_ref.word_prior import add_prior, shrink_free, word_vectors

# (from this share of the run, entries at most, row length): each batch draws one of those already begun,
# the later ones more often. A step has about TOKENS tokens whatever the length.
CURRICULUM: dict[Role, list[tuple[float, int, int]]] = {
    "manager": [(0.0, 2, 512), (0.15, 4, 512), (0.3, 6, 512), (0.4, 8, 512), (0.55, 10, 512)],
    "answerer": [(0.0, 3, 512), (0.2, 6, 512), (0.35, 12, 512), (0.42, 30, 1024), (0.55, 60, 2048)],
}
TOKENS = 4096
LOOK_UP_UNTIL, LOOK_UP_SHARE = 0.6, 0.25
"""Until then this share of a Manager's batches are questions: they teach to find the right entry; it needs that too."""
RELABEL_UNTIL, RELABEL_SHARE = 0.75, 0.6
"""Until then this share of the batches has its ordinals exchanged: reading a label is learned before long lists are."""
ORDINAL_WEIGHT = 3.0
"""Naming the right entry is one token of a dozen, and the hard one."""
FREE_DECAY = 0.2
"""Weight decay, per unit of learning rate, of what a word's embedding has beyond its word vector."""
PROMPT_VERSIONS = {"manager": memory_manager.PROMPT_VERSION, "answerer": answer_agent.PROMPT_VERSION}


def loss_of(model: Transformer, b: Batch, ordinals: Tensor) -> Tensor:
    """Weighted mean cross-entropy over the tokens that are learned."""
    with torch.autocast("cpu", torch.bfloat16), parametrize.cached():
        states = model.hidden(b.ids_BT, b.positions_BT, b.mask_BTT())
        chosen = b.targets_BT >= 0
        logits = F.linear(states[chosen], model.embed_tokens.weight)
    targets = b.targets_BT[chosen]
    losses = F.cross_entropy(logits.float(), targets, reduction="none")
    weights = torch.where(torch.isin(targets, ordinals), ORDINAL_WEIGHT, 1.0)
    return (losses * weights).sum() / weights.sum()


@torch.no_grad()
def measure(model: Transformer, batches: list[Batch], ordinals: Tensor) -> dict[str, float]:
    """Shares of branches: right first token (operation), right ordinal, all right (what greedy decoding would say)."""
    marks = set(ordinals.tolist())
    counts = dict.fromkeys(["first", "ordinal", "ordinals", "all", "total"], 0.0)
    for b in batches:
        with torch.autocast("cpu", torch.bfloat16):
            states = model.hidden(b.ids_BT, b.positions_BT, b.mask_BTT())
        chosen = b.targets_BT >= 0
        guesses = torch.full_like(b.targets_BT, -1)
        guesses[chosen] = F.linear(states[chosen], model.embed_tokens.weight).argmax(-1)
        for row in range(len(b.ids_BT)):
            for number in range(1, int(b.branch_BT[row][b.branch_BT[row] < PADDING].max()) + 1):
                mine = (b.branch_BT[row] == number) & chosen[row]
                right, said = b.targets_BT[row][mine].tolist(), guesses[row][mine].tolist()
                counts["total"] += 1
                counts["first"] += right[0] == said[0]
                counts["all"] += right == said
                named = [place for place, token in enumerate(right) if token in marks]
                if named:
                    counts["ordinals"] += 1
                    counts["ordinal"] += all(right[place] == said[place] for place in named)
    total = max(1.0, counts["total"])
    return {
        "first": counts["first"] / total,
        "ordinal": counts["ordinal"] / max(1.0, counts["ordinals"]),
        "exact": counts["all"] / total,
    }


class Run:
    """One training run: model, optimisers, data and where they stand."""

    def __init__(self, role: Role, out: Path, args: argparse.Namespace) -> None:
        self.role, self.out, self.args = role, out, args
        out.mkdir(parents=True, exist_ok=True)
        if not (out / "tokenizer.json").exists():
            tokenizers.train(out, args.vocab)
        self.tokenizer = AgentTokenizer(out)
        self.ordinals = torch.tensor(self.tokenizer.ordinals)
        torch.manual_seed(args.seed)
        self.rng = random.Random(args.seed)
        shape = ModelConfig(
            self.tokenizer.vocab_size,
            args.width,
            args.layers,
            args.width // 64,
            args.width // 64,  # keys and values for every head: with half as many it copied rare words badly
            64,
            args.width * 3,
        )
        self.model = Transformer(shape)
        vectors = word_vectors(args.words, self.tokenizer) if args.words else torch.zeros(shape.vocab_size, 1)
        if args.init:
            self.model = self._started(args.init, vectors)
        if args.words:
            add_prior(self.model.embed_tokens, vectors, trained=bool(args.init))
        matrices = [p for name, p in self.model.named_parameters() if p.dim() == 2 and "embed" not in name]
        others = [p for name, p in self.model.named_parameters() if p.dim() != 2 or "embed" in name]
        self.optimisers = [
            torch.optim.Muon(matrices, lr=args.lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=args.lr, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        self.step, self.spent, self.log = 0, 0.0, list[dict[str, float]]()
        if (out / "state.pt").exists():
            self._resume()
        elif args.init:
            self.step, self.spent = int(args.begin * args.steps), args.begin * args.minutes * 60
        held = random.Random(10_007)
        lengths = [(8, 512)] if role == "manager" else [(8, 512), (30, 1024), (60, 2048)]
        self.held = [
            [batch(source(role, held, "heldout", n, length), self.tokenizer, 4096 // length, length)]
            for n, length in lengths
        ]

    @functools.cached_property
    def own_words(self) -> list[str]:
        """What the agent may write without having read it; seconds of work, needed once, for the card."""
        return own_words(self.role)

    def _started(self, folder: Path, vectors: Tensor) -> Transformer:
        """The model in ``folder``, under this run's tokenizer."""
        model = with_heads(Transformer.load(folder), self.args.width // 64).train()
        if (folder / "tokenizer.json").read_bytes() == (self.out / "tokenizer.json").read_bytes():
            return model
        return transplanted(model, AgentTokenizer(folder), self.tokenizer, vectors).train()

    def _resume(self) -> None:
        state = torch.load(self.out / "state.pt", weights_only=False)
        self.model.load_state_dict(state["model"])
        for optimiser, stored in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(stored)
        self.step, self.spent, self.log = state["step"], state["spent"], state["log"]
        self.rng.setstate(state["rng"])

    def save(self) -> None:
        """Checkpoint: the state to go on from, and the model as ``convert`` reads it."""
        state = {
            "model": self.model.state_dict(), "optimisers": [o.state_dict() for o in self.optimisers],
            "step": self.step, "spent": self.spent, "log": self.log, "rng": self.rng.getstate(),
        }  # fmt: skip
        torch.save(state, self.out / "state.tmp")
        (self.out / "state.tmp").replace(self.out / "state.pt")
        self.model.save(self.out, eos=self.tokenizer.eos, pad=self.tokenizer.pad)
        card = {
            "role": self.role, "prompt_version": PROMPT_VERSIONS[self.role], "name": f"memr1-{self.role}",
            "licence": "Apache-2.0", "training_data": "generated by train_ref.world, split train",
            "own_words": self.own_words,
            "training": {"kind": "supervised", "steps": self.step, "seed": self.args.seed},
            "figures": self.log[-1] if self.log else {},
        }  # fmt: skip
        (self.out / "memr1.json").write_text(json.dumps(card, indent=2) + "\n")
        if self.log:
            plot(self.log, self.out / "curve.png", title=f"{self.role}: held-out shares")

    def progress(self) -> float:
        """Share of the run that is done, by steps or by time."""
        if self.args.steps:
            return min(1.0, self.step / self.args.steps)
        return min(1.0, self.spent / (60 * self.args.minutes))

    def rate(self) -> float:
        """Learning rate: warm-up over 100 steps, constant, then linear to zero over the last third."""
        return self.args.lr * min(1.0, (self.step + 1) / 100, 0.02 + (1 - self.progress()) * 3)

    def next_batch(self) -> Batch:
        """A batch of one of the stages begun, the latest with half of the weight."""
        stages = [stage for stage in CURRICULUM[self.role] if stage[0] <= self.progress()]
        _, entries, length = stages[-1] if self.rng.random() < 0.5 else self.rng.choice(stages)
        role = self.role
        if self.progress() < LOOK_UP_UNTIL and self.rng.random() < LOOK_UP_SHARE:
            role = "answerer"
        make = source(role, self.rng, "train", entries, length)
        relabel = self.rng if self.progress() < RELABEL_UNTIL and self.rng.random() < RELABEL_SHARE else None
        return batch(make, self.tokenizer, TOKENS // length, length, relabel, noise=self.rng)

    def train(self) -> None:
        """Run to the end, with a line of figures every ``--every`` steps."""
        if not self.args.eager:
            for layer in self.model.layers:
                layer.compile(dynamic=False)  # nearly twice as fast on one core: it fuses the small operations
        recent: deque[float] = deque(maxlen=50)
        bar = tqdm(total=100, initial=int(100 * self.progress()), desc=self.role, unit="%", mininterval=10)
        while self.progress() < 1:
            began = time.monotonic()
            for optimiser in self.optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = self.rate()
            loss = loss_of(self.model, self.next_batch(), self.ordinals)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            for optimiser in self.optimisers:
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
            shrink_free(self.model.embed_tokens, self.rate() * FREE_DECAY)
            self.step += 1
            self.spent += time.monotonic() - began
            recent.append(loss.item())
            bar.n = int(100 * self.progress())
            bar.set_postfix(step=self.step, loss=f"{sum(recent) / len(recent):.3f}")
            if self.step % self.args.every == 0 or self.progress() >= 1:
                self.report(sum(recent) / len(recent))
        bar.close()

    def report(self, loss: float) -> None:
        """Measure on held-out phrasings, names and objects; log; save."""
        line: dict[str, float] = {"step": self.step, "minutes": round(self.spent / 60, 1), "loss": round(loss, 4)}
        for index, batches in enumerate(self.held):
            suffix = "" if index == 0 else f"_{(8, 30, 60)[index]}"
            figures = measure(self.model, batches, self.ordinals)
            line |= {name + suffix: round(value, 3) for name, value in figures.items()}
        self.log.append(line)
        tqdm.write(json.dumps(line))
        self.save()


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=["manager", "answerer"])
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; continued if it exists")
    parser.add_argument("--minutes", type=float, default=90.0, help="time of training, evaluation not counted")
    parser.add_argument("--steps", type=int, default=0, help="steps instead of minutes: reproducible to the bit")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--vocab", type=int, default=8192)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--every", type=int, default=100, help="steps between evaluations and checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--init", type=Path, help="start from the weights in this folder, of the same shape; another tokenizer is fine"
    )
    parser.add_argument("--words", type=Path, help="an encoder's folder: its word vectors as a prior of the embeddings")
    parser.add_argument("--begin", type=float, default=0.0, help="with --init: the share of the run that it replaces")
    parser.add_argument("--eager", action="store_true", help="without torch.compile: starts at once, runs slower")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    run = Run(args.role, args.out, args)
    run.train()
    run.save()


if __name__ == "__main__":
    main()
