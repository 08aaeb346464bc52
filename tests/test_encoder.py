"""Sentence encoders: the converted file makes the checkpoint's vectors, and banks keep to the one they began with."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager

import gguf_maker
import numpy as np
import pytest
from encoder_maker import make_encoder
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from safetensors.numpy import load_file, save_file

from convert import __main__ as command
from convert import encoder
from convert.errors import ConvertError, DriftError
from memr1_lite.bank import MemoryBank
from memr1_lite.config import BankConfig
from memr1_lite.control import Call, Calls
from memr1_lite.embedders import LexicalEmbedder
from memr1_lite.errors import ClosedError, DeadlineError, EmbedderMismatchError, ModelLoadError
from memr1_lite.llama.embedding import LlamaEmbedder
from memr1_lite.llama.gguf_header import BLOCKS

TEXTS = ["Andrew has two dogs.", "", "How many dogs does Andrew have?", "[SEP] [CLS]", "dogs " * 200, "Zoë's 狗 café"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture(scope="module")
def file(folder):
    encoder.to_gguf(folder, folder.parent / "tiny.gguf", outtype="F32")
    return folder.parent / "tiny.gguf"


def test_the_file_makes_the_vectors_of_the_checkpoint(folder, file):
    with LlamaEmbedder.load(file) as embedder:
        found = embedder.embed(TEXTS)
    assert found.shape == (len(TEXTS), 32)
    assert found == pytest.approx(encoder.reference_vectors(folder, TEXTS), abs=1e-3)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1.0, abs=1e-5)
    cosines = encoder.check(folder, file, TEXTS)
    assert cosines.shape == (len(TEXTS),)
    assert cosines.min() > 0.99999


def test_many_at_once_are_as_one_by_one(file):
    texts = [f"andrew has {'two ' * (number % 40)} dogs" for number in range(150)]
    with LlamaEmbedder.load(file) as embedder:
        single = np.concatenate([embedder.embed([text]) for text in texts])
        assert embedder.embed(texts) == pytest.approx(single, abs=1e-3)
        assert embedder.embed([]).shape == (0, 32)


def test_a_text_is_read_up_to_the_length_that_the_encoder_was_made_for(file):
    with LlamaEmbedder.load(file) as embedder:
        whole, more, less = embedder.embed(["dogs " * 30, "dogs " * 30 + "buddy " * 900, "dogs " * 29 + "buddy"])
    assert more == pytest.approx(whole, abs=1e-4)
    assert np.abs(less - whole).max() > 1e-3


def test_threads_wait_for_each_other(file):
    with LlamaEmbedder.load(file) as embedder:
        expected, found = embedder.embed(TEXTS), []
        threads = [threading.Thread(target=lambda: found.append(embedder.embed(TEXTS))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(np.allclose(each, expected, atol=1e-4) for each in found)
    assert len(found) == 4


def test_one_text_waits_for_no_more_than_a_batch_of_many(file, monkeypatch):
    order = []
    with LlamaEmbedder.load(file) as embedder:
        expected, evaluated = embedder.embed(["two dogs"]), embedder._encoder.evaluated

        def watched(texts):
            order.append(len(texts))
            if len(order) == 1:
                one.start()
                while not embedder._queue.locked():
                    time.sleep(0.001)
            return evaluated(texts)

        monkeypatch.setattr(embedder._encoder, "evaluated", watched)
        found = []
        one = threading.Thread(target=lambda: found.append(embedder.embed(["two dogs"])))
        embedder.embed(["dogs"] * 256)
        one.join()
    assert order == [64, 1, 64, 64, 64]
    assert found[0] == pytest.approx(expected, abs=1e-5)


def test_a_deadline_ends_the_wait_for_another_thread_and_the_evaluation_itself(file):
    class Ending(Call):
        """Its deadline passes as the evaluation begins."""

        @contextmanager
        def stopping(self, stop):
            self._end = 0.0
            stop()
            yield

    with LlamaEmbedder.load(file) as embedder:
        expected = embedder.embed(TEXTS)
        with embedder._lock, Calls().limited(0.03), pytest.raises(DeadlineError, match=r"0\.03"):
            embedder.embed(["dogs"])
        with Calls().under(Ending(60)), pytest.raises(DeadlineError):
            embedder.embed(["dogs"])
        with Calls().limited(60):
            assert embedder.embed(TEXTS) == pytest.approx(expected, abs=1e-5)


def test_a_turn_whose_embedding_is_not_done_in_time_is_kept(file):
    with LlamaEmbedder.load(file) as embedder, MemoryBank.open(":memory:", embedder=embedder) as bank:
        bank.record("Andrew has a dog named Buddy.")
        with embedder._lock:
            with pytest.raises(DeadlineError):
                bank.remember("Andrew has two dogs.", deadline=0.05)
            answer = bank.ask("How many dogs does Andrew have?", deadline=0.05)
        assert answer.timed_out
        assert [message.text for message in bank.pending()][1:] == ["Andrew has two dogs."]
        assert "Andrew has two dogs." in [found.text for found in bank.search("two dogs")]


def test_a_closed_embedder_says_so(file):
    embedder = LlamaEmbedder.load(file)
    embedder.close()
    embedder.close()
    with pytest.raises(ClosedError, match="closed"):
        embedder.embed(["dogs"])


def test_other_files_are_refused(file, tmp_path):
    with pytest.raises(ModelLoadError, match="no model file"):
        LlamaEmbedder.load(tmp_path / "nothing.gguf")
    with pytest.raises(ModelLoadError, match="SHA-256"):
        LlamaEmbedder.load(file, expected_sha256="00")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    LlamaEmbedder.load(file, expected_sha256=digest).close()
    with pytest.raises(ModelLoadError, match="no sentence encoder"):
        LlamaEmbedder.load(gguf_maker.make_gguf(tmp_path))


def test_a_changed_weight_is_noticed(folder, file, tmp_path):
    changed = make_encoder(tmp_path / "tiny")
    weights = load_file(changed / "model.safetensors")
    weights["encoder.layer.1.output.dense.weight"] *= 2
    save_file(weights, changed / "model.safetensors")
    with pytest.raises(DriftError, match="cosine"):
        encoder.check(changed, file, TEXTS)


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("config.json", {"model_type": "gpt2"}, "gpt2"),
        ("config.json", {"hidden_act": "relu"}, "hidden_act"),
        ("config.json", {"num_hidden_layers": 3}, "lacks"),
        ("config.json", {"intermediate_size": 65}, "shape"),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "pools by"),
        ("tokenizer.json", {"normalizer": None}, "lower-case"),
    ],
)
def test_what_cannot_be_said_is_refused_and_nothing_is_written(tmp_path, name, values, words):
    folder = make_encoder(tmp_path / "tiny")
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    with pytest.raises(ConvertError, match=words):
        encoder.to_gguf(folder, tmp_path / "out.gguf")
    assert [file.name for file in tmp_path.iterdir()] == ["tiny"]


def test_the_command_names_the_encoder_and_checks_its_weights(folder, tmp_path, capsys):
    out = tmp_path / "out.gguf"
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert command.main(["encoder", str(folder), str(out), "--sha256", "00"]) == 1
    assert "SHA-256" in capsys.readouterr().err
    assert command.main(["encoder", str(folder), str(out), "--sha256", digest, "--name", "mine"]) == 0
    with LlamaEmbedder.load(out) as embedder:
        assert embedder.name.startswith("mine:")


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_opening_reads_only_what_the_file_says_and_the_first_text_loads_it(file):
    code = """
    import sys
    from memr1_lite.llama.embedding import LlamaEmbedder
    with LlamaEmbedder.load(sys.argv[1]) as embedder:
        print(embedder.name, embedder.dimension, embedder.loaded, "llama_cpp" in sys.modules)
        embedder.embed(["dogs"])
        print(embedder.loaded)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    first, second = done.stdout.splitlines()
    assert first.startswith("tiny:")
    assert first.endswith(" 32 False False")
    assert second == "True"


