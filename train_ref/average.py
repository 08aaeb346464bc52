"""The mean of the weights of several checkpoints: ``python -m train_ref.average runs/one runs/other --out runs/mean``.

Runs that began from the same weights stay close enough to each other for that, and their mean is often better than
each of them (Wortsman et al. 2022, "Model soups"). The card of the mean says how each of them was trained; figures of
a part are not those of the whole and are left out, until ``train_ref.evaluate --card`` measures it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file

COPIED = ("config.json", "tokenizer.json", "tokenizer_config.json")
"""What must be the same in all of them."""


def average(parts: Sequence[Path], out: Path) -> None:
    """Write the checkpoint ``out``, whose weights are the mean of those in ``parts``.

    :raises ValueError: fewer than two, or their shapes, tokenizers or roles differ
    """
    if len(parts) < 2:
        raise ValueError("a mean needs at least two checkpoints")
    for name in COPIED:
        for part in parts[1:]:
            if (part / name).read_bytes() != (parts[0] / name).read_bytes():
                raise ValueError(f"{name} in {part} is another than in {parts[0]}: their weights do not add up")
    cards = [json.loads((part / "memr1.json").read_text(encoding="utf-8")) for part in parts]
    if len({(card["role"], card["prompt_version"]) for card in cards}) > 1:
        raise ValueError("they were trained for different roles or prompts")
    weights = load_file(parts[0] / "model.safetensors")
    for part in parts[1:]:
        for name, values in load_file(part / "model.safetensors").items():
            weights[name] = weights[name] + values
    out.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        (out / name).write_bytes((parts[0] / name).read_bytes())
    mean = {name: values / len(parts) for name, values in weights.items()}
    save_file(mean, out / "model.safetensors", metadata={"format": "pt"})
    card = {name: value for name, value in cards[0].items() if name not in ("figures", "training_figures")}
    card["own_words"] = list(dict.fromkeys(word for each in cards for word in each["own_words"]))
    card["training"] = {"kind": "mean", "of": [each["training"] for each in cards]}
    (out / "memr1.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", type=Path, nargs="+", metavar="FOLDER", help="checkpoints of one shape and role")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    try:
        average(args.parts, args.out)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
