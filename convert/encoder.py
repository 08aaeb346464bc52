"""A sentence encoder's folder to a checked GGUF file: ``python -m convert encoder FOLDER OUT.gguf``.

The folder is one of sentence-transformers with a BERT inside. The file appears only when llama.cpp's vectors equal
those of the checkpoint's own forward pass, which is written out here in numpy.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_VERSION, GGUFType, GGUFWriter, LlamaFileType, PoolingType
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from convert import arch_bert
from convert.checkpoint import read_json
from convert.errors import ConvertError, DriftError
from convert.output import whole_file
from memr1_lite.llama.embedding import NAME_KEY, LlamaEmbedder

TYPES = {"F32": LlamaFileType.ALL_F32, "F16": LlamaFileType.MOSTLY_F16}
LEAST_COSINE = 0.999
SENTENCES = (
    "Andrew has two dogs, Buddy and Scout.",
    "How many dogs does Andrew have?",
    "I'm sure they'd say it's Zoë's café; naïve façade, Ångström, e\u0301 against é.",
    "東京に住んでいます。我有两只狗。 Привет мир",
    "🐶 12345 3.14 1,000,000 2023-06-16 [CLS] [SEP] ##ing",
    "HELLO   Don't\tSHOUT!!! ... -- == {}[]() <> @user #tag $5 50%",
    "",
    "A longer one, which goes on and on about a trip to the lake with the whole family. " * 40,
)
"""Texts on which encoders part company: accents, scripts, special tokens, nothing, too much."""

Vectors = npt.NDArray[np.float32]


def to_gguf(
    source: Path,
    target: Path,
    *,
    name: str | None = None,
    outtype: str = "F16",
    sha256: str | None = None,
    force: bool = False,
    texts: Sequence[str] = (),
) -> Vectors:
    """Write the encoder in ``source`` as ``target`` and check it; the same folder gives the same bytes.

    :param name: what the encoder is called; the folder's name if left out. Banks are marked with it
    :param sha256: refuse other weights than those with this checksum, in hexadecimal
    :param texts: checked beside :data:`SENTENCES`
    :returns: the cosine of each vector with the checkpoint's own, shape ``(len(SENTENCES) + len(texts),)``
    :raises ConvertError: the folder cannot be converted, or ``target`` exists
    :raises DriftError: llama.cpp makes other vectors
    """
    config, tokenizer = read_json(source / "config.json"), read_json(source / "tokenizer.json")
    if config.get("model_type") != arch_bert.NAME:
        raise ConvertError(f"config.json has the model_type {config.get('model_type')!r}; known is {arch_bert.NAME!r}.")
    weights = _weights(source, config)
    found = hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    if sha256 not in (None, found):
        raise ConvertError(
            f"{str(source / 'model.safetensors')!r} has the SHA-256 {found}, not {sha256}: get it again."
        )
    name = name or source.resolve().name
    with whole_file(target, force=force) as temporary:
        writer = GGUFWriter(temporary, arch_bert.NAME)
        try:
            writer.add_type(GGUFType.MODEL)
            writer.add_quantization_version(GGML_QUANT_VERSION)
            writer.add_name(name)
            writer.add_file_type(TYPES[outtype])
            writer.add_string(NAME_KEY, f"{name}:{_digest(source)}:{outtype}")
            arch_bert.add_parameters(writer, config, source)
            arch_bert.add_tokenizer(writer, tokenizer, config)
            for theirs, ours in arch_bert.tensor_names(config).items():
                values = weights[theirs]
                if ours == "position_embd.weight":  # llama.cpp wants as many as the text may have tokens
                    values = values[: arch_bert.text_length(config, source)]
                small = outtype == "F16" and values.ndim > 1 and ours.startswith(("blk", "token_embd."))
                writer.add_tensor(ours, values.astype(np.float16) if small else values)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        except KeyError as error:
            raise ConvertError(f"The folder {str(source)!r} does not say {error}.") from error
        finally:
            writer.close()
        return check(source, temporary, (*SENTENCES, *texts))


def check(source: Path, target: Path, texts: Sequence[str]) -> Vectors:
    """The cosines of llama.cpp's vectors of ``texts``, from ``target``, with those of the folder's own forward pass.

    :raises DriftError: one is less than 0.999
    """
    expected = reference_vectors(source, texts)
    with LlamaEmbedder.load(target) as embedder:
        found = embedder.embed(texts)
    cosines = (expected * found).sum(axis=1)
    worst = int(cosines.argmin())
    if not cosines[worst] >= LEAST_COSINE:
        raise DriftError(
            f"On {texts[worst]:.60}... llama.cpp's vector and the checkpoint's have a cosine of {cosines[worst]:.5f}."
        )
    return cosines


def reference_vectors(source: Path, texts: Sequence[str]) -> Vectors:
    """Unit vectors of ``texts`` by numpy, shape ``(len(texts), hidden_size)``."""
    config = read_json(source / "config.json")
    weights = _weights(source, config)
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(arch_bert.text_length(config, source))
    # As the runtime reads text: what looks like a special token in it is plain characters.
    tokenizer.encode_special_tokens = True
    mean = arch_bert.pooling(source) == PoolingType.MEAN
    rows = []
    for text in texts:
        states = _states(weights, config, tokenizer.encode(text).ids)
        row = states.mean(axis=0) if mean else states[0]
        rows.append(row / np.linalg.norm(row))
    return np.array(rows, dtype=np.float32)


def _states(weights: Mapping[str, Vectors], config: Mapping[str, Any], ids: Sequence[int]) -> npt.NDArray[Any]:
    """The last layer's states, shape ``(len(ids), hidden_size)``: Devlin et al. 2018."""

    def linear(x: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def normed(x: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt(x.var(axis=-1, keepdims=True) + config["layer_norm_eps"])
        return centred / scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    heads = config["num_attention_heads"]
    x = weights["embeddings.word_embeddings.weight"][list(ids)]
    x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = normed(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}."
        # (tokens, hidden) -> (heads, tokens, hidden / heads)
        q, k, v = (
            linear(x, f"{name}attention.self.{part}").reshape(len(ids), heads, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (scores / scores.sum(axis=-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(ids), -1)
        x = normed(x + linear(mixed, f"{name}attention.output.dense"), f"{name}attention.output.LayerNorm")
        inner = _gelu(linear(x, f"{name}intermediate.dense"))
        x = normed(x + linear(inner, f"{name}output.dense"), f"{name}output.LayerNorm")
    return x


def _gelu(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """x times the normal distribution function, by Abramowitz and Stegun 7.1.26 (error below 2e-7)."""
    z = np.abs(x) / np.sqrt(2)
    t = 1 / (1 + 0.3275911 * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return 0.5 * x * (1 + np.sign(x) * (1 - series * np.exp(-z * z)))


def _weights(source: Path, config: Mapping[str, Any]) -> dict[str, Vectors]:
    if not (source / "model.safetensors").is_file():
        raise ConvertError(f"There is no 'model.safetensors' in {str(source)!r}.")
    weights = {
        name.removeprefix("bert."): values.astype(np.float32)
        for name, values in load_file(source / "model.safetensors").items()
    }
    names = arch_bert.tensor_names(config)
    unknown = sorted(set(weights) - set(names) - arch_bert.UNUSED)
    missing = sorted(set(names) - set(weights))
    if unknown or missing:
        raise ConvertError(
            f"The folder {str(source)!r} has tensors that {arch_bert.NAME} has not: {unknown}; lacks: {missing}."
        )
    shapes = arch_bert.tensor_shapes(config)
    for name, renamed in names.items():
        *_, room, part = renamed.split(".")
        expected = shapes[room] if part == "weight" else shapes[room][:1]
        if weights[name].shape != expected:
            raise ConvertError(
                f"Tensor {name!r} has the shape {weights[name].shape}, not {expected} as config.json says."
            )
        if not np.isfinite(weights[name].astype(np.float16)).all():
            raise ConvertError(f"Tensor {name!r} holds values that are not finite numbers in F16.")
    return weights


def _digest(source: Path) -> str:
    """Tells encoders apart that have the same name: twelve digits over weights, tokens and pooling."""
    digest = hashlib.sha256()
    for name in ("model.safetensors", "tokenizer.json", "1_Pooling/config.json"):
        digest.update((source / name).read_bytes())
    return digest.hexdigest()[:12]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of this verb."""
    parser.add_argument(
        "source", type=Path, metavar="FOLDER", help="with config.json, model.safetensors, 1_Pooling, ..."
    )
    parser.add_argument("target", type=Path, metavar="OUT.gguf")
    parser.add_argument("--name", help="what it is called; the folder's name if left out")
    parser.add_argument("--sha256", help="refuse a model.safetensors with another checksum")
    parser.add_argument("--outtype", choices=sorted(TYPES), default="F16")
    parser.add_argument(
        "--texts", type=Path, metavar="FILE", help="check also the lines of this file, blank ones aside"
    )
    parser.add_argument("--force", action="store_true", help="replace OUT.gguf if it exists")


def main(arguments: argparse.Namespace) -> None:
    """Run this verb."""
    chosen = {key: getattr(arguments, key) for key in ("name", "sha256", "outtype", "force")}
    texts = [] if arguments.texts is None else _lines(arguments.texts)
    cosines = to_gguf(arguments.source, arguments.target, texts=texts, **chosen)
    print(f"{arguments.target}  {arguments.target.stat().st_size:,} bytes")
    for name, found in (("built-in texts", cosines[: len(SENTENCES)]), ("lines", cosines[len(SENTENCES) :])):
        if len(found):
            least, mean = found.min(), found.mean()
            print(f"cosine with the checkpoint over {len(found):,} {name}: least {least:.6f}, mean {mean:.6f}")


def _lines(path: Path) -> list[str]:
    try:
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConvertError(f"The texts {str(path)!r} cannot be read: {error}.") from error
    if not lines:
        raise ConvertError(f"There is no text in {str(path)!r}: write one a line.")
    return lines