def test_an_encoder_that_nobody_uses_is_given_back_and_loaded_again(file):
    with LlamaEmbedder.load(file, idle_seconds=0.05) as embedder:
        expected = embedder.embed(TEXTS)
        until(lambda: not embedder.loaded)
        assert embedder.embed(TEXTS) == pytest.approx(expected, abs=1e-5)
        until(lambda: not embedder.loaded)
        with embedder._idle.in_use():
            embedder.warm()
            time.sleep(0.1)
            assert embedder.loaded
        until(lambda: not embedder.loaded)
    with pytest.raises(ClosedError):
        embedder.warm()
    with LlamaEmbedder.load(file, idle_seconds=None) as kept:
        kept.warm()
        assert kept._idle._janitor is None


def test_a_bank_loads_its_encoder_when_something_is_embedded_or_it_is_warmed(file, cache, tmp_path):
    cache.write_bytes(file.read_bytes())
    with MemoryBank.open(tmp_path / "a.db", config=BankConfig(idle_seconds=0.05)) as bank:
        assert bank.search("dogs") == []
        assert not bank._embedder.loaded
        bank.record("Andrew has two dogs.")
        assert bank._embedder.loaded
        until(lambda: not bank._embedder.loaded)
        assert bank.search("two dogs")[0].cosine is not None
    with MemoryBank.open(tmp_path / "a.db", config=BankConfig(idle_seconds=None)) as bank:
        bank.warm()
        assert bank._embedder.loaded


