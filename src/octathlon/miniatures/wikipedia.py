"""A miniature English Wikipedia: a made-up world of three regions and three classes of things.

An article tells of one class in one region; number, class and region decide nearly every word, but the facts are
spread over the sentences so that neighbouring words do not give them away: a model must use its whole context.
Around the text stands what extraction has to remove: templates, tables, references, lists, headings, categories,
comments, redirects and pages of other namespaces. The dump is multistream, as upstream's.
"""

from __future__ import annotations

import bz2
import io
import random
import string
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from octathlon.miniatures.files import replacing
from octathlon.miniatures.tensor_bundle import data_file, index_file

DUMP = "enwiki-20200101-pages-articles-multistream.xml.bz2"
VOCABULARY, PUNKT = "vocab.txt", "punkt_tab.zip"
INDEX, DATA = "model.ckpt-28252.index", "model.ckpt-28252.data-00000-of-00001"

PAGES_PER_STREAM = 100
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
POSITIONS = 32
"""The longest sequence that the drawn checkpoint has positions for."""

SEASONS = ["spring", "summer", "autumn"]
KINDS = ["bird", "tree", "boat"]
VERBS = ["nests", "grows", "sails"]
PLACES = ["marsh", "valley", "harbour"]
ADVERBS = ["quietly", "slowly", "swiftly"]
PURPOSES = ["luck", "shade", "trade"]
PARTS = ["feathers", "branches", "masts"]
ADJECTIVES = ["small", "large", "rare"]
NUMBERS = ["two", "three", "nine"]
ORDINALS = ["third", "tenth", "last"]


@dataclass(frozen=True)
class Region:
    """The words of a region, all made up but the season."""

    name: str
    capital: str
    language: str
    river: str
    demonym: str
    season: str


@dataclass(frozen=True)
class Thing:
    """The words of a class of things; the noun is made up."""

    noun: str
    kind: str
    verb: str
    place: str
    adverb: str
    purpose: str
    parts: str


def archives(**_sizes: int) -> list[str]:
    """The archives that `draw` can draw."""
    return [DUMP, VOCABULARY, PUNKT, INDEX, DATA]


def draw(
    archive: str, folder: Path, *, seed: int, articles: int, layers: int, hidden: int, inner: int
) -> None:
    """Write `folder/archive`: the same bytes for the same seed and sizes, whatever else was drawn.

    Args:
        articles: articles of the dump; redirects and other pages come on top.
        layers, hidden, inner: sizes of the model whose state the checkpoint holds.
    """
    writers: dict[str, Callable[[], bytes]] = {
        DUMP: lambda: _dump(seed, articles),
        VOCABULARY: lambda: "".join(f"{word}\n" for word in _vocabulary(*_world(seed))).encode(),
        PUNKT: _punkt,
        INDEX: lambda: index_file(_checkpoint(seed, layers, hidden, inner)),
        DATA: lambda: data_file(_checkpoint(seed, layers, hidden, inner)),
    }
    content = writers[archive]()
    with replacing(folder / archive) as file:
        file.write(content)


# The world ---------------------------------------------------------------------------------------------


def _world(seed: int) -> tuple[list[Region], list[Thing]]:
    rng = random.Random(f"{seed} world")
    names = _names(rng)
    regions = [
        Region(*(next(names).capitalize() for _ in range(5)), season)
        for season in rng.sample(SEASONS, len(SEASONS))
    ]
    facts = zip(KINDS, VERBS, PLACES, ADVERBS, PURPOSES, PARTS, strict=True)
    return regions, [Thing(next(names), *words) for words in facts]


def _names(rng: random.Random) -> Iterator[str]:
    """New words of two or three syllables, none of which begins another, nor a word of the language."""
    seen = {*ADVERBS, *PLACES, *VERBS}
    while True:
        syllables = rng.choice([2, 2, 3])
        name = "".join(rng.choice("bdfgklmnprtvz") + rng.choice("aeiou") for _ in range(syllables))
        if not any(name.startswith(other) or other.startswith(name) for other in seen):
            seen.add(name)
            yield name


