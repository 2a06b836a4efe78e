"""Sentences by Punkt (Kiss and Strunk 2006), with a trained model from NLTK's punkt_tab.zip."""

from __future__ import annotations

from pathlib import Path

from octathlon.errors import OctathlonError
from octathlon.formats.zips import ZipReader

FOLDER = "punkt_tab/english"
LIMIT = 10_000_000
"""No file of the model has more bytes; the largest of the English one has half a million."""


class SentenceSplitter:
    """Splits lines into sentences."""

    def __init__(self, model: Path) -> None:
        """Read the model.

        Raises:
            OctathlonError: if the archive is damaged or holds no such model.
        """
        from nltk import redos
        from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

        redos.DEFAULT_TIMEOUT = None  # else a line fails that takes 5 s, if only as the machine was busy
        parameters = PunktParameters()
        try:
            with ZipReader(model) as archive:
                parameters.abbrev_types.update(_lines(archive, "abbrev_types.txt"))
                parameters.sent_starters.update(_lines(archive, "sent_starters.txt"))
                pairs = (line.split("\t") for line in _lines(archive, "collocations.tab"))
                parameters.collocations.update((first, second) for first, second in pairs)
                for line in _lines(archive, "ortho_context.tab"):
                    word, flags = line.split("\t")
                    parameters.ortho_context[word] = int(flags)
        except ValueError as error:
            raise OctathlonError(f"{model}: not NLTK's sentence model ({error}); fetch it again") from error
        self._punkt = PunktSentenceTokenizer(parameters)

    def sentences(self, line: str) -> list[str]:
        """The sentences of a line, without white space around them; none for a line of white space."""
        return [sentence.strip() for sentence in self._punkt.tokenize(line)]


def _lines(archive: ZipReader, name: str) -> list[str]:
    return archive.read(f"{FOLDER}/{name}", LIMIT).decode().splitlines()
