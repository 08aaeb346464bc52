"""What a completion earns: whether the final answer was right (Memory-R1, equation 4), and named variations of that."""

from __future__ import annotations

from memr1_lite.evaluation.metrics import exact_match, token_f1
from memr1_lite.records import Reply
from train_ref.config import Config


def answer_reward(reply: Reply, gold: str | None, c: Config) -> float:
    """1 for an exact match, else 0; with ``reward="f1"`` the overlap of words. ``gold`` None: nothing is known, and
    saying so is right."""
    if gold is None:
        return float(not reply.known)
    if not reply.known:
        return 0.0
    return token_f1(reply.text, gold) if c.reward == "f1" else float(exact_match(reply.text, gold))


def manager_reward(answer_rewards: list[float], grown: int, c: Config) -> float:
    """The mean over the questions that depend on the message, less ``growth_cost`` for every memory more."""
    return sum(answer_rewards) / len(answer_rewards) - c.growth_cost * max(0, grown)