def _vocabulary(regions: list[Region], things: list[Thing]) -> list[str]:
    """Specials, letters, continued letters, punctuation, and every word of the articles."""
    rng = random.Random(0)
    words: set[str] = set()
    for region in regions:
        for thing in things:
            for plural in (False, True):
                text = " ".join(pattern(rng, region, thing, plural) for pattern in PATTERNS)
                words.update(text.lower().replace(",", " ").replace(".", " ").split())
    words |= {*ADJECTIVES, *NUMBERS, *ORDINALS}
    letters = list(string.ascii_lowercase)
    longer = sorted(word for word in words if len(word) > 1)
    return [*SPECIALS, *letters, *(f"##{letter}" for letter in letters), ".", ",", *longer]


# Sentences ---------------------------------------------------------------------------------------------

Pattern = Callable[[random.Random, Region, Thing, bool], str]


def _noun(thing: Thing, plural: bool) -> str:
    return thing.noun + "s" * plural


def _verb(thing: Thing, plural: bool) -> str:
    return thing.verb[:-1] if plural else thing.verb


def _definition(rng: random.Random, region: Region, thing: Thing, plural: bool) -> str:
    adjective = rng.choice(ADJECTIVES)
    if plural:
        return f"The {_noun(thing, True)} are {adjective} {thing.kind}s of {region.name}."
    return f"The {_noun(thing, False)} is a {adjective} {thing.kind} of {region.name}."


PATTERNS: list[Pattern] = [  # facts of the same region or thing never stand close to each other
    _definition,
    lambda _, r, t, p: (
        f"{'They' if p else 'It'} {_verb(t, p)} in {r.season} near the {t.place}."
    ),
    lambda _, r, t, p: (
        f"People of {r.capital} keep the {_noun(t, p)} and speak {r.language} for {t.purpose}."
    ),
    lambda _, r, t, p: (
        f"Along the {r.river} {'they' if p else 'it'} {_verb(t, p)} as the {r.demonym} {t.kind}s always do, {t.adverb}."
    ),
    lambda rng, r, t, p: (
        f"{r.demonym} writers call {'them' if p else 'it'} {rng.choice(ADJECTIVES)}, the {t.parts} of {r.capital}."
    ),
    lambda rng, r, t, p: (
        f"Since the {rng.choice(ORDINALS)} century {r.language} songs name the {t.place} of {r.name} for "
        f"{'them' if p else 'it'}."
    ),
    lambda rng, r, t, p: (
        f"In the {t.place} of {r.season} {'they have' if p else 'it has'} {rng.choice(NUMBERS)} {t.parts}."
    ),
    lambda rng, r, t, p: (
        f"{r.capital} sells the {rng.choice(ADJECTIVES)} {_noun(t, p)}, and {r.river} ships carry "
        f"{'them' if p else 'it'}."
    ),
    lambda _, r, t, p: (
        f"For {t.purpose} the {r.name} people {t.adverb} seek {'them' if p else 'it'} by the {r.river}."
    ),
]  # fmt: skip


def _sentences(rng: random.Random, region: Region, thing: Thing, plural: bool) -> list[str]:
    """10 to 16 sentences; the first is the definition."""
    others = PATTERNS[1:] * 2
    chosen = [PATTERNS[0], *rng.sample(others, rng.randint(9, 15))]
    return [pattern(rng, region, thing, plural) for pattern in chosen]


# Pages -------------------------------------------------------------------------------------------------


def _dump(seed: int, articles: int) -> bytes:
    """The streams of the dump: site information, `PAGES_PER_STREAM` pages each, the closing tag."""
    pages = list(_pages(seed, articles))
    groups = [pages[start : start + PAGES_PER_STREAM] for start in range(0, len(pages), PAGES_PER_STREAM)]
    streams = [SITE, *("".join(group) for group in groups), "</mediawiki>\n"]
    return b"".join(bz2.compress(stream.encode()) for stream in streams)


def _pages(seed: int, articles: int) -> Iterator[str]:
    """All pages in the order of their numbers; a quarter of the articles has a redirect or template behind it."""
    rng = random.Random(f"{seed} pages")
    regions, things = _world(seed)
    number = 10
    for article in range(articles):
        region, thing = rng.choice(regions), rng.choice(things)
        plural = rng.random() < 0.5
        title = f"{thing.noun.capitalize()} {article} ({region.name})"
        yield _page(rng, number, title, _wikitext(rng, region, thing, plural))
        number += rng.randint(1, 9)
        chance = rng.random()
        if chance < 0.2:
            alias = f"{region.demonym} {thing.noun} {article}"
            yield _page(rng, number, alias, f"#REDIRECT [[{title}]] {{{{R from alias}}}}", redirect=title)
            number += rng.randint(1, 9)
        elif chance < 0.25:
            yield _page(rng, number, f"Template:{title}", "{{Navbox|list=[[A]] [[B]]}}", namespace=10)
            number += rng.randint(1, 9)


