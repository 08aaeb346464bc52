"""Prompt lookup: what an agent writes, it has often just read. So what followed there is tried out in one batch.

A draft never changes what is said: every token of it is decided on its own logits, as without a draft; only what it
costs to get these differs. Whether a batch is cheaper than its tokens one by one depends on the model and the machine,
so that is measured as it goes.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence

LONGEST = 4
"""Tokens of a draft. Batches of more than five cost nearly as much as their tokens one by one on a few cores."""
FIRST = 2
COMPARED = 8
"""Tokens before a place that decide which of several places is most like this one."""
CREDIT = 1.0
"""Evaluations that the drafts of one text may cost more than they save."""
MOST_CREDIT = 3.0
LIKELY = 0.7
"""How many tokens of a draft are expected to hold, while there is no experience."""


WORTH = 0.8
"""A draft must be expected to save a fifth: what it costs is known only roughly, and one that fails is lost time."""


class Pace:
    """What an evaluation of several tokens costs on this machine, counted in evaluations of one."""

    def __init__(self) -> None:
        self._seconds: dict[int, deque[float]] = defaultdict(lambda: deque(maxlen=16))
        self._held = LIKELY

    def note(self, tokens: int, seconds: float) -> None:
        """An evaluation of ``tokens`` took ``seconds``."""
        if tokens <= 1 + LONGEST:
            self._seconds[tokens].append(seconds)

    def note_draft(self, drafted: int, held: int) -> None:
        """Of ``drafted`` tokens, ``held`` were what was said."""
        self._held += 0.1 * (held / drafted - self._held)

    def cost(self, tokens: int) -> float:
        """Evaluations of one token that an evaluation of ``tokens`` is worth; a guess until both were seen."""
        if not self._seconds[1] or not self._seconds[tokens]:
            return 1 + 0.3 * (tokens - 1)
        # The quickest of the last ones: what else the machine does makes the others slow.
        return min(self._seconds[tokens]) / min(self._seconds[1])

    def pays(self, drafted: int) -> bool:
        """Whether a draft of this length is expected to be worth its cost."""
        return self.cost(1 + drafted) < WORTH * (1 + drafted * self._held)


class PromptLookup:
    """Drafts for one free text, from the ids read and said so far."""

    def __init__(self, ids: Sequence[int], pace: Pace) -> None:
        self._ids = list(ids)
        self._pace = pace
        self._places: dict[tuple[int, int], list[int]] = defaultdict(list)
        for place in range(1, len(self._ids)):
            self._places[self._ids[place - 1], self._ids[place]].append(place)
        self._credit = CREDIT
        self._length = FIRST

    def add(self, token: int) -> None:
        """``token`` was said."""
        self._ids.append(token)
        if len(self._ids) > 1:
            self._places[self._ids[-2], token].append(len(self._ids) - 1)

    def draft(self) -> list[int]:
        """What may come next; empty where nothing is known or drafts do not pay."""
        if self._credit <= 0 or not self._pace.pays(self._length):
            return []
        place = self._place()
        return [] if place is None else self._ids[place + 1 : place + 1 + self._length]

    def judge(self, drafted: int, held: int) -> None:
        """The first ``held`` of ``drafted`` tokens were what was said."""
        self._pace.note_draft(drafted, held)
        self._credit = min(self._credit + 1 + held - self._pace.cost(1 + drafted), MOST_CREDIT)
        self._length = min(self._length + 1, LONGEST) if held == drafted else max(FIRST, held)

    def _place(self) -> int | None:
        """The earlier place most like the end of what was said, the latest of several."""
        if len(self._ids) < 2:
            return None
        best, most = None, 1
        here = len(self._ids) - 1
        for place in reversed(self._places[self._ids[-2], self._ids[-1]]):
            if place == here:
                continue
            alike = 2
            while alike < min(COMPARED, place + 1) and self._ids[place - alike] == self._ids[here - alike]:
                alike += 1
            if alike > most:
                best, most = place, alike
        return best
