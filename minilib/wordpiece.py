r"""The tokenizer of BERT: words are cut into the longest pieces that a vocabulary knows.

A text is cleaned and split into words and punctuation marks; in the uncased models it loses capitals and accents. Each
word is then cut from the left, at every point into the longest piece that there is. A piece that does not begin a word
is marked by ``##``: "unhappily" may become "un", "##happ", "##ily". A word that cannot be cut to its end is
``[UNK]`` as a whole. The vocabulary itself grows out of counted words: from letters, by joining two neighbours again
and again.

Sources: Schuster & Nakajima 2012 and Wu et al. 2016 (WordPiece), Sennrich et al. 2016 (joining by frequency), Devlin
et al. 2019 and their program (BERT).
"""

from __future__ import annotations

import heapq
import operator
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from math import log
from typing import NamedTuple, SupportsIndex

# ---------------------------------------------------------------------------------------------------------------
# from a text to words


_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cs"})
"""Control, format, private and surrogate characters. Those that Unicode has yet to assign may be seen one day."""


def clean(text: str) -> str:
    """Drop what has no appearance (control and format characters, U+FFFD), and turn each kind of space into a space.

    Half of a surrogate pair, which no text in UTF-8 can hold, is dropped as well; Hugging Face refuses such a text.
    """
    kept = []
    for character in text:
        if character in "\t\n\r" or unicodedata.category(character).startswith("Z"):
            kept.append(" ")
        elif character != "\ufffd" and unicodedata.category(character) not in _UNSEEN:
            kept.append(character)
    return "".join(kept)


def without_accents(text: str) -> str:
    """Take each character apart into letter and marks (Unicode's form NFD), and drop the marks: é becomes e.

    A few marks of music and of Asian scripts take up room and are kept, in their order; NFD of a text would sort them.
    """
    parts = (part for character in text for part in unicodedata.normalize("NFD", character))
    return "".join(part for part in parts if unicodedata.category(part) != "Mn")


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


def _apart(text: str, alone: Callable[[str], bool]) -> str:
    """Set spaces around each character that stands alone."""
    return "".join(f" {character} " if alone(character) else character for character in text)


def normalized(text: str, lower: bool = True) -> str:
    """Clean a text and set spaces around its punctuation marks and Chinese characters; `lower` drops case and accents.

    No step looks at more than one character, so what becomes of a text is what becomes of each of its characters. That
    is why every piece can be found again in the text. Python's own lower-casing of a word looks further: it ends a
    Greek word in ς, in Google's program, too; this ends it in σ, as do the tokenizers of Hugging Face.
    """
    text = _apart(clean(text), is_chinese)
    if lower:
        text = "".join(character.lower() for character in without_accents(text))
    return _apart(text, is_punctuation)


class _Becomes(dict[int, str]):
    """What becomes of each character by its number, as `str.translate` asks for it; found when first needed."""

    def __init__(self, lower: bool) -> None:
        self.lower = lower

    def __missing__(self, number: int) -> str:
        self[number] = becomes = normalized(chr(number), self.lower)
        return becomes


def split_words(text: str, lower: bool = True) -> list[str]:
    """Split a text into words, punctuation marks and Chinese characters; without capitals and accents if `lower`."""
    return text.translate(_Becomes(lower)).split()


def count_words(texts: Iterable[str], lower: bool = True) -> Counter[str]:
    """Count the words of texts as :func:`split_words` finds them; :func:`train_vocabulary` learns from the counts."""
    becomes = _Becomes(lower)
    return Counter(word for text in texts for word in text.translate(becomes).split())


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

_SPECIAL = re.compile(f"({'|'.join(map(re.escape, SPECIAL))})")


class Encoded(NamedTuple):
    """Numbers of the pieces, and 0 for each piece of the first part, 1 for each of the second."""

    ids: list[int]
    segments: list[int]


class Located(NamedTuple):
    """Numbers of the pieces, and where each stands: it was made from ``text[start:end]``."""

    ids: list[int]
    offsets: list[tuple[int, int]]


class _Cut(NamedTuple):
    """The numbers of the pieces of a word, and from which to which character of the word each reaches."""

    numbers: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


