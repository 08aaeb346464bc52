"""What :mod:`memr1_lite.evaluation.bench` measured, as tables."""

from __future__ import annotations

from memr1_lite.evaluation.bench import SHOWN, Bench, Profile, Times, fitting, thread_counts
from memr1_lite.evaluation.tables import percent, table


def bench_lines(measured: Bench, wanted: float) -> list[str]:
    """All tables, and the settings with which an answer takes no longer than ``wanted`` seconds."""
    rates = [
        [each.file, f"{each.load_seconds:.2f}", f"{each.read_per_second:,.0f}", f"{each.written_per_second:,.0f}"]
        for each in measured.rates
    ]
    head = ["", "calls", "p50 ms", "p95 ms", "thinking", "embedding", "bank"]
    head += ["model calls", "tokens in", "out", "errors"]
    steps = [_step("remember", measured.remember), _step("ask", measured.ask)]
    profiles = [_profile(each, wanted) for each in measured.profiles]
    lines = [
        measured.machine,
        *(f"{role} {file}" for role, file in measured.agents.items()),
        f"embedder {measured.embedder}, {measured.threads} threads where nothing else is said",
        "",
        *table(["model", "load s", "tokens read/s", "tokens written/s"], rates),
        "",
        *table(head, steps),
        "",
        *table(["candidates", "context", "threads", "calls", "ask p50 ms", "p95 ms", f"within {wanted:g} s"], profiles),
        "",
    ]
    if left_out := len(thread_counts()) * len(SHOWN) - len(measured.profiles):
        lines.append(f"{left_out} profiles left out for want of time")
    suite = measured.contradictions
    lines.append(f"contradictions: {percent(suite.upheld)} % of {suite.histories} histories came out right")
    if measured.memory_mib is not None:
        before, most = measured.memory_mib
        lines.append(f"memory: {before:.0f} MiB before a model was loaded, {most:.0f} MiB at most")
    return [*lines, f"measured in {measured.seconds:.0f} s", _advice(measured, wanted)]


def _step(name: str, times: Times) -> list[str]:
    seconds = (times.p50, times.p95, times.think, times.embed, times.rest)
    counts = [f"{times.model_calls:.2f}", f"{times.tokens_in:.0f}", f"{times.tokens_out:.1f}", str(times.errors)]
    return [name, str(times.count), *(f"{1000 * each:.1f}" for each in seconds), *counts]


def _profile(profile: Profile, wanted: float) -> list[str]:
    cells = [str(each) for each in (profile.candidates, profile.context, profile.threads, profile.count)]
    if profile.p50 is None or profile.p95 is None:
        return [*cells, "-", "-", "does not fit into the model"]
    return [*cells, f"{1000 * profile.p50:.0f}", f"{1000 * profile.p95:.0f}", "yes" if profile.p95 <= wanted else "no"]


def _advice(measured: Bench, wanted: float) -> str:
    chosen = fitting(measured.profiles, wanted)
    if chosen is None:
        return (
            f"No profile answers within {wanted:g} s here: allow more, or take a smaller or stronger quantised model."
        )
    settings = f"candidates={chosen.candidates}, context={chosen.context}, threads={chosen.threads}"
    return f"For an answer within {wanted:g} s: BankConfig({settings})"
