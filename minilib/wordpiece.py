r"""The tokenizer of BERT: words are cut into the longest pieces that a vocabulary knows.

A text is cleaned and split into words and punctuation marks; in the uncased models it loses capitals and accents. Each
word is then cut from the left, at every point into the longest piece that there is. A piece that does not begin a word
is marked by ``##``: "unhappily" may become "un", "##happ", "##ily". A word that cannot be cut to its end is
``[UNK]`` as a whole.

Sources: Schuster & Nakajima 2012 and Wu et al. 2016 (WordPiece), Devlin et al. 2019 and their program (BERT).
"""

from __future__ import annotations

import operator
import re
import unicodedata
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, SupportsIndex

# ---------------------------------------------------------------------------------------------------------------
# from a text to words


_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cs"})
"""Control, format, private and surrogate characters. Those that Unicode has yet to assign may be seen one day."""


def clean(text: str) -> str:
    """Drop what has no appearance (control and format characters, U+FFFD), and turn each kind of space into a space."""
    kept = []
    for character in text:
        if character in "\t\n\r" or unicodedata.category(character).startswith("Z"):
            kept.append(" ")
        elif character != "\ufffd" and unicodedata.category(character) not in _UNSEEN:
            kept.append(character)
    return "".join(kept)


def without_accents(text: str) -> str:
    """Take characters apart into letters and marks (Unicode's form NFD), and drop the marks: é becomes e."""
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")


def is_punctuation(character: str) -> bool:
    """Whether Unicode calls a character punctuation, or it is one of ASCII that is no letter, digit or space, as $."""
    return (33 <= ord(character) <= 126 and not character.isalnum()) or unicodedata.category(character).startswith("P")


_CJK = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
"""The blocks of Chinese characters that BERT knows; Hangul and kana have spaces or pieces of their own."""


def is_chinese(character: str) -> bool:
    """Whether a character is in a block of Chinese characters, which are words of one character each to BERT."""
    return any(first <= ord(character) <= last for first, last in _CJK)


def split_words(text: str, lower: bool = True) -> list[str]:
    """Split a text into words, punctuation marks and Chinese characters; without capitals and accents if `lower`."""
    spaced = "".join(f" {character} " if is_chinese(character) else character for character in clean(text))
    words: list[str] = []
    for word in spaced.split():
        words += _apart(without_accents(word.lower()) if lower else word)
    return words


def _apart(word: str) -> list[str]:
    """Set each punctuation mark apart."""
    return "".join(f" {character} " if is_punctuation(character) else character for character in word).split()


# ---------------------------------------------------------------------------------------------------------------
# from a word to pieces


def cut_word(word: str, pieces: Container[str], cap: int = 100) -> list[str] | None:
    """Cut a word from the left into the longest of the `pieces`; those after the first are looked for as ``##…``.

    None where the word has more than `cap` characters, or a rest that begins with no piece. The longest piece is not
    always the right one: of ab, abc and ##cd, "abcd" takes abc first and fails, though ab + ##cd would do.
    """
    if not 0 < len(word) <= cap:
        return None
    found, start = [], 0
    while start < len(word):
        mark = "##" if start else ""
        ends = range(len(word), start, -1)
        end = next((end for end in ends if mark + word[start:end] in pieces), None)
        if end is None:
            return None
        found.append(mark + word[start:end])
        start = end
    return found


# ---------------------------------------------------------------------------------------------------------------
# the tokenizer

