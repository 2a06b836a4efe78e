"""Wikitext -> plain text, by the rules of WikiExtractor 2.75 without options (github.com/attardi/wikiextractor).

The rules are restated, not the program: templates vanish altogether (WikiExtractor evaluates parser functions and
words such as {{CURRENTDAY}}, for which reason no two extractions of one dump are alike).

Anybody may write wikitext: each rule takes time in proportion to the text, whatever is left open in it. Where a pattern
has a group `end`, see `nesting.closed`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from html.entities import name2codepoint
from xml.sax.saxutils import escape

from octathlon.datasets.wikipedia.nesting import closed, elements, links, templates, without

TEMPLATE = re.compile(r"\{\{"), re.compile(r"\}\}")
TABLE = re.compile(r"\{\|"), re.compile(r"\|\}")
NAMESPACES = {"w", "wiktionary", "wikt"}
"""Prefixes of links that are kept; all others vanish with their labels."""

QUOTES = [
    (re.compile(r"'''''(.*?)'''''"), r"\1"),
    (re.compile(r"'''(.*?)'''"), r"\1"),
    (re.compile(r"''(.*?)''"), r'"\1"'),
    (re.compile(r'""([^"]*?)""'), r'"\1"'),
    (re.compile(r"'''"), ""),
    (re.compile(r"''"), '"'),
]
PROTOCOLS = (
    "(?:bitcoin|geo|magnet|mailto|news|sips?|sms|tel|urn|xmpp):"
    "|(?:(?:ftps?|git|gopher|https?|ircs?|mms|nntp|redis|sftp|ssh|svn|telnet|worldwind):)?//"
)
_LABEL = r"[^\[\]\x00-\x08\x0a-\x1f]"
EXTERNAL_LINK = re.compile(
    rf"\[(?:{PROTOCOLS})[^\[\]<>\"\x00-\x20\x7f\s]++\s*+((?:{_LABEL}++|\[\[{_LABEL}++\]\])*+)\]",
    re.IGNORECASE,
)
"""Possessive throughout: what comes next can't begin with what was taken, so that giving it back finds nothing."""
IMAGE = re.compile(
    r"https?://[^\[\]<>\"\x00-\x20\x7f\s]+/[\w.,~%\-+&;#*?!=()@\x80-\xff]+\.(?:gif|png|jpe?g)", re.I | re.A
)
"""A label of an external link that is replaced by a picture, hence by nothing."""
SWITCH = re.compile(
    "__(?:(?:FORCE|NO)?TOC|(?:NO)?NEWSECTIONLINK|NOGALLERY|HIDDENCAT|NOCONTENTCONVERT|NOCC|NOTITLECONVERT|NOTC"
    "|START|END|(?:NO)?INDEX|STATICREDIRECT|DISAMBIG)__"
)
PROGRAM = re.compile(
    r"&lt;syntaxhighlight .*?(?:&gt;(.*?)(?:(?P<end>&lt;/syntaxhighlight&gt;)|\Z)|\Z)", re.DOTALL
)
REFERENCE = re.compile(r"&(#?)(\w+);")

PREFIX = re.compile(r":?([^:]+):")

_HTML = re.IGNORECASE | re.DOTALL
COMMENT = re.compile(r"<!--.*?(?:(?P<end>-->)|\Z)", re.DOTALL)
TAG_NAME = re.compile(r"<\s*(?:/\s*)?(\w+)")
_SELF_CLOSING = "br hr nobr ref references nowiki"
_UNWRAPPED = (
    "abbr b big blockquote center cite em font h1 h2 h3 h4 hiero i kbd p plaintext s span strike strong tt u var"
    " a"
)
TAGS = {
    **{
        tag: [re.compile(rf"<\s*+{tag}\b(?:[^>/]+|/(?!\s*>))*+(?P<end>/\s*>)?", _HTML)]
        for tag in _SELF_CLOSING.split()
    },
    **{
        tag: [re.compile(rf"<{tag}\b[^>]*(?P<end>>)?", _HTML), re.compile(rf"</\s*{tag}(?P<end>>)", _HTML)]
        for tag in _UNWRAPPED.split()
    },
}
"""What goes while the content of the element stays."""
_DISCARDED = (
    "gallery timeline noinclude pre table tr td th caption div form input select option textarea ul li ol dl dt dd menu"
    " dir ref references img imagemap source small sub sup indicator"
)
ELEMENTS = {
    tag: (re.compile(rf"<\s*+{tag}\b[^>/]*(?P<end>>)?", _HTML), re.compile(rf"<\s*/\s*{tag}>", _HTML))
    for tag in _DISCARDED.split()
}
PLACEHOLDERS = {
    name: re.compile(rf"<\s*{tag}(?:\s*>| [^>]+(?:>|\Z)).*?(?:(?P<end><\s*/\s*{tag}\s*>)|\Z)", _HTML)
    for tag, name in (("math", "formula"), ("code", "codice"))
}
SPACES, DOTS = re.compile(r" {2,}"), re.compile(r"\.{4,}")
PUNCTUATION_LINE = re.compile(r"\n\W+?\n")


def article(number: int, title: str, wikitext: str) -> str:
    """An article as WikiExtractor writes it: a `<doc>` line, the title, its text, `</doc>`."""
    title = _escaped(title)
    lines = "".join(f"{line}\n" for line in text_lines(clean(wikitext)))
    url = f"https://en.wikipedia.org/wiki?curid={number}"
    return f'<doc id="{number}" url="{url}" title="{title}">\n{title}\n\n{lines}\n</doc>\n'