class _Cuts(dict[str, _Cut]):
    """The pieces of each word, found when first needed: most words of a text have occurred before."""

    most = 100_000
    """How many words are remembered before all are forgotten, so that memory does not grow with what is read."""

    def __init__(self, numbers: Mapping[str, int], cap: int) -> None:
        self.numbers, self.cap = numbers, cap

    def __missing__(self, word: str) -> _Cut:
        pieces = cut_word(word, self.numbers, self.cap)
        lengths = [len(piece) - (2 if k else 0) for k, piece in enumerate(pieces)] if pieces else [len(word)]
        spans = pairwise(accumulate(lengths, initial=0))
        cut = _Cut(tuple(self.numbers[piece] for piece in pieces or [UNK]), tuple(spans))
        if len(word) <= self.cap:
            if len(self) >= self.most:
                self.clear()
            self[word] = cut
        return cut


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A vocabulary, the piece with number k being `pieces[k]`, and what is done to words before they are looked up.

    A word of more than `cap` characters, its accents gone, is unknown: 100 in the tokenizers of Hugging Face, 200 in
    Google's program and in bert4keras. Words so long are mostly links and garbage, and n characters can take n²/2
    look-ups. The pieces of words that have been met are remembered; that changes no result.

    Raises ValueError where a piece occurs twice, one of :data:`SPECIAL` is missing, or `cap` is below 1.
    """

    pieces: tuple[str, ...]
    lower: bool = True
    cap: int = 100
    numbers: dict[str, int] = field(init=False, repr=False)
    _becomes: _Becomes = field(init=False, repr=False)
    _cuts: _Cuts = field(init=False, repr=False)

    def __post_init__(self) -> None:
        numbers = {piece: number for number, piece in enumerate(self.pieces)}
        if len(numbers) < len(self.pieces):
            twice = next(piece for number, piece in enumerate(self.pieces) if numbers[piece] != number)
            raise ValueError(f"the vocabulary holds {twice!r} twice; a piece has one number")
        if missing := [piece for piece in SPECIAL if piece not in numbers]:
            raise ValueError(f"the vocabulary lacks {', '.join(missing)}; these five have to be among the pieces")
        if self.cap < 1:
            raise ValueError(f"cap must be at least 1, the characters of the longest word to be cut; got {self.cap}")
        made = {"numbers": numbers, "_becomes": _Becomes(self.lower), "_cuts": _Cuts(numbers, self.cap)}
        for name, value in made.items():
            object.__setattr__(self, name, value)

    def tokenize(self, text: str) -> list[str]:
        """Cut a text into pieces. A special piece that stands in the text, as in "a [MASK] of tea", is kept whole."""
        return [self.pieces[number] for number in self._numbers_of(text)]

    def encode(self, text: str, second: str | None = None, longest: int | None = None) -> Encoded:
        """Number the pieces of ``[CLS] text [SEP]``, or of ``[CLS] text [SEP] second [SEP]``.

        Where these are more than `longest`, the end of the longer part is dropped, piece by piece, of the second where
        both are equally long, as in Google's program. Hugging Face then drops one of the first, if it was not longer.
        Raises ValueError if `longest` leaves no room for the special pieces.
        """
        parts = [self._numbers_of(part) for part in ([text] if second is None else [text, second])]
        _shorten(parts, longest)
        ids, segments = [self.numbers[CLS]], [0]
        for number, part in enumerate(parts):
            ids += [*part, self.numbers[SEP]]
            segments += [number] * (len(part) + 1)
        return Encoded(ids, segments)

    def encode_with_offsets(self, text: str, longest: int | None = None) -> Located:
        """Number the pieces of ``[CLS] text [SEP]`` and say from which characters of the text each was made.

        A piece reaches from its first to its last character; what was dropped in between lies inside, what was dropped
        around it does not. An unknown word is all of ``text[start:end]``. Several pieces of one character, such as the
        three letters of a syllable in Hangul, all have its place. ``[CLS]`` and ``[SEP]`` have (0, 0).
        """
        ids, offsets = self._located(text)
        _shorten([ids], longest)
        return Located([self.numbers[CLS], *ids, self.numbers[SEP]], [(0, 0), *offsets[: len(ids)], (0, 0)])

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
        :func:`tidy` guesses the last.
        """
        silent = set(SPECIAL) - {UNK}
        return " ".join(piece for piece in self.tokens(ids) if piece not in silent).replace(" ##", "")

    def word_numbers(self, ids: Iterable[SupportsIndex]) -> list[int]:
        """Which word each piece belongs to, counted from 0; -1 for the special pieces but [UNK], which is a word."""
        words, numbers = -1, [-1]
        for piece in self.tokens(ids):
            special = piece in SPECIAL and piece != UNK
            words += not special and (numbers[-1] < 0 or not piece.startswith("##"))
            numbers.append(-1 if special else words)
        return numbers[1:]

    def _numbers_of(self, text: str) -> list[int]:
        found: list[int] = []
        for _, part in _parts(text):
            if part in SPECIAL:
                found.append(self.numbers[part])
            else:
                found += [n for word in part.translate(self._becomes).split() for n in self._cuts[word].numbers]
        return found

    def _located(self, text: str) -> Located:
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        for start, part in _parts(text):
            if part in SPECIAL:
                ids.append(self.numbers[part])
                offsets.append((start, start + len(part)))
                continue
            origin = [place for place, c in enumerate(part, start) for _ in self._becomes[ord(c)]]
            for word in re.finditer(r"\S+", part.translate(self._becomes)):
                at, (numbers, spans) = word.start(), self._cuts[word[0]]
                ids += numbers
                offsets += [(origin[at + first], origin[at + end - 1] + 1) for first, end in spans]
        return Located(ids, offsets)


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """Special pieces, and what stands between them, each with its place."""
    if not isinstance(text, str):
        raise ValueError(f"a text must be a string, got {type(text).__name__}; encode takes one text, or two")
    start = 0
    for part in _SPECIAL.split(text):
        yield start, part
        start += len(part)


