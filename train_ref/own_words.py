"""The words that an agent writes without having read them: verbs, prepositions, months, counts.

They go into its file; at inference every other word of its texts must be one of its prompt
(``memr1_lite.llama.wording``).
"""

from __future__ import annotations

import random
from collections import Counter

from memr1_lite.llama.wording import WORD, words_of
from memr1_lite.llm import FreeText
from train_ref.packing import Role, branches, source

EXAMPLES = 1500
SEEN_AT_LEAST = 8
"""A word seen less often is a made-up one in a form that its prompt does not show."""


def own_words(role: Role, seed: int = 5) -> list[str]:
    """The words of right outputs that their prompts do not hold, the most frequent first."""
    rng = random.Random(seed)
    make = source(role, rng, "train", 8, 512)
    counts: Counter[bytes] = Counter()
    for _ in range(EXAMPLES):
        prompts, _, template = branches(make())
        for segments, values in prompts:
            read = words_of(" ".join(segment.text for segment in segments if not segment.trusted))
            for index, value in enumerate(values):
                if isinstance(template.next_step(values[:index]), FreeText):
                    counts.update(word for word in WORD.findall(value.encode()) if word not in read)
    return [word.decode() for word, count in counts.most_common() if count >= SEEN_AT_LEAST]
