"""The same operations by class ``Llama`` of llama-cpp-python: under a JSON grammar, and with its prompt-lookup draft.

Both run in a child process, because what goes wrong in there ends it. What is written is forced here too, through the
logits that llama.cpp keeps; the grammar sees them afterwards and allows what it allows.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engine_cases import FORCE, Case, ForcedModel, Row, clock, ms, ours
from memr1_lite.llm import END, Segment

CONTEXT = 1024
SHOWN = 8
SCHEMA = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"operation": {"const": name}} | fields,
            "required": ["operation", *fields],
            "additionalProperties": False,
        }
        for name, fields in {
            "ADD": {"text": {"type": "string"}},
            "UPDATE": {"memory": {"enum": list(range(1, SHOWN + 1))}, "text": {"type": "string"}},
            "DELETE": {"memory": {"enum": list(range(1, SHOWN + 1))}},
            "NOOP": {},
        }.items()
    ]
}
"""What the Manager may say, as somebody would ask for it who has class ``Llama`` and a grammar."""


def as_json(values: Sequence[str]) -> str:
    """One operation in the form that :data:`SCHEMA` asks for."""
    said: dict[str, Any] = {"operation": values[0]}
    for value in values[1:]:
        if value.startswith("["):
            said["memory"] = int(value[1:-1])
        elif value != END:
            said["text"] = value.strip()
    return json.dumps(said, ensure_ascii=False)


def peers(forced: ForcedModel, path: Path, found: dict[str, list[Case]], rounds: int, threads: int) -> list[Row]:
    """Ours against class ``Llama``: the same operations as JSON under a grammar, the same tokens with its draft."""
    model = forced.model
    asked = [case for kind, group in found.items() if kind != "free text" for case in group]
    mine = sum(min(ours(forced, case) for _ in range(rounds)) for case in asked)
    prompts = [model.prompt_ids(case.prompt) for case in asked]
    end = [model._end]
    written = {
        "class Llama, JSON grammar": [
            [*model.tokenize(Segment(as_json(case.values), trusted=True)), *end] for case in asked
        ],
        "class Llama, no grammar": [forced.prepare(case) for case in asked],
        "class Llama, its prompt-lookup draft": [forced.prepare(case) for case in asked],
    }
    tokens = sum(len(forced.prepare(case)) for case in asked)
    rows = []
    for name, outputs in written.items():
        job = {
            "path": str(path),
            "threads": threads,
            "rounds": rounds,
            "grammar": "grammar" in name and "no grammar" not in name,
            "draft": "draft" in name,
            "cases": [{"prompt": ids, "said": said} for ids, said in zip(prompts, outputs, strict=True)],
        }
        theirs, problem = child(job)
        more = f"{sum(map(len, outputs))} tokens for {tokens}"
        rows.append((f"{name} / ours", problem or f"{theirs / mine:.2f}x  ({ms(theirs)} / {ms(mine)}, {more})"))
    return rows


def child(job: dict[str, Any]) -> tuple[float, str]:
    """Seconds of all cases, each at its best; or why there are none."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.engine_peers"], input=json.dumps(job), capture_output=True, text=True
    )
    if done.returncode < 0:
        return 0.0, f"ended by signal {-done.returncode}"
    if done.returncode:
        return 0.0, "failed: " + (done.stderr.strip().splitlines() or ["nothing said"])[-1]
    return float(sum(json.loads(done.stdout.splitlines()[-1]))), ""


def run(job: dict[str, Any]) -> list[float]:
    """The child's work: seconds of each case from the moment its prompt was evaluated."""
    import llama_cpp
    from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

    now = clock(job["threads"])

    class Forced(llama_cpp.Llama):
        wanted: Sequence[int] = ()
        begun = 0.0

        def eval(self, tokens: Sequence[int]) -> None:
            before, rows = self.n_tokens, len(tokens) if self._logits_all else 1
            super().eval(tokens)
            self.begun = self.begun or now()
            after = before + len(tokens) - rows + 1
            size = self._n_vocab
            last = self._ctx.get_logits()  # of the last batch; more than one there is an error of theirs
            logits = np.ctypeslib.as_array(ctypes.cast(last, ctypes.POINTER(ctypes.c_float)), shape=(rows, size))
            for row in range(rows):
                if after + row < len(self.wanted):
                    logits[row, self.wanted[after + row]] += FORCE

    # Their own default for a draft: two tokens looked up, ten tried.
    draft = LlamaPromptLookupDecoding(max_ngram_size=2, num_pred_tokens=10) if job["draft"] else None
    llama = Forced(
        job["path"],
        n_ctx=CONTEXT,
        n_threads=job["threads"],
        n_threads_batch=job["threads"],
        draft_model=draft,
        verbose=False,
    )
    grammar = json.dumps(SCHEMA) if job["grammar"] else None
    seconds = []
    for case in job["cases"]:
        best = float("inf")
        for _ in range(job["rounds"]):
            llama.wanted, llama.begun, said = [*case["prompt"], *case["said"]], 0.0, []
            rules = llama_cpp.LlamaGrammar.from_json_schema(grammar, verbose=False) if grammar else None
            for token in llama.generate(case["prompt"], temp=0.0, grammar=rules):
                said.append(token)
                if len(said) == len(case["said"]):
                    break
            best = min(best, now() - llama.begun)
            if said != case["said"]:
                raise SystemExit(f"it wrote {llama.detokenize(said)!r}, not {llama.detokenize(case['said'])!r}")
        seconds.append(best)
    return seconds


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