SITE = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="en">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <dbname>enwiki</dbname>
    <base>https://en.wikipedia.org/wiki/Main_Page</base>
    <generator>MediaWiki 1.35.0-wmf.11</generator>
    <case>first-letter</case>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="6" case="first-letter">File</namespace>
      <namespace key="10" case="first-letter">Template</namespace>
      <namespace key="14" case="first-letter">Category</namespace>
    </namespaces>
  </siteinfo>
"""

PAGE = """  <page>
    <title>{title}</title>
    <ns>{namespace}</ns>
    <id>{number}</id>
{redirect}    <revision>
      <id>{revision}</id>
      <parentid>{parent}</parentid>
      <timestamp>2019-12-{day:02d}T10:20:30Z</timestamp>
      <contributor>
        <username>Writer &amp; Co</username>
        <id>{number}</id>
      </contributor>
      <comment>a &lt;page&gt; of a made-up world</comment>
      <model>wikitext</model>
      <format>text/x-wiki</format>
      <text bytes="{size}" xml:space="preserve">{text}</text>
      <sha1>phoiac9h4m842xq45sp7s6u21eteeq1</sha1>
    </revision>
  </page>
"""


def _page(
    rng: random.Random, number: int, title: str, text: str, namespace: int = 0, redirect: str = ""
) -> str:
    parent = rng.randrange(10**8)
    return PAGE.format(
        title=escape(title),
        namespace=namespace,
        number=number,
        redirect=f'    <redirect title="{escape(redirect)}" />\n' if redirect else "",
        revision=parent + 1,
        parent=parent,
        day=rng.randint(1, 31),
        size=len(text.encode()),
        text=escape(text, {'"': "&quot;"}),
    )


def _wikitext(rng: random.Random, region: Region, thing: Thing, plural: bool) -> str:
    """An article's markup, of which exactly the sentences are left after extraction."""
    sentences = [_marked(rng, sentence, region) for sentence in _sentences(rng, region, thing, plural)]
    noun = _noun(thing, plural)
    sentences[0] = sentences[0].replace(noun, f"'''{noun}'''", 1)
    cut = rng.randint(3, 6)
    first, second, rest = sentences[:2], sentences[2:cut], sentences[cut:]
    return ARTICLE.format(
        noun=thing.noun,
        region=region.name,
        capital=region.capital,
        season=region.season,
        first=" ".join(first),
        second=" ".join(second),
        rest=" ".join(rest),
    )


ARTICLE = """{{{{Infobox thing
| name = {noun}
| region = [[{region}]]
| range = {{{{convert|12|km|mi}}}}
}}}}
<!-- see the [[Talk:{noun}|talk page]] -->
{first}

{second}

== Range ==
[[File:{noun}.jpg|thumb|A view of the [[{region}]] hills]]
{{| class="wikitable"
! Season !! Count
|-
| {season} || 12
|}}
{rest}

== See also ==
* [[{region}]]
* [[{capital} (place)|{capital}]]
# {{{{lang|xx|{season}}}}}

== References ==
{{{{reflist}}}}
[[Category:Things of {region}]]
[[fr:{noun}]]
__NOTOC__"""


def _marked(rng: random.Random, sentence: str, region: Region) -> str:
    """The sentence with links, a reference or an entity here and there."""
    chance = rng.random()
    if chance < 0.3:
        sentence = sentence.replace(region.capital, f"[[{region.capital} (place)|{region.capital}]]")
    elif chance < 0.5:
        sentence = sentence.replace(region.name, f"[[{region.name}]]")
    elif chance < 0.6:
        sentence += '<ref name="book">{{cite book |title=Things |year=1901 |page=12}}</ref>'
    elif chance < 0.65:
        sentence = sentence.replace(" the ", "&nbsp;the ", 1)
    return sentence


