"""A miniature English Wikipedia, which tells of a made-up world, and what else BERT starts from.

Around the text stands what extraction has to remove: templates, tables, references, lists, headings, categories,
comments, redirects and pages of other namespaces. The dump is multistream, as upstream's.
"""

from __future__ import annotations

import bz2
import io
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.sax.saxutils import escape

from octathlon.miniatures import bert_checkpoint
from octathlon.miniatures.files import replacing
from octathlon.miniatures.made_up_world import Region, Thing, make_world, noun_of, sentences_of, vocabulary
from octathlon.miniatures.tensor_bundle import data_file, index_file

DUMP = "enwiki-20200101-pages-articles-multistream.xml.bz2"
VOCABULARY, PUNKT = "vocab.txt", "punkt_tab.zip"
INDEX, DATA = "model.ckpt-28252.index", "model.ckpt-28252.data-00000-of-00001"

PAGES_PER_STREAM = 100


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

    def tensors():
        words = vocabulary(*make_world(seed))
        return bert_checkpoint.tensors(seed, len(words), layers, hidden, inner)

    writers: dict[str, Callable[[], bytes]] = {
        DUMP: lambda: _dump(seed, articles),
        VOCABULARY: lambda: "".join(f"{word}\n" for word in vocabulary(*make_world(seed))).encode(),
        PUNKT: _punkt,
        INDEX: lambda: index_file(tensors()),
        DATA: lambda: data_file(tensors()),
    }
    content = writers[archive]()
    with replacing(folder / archive) as file:
        file.write(content)


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
    regions, things = make_world(seed)
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
    sentences = [_marked(rng, sentence, region) for sentence in sentences_of(rng, region, thing, plural)]
    noun = noun_of(thing, plural)
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