def _shorten(parts: Sequence[list], longest: int | None) -> None:
    """Take pieces off the end of the longer part until all fit beside the special pieces."""
    room = None if longest is None else longest - len(parts) - 1
    if room is not None and room < 0:
        raise ValueError(f"longest must leave room for {len(parts) + 1} special pieces, got {longest}")
    while room is not None and sum(map(len, parts)) > room:
        max(reversed(parts), key=len).pop()


def tidy(text: str) -> str:
    """Set marks as English does: ,.;:!?)]} close to the word before, ([{ to the word after, the ' of it's to both.

    It guesses, after :meth:`Tokenizer.decode`. What it cannot know stays apart: "3.14" comes back as "3. 14".
    """
    text = re.sub(r" +([,.;:!?)\]}])", r"\1", text)
    text = re.sub(r"([(\[{]) +", r"\1", text)
    return re.sub(r"(?<=[^\W\d_]) ' (?=[^\W\d_])", "'", text)


def read_vocabulary(text: str, lower: bool = True, cap: int = 100) -> Tokenizer:
    """Make a tokenizer from the text of a vocab.txt: one piece on each line, the first with number 0."""
    return Tokenizer(tuple(line.rstrip("\r") for line in text.removesuffix("\n").split("\n")), lower, cap)


def write_vocabulary(tokenizer: Tokenizer) -> str:
    """The text of a vocab.txt, which :func:`read_vocabulary` reads. Raises ValueError for a piece that ends a line."""
    if broken := [piece for piece in tokenizer.pieces if "\n" in piece or piece.endswith("\r")]:
        raise ValueError(f"each piece must fit on a line, got {broken[0]!r}; leave it out of the vocabulary")
    return "".join(f"{piece}\n" for piece in tokenizer.pieces)


def pad(rows: Sequence[Sequence[int]], value: int = 0) -> list[list[int]]:
    """Make rows of numbers equally long by appending `value`; 0 is the number of ``[PAD]`` and of the first segment."""
    longest = max(map(len, rows), default=0)
    return [[*row, *[value] * (longest - len(row))] for row in rows]


# ---------------------------------------------------------------------------------------------------------------
# from counted words to a vocabulary

Pair = tuple[str, str]
Score = Callable[[int, int, int], float]
"""What a pair of neighbours is worth: how often it occurs, and how often its first and its second piece occur."""


def frequency(both: int, first: int, second: int) -> float:
    r"""$c_{ab}$: how often two pieces are neighbours, as in byte pair encoding."""
    return both


def cohesion(both: int, first: int, second: int) -> float:
    r"""$c_{ab} / (c_a c_b)$: how much more often two pieces are neighbours than they would be by chance.

    It is often given as the score of WordPiece. As it does not ask how much there is to join, it prefers pieces that
    occur once or twice and know no other neighbour.
    """
    return both / (first * second)


def likelihood_gain(total: int) -> Score:
    r"""$c_{ab} \log(N c_{ab} / (c_a c_b))$: what joining a pair adds to the likelihood of `total` pieces, N, about.

    The likelihood is that of a text whose pieces are drawn one by one, each with its share; WordPiece was described as
    joining what raises it most. Where the pair is a small part of its pieces, the exact gain is smaller by its count.
    """
    return lambda both, first, second: both * log(total * both / (first * second))


