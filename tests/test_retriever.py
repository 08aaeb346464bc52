from __future__ import annotations

import shutil
import threading
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memr1_lite.embedders import LexicalEmbedder
from memr1_lite.errors import VectorIndexError
from memr1_lite.hits import NAMED_SPEAKER, VECTOR_SHARE
from memr1_lite.records import Add, Delete, Noop, Span, Update
from memr1_lite.retriever import MIN_COSINE, Retriever, spoken
from memr1_lite.store import Store
from memr1_lite.testing import HashEmbedder
from memr1_lite.vector_index import VectorIndex

both = pytest.mark.parametrize("exact_below", [10**6, 0])


class Bank:
    """A store, its retriever, and hands to fill it."""

    def __init__(self, path=":memory:", exact_below=10**6, embedder=None):
        self.embedder = embedder or LexicalEmbedder()
        self.store = Store.open(path, embedder=self.embedder.name, dimension=self.embedder.dimension)
        self.indexes = [
            VectorIndex(
                None if path == ":memory:" else path.with_name(f"{path.name}.{kind}.hnsw"),
                self.embedder.dimension,
                exact_below=exact_below,
                embedder=self.embedder.name,
            )
            for kind in ("memories", "turns")
        ]
        self.retriever = Retriever(self.store, self.embedder, *self.indexes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.store.close()

    def say(self, text, *operations, speaker="Andrew", at=None):
        """Record a turn and apply the operations; without one, a NOOP."""
        message = self.store.record(speaker, text, at)
        texts = [operation.text for operation in operations if hasattr(operation, "text")]
        self.store.apply(
            operations or [Noop(op="NOOP")],
            message_id=message.id,
            reason="manager",
            vectors=dict(zip(texts, self.embedder.embed(texts), strict=True)),
            turn_vector=self.embedder.embed([spoken(speaker, text)])[0],
        )
        return message

    def add(self, text, said="...", **options):
        self.say(said, Add(op="ADD", text=text), **options)
        return self.store.memories()[-1]

    def found(self, question, k=10):
        return [(candidate.kind, candidate.text) for candidate in self.retriever.candidates(question, k)]


@pytest.fixture
def bank():
    with Bank() as bank:
        yield bank


def test_an_empty_bank_finds_nothing(bank):
    assert bank.retriever.candidates("Where does Alice live?", 10) == []
    assert bank.retriever.similar("I moved.", "Alice", 5) == []


def test_a_memory_comes_with_the_turn_it_was_written_from(bank):
    at = datetime(2023, 6, 16)
    bank.add("Andrew has a dog named Buddy.", "I adopted a dog, Buddy!", at=at)
    (candidate,) = bank.retriever.candidates("What is Andrew's dog called?", 10)
    assert (candidate.kind, candidate.text, candidate.at) == ("memory", "Andrew has a dog named Buddy.", at)
    assert candidate.turn == bank.store.message(1)
    assert candidate.turns == (candidate.turn,)
    assert candidate.speaker == "Andrew"
    assert (candidate.vector_rank, candidate.keyword_rank) == (1, 1)
    assert candidate.score == pytest.approx(NAMED_SPEAKER * (1 + VECTOR_SHARE))


def test_a_rewritten_memory_comes_with_all_turns_that_it_was_written_from_and_only_those_that_still_hold(bank):
    memory = bank.add("Andrew has a dog named Buddy.", "I adopted a dog, Buddy!")
    bank.add("Audrey plays the violin.", "I play the violin.", speaker="Audrey")
    two = Update(op="UPDATE", memory_id=memory.id, version=1, text="Andrew has two dogs, Buddy and Scout.")
    bank.say("I adopted another one, Scout!", two)

    def turns():
        found = bank.retriever.candidates("How many dogs does Andrew have?", 1)
        return [turn.text for candidate in found for turn in candidate.turns]

    assert turns() == ["I adopted another one, Scout!", "I adopted a dog, Buddy!"]
    bank.store.undo(3)
    assert turns() == ["I adopted a dog, Buddy!"]


def test_a_turn_that_no_memory_covers_is_found_itself(bank):
    bank.add("Andrew has a dog named Buddy.", "I adopted a dog, Buddy!")
    message = bank.say("The dog park was sunny.", speaker="Audrey", at=datetime(2023, 5, 2))
    found = bank.retriever.candidates("Was the dog park sunny?", 10)
    assert [(candidate.kind, candidate.id) for candidate in found] == [("turn", message.id), ("memory", 1)]
    assert found[0].turn == bank.store.message(message.id)
    assert found[0].turns == (found[0].turn,)
    assert (found[0].speaker, found[0].at) == ("Audrey", datetime(2023, 5, 2))


def test_what_was_taken_back_is_found_neither_as_memory_nor_as_turn(bank):
    memory = bank.add("Andrew has a dog named Buddy.", "I adopted a dog, Buddy!")
    bank.say("Forget what I told you.", Delete(op="DELETE", memory_id=memory.id, version=1))
    assert bank.found("Which dog was adopted?") == []


def test_a_pending_turn_without_a_vector_is_found_by_its_words(bank):
    bank.store.record("Andrew", "My bicycle was stolen.", None)
    (candidate,) = bank.retriever.candidates("Whose bicycle was stolen?", 10)
    assert (candidate.vector_rank, candidate.keyword_rank) == (None, 1)


def test_what_is_written_changes_what_is_found_next(bank):
    memory = bank.add("Andrew lives in Lyon.")
    assert bank.found("Where does Andrew live?") == [("memory", "Andrew lives in Lyon.")]
    bank.say("I moved to Porto.", Update(op="UPDATE", memory_id=memory.id, version=1, text="Andrew lives in Porto."))
    assert bank.found("Where does Andrew live?") == [("memory", "Andrew lives in Porto.")]
    bank.store.undo(2)
    assert bank.found("Where does Andrew live?")[0] == ("memory", "Andrew lives in Lyon.")
    bank.store.forget(memory.id)
    assert ("memory", "Andrew lives in Lyon.") not in bank.found("Where does Andrew live?")


def test_similar_finds_memories_only_best_first(bank):
    bank.add("Andrew has a dog named Buddy.")
    bank.add("Audrey plays the violin.")
    bank.add("Andrew lives in Lyon.")
    bank.say("I adopted another dog named Scout.")
    similar = bank.retriever.similar("I adopted another dog named Scout.", "Andrew", 5)
    assert similar[0].text == "Andrew has a dog named Buddy."
    assert similar == [memory for memory in similar if memory == bank.store.memory(memory.id)]
    assert len(bank.retriever.similar("I adopted another dog named Scout.", "Andrew", 1)) == 1


@pytest.mark.parametrize("message", ["I've moved to a house in Lyon.", "My boss has a house in Lyon."])
def test_who_speaks_of_himself_is_shown_what_is_his_before_what_is_anothers(bank, message):
    for text in ("Audrey has a house in Lyon.", "Andrew lives in Paris.", "Andrew's boss lives in Lyon."):
        bank.add(text)
    similar = [memory.text for memory in bank.retriever.similar(message, "Andrew", 3)]
    assert similar[-1] == "Audrey has a house in Lyon."
    assert bank.retriever.similar("Audrey has a house in Lyon.", "Andrew", 1)[0].text == "Audrey has a house in Lyon."


def test_the_speaker_counts_in_what_is_similar(bank):
    bank.add("Audrey moved house.")
    bank.add("Andrew moved house.")
    assert bank.retriever.similar("I moved house again.", "Andrew", 1)[0].text == "Andrew moved house."


def test_k_is_the_most_that_is_returned_and_a_prefix_of_more(bank):
    for number in range(30):
        bank.add(f"Andrew has a dog named Buddy{number}.")
    everything = bank.retriever.candidates("Does Andrew have a dog?", 30)
    assert [len(bank.retriever.candidates("Does Andrew have a dog?", k)) for k in (0, 1, 7, 64)] == [0, 1, 7, 30]
    assert bank.retriever.candidates("Does Andrew have a dog?", 7) == everything[:7]


def test_equals_are_ordered_by_id(bank):
    for _ in range(5):
        bank.add("Andrew has a dog.")
    assert [candidate.id for candidate in bank.retriever.candidates("Andrew's dog", 10)] == [1, 2, 3, 4, 5]


def test_what_shares_nothing_with_the_question_is_not_found():
    with Bank(embedder=HashEmbedder(256)) as bank:
        bank.add("Andrew has a dog.")
        question = next(
            word
            for word in ("quartz", "piano", "zeppelin", "walrus")
            if max(bank.embedder.embed(["Andrew has a dog.", "Andrew: ..."]) @ bank.embedder.embed([word])[0])
            <= MIN_COSINE
        )
        assert bank.found(question) == []


def test_the_speaker_whom_the_question_names_goes_first(bank):
    first = bank.say("The concert was loud.", speaker="Audrey")
    bank.say("Filler without a match.", speaker="Bob")
    second = bank.say("The concert was loud.", speaker="Andrew")
    by_name = {
        name: next(c.id for c in bank.retriever.candidates(f"How was {name}'s concert?", 10))
        for name in ("Andrew", "Audrey")
    }
    assert by_name == {"Andrew": second.id, "Audrey": first.id}
    found = {c.id: c for c in bank.retriever.candidates("How was Andrew's concert?", 10)}
    assert [found[item].speaker_named for item in (first.id, second.id)] == [False, True]
    plain = found[second.id].word_score + VECTOR_SHARE * found[second.id].vector_score
    assert found[second.id].score == pytest.approx(NAMED_SPEAKER * plain)


def test_a_turn_beside_another_that_was_found_is_raised(bank):
    for text in ("Nothing here.", "The concert was loud.", "Never mind.", "Weather."):
        bank.say(text, speaker="Bob")
    bank.say("Which concert hall?", speaker="Audrey")
    bank.say("The concert was loud.", speaker="Bob")
    found = [c.id for c in bank.retriever.candidates("loud concert hall", 10)]
    assert found.index(6) < found.index(2)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=st.one_of(st.text(max_size=80), st.text(alphabet="\"'*()-+:^ANDORNEAT{} ab", max_size=30)))
