"""The sentencepiece model: word pieces of a unigram language model (Kudo 2018, arXiv:1804.10959).

Options as in the reference (mlcommons/training, rnn_speech_recognition/pytorch/scripts/preprocess_librispeech.sh);
whatever is not named is sentencepiece's default. The piece with id 0 is the unknown one.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from octathlon.datasets.librispeech.tables import MODEL, TOKEN, read_model
from octathlon.errors import OctathlonError
from octathlon.receipts import publish


def train_vocabulary(texts: Iterable[str], pieces: int, out: Path) -> None:
    """Write `out/tokens.model`.

    Raises:
        OctathlonError: if the texts can't be cut into so few or so many pieces.
    """
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="unigram",
            vocab_size=pieces,
            character_coverage=1.0,
            bos_id=-1,
            eos_id=-1,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).split(") ", 1)[-1]
        raise OctathlonError(
            f"the training transcripts give no {pieces} pieces ({reason}); set datasets.librispeech.vocabulary"
        ) from None
    with publish(out / MODEL) as temporary:
        temporary.write_bytes(model.getvalue())


def encode(texts: list[str], out: Path) -> tuple[np.ndarray, np.ndarray]:
    """The ids of the pieces of all texts in a row, of dtype TOKEN, and how many each text has, int64.

    Raises:
        OctathlonError: if a text has none.
    """
    processor = read_model(out)
    ids = [np.array(processor.encode(text), dtype=TOKEN) for text in texts]
    for text, each in zip(texts, ids, strict=True):
        if not len(each):
            raise OctathlonError(
                f"the transcript {ascii(text)} holds nothing to be said; mend it or leave its recording out"
            )
    return np.concatenate(ids), np.array([len(each) for each in ids])


def spelled_in_pieces(texts: list[str], out: Path) -> list[str]:
    """The texts as their own pieces spell them, which is all that a model can write.

    sentencepiece cuts a text up only after Unicode's normal form KC: "é" is one letter whichever way it was written,
    ligatures and wide letters are plain ones, "…" is three dots, a space without width is a space.
    """
    processor = read_model(out)
    return processor.decode(processor.encode(texts))