def train_vocabulary(counts: Mapping[str, int], size: int, score: Score = frequency) -> tuple[str, ...]:
    """Learn `size` pieces from counted words: the special ones, the alphabet, then a piece for each pair joined.

    At first each word is its characters, those after the first marked by ``##``. Then the pair of neighbours with the
    highest `score`, the first in order of names among equals, is joined wherever it stands, again and again. So the
    first pieces of a large vocabulary are the small one. There are fewer than `size` where all words are whole.

    The alphabet has each character as the start of a word and, but for those that always stand alone (punctuation,
    Chinese characters), as its continuation: words of these characters have pieces. Raises ValueError where `size` is
    smaller than that, or `counts` holds what :func:`split_words` would not return, or a count below 1.
    """
    pieces = dict.fromkeys([*SPECIAL, *_alphabet(counts)])
    if size < len(pieces):
        raise ValueError(
            f"size must be at least {len(pieces)}, the special pieces and the alphabet, got {size}; ask for more, or "
            "leave words with rare characters out of counts"
        )
    joins = _Joins(counts, score)
    while len(pieces) < size and (pair := joins.best()):
        pieces.setdefault(joins.join(*pair))
    return tuple(pieces)


def _alphabet(counts: Mapping[str, int]) -> list[str]:
    becomes = {character: normalized(character, lower=False) for character in set().union(*counts)}
    inside = {character for character, plain in becomes.items() if plain == character != " "}
    alone = {character for character, plain in becomes.items() if plain == f" {character} "}
    for word, count in counts.items():
        if not (word and inside.issuperset(word)) and word not in alone:
            raise ValueError(f"{word!r} is not one word; count what split_words returns")
        if count < 1:
            raise ValueError(f"{word!r} is counted {count} times; leave out what does not occur")
    return [*sorted(inside | alone), *(f"##{character}" for character in sorted(inside))]


def _joined(parts: list[str], first: str, second: str, piece: str) -> list[str]:
    """The pieces of a word after a pair has been joined, from the left."""
    found: list[str] = []
    for part in parts:
        if part == second and found and found[-1] == first:
            found[-1] = piece
        else:
            found.append(part)
    return found


class _Joins:
    """Words in pieces, and the scores of all pairs of neighbours, kept up to date where a join changes them.

    The heap holds (-score, pair). An entry whose score is not the pair's any more is passed over.
    """

    def __init__(self, counts: Mapping[str, int], score: Score) -> None:
        self.words = [[word[0], *(f"##{character}" for character in word[1:])] for word in counts]
        self.counts, self.score = list(counts.values()), score
        self.singles: Counter[str] = Counter()
        self.pairs: Counter[Pair] = Counter()
        self.where: defaultdict[Pair, set[int]] = defaultdict(set)
        self.of: defaultdict[str, set[Pair]] = defaultdict(set)
        self.scores: dict[Pair, float] = {}
        self.heap: list[tuple[float, Pair]] = []
        for k, (parts, count) in enumerate(zip(self.words, self.counts, strict=True)):
            for part in parts:
                self.singles[part] += count
            for pair in pairwise(parts):
                self.pairs[pair] += count
                self._enter(pair, k)
        self._rate(list(self.pairs))

    def best(self) -> Pair | None:
        """The pair with the highest score; None if no word has two pieces."""
        while self.heap:
            score, pair = self.heap[0]
            if self.scores.get(pair) == -score:
                return pair
            heapq.heappop(self.heap)
        return None

    def join(self, first: str, second: str) -> str:
        """Join a pair in all words; return the new piece."""
        piece, changed = first + second.removeprefix("##"), {(first, second)}
        for k in self.where.pop((first, second)):
            old, count = self.words[k], self.counts[k]
            self.words[k] = new = _joined(old, first, second, piece)
            times = count * (len(old) - len(new))
            for part, more in ((first, -times), (second, -times), (piece, times)):
                self.singles[part] += more
            for pair in pairwise(old):
                self.pairs[pair] -= count
                changed.add(pair)
            for pair in pairwise(new):
                self.pairs[pair] += count
                if piece in pair:
                    changed.add(pair)
                    self._enter(pair, k)
        if self.score is not frequency:  # all others ask how often each piece occurs
            changed.update(self.of[first], self.of[second], self.of[piece])
        self._rate(changed)
        return piece

    def _enter(self, pair: Pair, k: int) -> None:
        self.where[pair].add(k)
        for part in pair:
            self.of[part].add(pair)

    def _rate(self, pairs: Iterable[Pair]) -> None:
        for pair in pairs:
            first, second = pair
            if not (both := self.pairs[pair]):
                for book in (self.pairs, self.scores, self.where):
                    book.pop(pair, None)
                self.of[first].discard(pair)
                self.of[second].discard(pair)
                continue
            score = self.score(both, self.singles[first], self.singles[second])
            if self.scores.get(pair) != score:
                self.scores[pair] = score
                heapq.heappush(self.heap, (-score, pair))
