"""The table that closes a conversion: how many bytes each type of number takes, and bits per weight."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from convert.gguf_header import GGUFTensor, read_gguf_header


def bits_per_weight(tensors: tuple[GGUFTensor, ...]) -> float:
    """Of all tensors together; what stays F32 counts too."""
    return 8 * sum(tensor.nbytes for tensor in tensors) / sum(tensor.elements for tensor in tensors)


def size_table(path: Path) -> str:
    """A line per type of number, and the file as a whole."""
    tensors = read_gguf_header(path).tensors
    by_kind = defaultdict(list)
    for tensor in tensors:
        by_kind[tensor.kind.name].append(tensor)
    groups = sorted(by_kind.items(), key=lambda item: -sum(tensor.nbytes for tensor in item[1]))
    lines = [f"{'type':8} {'tensors':>8} {'weights':>15} {'MiB':>10} {'bits/weight':>12}"]
    for name, group in [*groups, ("all", list(tensors))]:
        weights, size = sum(tensor.elements for tensor in group), sum(tensor.nbytes for tensor in group)
        lines.append(f"{name:8} {len(group):8} {weights:15,} {size / 2**20:10.2f} {8 * size / weights:12.2f}")
    return "\n".join([*lines, f"{path}  {path.stat().st_size:,} bytes"])