PAD, UNK, CLS, SEP, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Padding, a word without pieces, the start of a text, the end of each part, a token to be guessed."""


class Encoded(NamedTuple):
    """Numbers of the pieces, and 0 for each piece of the first part, 1 for each of the second."""

    ids: list[int]
    segments: list[int]


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A vocabulary, the piece with number k being `pieces[k]`, and what is done to words before they are looked up.

    A word of more than `cap` characters is unknown: 100 in the tokenizers of Hugging Face, 200 in Google's program.
    Raises ValueError where a piece occurs twice or one of :data:`SPECIAL` is missing.
    """

    pieces: tuple[str, ...]
    lower: bool = True
    cap: int = 100
    numbers: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        numbers = {piece: number for number, piece in enumerate(self.pieces)}
        if len(numbers) < len(self.pieces):
            twice = next(piece for number, piece in enumerate(self.pieces) if numbers[piece] != number)
            raise ValueError(f"the vocabulary holds {twice!r} twice; a piece has one number")
        if missing := [piece for piece in SPECIAL if piece not in numbers]:
            raise ValueError(f"the vocabulary lacks {', '.join(missing)}; these five have to be among the pieces")
        object.__setattr__(self, "numbers", numbers)

    def tokenize(self, text: str) -> list[str]:
        """Cut a text into pieces. A special piece that stands in the text, as in "a [MASK] of tea", is kept whole."""
        pieces: list[str] = []
        for part in _SPECIAL.split(text):
            if part in SPECIAL:
                pieces.append(part)
                continue
            for word in split_words(part, self.lower):
                pieces += cut_word(word, self.numbers, self.cap) or [UNK]
        return pieces

    def encode(self, text: str, second: str | None = None, longest: int | None = None) -> Encoded:
        """Number the pieces of ``[CLS] text [SEP]``, or of ``[CLS] text [SEP] second [SEP]``.

        Where these are more than `longest`, the end of the longer part is dropped, piece by piece, of the second where
        both are equally long. Raises ValueError if `longest` leaves no room for the special pieces.
        """
        parts = [self.tokenize(part) for part in (text, second) if part is not None]
        if longest is not None:
            room = longest - len(parts) - 1
            if room < 0:
                raise ValueError(f"longest must leave room for {len(parts) + 1} special pieces, got {longest}")
            _shorten(parts, room)
        ids, segments = [self.numbers[CLS]], [0]
        for number, part in enumerate(parts):
            ids += self.ids([*part, SEP])
            segments += [number] * (len(part) + 1)
        return Encoded(ids, segments)

    def ids(self, pieces: Iterable[str]) -> list[int]:
        """The numbers of pieces; that of ``[UNK]`` for one that the vocabulary does not hold."""
        unknown = self.numbers[UNK]
        return [self.numbers.get(piece, unknown) for piece in pieces]

    def tokens(self, ids: Iterable[SupportsIndex]) -> list[str]:
        """The pieces of numbers, the inverse of :meth:`ids`. Raises ValueError for a number that is none of a piece."""
        ids = [operator.index(number) for number in ids]
        if strange := [number for number in ids if not 0 <= number < len(self.pieces)]:
            raise ValueError(f"{strange[0]} is no number of a piece; the vocabulary has {len(self.pieces)}, from 0")
        return [self.pieces[number] for number in ids]

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """Join the pieces of numbers to words, with a space between two words; special pieces but [UNK] are left out.

        What :func:`split_words` took away does not come back: capitals, accents, the lack of a space before a comma.
        """
        silent = set(SPECIAL) - {UNK}
        return " ".join(piece for piece in self.tokens(ids) if piece not in silent).replace(" ##", "")


_SPECIAL = re.compile(f"({'|'.join(map(re.escape, SPECIAL))})")


def read_vocabulary(text: str, lower: bool = True) -> Tokenizer:
    """Make a tokenizer from the text of a vocab.txt: one piece on each line, the first with number 0."""
    return Tokenizer(tuple(line.rstrip("\r") for line in text.removesuffix("\n").split("\n")), lower)


def _shorten(parts: list[list[str]], room: int) -> None:
    while sum(map(len, parts)) > room:
        max(reversed(parts), key=len).pop()


def pad(rows: Sequence[Sequence[int]], value: int = 0) -> list[list[int]]:
    """Make rows of numbers equally long by appending `value`; 0 is the number of ``[PAD]`` and of the first segment."""
    longest = max(map(len, rows), default=0)
    return [[*row, *[value] * (longest - len(row))] for row in rows]
