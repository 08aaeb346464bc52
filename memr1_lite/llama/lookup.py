"""Prompt lookup: what an agent writes, it has often just read. So what followed there is tried out in one batch.

A draft never changes what is said: every token of it is decided on its own logits, as without a draft; only what it
costs to get these differs. Whether a batch is cheaper than its tokens one by one depends on the model and the machine,
and how far a text is copied on the model: both are measured as it goes, the second also where nothing is drafted.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence

LENGTHS = (1, 3, 7, 15, 31)
"""Tokens of a draft: llama.cpp is quickest, token for token, with batches of 2, 4, 8, 16 and 32."""
LONGEST = LENGTHS[-1]
ALIKE = 2
"""Tokens before a place that must be those said last, for the text to be taken for a copy of what follows there."""
COMPARED = 8
"""More of them say no more about how far the copy will go."""
CREDIT = 1.0
"""Evaluations that the drafts of one text may cost more than they save."""
MOST_CREDIT = 3.0
REMEMBERED = 64
"""Copies that the expectation rests on."""
SUPPOSED = (0, 0, 1, 2, 4, 8)
"""How far copies go, while there is no experience."""
GUESSED = 0.3
"""What one token more costs in a batch of a size that was not measured yet. Low, so that the size is tried once."""
WORTH = 0.8
"""A draft must be expected to save a fifth: what it costs is known only roughly, and one that fails is lost time."""


class Pace:
    """What evaluating several tokens costs on this machine, counted in evaluations of one, and how far copies go."""

    def __init__(self) -> None:
        self._seconds: dict[int, deque[float]] = defaultdict(lambda: deque(maxlen=16))
        self._runs: dict[int, deque[int]] = defaultdict(lambda: deque(SUPPOSED, maxlen=REMEMBERED))

    def note(self, tokens: int, seconds: float) -> None:
        """An evaluation of ``tokens`` took ``seconds``."""
        if tokens <= 1 + LONGEST:
            self._seconds[tokens].append(seconds)

    def note_copy(self, alike: int, held: int) -> None:
        """``alike`` tokens were as before a place, and the ``held`` that followed there came next."""
        self._runs[alike].append(min(held, LONGEST))

    def cost(self, tokens: int) -> float:
        """Evaluations of one token that an evaluation of ``tokens`` is worth; partly a guess until it was measured."""
        known = max((size for size in self._seconds if size <= tokens), default=0)
        if not self._seconds.get(1) or known <= 1:
            return 1 + GUESSED * (tokens - 1)
        # The quickest of the last ones: what else the machine does makes the others slow.
        return min(self._seconds[known]) / min(self._seconds[1]) + GUESSED * (tokens - known)

    def length(self, alike: int) -> int:
        """The tokens to draft where so many were alike; 0 where no draft is expected to be worth its cost."""
        runs = self._runs[alike]
        best, most = 0, 1 / WORTH
        for drafted in LENGTHS:
            gain = (1 + sum(min(run, drafted) for run in runs) / len(runs)) / self.cost(1 + drafted)
            if gain > most:
                best, most = drafted, gain
        return best


class PromptLookup:
    """Drafts for one free text, from the ids read and said so far.

    :param stop: the token that ends the text; no copy goes beyond it
    """

    def __init__(self, ids: Sequence[int], pace: Pace, stop: int) -> None:
        self._ids = list(ids)
        self._pace = pace
        self._stop = stop
        self._places: dict[tuple[int, int], list[int]] = defaultdict(list)
        for place in range(1, len(self._ids)):
            self._places[self._ids[place - 1], self._ids[place]].append(place)
        self._credit = CREDIT
        self._source: int | None = None
        """The place of the token that is expected next."""
        self._copied: list[int] = []
        """How many tokens were alike at each step of the copy under way."""
        self._look()

    def add(self, token: int) -> None:
        """``token`` was said."""
        source = self._source
        self._ids.append(token)
        if len(self._ids) > 1:
            self._places[self._ids[-2], token].append(len(self._ids) - 1)
        if source is not None and self._ids[source] == token and token != self._stop:
            self._source = source + 1
            self._copied.append(min(self._copied[-1] + 1, COMPARED))
            return
        # What was copied in whole, its stop too, went one further.
        held = len(self._copied) - 1 + (source is not None and self._ids[source] == token)
        for step, alike in enumerate(self._copied):
            self._pace.note_copy(alike, held - step)
        self._look()

    def draft(self) -> list[int]:
        """What may come next; empty where nothing is known or drafts do not pay."""
        if self._source is None or self._credit <= 0:
            return []
        drafted = self._ids[self._source : self._source + self._pace.length(self._copied[-1])]
        return drafted[: drafted.index(self._stop) + 1] if self._stop in drafted else drafted

    def judge(self, drafted: int, held: int) -> None:
        """The first ``held`` of ``drafted`` tokens were what was said."""
        self._credit = min(self._credit + 1 + held - self._pace.cost(1 + drafted), MOST_CREDIT)

    def _look(self) -> None:
        """Find the earlier place most like the end of what was said, the latest of several."""
        self._source, self._copied = None, []
        here, most = len(self._ids) - 1, ALIKE - 1
        if here < 1:
            return
        for place in reversed(self._places[self._ids[-2], self._ids[-1]]):
            if place == here:
                continue
            alike = ALIKE
            while alike < min(COMPARED, place + 1) and self._ids[place - alike] == self._ids[here - alike]:
                alike += 1
            if alike > most:
                most, self._source = alike, place + 1
        if self._source is not None:
            self._copied = [most]