def test_no_question_is_a_syntax_error(bank, question):
    if not bank.store.memories():
        bank.add("Andrew has a dog named Buddy.")
        bank.say("a AND b")
    for candidate in bank.retriever.candidates(question, 5):
        assert candidate.vector_rank is not None or candidate.keyword_rank is not None
    assert len(bank.retriever.similar(question, "Andrew", 5)) <= 1


@both
def test_a_reopened_bank_finds_the_same(tmp_path, exact_below):
    path = tmp_path / "andrew.db"
    with Bank(path, exact_below) as bank:
        for number in range(40):
            bank.add(f"Andrew visited town{number} in spring.", f"turn {number}")
            bank.say(f"Town{number} was lovely in spring.")
        before = bank.retriever.candidates("What did Andrew visit in spring, town7?", 20)
        bank.retriever.save()
        bank.say("One more after saving, town7 again.")
    with Bank(path, exact_below) as bank:
        after = bank.retriever.candidates("What did Andrew visit in spring, town7?", 60)
        assert bank.indexes[0].position == 80 + 1
        assert before[0].text == "Andrew visited town7 in spring."
        assert {(c.kind, c.id) for c in before} <= {(c.kind, c.id) for c in after}
        assert "One more after saving, town7 again." in [c.text for c in after]


