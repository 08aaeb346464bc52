"""The bundled agents' tokenizer: byte-level BPE with digits apart, and the template's own words as control tokens.

Trusted text (the template) may become control tokens, untrusted text never can: the two are encoded by two views of
one tokenizer, as ``memr1_lite.llama`` does it with llama.cpp's.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from memr1_lite.llm import END, MAX_SHOWN, Choice, Forced, OutputTemplate, Segment, ordinal
from train_ref.world.episodes import answerer_example, manager_example
from train_ref.world.words import ENGLISH, invented

PAD, USER, ASSISTANT = "<|pad|>", "<|user|>", "<|assistant|>"
CONTROL = [
    END, PAD, USER, ASSISTANT, *(ordinal(position) for position in range(MAX_SHOWN)),
    "ADD", "UPDATE", "DELETE", "NOOP", "NONE", "Message:", "Question:",
]  # fmt: skip
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# What llama.cpp knows as the pre-tokenizer "qwen2": words with their leading space, single digits, punctuation.
PRE_TOKENIZER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


SPELLINGS = 4
"""Ways to spell a token in pieces that are kept for it."""
DROPOUT = 0.25
"""Share of the merges left out."""
WORD_WEIGHT = 40
"""How often each common English word stands in the corpus: most of them are to be one token, as each has a meaning."""


def corpus(examples: int, seed: int) -> Iterator[str]:
    """Training text of the world, common words, and invented names so that every kind of syllable has tokens."""
    rng = random.Random(seed)
    for _ in range(examples):
        example = manager_example(rng, "train", 8, 8)
        yield from (" " + memory.text for memory in example.shown)
        yield from (f" {message.speaker}: {message.text}" for message, _ in example.turns)
        questions = answerer_example(rng, "train", 8, 6)
        yield from (f" {question}" for question, _ in questions.turns)
        yield " " + invented(rng, "train")
    yield from ((" " + word) * WORD_WEIGHT for word in ENGLISH)


def train(folder: Path, vocab_size: int = 8192, examples: int = 6000, seed: int = 1) -> None:
    """Train the tokenizer and write ``tokenizer.json`` and ``tokenizer_config.json`` into ``folder``."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_TOKENIZER), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=3,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(examples, seed), trainer)
    tokenizer.add_special_tokens(CONTROL)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "Qwen2Tokenizer", "eos_token": END, "pad_token": PAD, "chat_template": CHAT_TEMPLATE,
        "add_bos_token": False,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def output_ids(
    values: Sequence[str], template: OutputTemplate, encode: Callable[[str, bool], Sequence[int]]
) -> list[int]:
    """Ids that say ``values`` under ``template``, stops included; ``encode`` takes a text and whether it is trusted."""
    ids: list[int] = []
    for index, value in enumerate(values):
        step = template.next_step(tuple(values[:index]))
        if isinstance(step, Choice | Forced):
            ids += encode(value, True)
        else:
            assert step is not None, f"{value!r} follows the end of the template"
            ids += (*encode(value, False), *encode(step.stop, True))
    return ids


class AgentTokenizer:
    """Encodes segments and values, each by itself."""

    def __init__(self, folder: Path) -> None:
        self._trusted = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        self._plain = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        self._plain.encode_special_tokens = True
        merges = json.loads((Path(folder) / "tokenizer.json").read_text(encoding="utf-8"))["model"]["merges"]
        pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in merges)
        self._ranks = {(one, other): rank for rank, (one, other) in enumerate(pairs)}
        self._spellings: dict[int, list[tuple[int, ...]]] = {}
        self.vocab_size = self._trusted.get_vocab_size()
        self.eos = self._trusted.token_to_id(END)
        self.pad = self._trusted.token_to_id(PAD)
        self.ordinals = [self._trusted.token_to_id(ordinal(position)) for position in range(MAX_SHOWN)]
        self.encode = lru_cache(maxsize=100_000)(self._encode)

    def _encode(self, text: str, trusted: bool) -> tuple[int, ...]:
        if trusted and text == END:
            return (self.eos,)
        tokenizer = self._trusted if trusted else self._plain
        return tuple(tokenizer.encode(text, add_special_tokens=False).ids)

    def prompt(self, segments: Sequence[Segment]) -> list[int]:
        """Ids of a run of segments."""
        return [token for segment in segments for token in self.encode(segment.text, segment.trusted)]

    def output(self, values: Sequence[str], template: OutputTemplate) -> list[int]:
        """Ids that say ``values`` under ``template``, stops included."""
        return output_ids(values, template, self.encode)

    def pieces(self, token: int, rng: random.Random) -> tuple[int, ...]:
        """Ids that spell ``token``, by a random choice of smaller ones; itself where it has no parts (BPE dropout)."""
        if token not in self._spellings:
            own = random.Random(token)  # the same spellings in every run
            self._spellings[token] = sorted({self._spelt(token, own) for _ in range(SPELLINGS)})
        return rng.choice(self._spellings[token])

    def _spelt(self, token: int, rng: random.Random) -> tuple[int, ...]:
        """The token merged anew from its bytes, each possible merge left out at times (Provilkov et al. 2020)."""
        parts = list(self._trusted.id_to_token(token))
        while True:
            pairs = [(self._ranks.get(pair), at) for at, pair in enumerate(itertools.pairwise(parts))]
            possible = [(rank, at) for rank, at in pairs if rank is not None and rng.random() >= DROPOUT]
            if not possible:
                return tuple(self._trusted.token_to_id(part) for part in parts)
            _, at = min(possible)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, control tokens included."""
        return self._trusted.decode(list(ids), skip_special_tokens=False)