def clean(wikitext: str) -> str:
    """The text without markup, but with its headings, lists and empty lines."""
    text = _escaped(wikitext)
    text = without(text, templates(text))
    for opening, closing in TEMPLATE, TABLE:
        text = without(text, elements(text, opening.finditer(text), closing))
    for pattern, replacement in QUOTES:
        text = pattern.sub(replacement, text)
    text = _without_links(text)
    text = EXTERNAL_LINK.sub(lambda link: "" if IMAGE.fullmatch(link[1]) else link[1], text)
    text = SWITCH.sub("", text)
    text = _unescaped(_without_tags(_unescaped_around_programs(text)))
    for name, pattern in PLACEHOLDERS.items():
        text = _with_placeholders(text, name, pattern)
    return _tidy(text)


def text_lines(text: str) -> list[str]:
    """The lines of running text, with at most one empty line in a row but where a list ends.

    A heading, a list, what looks like the rest of a table: none of these. Of an indented line only the first behind a
    heading or a list is running text.
    """
    kept: list[str] = []
    in_list = headed = False
    for line in text.split("\n"):
        if not line:
            if in_list or (kept and kept[-1]):
                kept.append("")
            in_list = False
        elif line.startswith("==") and "==" in line[2:]:
            in_list, headed = False, True
        elif line.startswith("++"):  # a title, ++so++
            if title := line[2:-2]:
                kept.append(title if title[-1] in "!?" else f"{title}.")
        elif line[0] in "*#;":
            in_list = True
        elif line[0] == ":":
            continue
        elif in_list:
            kept.append(line)
            in_list = False
        elif not _is_rest(line) and (headed or line[0] != " "):
            kept.append(line)
            headed = False
    return kept


def _is_rest(line: str) -> bool:
    """Whether it looks like what is left of a table, or of text whose templates and links vanished."""
    return line[0] in "{|" or line[-1] == "}" or line[0] + line[-1] == "()" or not line.strip(".-")


def _escaped(text: str) -> str:
    """As it stands in a dump, which is what WikiExtractor's first rules see."""
    return escape(text, {'"': "&quot;"})


def _unescaped(text: str) -> str:
    """Without the character references of HTML 4."""
    return REFERENCE.sub(_character, text)


def _unescaped_around_programs(text: str) -> str:
    """Not the programs, lest their < begin a tag."""
    pieces, position = [], 0
    for program in closed(PROGRAM, text):
        pieces += _unescaped(text[position : program.start()]), program[1]
        position = program.end()
    return "".join(pieces) + _unescaped(text[position:])


def _character(reference: re.Match[str]) -> str:
    numeric, name = reference.groups()
    try:
        if not numeric:
            return chr(name2codepoint[name])
        character = chr(int(name[1:], 16) if name[0] == "x" else int(name))
        character.encode()  # refuses one half of a surrogate pair
    except (KeyError, ValueError, OverflowError):
        return reference[0]
    return character


def _without_links(text: str) -> str:
    pieces, position = [], 0
    for start, stop in links(text):
        pieces += text[position:start], _link_text(text[start + 2 : stop - 2])
        position = stop
    return "".join(pieces) + text[position:]


def _link_text(inner: str) -> str:
    """What is left of [[inner]]: its label; nothing of a file, a category, another language."""
    bar = inner.find("|")
    prefix = PREFIX.match(inner if bar < 0 else inner[:bar])
    if prefix and prefix[1] not in NAMESPACES:
        return ""
    if bar < 0:
        return inner
    position = bar + 1
    for start, stop in links(inner):  # the label begins behind the last bar before a link in it
        bar = max(bar, inner.rfind("|", position, start))
        position = stop
    return inner[bar + 1 :].strip()


def _without_tags(text: str) -> str:
    spans = [match.span() for match in closed(COMMENT, text)]
    used = {name.lower() for name in TAG_NAME.findall(text)}
    for tag, patterns in TAGS.items():
        if tag in used:
            spans += (match.span() for pattern in patterns for match in closed(pattern, text))
    text = without(text, spans)
    for tag, (opening, closing) in ELEMENTS.items():
        if tag in used:
            text = without(text, elements(text, closed(opening, text), closing))
    return text


def _with_placeholders(text: str, name: str, pattern: re.Pattern[str]) -> str:
    """Each element as name and number: its place among all of them, or the first of those that are the same.

    WikiExtractor replaces them one after the other, each everywhere. So where an element ends with another, as one that
    is not closed does, the first of the two is replaced.
    """
    numbers: dict[str, int] = {}
    for number, match in enumerate(closed(pattern, text), start=1):
        numbers.setdefault(match[0], number)
    lengths = sorted(set(map(len, numbers)))

    def replaced(match: re.Match[str]) -> str:
        element = match[0]
        if not match["end"]:
            return element
        ends = (element[-length:] for length in lengths[: bisect_right(lengths, len(element))])
        first = min((end for end in ends if end in numbers), key=numbers.__getitem__)
        return f"{element.removesuffix(first)}{name}_{numbers[first]}"

    return pattern.sub(replaced, text) if numbers else text


def _tidy(text: str) -> str:
    text = text.replace("<<", "«").replace(">>", "»").replace("\t", " ")
    text = DOTS.sub("...", SPACES.sub(" ", text))
    text = PUNCTUATION_LINE.sub("\n", text)
    return text.replace(",,", ",").replace(",.", ".")
