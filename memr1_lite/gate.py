"""The cheap gate: what is refused at the door, and what needs no model to see that nothing is to be remembered.

Conservative on purpose: a fact let through costs one model call, a fact held back is lost to the memories (its turn
stays searchable). So only whole messages made of a small closed set of phrases are chit-chat.
"""

from __future__ import annotations

import operator
import re
import unicodedata
from datetime import datetime

from memr1_lite.dates import resolved
from memr1_lite.errors import InvalidInputError

_PHRASES = """
hi|hello|hey|hiya|good morning|good afternoon|good evening|good night
bye|goodbye|bye bye|see you|see ya|see you later|see you soon|talk to you later|talk soon|take care
thanks|thank you|thanks a lot|thank you so much|thank you very much|many thanks|cheers|thx
ok|okay|alright|cool|nice|great|wow|awesome|amazing|perfect|sounds good|sounds great|lovely
lol|haha|hahaha|hehe|lmao|hm|hmm|mhm|oh|ah|aha|i see|got it|no problem|no worries|my pleasure
you are welcome|you re welcome|how are you|how are you doing|how is it going|how s it going|what s up
how have you been|good to see you|nice to see you|have a nice day|have a good day|have a great day|sweet dreams
"""
# "yes", "sure", "me too" and the like are absent: they answer something, and the answer may be a fact.
CHIT_CHAT = frozenset(phrase for line in _PHRASES.split("\n") for phrase in line.split("|") if phrase)
_LONGEST_PHRASE = max(len(phrase.split()) for phrase in CHIT_CHAT)
_LONGEST_MESSAGE = 12
_WORD = re.compile(r"\w+")
_BITS = 63


def words_of(text: str) -> tuple[str, ...]:
    """The words of ``text`` in lower case, without punctuation, accents kept."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def is_chit_chat(text: str) -> bool:
    """Whether ``text`` is nothing but greetings, thanks and the like.

    Text without any word, such as an emoji, is not: what it means is for the Memory Manager to say.
    """
    words = words_of(text)
    if not words or len(words) > _LONGEST_MESSAGE:
        return False
    position = 0
    while position < len(words):
        for length in range(min(_LONGEST_PHRASE, len(words) - position), 0, -1):
            if " ".join(words[position : position + length]) in CHIT_CHAT:
                position += length
                break
        else:
            return False
    return True


def says_the_same(text: str, at: datetime | None, other: str, other_at: datetime | None) -> bool:
    """Whether two turns are the same words about the same days: "yesterday" said on two days is two facts."""
    return words_of(resolved(text, at)) == words_of(resolved(other, other_at))


def whole(value: int, name: str, least: int | None = None) -> int:
    """``value`` as Python's own int: a whole number of any library, at least ``least``, that SQLite can hold.

    :raises InvalidInputError: naming the argument
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InvalidInputError(f"{name}={value!r:.60} is not a whole number.") from error
    if number.bit_length() > _BITS:
        raise InvalidInputError(f"{name} is a number of {number.bit_length()} bits: SQLite holds {_BITS}.")
    if least is not None and number < least:
        raise InvalidInputError(f"{name}={number} is too small: give at least {least}.")
    return number


def check_text(text: str, name: str, limit: int) -> None:
    """Let a text through that is not blank, has at most ``limit`` characters and can be stored.

    :raises InvalidInputError: naming the argument and what to do
    """
    _check_storable(text, name)
    if not text.strip():
        raise InvalidInputError(f"{name} is blank: there is nothing in it.")
    if len(text) > limit:
        raise InvalidInputError(
            f"{name} has {len(text):,} characters, more than the {limit:,} allowed: "
            "split it, or set BankConfig(max_message_chars=...)."
        )


def check_line(text: str, name: str, limit: int) -> None:
    """Let a text through that is one visible line of at most ``limit`` characters.

    :raises InvalidInputError: naming the argument
    """
    _check_storable(text, name)
    visible = any(sign.isprintable() and not sign.isspace() for sign in text)
    if not visible or text.splitlines() != [text] or len(text) > limit:
        raise InvalidInputError(f"{name}={text[: limit + 1]!r} must be one visible line of at most {limit} characters.")


def _check_storable(text: str, name: str) -> None:
    if not isinstance(text, str):
        raise InvalidInputError(f"{name} must be a text, not {type(text).__name__}.")
    if "\0" in text:
        raise InvalidInputError(f"{name} holds a NUL character: remove it.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{name} holds half a surrogate pair at position {error.start}: repair it.") from error