def test_an_index_newer_than_its_bank_is_built_anew(tmp_path):
    path = tmp_path / "andrew.db"
    with Bank(path, 0) as bank:
        bank.add("Andrew has a dog named Buddy.")
    shutil.copy(path, tmp_path / "backup")
    with Bank(path, 0) as bank:
        bank.add("Andrew has a cat named Tom.")
        assert len(bank.found("Andrew's pets named")) == 2
        bank.retriever.save()
    shutil.copy(tmp_path / "backup", path)
    with Bank(path, 0) as bank:
        assert bank.found("Andrew's pets named") == [("memory", "Andrew has a dog named Buddy.")]
        assert bank.indexes[0].ids() == [1]


def test_a_damaged_index_is_built_anew(tmp_path):
    path = tmp_path / "andrew.db"
    with Bank(path, 0) as bank:
        bank.add("Andrew has a dog named Buddy.")
        assert len(bank.found("dog")) == 1
        bank.retriever.save()
    for file in tmp_path.glob("*.hnsw"):
        file.write_bytes(file.read_bytes()[:-9])
    with Bank(path, 0) as bank:
        assert bank.found("dog") == [("memory", "Andrew has a dog named Buddy.")]
        assert bank.indexes[0].ids() == [1]


def test_after_a_purge_and_a_rebuild_no_file_holds_the_vector(tmp_path):
    path = tmp_path / "andrew.db"
    with Bank(path, 0) as bank:
        bank.add("Andrew has a dog named Buddy.", "I have a dog.")
        secret = bank.add("Andrew keeps the key under the mat.", "My key is under the mat.")
        bank.found("key")
        bank.retriever.save()
        traces = [
            bank.embedder.embed([text])[0].tobytes()[:1500]
            for text in (secret.text, "Andrew: " + "My key is under the mat.")
        ]
        held = [b"".join(file.read_bytes() for file in tmp_path.glob("*.hnsw"))]
        assert all(trace in held[0] for trace in traces)
        bank.store.forget(secret.id, purge=True)
        bank.retriever.rebuild()
        assert [text for _, text in bank.found("Where is the key, under the mat?")] != [secret.text]
    left = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert not any(trace in left for trace in traces)


