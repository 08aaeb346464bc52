"""What a completion earns: whether the final answer was right (Memory-R1, equation 4), and named variations of that."""

from __future__ import annotations

from memr1_lite.evaluation.metrics import exact_match, token_f1
from memr1_lite.records import Reply
from train_ref.config import Config


def answer_reward(reply: Reply, gold: str | None, c: Config) -> float:
    """1 for an exact match, else 0; with ``reward="f1"`` the overlap of words. ``gold`` None: nothing is known, and
    saying so is right."""
    if c.reward == "f1" and gold is not None and reply.known:
        return token_f1(reply.text, gold)
    return float(is_right(reply, gold))


def is_right(reply: Reply, gold: str | None) -> bool:
    """Whether the answer matches exactly, or nothing is known and it says so."""
    return not reply.known if gold is None else reply.known and exact_match(reply.text, gold)


def growth_penalty(grown: int, c: Config) -> float:
    """What a bank that has become ``grown`` memories larger costs."""
    return c.growth_cost * max(0, grown)


def manager_reward(answer_rewards: list[float], grown: int, c: Config) -> float:
    """The mean over the questions that depend on the message, less ``growth_cost`` for every memory more."""
    return sum(answer_rewards) / len(answer_rewards) - growth_penalty(grown, c)
