"""Wikitext to sentences: the rules of extraction and clean-up, the drawn articles, the packing into parts."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from nltk import redos
from wikipedia_archives import draw

from octathlon.datasets.wikipedia.cleanup import articles, clean_lines, evaluation_articles
from octathlon.datasets.wikipedia.layout import pack
from octathlon.datasets.wikipedia.sentences import SentenceSplitter
from octathlon.datasets.wikipedia.wikitext import article, clean, text_lines
from octathlon.errors import OctathlonError


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("a {{cite|x={{nested|{{deep}}}}}} b", "a b"),
        ("a {{{1|}}} b", "a b"),
        ("open {{ stays", "open {{ stays"),
        ("a {| class=x\n|-\n| {| inner\n|}\n|} b", "a b"),
        ("'''bold''' and ''italic'' and '''''both'''''", 'bold and "italic" and both'),
        ("''\"quoted\"''", '""quoted""'),  # the rules for quotes see &quot;
        ("\"''a''\"", '""a""'),
        ("[[Target]]s and [[Target|label]]ing", "Targets and labeling"),
        ("[[a (b)|a|c]]", "a|c"),
        ("[[a|b|see [[c]] d]]", "see [[c]] d"),
        ("[[a|b]] [[ open [[c|d]] e", "b [[ open [[c|d]] e"),
        ("a [[File:X.jpg|thumb|of [[B]] and [[C|c]]]] b", "a b"),
        ("[[Category:X]][[fr:Y]][[:File:Z|z]]", ""),
        ("[[2001: A Space Odyssey]] is lost, [[wikt:word|word]] is not", " is lost, word is not"),
        ("[http://x.org the label] [https://y.org] [not a link]", "the label [not a link]"),
        ('[http://x.org/?a="b" label] [http:x no link]', "label [http:x no link]"),
        ("[http://x.org http://x.org/a.PNG]", ""),
        ("__NOTOC__text __INIT__", "text __INIT__"),
        ("a&nbsp;&ndash; b &amp;amp;", "a\xa0– b &amp;"),
        ("&#65;&#x42;&#150;", "AB\x96"),
        ("&apos;&copy &#xD800;&#x110000;&#;", "&apos;&copy &#xD800;&#x110000;&#;"),  # none of HTML 4's
        ("a<!-- x\ny <ref> -->b", "ab"),
        ("a<!-- {{ -->b }} d", "a<!-- d"),  # comments go after templates
        ('a<ref name="x" />b<br/>c<ref>{{cite}} [http://x y]</ref>d', "abcd"),
        ("<center>kept</center> <small>lost</small><sup>2</sup>", "kept "),
        ("<gallery>\nFile:A\n</gallery>x", "x"),
        ("<math>a < b</math>, <math x>c</math>, <math>a < b</math>", "formula_1, formula_2, formula_1"),
        ("<math>a</math> <math>a</math> <math>b</math>", "formula_1 formula_1 formula_3"),
        ("<code>x = 1</code> <code>x = 1</code> <code>y</code>", "codice_1 codice_1 codice_3"),
        ("<code>a</code> <code>b <code>a</code>", "codice_1 <code>b codice_1"),  # not closed, but ends alike
        ("<code>b <code>a</code> <code>a</code>", "codice_1 codice_2"),
        ("<code <code>a</code> <code>b", "codice_1 <code>b"),
        ("<div>a <div>b</div> c", " c"),
        ("<ref <ref>a</ref>b <ref / c>d", "b <ref / c>d"),
        ("<br <br / >a<br /b><nobr<b <b c>d<b", "a<br /b><nobrd<b"),
        ("a<!-- b --> c <!-- d <!-- e", "a c <!-- d <!-- e"),
        ("[http://a b [http://c d] [http://e [[f]] g] [http://h [i]", "[http://a b d f g [http://h [i]"),
        ("a {| b |} c {| d {| e |} f", "a c f"),
        ("a {| b |} c {| d {| e |} f {| g", "a f {| g"),
        ('<syntaxhighlight lang="c">if (a<b) {}</syntaxhighlight>', "if (a<b) {}"),
        ("<syntaxhighlight lang=xml><ref>&amp;</ref></syntaxhighlight>", "<ref>&amp;</ref>"),
        ("<syntaxhighlight>a</syntaxhighlight>", "<syntaxhighlight>a</syntaxhighlight>"),
        ("<< a >>", "« a »"),
        ("a,, b,. c..... d   e", "a, b. c... d e"),
    ],
)
def test_markup_is_removed(wikitext: str, text: str) -> None:
    assert clean(wikitext) == text


def test_only_running_text_is_left() -> None:
    markup = (
        "| cell\n{ cell\ncell }\n(all of it)\n in front\n---\n== Head ==\n* list\n# list\n: list\n; list\n"
    )
    assert text_lines(f"intro\n\n\n{markup}\nend") == ["intro", "", "", "end"]


@pytest.mark.parametrize(
    ("wikitext", "lines"),
    [
        ("== H ==\n[[File:a.jpg|thumb|c]] First sentence.\n [[b]]", [" First sentence."]),
        ("a\n== H ==\n (not this)\n| nor this\n this\n nor this\n", ["a", " (not this)", ""]),
        ("* x\n This\n not this", [" This"]),
        ("* x\n(even this)\n(not this)\nend", ["(even this)", "end"]),
        ("a\n\n* x\n: y\n\nb", ["a", "", "", "b"]),
        ("== H == rest of the line\n== so\n=x=", ["== so", "=x="]),
        ("++Title++\n++Why?++", ["Title.", "Why?"]),
    ],
)
def test_the_first_line_behind_a_heading_or_a_list_is_text(wikitext: str, lines: list[str]) -> None:
    """Even if it is indented."""
    assert text_lines(clean(wikitext)) == lines


def test_an_article_is_written_as_wikiextractor_does() -> None:
    """To the byte: the sizes of articles decide where files end, hence which articles are drawn."""
    assert article(7, 'T & "U"', "\n\na\n\nb\n\n== See ==\n* x\n") == (
        '<doc id="7" url="https://en.wikipedia.org/wiki?curid=7" title="T &amp; &quot;U&quot;">\n'
        "T &amp; &quot;U&quot;\n\na\n\nb\n\n\n\n</doc>\n"
    )
    assert article(7, "T", "").endswith('title="T">\nT\n\n\n</doc>\n')


# Clean-up --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "cleaned"),
    [
        ("[[a]] [[b|c]] [d] [[e|f|g]]", "a c d "),
        ("[[File:x]]y", "File:xy"),  # the pattern for links comes before that for files
        ("alt=a picture", "a picture"),
        ("<chem>H2</chem>O", ">H2O"),
        ("a<ref x>b</ref>c<ref y>d", "acd"),
        ("<poem>a</poem> <div class=x>b</div> <br>c", "a b c"),
        ("<hr/>", ""),
        ("<gallery mode=x>", ""),
        ("<graph>a<includeonly>b</graph>c</includeonly>d", "cd"),
        ("<includeonly>a<graph>b</includeonly>c</graph>d", "cd"),
        ("<graph>a</graph> <graph>b <includeonly>c</includeonly>", " b "),
        ("<ins a</ins> <ins b", " a <ins b"),
        ("<hr/>a/>b\\<hr c", "b\\<hr c"),
        ("<ref a <ref>b</ref>c <ref>d", "c d"),
        ("</div <div </div> </div style>", "</div  "),
    ],
)
def test_lines_are_cleaned_as_the_reference_does(line: str, cleaned: str) -> None:
    assert list(clean_lines([line])) == [cleaned]


OPEN = [
    *("<", "< ", "<!--", "<b ", "<ref", "<ref ", "<ref>", "<br ", "<br /", "<gallery ", "<math>", "<math "),
    *("<code>x</code>", "{{", "{{{", "{|", "[[", "[[a|", "[//a ", "[//a [[b]] ", "[[//a", "'''a", "''"),
    *('"', "&", "&#", "\n!", "<syntaxhighlight ", "<syntaxhighlight >", "<chem", "<, ref ", "<includeonly>"),
    *("<graph>", "<hr", "<hr/", "<div", "<poem ", "<mapframe", "</doc "),
]  # fmt: skip
"""What may be left open."""
HOSTILE = [repeated * (200_000 // len(repeated)) for repeated in OPEN] + [
    *("<" + " " * 200_000, "</doc" + " " * 200_000, "[//" + "a" * 200_000, "[//a" + " " * 200_000),
    *("<ref>" * 30_000 + "</ref>" + "x" * 50_000, "{|" * 50_000 + "|}" + "x" * 100_000),
    "".join(f"<math>{number}</math>" for number in range(10_000)),
    "".join(f"<math><math>{number}</math>" for number in range(7_000)),
]


def test_what_nothing_closes_takes_time_in_proportion(tmp_path: Path) -> None:
    """Each text takes a tenth of a second or so, but minutes if each opening looks for its closing by itself."""
    (tmp_path / "texts.json").write_text(json.dumps(HOSTILE))
    code = (
        "import json, resource, sys; resource.setrlimit(resource.RLIMIT_CPU, (30, 30))\n"
        "from octathlon.datasets.wikipedia.cleanup import clean_lines\n"
        "from octathlon.datasets.wikipedia.tokens import Tokenizer\n"
        "from octathlon.datasets.wikipedia.wikitext import article\n"
        "tokenizer = Tokenizer(['[PAD]', '[UNK]', '0', '1', '##0', '##1'])\n"
        "for text in json.load(open(sys.argv[1])):\n"
        "    article(1, 'A', text), list(clean_lines([text]))\n"
        "tokenizer.documents([' ' * 200_000, ' '.join(f'{number:0190b}' for number in range(11_000))])\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "texts.json"], check=True)


def test_lines_that_are_dropped() -> None:
    assert list(clean_lines(["[[Category:x]] y", "</doc>", "", "text"])) == ["text"]
    assert list(clean_lines(['<doc id="1">', "Title", "", "text", "", "</doc>"])) == ["", "text"]


@pytest.fixture(scope="module")
def splitter(tmp_path_factory: pytest.TempPathFactory) -> SentenceSplitter:
    return SentenceSplitter(draw(tmp_path_factory.mktemp("archives")) / "punkt_tab.zip")


def test_articles_are_split_at_exactly_one_empty_line(splitter: SentenceSplitter) -> None:
    """The file begins with an empty line, and its end leaves an empty piece; an emptied line parts articles."""
    first = '<doc id="1">\nA\n\nOne is here. Two is there.\n<gallery>\nThree.\n\n</doc>\n'
    extracted = first + '<doc id="2">\nB\n\nFour.\n</doc>'
    assert articles(extracted.split("\n"), splitter) == [
        "\nOne is here.\nTwo is there.",
        "Three.",
        "Four.",
        "",
    ]


def test_sentences_know_the_models_abbreviations(splitter: SentenceSplitter) -> None:
    assert splitter.sentences("Dr. Who came. He left.  ") == ["Dr. Who came.", "He left."]
    assert splitter.sentences("   ") == []


def test_no_clock_decides_about_a_line(splitter: SentenceSplitter) -> None:
    """NLTK gives a line 5 s, which a stopped process or a very long line exceeds."""
    assert splitter.sentences("One. Two.") == ["One.", "Two."]
    assert redos.DEFAULT_TIMEOUT is None


def test_a_damaged_sentence_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "punkt_tab.zip"
    path.write_bytes(b"PK")
    with pytest.raises(OctathlonError, match=r"punkt_tab\.zip: archive is truncated or damaged"):
        SentenceSplitter(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("punkt_tab/english/abbrev_types.txt", "dr")
    with pytest.raises(OctathlonError, match=r"punkt_tab\.zip.*sent_starters"):
        SentenceSplitter(path)


# Evaluation articles and parts -----------------------------------------------------------------------


def test_drawn_articles_are_the_references() -> None:
    """Published: how many each file gives, and the first random numbers of some."""
    files, wanted = 13_418, 10_000
    counts = [len(evaluation_articles(k, files, wanted, 1000)) for k in range(files)]
    assert sum(counts) == wanted
    assert (counts[0], counts[1], counts[2], counts[3], counts[-1]) == (0, 1, 1, 0, 1)
    assert counts.count(0) == 3418
    for file, first in ((1, 0.6713776236031116), (2, 0.2725720295213806), (13_417, 0.6469538671869894)):
        assert random.Random(12345 + 13 * file).random() == first
        assert evaluation_articles(file, files, wanted, 1000) == [int(first * 1000)]
    assert evaluation_articles(1, files, wanted, 1) == [0]


@pytest.mark.parametrize(("file", "candidates", "drawn"), [(0, 40, [16]), (1, 54, [36]), (2, 15, [4, 5])])
def test_several_articles_of_a_file_are_different(file: int, candidates: int, drawn: list[int]) -> None:
    """Published for an excerpt of a real dump in three files with four articles to draw."""
    assert evaluation_articles(file, 3, 4, candidates) == drawn


def test_files_and_parts_are_packed_greedily() -> None:
    assert pack(np.array([3, 3, 5, 1, 20, 2]), 8) == [(0, 2), (2, 4), (4, 5), (5, 6)]
    assert pack(np.array([], dtype=np.int64), 8) == []
    sizes = np.random.default_rng(1).integers(1, 100, 500)
    runs = pack(sizes, 1000)
    totals = [int(sizes[a:b].sum()) for a, b in runs]
    assert [a for a, _ in runs[1:]] == [b for _, b in runs[:-1]]
    assert all(total <= 1000 for total in totals)
    assert all(total + sizes[b] > 1000 for total, (_, b) in zip(totals[:-1], runs[:-1], strict=True))