def test_an_embedder_of_another_dimension_is_refused():
    with Bank() as bank:
        bank.add("Andrew has a dog.")
        wrong = Retriever(bank.store, HashEmbedder(8), *bank.indexes)
        with pytest.raises(VectorIndexError, match="dimension 384"):
            wrong.candidates("dog", 3)


@both
def test_threads_may_ask_while_another_writes(exact_below):
    failures = []
    with Bank(exact_below=exact_below) as bank:
        bank.add("Andrew has a dog named Buddy.")

        def ask():
            for _ in range(20):
                if ("memory", "Andrew has a dog named Buddy.") not in bank.found("Andrew's dog Buddy", 64):
                    failures.append(1)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(30):
            bank.add(f"Audrey saw bird{number}.")
        for thread in threads:
            thread.join()
        assert failures == []
        assert bank.found("bird29")[0] == ("memory", "Audrey saw bird29.")
        assert len(bank.indexes[0]) == 31


def test_a_question_about_me_finds_what_the_user_said(bank):
    bank.add("User dislikes green tea.", "No tea for me.", speaker="user")
    bank.add("Audrey lives in Oslo.", "I live in Oslo.", speaker="Audrey")
    assert bank.found("What do I not touch?")[0] == ("memory", "User dislikes green tea.")


def test_the_answer_in_the_next_turn_is_found_and_says_why(bank):
    bank.say("What instrument does your sister play?", speaker="Andrew")
    bank.say("The cello, for ten years now.", speaker="Audrey")
    for number in range(10):
        bank.say(f"Something else entirely, number{number}.", speaker="Bob")
    found = bank.retriever.candidates("Which instrument does the sister play?", 10)
    assert [candidate.id for candidate in found][:2] == [1, 2]
    assert found[0].words == ("instrument", "sister", "play")
    assert found[1].words == ()
    assert 0 < found[1].word_score < found[0].word_score == 1.0
    assert (found[0].keyword_rank, found[1].keyword_rank) == (1, 2)
    assert found[0].cosine == pytest.approx(
        float(
            bank.embedder.embed([spoken("Andrew", found[0].text)])[0]
            @ bank.embedder.embed(["Which instrument does the sister play?"])[0]
        ),
        abs=1e-5,
    )


def test_a_turn_brings_the_memory_written_from_it(bank):
    memory = bank.add("Andrew owns a pet.", "My hamster Gizmo ran away!")
    for number in range(5):
        bank.add(f"Andrew saw bird{number}.", f"Look, bird{number}!")
    found = bank.retriever.candidates("Where is Gizmo?", 10)
    assert (found[0].kind, found[0].id, found[0].words, found[0].word_score) == ("memory", memory.id, (), 1.0)
    assert found[0].turn.text == "My hamster Gizmo ran away!"


def test_a_memory_rewritten_since_is_found_by_every_turn_it_was_written_from(bank):
    memory = bank.add("Andrew owns a pet.", "My hamster Gizmo ran away!")
    bank.say("A cat came instead.", Update(op="UPDATE", memory_id=memory.id, version=1, text="Andrew owns two."))
    for asked in ("Gizmo", "cat"):
        assert bank.found(asked)[0] == ("memory", "Andrew owns two.")


def test_what_was_said_on_the_day_asked_about_goes_first(bank):
    for month in (3, 5, 7):
        bank.say("We went hiking.", speaker="Audrey", at=datetime(2023, month, 9, 14, 30))
        for number in range(12):
            bank.say(f"Filler{number}.", speaker="Audrey", at=datetime(2023, month, 9))
    for asked in ("Who went hiking in May 2023?", "Who went hiking on 9 May?", "Who was hiking on 2023-05-09?"):
        best = bank.retriever.candidates(asked, 10)[0]
        assert (best.at.month, best.day_named, best.text) == (5, True, "We went hiking.")
    assert not any(candidate.day_named for candidate in bank.retriever.candidates("Who may have gone hiking?", 10))


