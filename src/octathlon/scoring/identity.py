"""Do logs name the organisation, the system and its availability as the folder and the description do?

Published logs often do not (the platform of a log is free text), so that differences are warnings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from octathlon.scoring.descriptions import AVAILABILITY, availability
from octathlon.scoring.entries import Entry
from octathlon.scoring.findings import Finding


def check_identity(entry: Entry) -> Iterator[Finding]:
    """What the logs of an entry of a tree call differently."""
    description = entry.filing.description
    organisations = (entry.org, description.submitter)
    systems = (entry.system, description.system_name)
    for word in _logged(entry, "org"):
        if _folded(word) not in map(_folded, organisations):
            yield _different("org", word, organisations)
    for word in _logged(entry, "platform"):
        if not any(_contain(word, name) for name in systems):
            yield _different("platform", word, systems)
    described = availability(description.status)
    for word in _logged(entry, "status"):
        if described in AVAILABILITY and availability(word) != described:
            yield _different("status", word, (description.status,))


def _logged(entry: Entry, name: str) -> list[str]:
    words = {run.log.identity[name] for run in entry.runs if run.log.identity.get(name)}
    return sorted(words)


def _folded(word: str) -> str:
    return re.sub(r"[\W_]", "", word).casefold()


def _contain(platform: str, name: str) -> bool:
    """Whether one of the two names the other; a platform may begin with a number of nodes, "2x"."""
    one, other = _folded(re.sub(r"^\d+\s*x", "", platform)), _folded(name)
    return bool(one and other) and (one in other or other in one)


def _different(name: str, word: str, expected: tuple[str, ...]) -> Finding:
    others = " or ".join(dict.fromkeys(each for each in expected if each))
    return Finding("warning", f"submission_{name}.alike", f"{word:.60} in the logs, not {others:.160}")
