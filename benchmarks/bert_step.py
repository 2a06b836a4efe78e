"""BERT: our training step beside transformers' BertForPreTraining, on the same batch from the same weights, in one run.

    python benchmarks/bert_step.py [--device cuda] [--samples N] [--layers L]

The samples' lengths are spread as in Wikipedia: half of them full (512 pieces), the others of any length, about 380 on
average. Ours computes nothing for padding and the vocabulary's logits for masked pieces only; the peer is given the
padded batch, as its interface has it, with the same loss. A step is forward and backward, without dropout; both losses
are printed and must agree. On a CPU figures are per second of CPU time, one thread, four layers of BERT-large by
default; on a GPU in bf16, of wall-clock time, all 24.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from octathlon.benchmarks.bert.model import Bert, Sizes, reference_name
from octathlon.datasets.wikipedia.loader import Batch, collate
from octathlon.datasets.wikipedia.ragged import Ragged
from octathlon.datasets.wikipedia.samples import Samples

VOCABULARY, LENGTH, PREDICTIONS = 30_522, 512, 76
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
    lengths = np.where(rng.random(samples) < 0.5, LENGTH, rng.integers(20, LENGTH, samples))
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


def seconds(step: Callable[[], Tensor], device: torch.device, repeats: int) -> tuple[float, float]:
    """The median time of a step, and its loss."""
    times = []
    for _ in range(repeats + 1):
        if device.type == "cuda":
            torch.cuda.synchronize()
        clock = time.perf_counter if device.type == "cuda" else time.process_time
        start = clock()
        loss = step()
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(clock() - start)
    return statistics.median(times[1:]), loss.item()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--samples", type=int)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    device = torch.device(options.device)
    gpu = device.type == "cuda"
    torch.set_num_threads(1)
    torch.manual_seed(1)
    layers, samples = options.layers or (24 if gpu else 4), options.samples or (56 if gpu else 4)
    sizes = Sizes(
        vocabulary=VOCABULARY,
        positions=LENGTH,
        hidden=1024,
        layers=layers,
        heads=16,
        inner=4096,
        hidden_dropout=0.0,
        attention_dropout=0.0,
    )
    model = Bert(sizes, 0.02).to(device)
    batch = random_batch(samples, np.random.default_rng(1)).to(device)

    def measure(name: str, loss: Callable[[nn.Module, Batch], Tensor], network: nn.Module) -> float:
        def step() -> Tensor:
            network.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, gpu):
                return loss(network, batch)

        took, value = seconds(step, device, options.repeats)
        print(f"{name:13s}{samples / took:8.3f} samples/s   loss {value:.5f}")
        return took

    print(
        f"{samples} samples of {len(batch.pieces) / samples:.0f} pieces on average, {layers} layers, {device}"
    )
    ours = measure("ours", our_loss, model)
    try:
        from transformers import BertConfig, BertForPreTraining
    except ImportError:
        print("transformers is not installed: no peer (pip install transformers, then again)")
        return
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
    peer = BertForPreTraining(configuration).to(device)
    load_peer(peer, model)
    print(f"ratio {measure('transformers', peer_loss, peer) / ours:.2f}")


if __name__ == "__main__":
    main()
