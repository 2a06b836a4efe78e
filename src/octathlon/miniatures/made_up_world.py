"""The world that the miniature Wikipedia tells of, and the language that it does it in.

An article tells of one of three classes of things in one of three regions; number, class and region decide nearly every
word, but the facts are spread over the sentences so that neighbouring words do not give them away: a model must use its
whole context.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
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


def make_world(seed: int) -> tuple[list[Region], list[Thing]]:
    """Three regions and three classes of things, other ones for another seed."""
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


def vocabulary(regions: list[Region], things: list[Thing]) -> list[str]:
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


def noun_of(thing: Thing, plural: bool) -> str:
    """The singular or plural."""
    return thing.noun + "s" * plural


def _verb(thing: Thing, plural: bool) -> str:
    return thing.verb[:-1] if plural else thing.verb


def _definition(rng: random.Random, region: Region, thing: Thing, plural: bool) -> str:
    adjective = rng.choice(ADJECTIVES)
    if plural:
        return f"The {noun_of(thing, True)} are {adjective} {thing.kind}s of {region.name}."
    return f"The {noun_of(thing, False)} is a {adjective} {thing.kind} of {region.name}."


PATTERNS: list[Pattern] = [  # facts of the same region or thing never stand close to each other
    _definition,
    lambda _, r, t, p: (
        f"{'They' if p else 'It'} {_verb(t, p)} in {r.season} near the {t.place}."
    ),
    lambda _, r, t, p: (
        f"People of {r.capital} keep the {noun_of(t, p)} and speak {r.language} for {t.purpose}."
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
        f"{r.capital} sells the {rng.choice(ADJECTIVES)} {noun_of(t, p)}, and {r.river} ships carry "
        f"{'them' if p else 'it'}."
    ),
    lambda _, r, t, p: (
        f"For {t.purpose} the {r.name} people {t.adverb} seek {'them' if p else 'it'} by the {r.river}."
    ),
]  # fmt: skip


def sentences_of(rng: random.Random, region: Region, thing: Thing, plural: bool) -> list[str]:
    """10 to 16 sentences; the first is the definition."""
    others = PATTERNS[1:] * 2
    chosen = [PATTERNS[0], *rng.sample(others, rng.randint(9, 15))]
    return [pattern(rng, region, thing, plural) for pattern in chosen]