def test_a_damaged_encoder_is_an_error_when_the_bank_is_opened(file, cache, tmp_path):
    whole = file.read_bytes()
    for length in (0, 10, 30, 500, len(whole) // 2, len(whole) - 1):
        cache.write_bytes(whole[:length])
        with pytest.raises(ModelLoadError, match=r"embedder\.gguf"):
            MemoryBank.open(tmp_path / "a.db")
    assert not (tmp_path / "a.db").exists()


def test_whatever_a_header_holds_it_is_read_or_refused(file, tmp_path):
    whole, random, damaged = bytearray(file.read_bytes()), np.random.default_rng(0), tmp_path / "damaged.gguf"
    refused = 0
    for _ in range(200):
        data = bytearray(whole)
        for place in random.integers(24, 3_000, 3):
            data[place] = random.integers(256)
        damaged.write_bytes(data)
        try:
            embedder = LlamaEmbedder.load(damaged)
        except ModelLoadError:
            refused += 1
            continue
        assert embedder.dimension > 0
        assert embedder.name
    assert refused > 20


def test_an_encoder_that_was_replaced_meanwhile_is_not_taken_for_the_one_that_was_opened(file, tmp_path):
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(file.read_bytes())
    with LlamaEmbedder.load(copy) as embedder:
        with copy.open("ab") as written:
            written.write(bytes(32))
        with pytest.raises(ModelLoadError, match="changed"):
            embedder.embed(["dogs"])
        copy.unlink()
        with pytest.raises(ModelLoadError, match="cannot be read"):
            embedder.warm()


def test_sizes_of_tensor_types_are_those_of_gguf():
    assert {kind: GGML_QUANT_SIZES[GGMLQuantizationType(kind)] for kind in BLOCKS} == BLOCKS


def test_the_command_also_checks_the_texts_of_a_file(folder, tmp_path, capsys, monkeypatch):
    texts = tmp_path / "turns.txt"
    texts.write_text("Andrew has two dogs.\n\nI'm Zoë.\n   \nHow many dogs?\n")
    arguments = ["encoder", str(folder), str(tmp_path / "out.gguf"), "--texts", str(texts)]
    assert command.main(arguments) == 0
    shown = capsys.readouterr().out
    assert f"over {len(encoder.SENTENCES)} built-in texts: least 0.9999" in shown or "least 1.0000" in shown
    assert "over 3 lines: least " in shown
    for content in (b" \n", b"caf\xe9"):
        texts.write_bytes(content)
        assert command.main([*arguments, "--force"]) == 1
        assert "turns.txt" in capsys.readouterr().err
    # One of the file's own lines alone is enough to refuse the encoder.
    texts.write_text("Buddy barks.")
    reference = encoder.reference_vectors

    def drifted(source, read):
        rows = reference(source, read)
        rows[-1] *= -1
        return rows

    monkeypatch.setattr(encoder, "reference_vectors", drifted)
    (tmp_path / "out.gguf").unlink()
    assert command.main(arguments) == 1
    assert "Buddy barks." in capsys.readouterr().err
    assert not (tmp_path / "out.gguf").exists()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Where a bank looks for the user's encoder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache" / "memr1-lite").mkdir(parents=True)
    return tmp_path / "cache" / "memr1-lite" / "embedder.gguf"


def test_a_new_bank_takes_the_encoder_and_an_old_one_stays_with_its_own(file, cache, tmp_path):
    with MemoryBank.open(tmp_path / "old.db") as bank:
        bank.record("Andrew has two dogs.")
    cache.write_bytes(file.read_bytes())
    with MemoryBank.open(tmp_path / "new.db") as bank:
        bank.record("Andrew has two dogs.")
        assert bank.search("two dogs")[0].cosine is not None
    with pytest.raises(EmbedderMismatchError, match="tiny"):
        MemoryBank.open(tmp_path / "new.db", embedder=LexicalEmbedder())
    with MemoryBank.open(tmp_path / "old.db") as bank:
        assert bank.search("dogs")[0].text == "Andrew has two dogs."
    with pytest.raises(EmbedderMismatchError, match="tiny"):
        MemoryBank.open(tmp_path / "old.db", embedder=LlamaEmbedder.load(file))
    cache.unlink()
    with pytest.raises(EmbedderMismatchError, match="make embedder"):
        MemoryBank.open(tmp_path / "new.db")
