"""Memory-R1's claim in miniature: from a cheap teacher, on answers alone, does GRPO repair both agents?

``python -m train_ref.miniature --manager runs/manager --answerer runs/answerer --out runs/miniature --seeds 1 2 3``

Two agents that have their skills are first taught by rules that err (:mod:`train_ref.cheap_teacher`; no right label is
used), then trained by GRPO on whether questions are answered right. In three parts, each a table's rows:

- *both*: Manager alone, Answer Agent alone, both; beside them the teacher's supervision over as many tasks more;
- *few*: the paper's regime. All tasks of both agents come from one set of 152 questions; the Answer Agent learns on the
  banks that the Manager, trained first, leaves behind;
- *plain*: the Answer Agent without distillation, taught and trained to answer at once.

Every pair of agents answers the same held-out tasks. A stage that is done is not run again, one that was interrupted is
gone on with. Beside the curves stand policies that never look at a task.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from memr1_lite.records import Noop, Operation
from train_ref.answering import CachedAnswerer, PolicyAnswerer
from train_ref.cheap_teacher import Lesson, answerer_lesson, manager_lesson, teach
from train_ref.config import Config
from train_ref.curves import plot_curves
from train_ref.environment import AnswererEnvironment, AnswererTask, Environment, ManagerEnvironment, ManagerTask
from train_ref.loop import Run, Source
from train_ref.policy import OwnPolicy
from train_ref.rollout import sample
from train_ref.tasks import answerer_task, manager_task

MEMORIES, CANDIDATES = 6, 8
"""At most so many memories in a Manager's bank, and candidates shown to an Answer Agent: small, for two cores."""
FEW = 152
"""Questions that the paper learns from."""
PARTS = ("both", "few", "plain")
BEFORE = "before the teacher"
T_95 = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Student's t for 95 % by the number of seeds."""
Figures = dict[str, tuple[float, float]]
"""By row of the table: exact match, and memories that the bank grew by per message."""


@dataclass(frozen=True)
class Setting:
    """What is the same for all seeds."""

    manager: Path
    answerer: Path
    out: Path
    config: Config
    teach: int
    batch: int
    rate: float
    measured: int
    valid: int

    @cached_property
    def tasks(self) -> list[ManagerTask]:
        """The held-out tasks that pairs are measured on."""
        held = random.Random(30_011)
        return [manager_task(held, "heldout", MEMORIES) for _ in range(self.measured)]


def few_tasks(questions: int, seed: int) -> list[ManagerTask]:
    """Manager tasks with ``questions`` questions together."""
    rng, tasks, left = random.Random(seed), list[ManagerTask](), questions
    while left > 0:
        task = manager_task(rng, "train", MEMORIES)
        tasks.append(replace(task, questions=task.questions[:left]))
        left -= len(tasks[-1].questions)
    return tasks


def decided(manager: OwnPolicy, tasks: Sequence[ManagerTask], c: Config) -> list[tuple[Operation, ...]]:
    """What a Manager does, greedily; nothing where its output did not end."""
    environment = ManagerEnvironment(_nobody(), c)
    done: list[tuple[Operation, ...]] = []
    for start in range(0, len(tasks), 64):
        part = tasks[start : start + 64]
        prompts = [environment.prompt(task) for task in part]
        groups = sample(manager, prompts, 1, temperature=0.0, max_output=c.max_output)
        for task, group in zip(part, groups, strict=True):
            done.append(environment.operations(task, group.rollouts[0]) or (Noop(op="NOOP"),))
    return done


def answered(
    tasks: Sequence[ManagerTask], done: Sequence[tuple[Operation, ...]], answerer: CachedAnswerer
) -> tuple[float, float]:
    """Exact match of the answers from the banks after ``done``, and what these grew by, in the mean of a task."""
    environment = ManagerEnvironment(answerer, Config())
    judged = environment.judge_operations(tasks, done)
    return judged.rewards_PG.mean().item(), judged.sums["grown"] / len(tasks)


def left_behind(tasks: Sequence[ManagerTask], done: Sequence[tuple[Operation, ...]]) -> list[AnswererTask]:
    """The questions of Manager tasks over the banks that ``done`` makes of them."""
    found = []
    for task, operations in zip(tasks, done, strict=True):
        bank = task.bank.after(operations, task.message)
        for question, gold in task.questions:
            candidates = bank.candidates(question, CANDIDATES)
            if candidates:  # without them nobody is asked
                found.append(AnswererTask(question, candidates, gold))
    return found


class _Nobody:
    """Prompts are made, and operations read, without anybody answering."""

    def answer_all(self, asked: Sequence[object]) -> list[Any]:
        raise AssertionError("nobody is to be asked")


def _nobody() -> CachedAnswerer:
    return CachedAnswerer(_Nobody())