@both
def test_a_search_within_a_span_looks_nowhere_else(exact_below):
    with Bank(exact_below=exact_below) as bank:
        for number in range(60):
            bank.say(f"The dog barked, time{number}.", speaker="Bob", at=datetime(2023, 1, 1))
            bank.add(f"Bob has dog{number}.", f"Dog{number} is mine.", speaker="Bob", at=datetime(2023, 1, 1))
        mine = bank.say("A dog!", speaker="Andrew", at=datetime(2023, 5, 1))
        memory = bank.add("Andrew wants a dog.", "I want a dog.", speaker="Andrew", at=datetime(2023, 6, 1))
        undated = bank.say("Dog.", speaker="Eve")

        def within(**span):
            found = bank.retriever.candidates("Who has a dog that barked?", 5, Span(**span))
            return sorted((candidate.kind, candidate.id) for candidate in found)

        assert within(speaker="Andrew") == [("memory", memory.id), ("turn", mine.id)]
        assert within(speaker="Andrew", until=datetime(2023, 6, 1)) == [("turn", mine.id)]
        assert within(since=datetime(2023, 5, 2)) == [("memory", memory.id)]
        assert within(since=datetime(2023, 5, 1), until=datetime(2023, 5, 2)) == [("turn", mine.id)]
        assert within(speaker="Eve") == [("turn", undated.id)]
        assert within(speaker="Nobody") == []
        assert len(within(until=datetime(2023, 2, 1))) == 5


@pytest.mark.parametrize("legs", ["both", "words", "vectors"])
def test_a_leg_alone_looks_nowhere_but_in_the_span_either(bank, legs):
    for number in range(220):
        bank.say(f"A dog, dog{number}.", speaker="Bob")
    mine = bank.say("There once was a dog in a very long story that went on.", speaker="Andrew")
    found = bank.retriever.candidates("dog", 3, Span(speaker="Andrew"), legs)
    assert [candidate.id for candidate in found] == [mine.id]


@both
@pytest.mark.parametrize("legs", ["both", "words", "vectors"])
@pytest.mark.parametrize("fate", ["rewritten", "deleted"])
def test_turns_that_wrote_a_memory_never_crowd_out_those_that_wrote_none(exact_below, legs, fate):
    """300 turns say more of what is asked than five others, and bring one memory or none."""
    with Bank(exact_below=exact_below) as bank:
        memory = bank.add("A park.", "keep dog park")
        for number in range(300):
            memory = bank.store.memory(memory.id)
            change = Update(op="UPDATE", memory_id=memory.id, version=memory.version, text=f"Parks, {number}.")
            bank.say(f"keep dog{number} dog park", change)
        if fate == "deleted":
            memory = bank.store.memory(memory.id)
            bank.say("Forget parks.", Delete(op="DELETE", memory_id=memory.id, version=memory.version))
        for number in range(30):
            bank.say(f"Zebra{number} weather, about something else entirely")
        alone = [bank.say(f"There once was a dog, said story{number} with many other words").id for number in range(5)]
        found = bank.retriever.candidates("dog park", 10, legs=legs)
        assert set(alone) <= {candidate.id for candidate in found if candidate.kind == "turn"}


def test_one_leg_alone_is_a_plain_search(bank):
    bank.say("The cello is loud.")
    bank.say("Yes it is.")
    words = bank.retriever.candidates("cellos", 10, legs="words")
    assert [(c.id, c.keyword_rank, c.vector_rank) for c in words] == [(1, 1, None)]
    vectors = bank.retriever.candidates("cellos", 10, legs="vectors")
    assert [(c.id, c.keyword_rank, c.vector_rank) for c in vectors] == [(1, None, 1)]


@both
def test_many_deleted_and_rewritten_memories_do_not_hide_the_rest(exact_below):
    with Bank(exact_below=exact_below) as bank:
        memories = [bank.add(f"Andrew saw bird{number} in town.") for number in range(120)]
        for memory in memories[:100]:
            bank.store.forget(memory.id)
        for memory in memories[100:110]:
            bank.say("...", Update(op="UPDATE", memory_id=memory.id, version=1, text=f"Audrey met cat{memory.id}."))
        found = [candidate.id for candidate in bank.retriever.candidates("birds in town that Andrew saw", 60)]
        assert set(found) == {memory.id for memory in memories[100:]}
        assert set(found[:10]) == {memory.id for memory in memories[110:]}