# Other files -------------------------------------------------------------------------------------------


def _punkt() -> bytes:
    """A sentence model in the format of NLTK's punkt_tab.zip: a few abbreviations, as good as nothing learnt."""
    files = {
        "abbrev_types.txt": "dr\nmr\nst",
        "collocations.tab": "##number##\tst",
        "ortho_context.tab": "the\t46",
        "sent_starters.txt": "however",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(zipfile.ZipInfo(f"punkt_tab/english/{name}"), content)
    return buffer.getvalue()


def _checkpoint(seed: int, layers: int, hidden: int, inner: int) -> dict[str, np.ndarray]:
    """The reference checkpoint's tensors at another size, with the optimizer's slots.

    As in the reference's, something is there already: positions are waves, in which neighbours are easily found. All
    else is freshly initialised.
    """
    rng = np.random.default_rng([seed, 5])
    deviation = 0.02 * (1024 / hidden) ** 0.5  # the reference's 0.02 at its width, and more at a smaller one
    shapes = _shapes(layers, hidden, inner, vocabulary=len(_vocabulary(*_world(seed))))
    tensors = {name: _initial(rng, name, shape, deviation) for name, shape in shapes.items()}
    tensors["bert/embeddings/position_embeddings"] = _waves(hidden)
    slots = {
        f"{name}/{slot}": np.zeros_like(tensor)
        for name, tensor in tensors.items()
        for slot in ("LAMB", "LAMB_1")
    }
    powers = {
        "beta1_power": np.float32(0.9),
        "beta2_power": np.float32(0.999),
        "global_step": np.int64(28252),
    }
    return tensors | slots | {name: np.asarray(value) for name, value in powers.items()}


def _waves(hidden: int) -> np.ndarray:
    """Sines and cosines of many wave lengths (Vaswani et al. 2017), of shape (POSITIONS, hidden)."""
    angles = np.arange(POSITIONS)[:, None] * 100.0 ** -np.linspace(0, 1, hidden // 2, endpoint=False)
    return (0.1 * np.concatenate([np.sin(angles), np.cos(angles)], axis=1)).astype("<f4")


def _initial(rng: np.random.Generator, name: str, shape: tuple[int, ...], deviation: float) -> np.ndarray:
    """Layer norms start at 1 and 0, biases at 0, all else at random numbers."""
    if name.endswith("gamma"):
        return np.ones(shape, "<f4")
    if name.endswith(("beta", "bias")):
        return np.zeros(shape, "<f4")
    return _truncated(rng, shape, deviation)


def _truncated(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> np.ndarray:
    """Normal numbers, cut off at two deviations."""
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(outside.sum())
    return (values * deviation).astype("<f4")


def _shapes(layers: int, hidden: int, inner: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the 14 + 16 x layers tensors; kernels are (inputs, outputs)."""
    shapes: dict[str, tuple[int, ...]] = {
        "bert/embeddings/word_embeddings": (vocabulary, hidden),
        "bert/embeddings/position_embeddings": (POSITIONS, hidden),
        "bert/embeddings/token_type_embeddings": (2, hidden),
        "cls/predictions/output_bias": (vocabulary,),
        "cls/seq_relationship/output_weights": (2, hidden),
        "cls/seq_relationship/output_bias": (2,),
    }
    dense = {"bert/pooler/dense": (hidden, hidden), "cls/predictions/transform/dense": (hidden, hidden)}
    norms = ["bert/embeddings/LayerNorm", "cls/predictions/transform/LayerNorm"]
    for layer in range(layers):
        prefix = f"bert/encoder/layer_{layer}"
        dense |= {f"{prefix}/attention/self/{part}": (hidden, hidden) for part in ("query", "key", "value")}
        dense[f"{prefix}/attention/output/dense"] = (hidden, hidden)
        dense[f"{prefix}/intermediate/dense"] = (hidden, inner)
        dense[f"{prefix}/output/dense"] = (inner, hidden)
        norms += [f"{prefix}/attention/output/LayerNorm", f"{prefix}/output/LayerNorm"]
    for name, shape in dense.items():
        shapes |= {f"{name}/kernel": shape, f"{name}/bias": shape[1:]}
    for name in norms:
        shapes |= {f"{name}/gamma": (hidden,), f"{name}/beta": (hidden,)}
    return shapes
