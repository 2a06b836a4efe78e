"""BERT: our training step beside transformers' BertForPreTraining, on the same batch from the same weights, in one run.

    python benchmarks/bert_step.py [--device cuda] [--samples N] [--layers L]

The samples' lengths are spread evenly from 20 to 512 pieces, 266 on average; the mean of all of Wikipedia is about 250.
Ours computes nothing for padding and the vocabulary's logits for masked pieces only; the peer is given the padded
batch, as its interface has it, with the same loss. A step is forward and backward, without dropout; both losses must
agree. On a CPU figures are per second of CPU time, one thread; on a GPU in bf16, of wall-clock time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from timing import HEADER, show
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from octathlon.benchmarks.bert.model import Bert, Sizes, reference_name
from octathlon.datasets.wikipedia.loader import Batch, collate
from octathlon.datasets.wikipedia.ragged import Ragged
from octathlon.datasets.wikipedia.samples import Samples

VOCABULARY, LENGTH, PREDICTIONS = 30_522, 512, 76
ROUNDS = 1
"""That count: a step takes minutes on a CPU."""
PEER_NAMES = {
    "word_embeddings": "word_embeddings.weight",
    "position_embeddings": "position_embeddings.weight",
    "token_type_embeddings": "token_type_embeddings.weight",
    "output_weights": "weight",
    "output_bias": "bias",
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
}


def peer_name(name: str) -> str:
    """Where transformers keeps the tensor of an official name."""
    *path, kind = name.replace("layer_", "layer.").split("/")
    if kind == "output_bias" and "predictions" in path:
        return "cls.predictions.bias"
    return ".".join([*path, PEER_NAMES.get(kind, kind)])


def load_peer(peer: nn.Module, model: Bert) -> None:
    """Give the peer the model's weights."""
    theirs = dict(peer.named_parameters())
    with torch.no_grad():
        for name, value in model.named_parameters():
            theirs.pop(peer_name(reference_name(name))).copy_(value)
    assert not theirs, f"the peer has more: {list(theirs)}"


def padded(batch: Batch) -> dict[str, Tensor]:
    """The batch as transformers wants it."""

    def grid(values: Tensor) -> Tensor:
        return pad_sequence(values.split(batch.lengths), batch_first=True)

    names = {"input_ids": batch.pieces, "token_type_ids": batch.segments}
    values = {name: grid(tensor) for name, tensor in names.items()}
    return values | {"attention_mask": grid(torch.ones_like(batch.pieces))}


def random_batch(samples: int, rng: np.random.Generator) -> Batch:
    lengths = np.linspace(20, LENGTH, samples).astype(int)
    counts = np.minimum(np.round(0.15 * lengths), PREDICTIONS).astype(int)
    rows = {
        "input_ids": [rng.integers(5, VOCABULARY, length) for length in lengths],
        "segment_ids": [np.arange(length) >= length // 2 for length in lengths],
        "masked_lm_positions": [
            np.sort(rng.choice(np.arange(1, length - 1), count, replace=False))
            for length, count in zip(lengths, counts, strict=True)
        ],
        "masked_lm_ids": [rng.integers(5, VOCABULARY, count) for count in counts],
    }
    fields = {name: Ragged.of(field, "<i2") for name, field in rows.items()}
    return collate(Samples(fields, rng.integers(0, 2, samples).astype(np.int8)))


def our_loss(model: Bert, batch: Batch) -> Tensor:
    masked, following = model(batch)
    return cross_entropy(masked.float(), batch.labels) + cross_entropy(following.float(), batch.random_next)


def peer_loss(model: nn.Module, batch: Batch) -> Tensor:
    inputs = padded(batch)
    labels = torch.full_like(batch.pieces, -100).index_copy(0, batch.masked, batch.labels)
    labels = pad_sequence(labels.split(batch.lengths), batch_first=True, padding_value=-100)
    return model(**inputs, labels=labels, next_sentence_label=batch.random_next).loss


def peer_of(layers: int) -> nn.Module:
    """transformers' model.

    Raises:
        ImportError: if it is not there.
    """
    from transformers import BertConfig, BertForPreTraining

    configuration = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=1024,
        num_hidden_layers=layers,
        num_attention_heads=16,
        intermediate_size=4096,
        hidden_act="gelu_pytorch_tanh",
        layer_norm_eps=1e-12,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertForPreTraining(configuration)


def rate(step: Callable[[], Tensor], samples: int, device: torch.device) -> tuple[float, float]:
    """Samples per second, and the loss; the first step is not counted."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    times = []
    for _ in range(ROUNDS + 1):
        start = clock()
        loss = step()
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(clock() - start)
    return samples / statistics.median(times[1:]), loss.item()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--samples", type=int)
    parser.add_argument("--layers", type=int, default=24)
    options = parser.parse_args()
    device = torch.device(options.device)
    gpu = device.type == "cuda"
    torch.set_num_threads(1)
    torch.manual_seed(1)
    samples = options.samples or (56 if gpu else 3)
    sizes = Sizes(
        vocabulary=VOCABULARY,
        positions=LENGTH,
        hidden=1024,
        layers=options.layers,
        heads=16,
        inner=4096,
        hidden_dropout=0.0,
        attention_dropout=0.0,
    )
    model = Bert(sizes, 0.02).to(device)
    batch = random_batch(samples, np.random.default_rng(1)).to(device)

    def measure(loss: Callable[[nn.Module, Batch], Tensor], network: nn.Module) -> tuple[float, float]:
        def step() -> Tensor:
            network.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, gpu):
                return loss(network, batch)

        return rate(step, samples, device)

    try:
        peer = peer_of(options.layers).to(device)
    except ImportError:
        print("transformers is not installed: no step to compare with")
        return
    load_peer(peer, model)
    (own, loss), (other, their_loss) = measure(our_loss, model), measure(peer_loss, peer)
    assert abs(loss - their_loss) < 1e-2, (loss, their_loss)
    print(HEADER)
    show(
        f"bert step, {options.layers} layers",
        "samples/s",
        own,
        "transformers",
        other,
        f"Forward and backward of {samples} samples, {len(batch.pieces) / samples:.0f} pieces on average; it computes "
        "padding and all logits of the vocabulary. Equal losses.",
    )


if __name__ == "__main__":
    main()
