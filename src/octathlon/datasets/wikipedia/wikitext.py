"""Wikitext -> plain text, by the rules of WikiExtractor 2.75 without options (github.com/attardi/wikiextractor).

The rules are restated, not the program: templates vanish altogether (WikiExtractor evaluates parser functions and
words such as {{CURRENTDAY}}, for which reason no two extractions of one dump are alike).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape

PARAMETER = re.compile(r"\{\{\{[^{}]*\}\}\}")
TEMPLATE = re.compile(r"(\{\{)|\}\}")
TABLE = re.compile(r"(\{\|)|\|\}")
LINK = re.compile(r"(\[\[)|\]\]")
TRAIL = re.compile(r"[^\W\d_]+")
NAMESPACES = {"w", "wiktionary", "wikt"}
"""Prefixes of links that are kept; all others vanish with their labels."""

QUOTES = [
    (re.compile(r"'''''(.*?)'''''"), r"\1"),
    (re.compile(r"'''(.*?)'''"), r"\1"),
    (re.compile(r"''\"([^\"]*?)\"''"), r'"\1"'),
    (re.compile(r"''(.*?)''"), r'"\1"'),
    (re.compile(r'""([^"]*?)""'), r'"\1"'),
]
PROTOCOLS = (
    "bitcoin|ftp|ftps|geo|git|gopher|https?|ircs?|magnet|mailto|mms|news|nntp|redis|sftp|sip|sips|sms|ssh|svn|tel"
    "|telnet|urn|worldwind|xmpp"
)
EXTERNAL_LINK = re.compile(
    rf"\[(?:(?:{PROTOCOLS}):|//)[^\[\]<>\"\s]+\s*([^\]\x00-\x08\x0a-\x1f]*?)\]", re.IGNORECASE
)
SWITCH = re.compile(r"__[A-Z]+__")

COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
SELF_CLOSING = re.compile(r"<\s*(?:br|hr|nobr|ref|references|nowiki)\b[^>]*/\s*>", re.IGNORECASE | re.DOTALL)
_TAGS = (
    "abbr|b|big|blockquote|center|cite|em|font|h[1-4]|hiero|i|kbd|p|plaintext|s|span|strike|strong|tt|u|var|a"
)
UNWRAPPED = re.compile(rf"<(?:{_TAGS})\b.*?>|</\s*(?:{_TAGS})>", re.IGNORECASE | re.DOTALL)
"""Tags that go while their content stays."""
DISCARDED = [
    *(
        "gallery",
        "timeline",
        "noinclude",
        "pre",
        "table",
        "tr",
        "td",
        "th",
        "caption",
        "div",
        "form",
        "input",
        "select",
    ),
    *(
        "option",
        "textarea",
        "ul",
        "li",
        "ol",
        "dl",
        "dt",
        "dd",
        "menu",
        "dir",
        "ref",
        "references",
        "img",
        "imagemap",
    ),
    *("source", "small", "sub", "sup", "indicator"),
]
TAG_NAME = re.compile(r"<\s*(\w+)")
ELEMENTS = {
    tag: re.compile(rf"(<\s*{tag}\b[^>/]*>)|<\s*/\s*{tag}\s*>", re.IGNORECASE | re.DOTALL)
    for tag in DISCARDED
}
PLACEHOLDERS = {
    name: re.compile(rf"<\s*{tag}\b[^>]*>.*?<\s*/\s*{tag}\s*>", re.IGNORECASE | re.DOTALL)
    for tag, name in (("math", "formula"), ("code", "codice"))
}
SPACES, DOTS = re.compile(r" {2,}"), re.compile(r"\.{4,}")
PUNCTUATION_LINE = re.compile(r"\n\W+?\n")
HEADING = re.compile(r"(={2,6})(.*?)\1\s*$")


def article(number: int, title: str, wikitext: str) -> str:
    """An article as WikiExtractor writes it: a `<doc>` line, the title, its text, `</doc>`."""
    lines = "\n".join(text_lines(clean(wikitext))).strip("\n")
    url = f"https://en.wikipedia.org/wiki?curid={number}"
    return f'<doc id="{number}" url="{url}" title="{title}">\n{title}\n\n{lines}\n\n</doc>\n'


def clean(text: str) -> str:
    """The text without markup, but with its headings, lists and empty lines."""
    text = _replace_balanced(PARAMETER.sub("", COMMENT.sub("", text)), TEMPLATE)
    text = _replace_balanced(text, TABLE)
    for pattern, replacement in QUOTES:
        text = pattern.sub(replacement, text)
    text = text.replace("'''", "").replace("''", '"')
    text = _replace_balanced(text, LINK, _link_text)
    text = EXTERNAL_LINK.sub(r"\1", text)
    text = SWITCH.sub("", text)
    text = _without_elements(text) if "<" in text else text
    return _tidy(unescape(text))


def text_lines(text: str) -> Iterator[str]:
    """The lines of running text. A heading, a list, what looks like the rest of a table: none of these."""
    before = ""
    for line in text.split("\n"):
        if line and _is_text(line) or before and not line:
            before = line
            yield line


def _is_text(line: str) -> bool:
    if line[0] in "*#;: {|" or line[-1] == "}":
        return False
    if line[0] == "(" and line[-1] == ")":
        return False
    return bool(line.strip(".-")) and not HEADING.match(line)


def _replace_balanced(
    text: str, brackets: re.Pattern[str], replace: Callable[[str], str] = lambda inner: ""
) -> str:
    """Replace each outermost balanced pair; group 1 of `brackets` is the opening one. Unbalanced ones stay."""
    opened: list[re.Match[str]] = []
    spans: list[tuple[int, int, str]] = []
    for bracket in brackets.finditer(text):
        if bracket[1]:
            opened.append(bracket)
        elif opened:
            begin = opened.pop()
            while spans and spans[-1][0] > begin.start():
                spans.pop()  # lies inside of this one
            spans.append((begin.start(), bracket.end(), text[begin.end() : bracket.start()]))
    if not spans:
        return text
    pieces, position = [], 0
    for start, end, inner in spans:
        pieces += text[position:start], replace(inner)
        position = end
    return "".join(pieces) + text[position:]


def _link_text(inner: str) -> str:
    """What is left of [[inner]]: its label; nothing of a file, a category, another language."""
    title, bar, label = inner.partition("|")
    title = title.rstrip()
    namespace, colon, _ = title.removeprefix(":").partition(":")
    if colon and namespace not in NAMESPACES:
        return ""
    return label.strip() if bar else title


def _without_elements(text: str) -> str:
    text = UNWRAPPED.sub("", SELF_CLOSING.sub("", text))
    used = {name.lower() for name in TAG_NAME.findall(text)}
    for tag in DISCARDED:
        if tag in used:
            text = _replace_balanced(text, ELEMENTS[tag])
    for name, pattern in PLACEHOLDERS.items():
        for number, element in enumerate(dict.fromkeys(pattern.findall(text)), start=1):
            text = text.replace(element, f"{name}_{number}")
    return text


def _tidy(text: str) -> str:
    text = text.replace("<<", "«").replace(">>", "»").replace("\t", " ")
    text = DOTS.sub("...", SPACES.sub(" ", text))
    text = PUNCTUATION_LINE.sub("\n", text)
    return text.replace(",,", ",").replace(",.", ".")