class Seed:
    """One repetition: agents by name, each made once and kept in a folder."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self.setting, self.seed = setting, seed
        self.folder = setting.out / f"seed-{seed}"
        self.config = replace(setting.config, seed=seed)
        self._answerers: dict[str, CachedAnswerer] = {}
        self._decisions: dict[str, list[tuple[Operation, ...]]] = {}

    def agent(self, name: str, make: Callable[[Path], None]) -> OwnPolicy:
        """The agent called ``name``, made unless it is there already."""
        folder = self.folder / name
        if not (folder / "done").exists():
            make(folder)
            (folder / "done").touch()
        return OwnPolicy.load(folder)

    def taught(self, name: str, start: Path, lesson: Callable[[random.Random], Lesson], more: int = 0) -> OwnPolicy:
        """An agent after the cheap teacher, and ``more`` steps with it."""

        def make(folder: Path) -> None:
            policy, s = OwnPolicy.load(start), self.setting
            teach(policy, lesson, steps=more or s.teach, batch=s.batch, rate=s.rate, seed=self.seed + 1000 * bool(more))
            policy.save(folder)
            _copy_card(start, folder)

        return self.agent(name, make)

    def trained(self, name: str, start: str, environment: Environment[Any], source: Source[Any]) -> OwnPolicy:
        """An agent after GRPO from the agent ``start``."""

        def make(folder: Path) -> None:
            card = json.loads((self.folder / start / "memr1.json").read_text())
            policy = OwnPolicy.load(self.folder / start)
            run = Run(policy, environment, source, self.config, folder, card)
            if (folder / "state.pt").exists():
                run.resume()
            run.train()

        return self.agent(name, make)

    def frozen(self, name: str, *, distil: bool = True) -> CachedAnswerer:
        """An Answer Agent of this seed, or with ``before the teacher`` the one that all begin from."""
        if name not in self._answerers:
            path = self.setting.answerer if name == BEFORE else self.folder / name
            self._answerers[name] = CachedAnswerer(PolicyAnswerer(OwnPolicy.load(path), distil=distil))
        return self._answerers[name]

    def pair(self, manager: str, answerer: str, *, distil: bool = True) -> tuple[float, float]:
        """How two agents do together on the held-out tasks."""
        tasks = self.setting.tasks
        if manager not in self._decisions:
            path = self.setting.manager if manager == BEFORE else self.folder / manager
            self._decisions[manager] = decided(OwnPolicy.load(path), tasks, self.config)
        return answered(tasks, self._decisions[manager], self.frozen(answerer, distil=distil))

    def valid(self, role: str) -> list[Any]:
        """Held-out tasks for the curves, others than those that pairs are measured on."""
        held = random.Random(40_009)
        draw = partial(manager_task, most=MEMORIES) if role == "manager" else partial(answerer_task, most=CANDIDATES)
        return [draw(held, "heldout") for _ in range(self.setting.valid)]

    def start(self) -> None:
        """Both agents after the cheap teacher."""
        self.taught("manager-taught", self.setting.manager, partial(manager_lesson, most=MEMORIES))
        self.taught("answerer-taught", self.setting.answerer, partial(answerer_lesson, most=CANDIDATES))

    def both(self) -> Figures:
        """Each agent by GRPO, and by as many tasks more of the teacher's."""
        self.start()
        c = self.config
        self.trained(
            "manager-grpo", "manager-taught", ManagerEnvironment(self.frozen("answerer-taught"), c),
            Source(lambda rng: manager_task(rng, "train", MEMORIES), self.valid("manager")),
        )  # fmt: skip
        self.trained(
            "answerer-grpo", "answerer-taught", AnswererEnvironment(c),
            Source(lambda rng: answerer_task(rng, "train", CANDIDATES), self.valid("answerer")),
        )  # fmt: skip
        more = max(1, c.steps * c.prompts // self.setting.batch)
        for role, lesson in (
            ("manager", partial(manager_lesson, most=MEMORIES)),
            ("answerer", partial(answerer_lesson, most=CANDIDATES)),
        ):
            self.taught(f"{role}-more", self.folder / f"{role}-taught", lesson, more)
        return {
            BEFORE: self.pair(BEFORE, BEFORE),
            "cheap teacher": self.pair("manager-taught", "answerer-taught"),
            "cheap teacher, as many tasks more": self.pair("manager-more", "answerer-more"),
            "Manager by GRPO": self.pair("manager-grpo", "answerer-taught"),
            "Answer Agent by GRPO": self.pair("manager-taught", "answerer-grpo"),
            "both by GRPO": self.pair("manager-grpo", "answerer-grpo"),
        }

    def few(self) -> Figures:
        """The same from 152 questions."""
        self.start()
        c, tasks = self.config, few_tasks(FEW, self.seed)
        manager = self.trained(
            "manager-few", "manager-taught", ManagerEnvironment(self.frozen("answerer-taught"), c),
            Source(lambda rng: rng.choice(tasks), self.valid("manager")),
        )  # fmt: skip
        asked = left_behind(tasks, decided(manager, tasks, c))
        self.trained(
            "answerer-few", "answerer-taught", AnswererEnvironment(c),
            Source(lambda rng: rng.choice(asked), self.valid("answerer")),
        )  # fmt: skip
        return {
            f"{FEW} questions: Manager by GRPO": self.pair("manager-few", "answerer-taught"),
            f"{FEW} questions: Answer Agent by GRPO": self.pair("manager-taught", "answerer-few"),
            f"{FEW} questions: both by GRPO": self.pair("manager-few", "answerer-few"),
        }

    def plain(self) -> Figures:
        """Without distillation; needs the Managers of :meth:`both`."""
        self.start()
        c, lesson = self.config, partial(answerer_lesson, most=CANDIDATES, distil=False)
        self.taught("plain-taught", self.setting.answerer, lesson)
        self.trained(
            "plain-grpo", "plain-taught", AnswererEnvironment(c, distil=False),
            Source(lambda rng: answerer_task(rng, "train", CANDIDATES), self.valid("answerer")),
        )  # fmt: skip
        return {
            "without distillation: cheap teacher": self.pair("manager-taught", "plain-taught", distil=False),
            "without distillation: Answer Agent by GRPO": self.pair("manager-taught", "plain-grpo", distil=False),
            "without distillation: both by GRPO": self.pair("manager-grpo", "plain-grpo", distil=False),
        }


def _copy_card(start: Path, folder: Path) -> None:
    """The words that an agent may write without having read them stand on its card."""
    (folder / "memr1.json").write_text((start / "memr1.json").read_text())


def interval(values: Sequence[float]) -> str:
    """Mean and 95 % interval over the seeds, Student's."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    return f"{mean(values):.3f} +-{T_95[len(values)] * stdev(values) / len(values) ** 0.5:.3f}"


def table(results: Sequence[Figures]) -> str:
    """Every row with its gain over the cheap teacher of the same seed, which cancels what the tasks' luck is."""
    lines = ["| agents | exact match | more than the teacher | bank grows by |", "|---|---|---|---|"]
    for name in results[0]:
        start = "without distillation: cheap teacher" if name.startswith("without") else "cheap teacher"
        gains = [r[name][0] - r[start][0] for r in results if start in r]
        grown = mean(r[name][1] for r in results)
        gain = "" if name == start or not gains else interval(gains)
        lines.append(f"| {name} | {interval([r[name][0] for r in results])} | {gain} | {grown:.2f} |")
    return "\n".join(lines)


def draw(out: Path, seeds: Sequence[int], path: Path) -> None:
    """The curves of all GRPO runs that there are, means over the seeds, with the policies that never look."""
    panels = {}
    for name in ("manager-grpo", "answerer-grpo", "manager-few", "answerer-few", "plain-grpo"):
        folders = [out / f"seed-{seed}" / name for seed in seeds if (out / f"seed-{seed}" / name / "done").exists()]
        logs = [[json.loads(s) for s in (folder / "log.jsonl").read_text().splitlines()] for folder in folders]
        if logs:
            card = json.loads((folders[0] / "memr1.json").read_text())
            panels[name] = (logs, {k: v for k, v in card["figures"].items() if k.startswith("always")})
    if panels:
        plot_curves(panels, path)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manager", type=Path, required=True, help="a supervised Manager: the skills")
    parser.add_argument("--answerer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--teach", type=int, default=30, help="steps of the cheap teacher")
    parser.add_argument("--batch", type=int, default=8, help="lessons in each")
    parser.add_argument("--rate", type=float, default=1e-4, help="its learning rate")
    parser.add_argument("--steps", type=int, default=25, help="of GRPO, for each agent")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--growth-cost", type=float, default=0.1, help="or always ADD is nearly as good")
    parser.add_argument("--measured", type=int, default=96, help="held-out tasks")
    parser.add_argument("--valid", type=int, default=24)
    args = parser.parse_args(arguments)
    if len(args.seeds) > max(T_95):
        parser.error(f"at most {max(T_95)} seeds")
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    """All parts for all seeds, then the table and the curves."""
    args = parse(arguments)
    torch.set_num_threads(1)
    c = Config(
        steps=args.steps, every=max(1, args.steps // 2), lr=args.lr, prompts=args.prompts, group=args.group,
        growth_cost=args.growth_cost, max_output=96,
    )  # fmt: skip
    setting = Setting(
        args.manager, args.answerer, args.out, c, args.teach, args.batch, args.rate, args.measured, args.valid
    )
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "results.json"
    done: dict[str, Figures] = json.loads(file.read_text()) if file.exists() else {}
    for part in args.parts:
        for seed in args.seeds:
            if f"{part} {seed}" not in done:
                done[f"{part} {seed}"] = getattr(Seed(setting, seed), part)()
                file.write_text(json.dumps(done, indent=1) + "\n")
    rows = [{k: v for p in args.parts for k, v in done[f"{p} {seed}"].items()} for seed in args.seeds]
    print(table(rows))
    draw(args.out, args.seeds, args.out / "curves.png")


if __name__ == "__main__":
    main()
