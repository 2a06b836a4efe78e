"""The model: the reference's 398 tensors, and its numbers, without computing anything for padding."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import gelu, layer_norm, linear
from torch.utils._python_dispatch import TorchDispatchMode

from octathlon import config
from octathlon.benchmarks.bert.benchmark import parameter_groups
from octathlon.benchmarks.bert.model import Bert, Sizes, reference_name
from octathlon.datasets.wikipedia.loader import Batch, collate
from octathlon.datasets.wikipedia.ragged import Ragged
from octathlon.datasets.wikipedia.samples import Samples

VOCABULARY = 43  # no multiple of 8: the last matrix has rows of zeros


def sizes(**over: float) -> Sizes:
    defaults = {"vocabulary": VOCABULARY, "positions": 16, "hidden": 24, "layers": 2, "heads": 3, "inner": 48}
    return Sizes(**defaults | {"hidden_dropout": 0.0, "attention_dropout": 0.0} | over)


def tiny(seed: int = 1, **over: float) -> Bert:
    torch.manual_seed(seed)
    model = Bert(sizes(**over), initializer_range=0.1).double()
    for parameter in model.parameters():  # biases and norms that differ from 0 and 1
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


def random_samples(count: int, seed: int = 1) -> Samples:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 17, count)
    masked = [
        np.sort(rng.choice(np.arange(1, length - 1), 1 + length // 5, replace=False)) for length in lengths
    ]
    fields = {
        "input_ids": [rng.integers(0, VOCABULARY, length) for length in lengths],
        "segment_ids": [np.arange(length) >= length // 2 for length in lengths],
        "masked_lm_positions": masked,
        "masked_lm_ids": [rng.integers(0, VOCABULARY, len(row)) for row in masked],
    }
    rows = {name: Ragged.of(field, "<i2") for name, field in fields.items()}
    return Samples(rows, rng.integers(0, 2, count).astype(np.int8))


def full_model() -> Bert:
    """BERT-large, without memory for its numbers."""
    chosen = config.resolve("benchmarks", "bert", "full", {})
    with torch.device("meta"):
        return Bert(
            Sizes(
                vocabulary=30_522,
                positions=512,
                hidden=chosen.hidden,
                layers=chosen.layers,
                heads=chosen.heads,
                inner=chosen.inner,
                hidden_dropout=chosen.hidden_dropout,
                attention_dropout=chosen.attention_dropout,
            ),
            chosen.initializer_range,
        )


def test_full_size_has_the_references_parameters() -> None:
    model = full_model()
    parameters = dict(model.named_parameters())
    assert len(parameters) == 398
    assert sum(parameter.numel() for parameter in parameters.values()) == 336_226_108
    adapted, plain = (group["params"] for group in parameter_groups(model, 0.01))
    assert (len(adapted), len(plain)) == (150, 248)
    assert sum(parameter.numel() for parameter in adapted) == 335_869_952
    assert sum(parameter.numel() for parameter in plain) == 356_156
    excluded = {id(parameter) for parameter in plain}
    for name, parameter in parameters.items():
        assert (id(parameter) in excluded) == bool(re.search("LayerNorm|bias", reference_name(name)))


def test_parts_have_the_published_sizes() -> None:
    model = full_model()
    parts = {
        "embeddings": 31_782_912,
        "layers": 302_309_376,
        "pooler": 1_049_600,
        "head": 1_082_170,
        "next_sentence": 2_050,
    }
    for name, count in parts.items():
        assert sum(parameter.numel() for parameter in getattr(model, name).parameters()) == count


def test_tensors_have_the_official_names() -> None:
    folder = files("mlperf_logging") / "compliance_checker" / "training_1.1.0"
    text = (folder / "closed_bert.yaml").read_text()
    official = re.findall(r"[\"']([^\"']+)[\"']", text.split("== sorted([")[1].split("])")[0])
    names = [reference_name(name) for name, _ in full_model().named_parameters()]
    assert sorted(names) == sorted(official)
    assert len(set(names)) == 398


def test_full_scale_is_the_published_configuration() -> None:
    """bert_config.json, byte for byte, from full.yaml."""
    chosen = config.resolve("benchmarks", "bert", "full", {})
    document = {
        "attention_probs_dropout_prob": chosen.attention_dropout,
        "hidden_act": "gelu",
        "hidden_dropout_prob": chosen.hidden_dropout,
        "hidden_size": chosen.hidden,
        "initializer_range": chosen.initializer_range,
        "intermediate_size": chosen.inner,
        "max_position_embeddings": 512,
        "num_attention_heads": chosen.heads,
        "num_hidden_layers": chosen.layers,
        "type_vocab_size": 2,
        "vocab_size": 30_522,
    }
    content = json.dumps(document, indent=2, sort_keys=True) + "\n"
    assert hashlib.md5(content.encode()).hexdigest() == "7f59165e21b7d566db610ff6756c926b"


def test_gelu_is_the_tanh_form() -> None:
    values = gelu(torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64), approximate="tanh")
    assert values.tolist() == pytest.approx([0.8411919906, -0.1588080094, 1.9545976941], abs=1e-10)


# The same numbers ------------------------------------------------------------------------------------


def plain_logits(model: Bert, samples: Samples, row: int, padded_to: int) -> tuple[Tensor, Tensor]:
    """One sample by the formulas, padded, from the model's tensors under their official names."""
    weights = {reference_name(name): value for name, value in model.named_parameters()}
    ids, segments = (samples.fields[name][row] for name in ("input_ids", "segment_ids"))
    length = len(ids)
    padding = (0, padded_to - length)
    ids, segments = (torch.from_numpy(np.pad(array.astype(np.int64), padding)) for array in (ids, segments))

    def dense(states: Tensor, name: str) -> Tensor:
        return linear(states, weights[f"{name}/kernel"], weights[f"{name}/bias"])

    def norm(states: Tensor, name: str) -> Tensor:
        path = f"{name}/LayerNorm"
        return layer_norm(states, states.shape[-1:], weights[f"{path}/gamma"], weights[f"{path}/beta"], 1e-12)

    def activation(x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    states = weights["bert/embeddings/word_embeddings"][ids]
    states = states + weights["bert/embeddings/token_type_embeddings"][segments]
    states = norm(states + weights["bert/embeddings/position_embeddings"][:padded_to], "bert/embeddings")
    mask = -10000.0 * (torch.arange(padded_to) >= length)
    for number in range(2):
        layer = f"bert/encoder/layer_{number}"
        query, key, value = (
            dense(states, f"{layer}/attention/self/{part}").view(padded_to, 3, 8).transpose(0, 1)
            for part in ("query", "key", "value")
        )
        probabilities = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(8) + mask, -1)
        attended = (probabilities @ value).transpose(0, 1).reshape(padded_to, 24)
        attended = dense(attended, f"{layer}/attention/output/dense")
        states = norm(attended + states, f"{layer}/attention/output")
        inner = activation(dense(states, f"{layer}/intermediate/dense"))
        states = norm(dense(inner, f"{layer}/output/dense") + states, f"{layer}/output")
    pooled = torch.tanh(dense(states[0], "bert/pooler/dense"))
    following = linear(
        pooled, weights["cls/seq_relationship/output_weights"], weights["cls/seq_relationship/output_bias"]
    )
    masked = states[torch.from_numpy(samples.fields["masked_lm_positions"][row].astype(np.int64))]
    masked = norm(activation(dense(masked, "cls/predictions/transform/dense")), "cls/predictions/transform")
    words = weights["bert/embeddings/word_embeddings"]
    return linear(masked, words, weights["cls/predictions/output_bias"]), following


def test_logits_are_those_of_the_formulas_with_padding() -> None:
    model, samples = tiny().eval(), random_samples(6)
    masked, following = model(collate(samples))
    rows = [plain_logits(model, samples, row, padded_to=16) for row in range(6)]
    torch.testing.assert_close(masked, torch.cat([row[0] for row in rows]), rtol=0, atol=1e-10)
    torch.testing.assert_close(following, torch.stack([row[1] for row in rows]), rtol=0, atol=1e-10)


def test_a_sample_does_not_see_its_neighbours() -> None:
    model, samples = tiny().eval(), random_samples(6)
    whole, _ = model(collate(samples))
    alone = [model(collate(samples.take(np.array([row]))))[0] for row in range(6)]
    torch.testing.assert_close(whole, torch.cat(alone), rtol=0, atol=1e-10)


def test_gradients_are_those_of_the_formulas() -> None:
    samples = random_samples(4)
    gradients = []
    for logits in (
        lambda model: model(collate(samples)),
        lambda model: [
            torch.cat([part.reshape(-1, part.shape[-1]) for part in parts])
            for parts in zip(*(plain_logits(model, samples, row, 16) for row in range(4)), strict=True)
        ],
    ):
        model = tiny()
        masked, following = logits(model)
        (masked.logsumexp(1).sum() + following.square().sum()).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


class Calls(TorchDispatchMode):
    """The operations that run within it, by name, with their arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[str, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.made.append((str(func.overloadpacket), args))
        return func(*args, **kwargs or {})


@contextmanager
def sixteen_bits() -> Iterator[None]:
    """bf16 weights, since autocast for a GPU does nothing where there is none."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    yield
    torch.set_default_dtype(before)


def test_a_gpu_takes_samples_of_all_lengths_in_one_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes and operations as on a GPU, without one: such tensors have no values, so nothing could wait for one."""
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda tensor, **_: tensor)
    batch = collate(random_samples(6))
    with FakeTensorMode() as mode, torch.device("cuda"), sixteen_bits():
        model = Bert(sizes(attention_dropout=0.1), 0.1)
        on_gpu = Batch(*(mode.from_tensor(tensor).cuda() for tensor in batch[:-1]), batch.lengths)
        with Calls() as calls:
            masked, _ = model(on_gpu)
    assert masked.shape == (len(batch.labels), VOCABULARY)
    kernels = [args for name, args in calls.made if name == "aten._flash_attention_forward"]
    assert len(kernels) == 2  # layers
    for query, key, value, *offsets, longest_query, longest_key, rate, causal, _ in kernels:
        assert query.shape == key.shape == value.shape == (len(batch.pieces), 3, 8)
        assert [(each.dtype, each.shape) for each in offsets] == 2 * [(torch.int32, (7,))]
        assert (longest_query, longest_key, rate, causal) == (16, 16, 0.1, False)
    assert max(batch.lengths) == 16
    assert not {"aten.cat", "aten.index", "aten.index_copy"} & {name for name, _ in calls.made}


def test_no_operation_of_a_step_sorts_or_waits() -> None:
    batch, model = collate(random_samples(6)), tiny()
    with Calls() as calls:
        masked, following = model(batch)
        (masked.logsumexp(1).sum() + following.square().sum()).backward()
    bad = {"aten.index", "aten.index_put", "aten._local_scalar_dense", "aten.nonzero", "aten.masked_select"}
    assert not bad & {name for name, _ in calls.made}


def test_query_key_and_value_lie_in_one_storage_wherever_a_model_goes() -> None:
    model = tiny()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    for moved in (model, copy.deepcopy(model), copy.deepcopy(model).float(), copy.deepcopy(model).to("meta")):
        attention = moved.layers[0].attention
        for kind, size in (("weight", 24 * 24), ("bias", 24)):
            parts = [getattr(each, kind) for each in (attention.query, attention.key, attention.value)]
            assert len({part.untyped_storage()._cdata for part in parts}) == 1
            assert [part.storage_offset() for part in parts] == [0, size, 2 * size]
    for name, value in copy.deepcopy(model).state_dict().items():
        assert value.equal(weights[name])


def test_dropout_is_in_training_only() -> None:
    model, batch = tiny(hidden_dropout=0.1, attention_dropout=0.1), collate(random_samples(6))
    assert not model(batch)[0].equal(model(batch)[0])
    model.eval()
    assert model(batch)[0].equal(model(batch)[0])
    for kind in ("hidden_dropout", "attention_dropout"):  # each has its effect
        model = tiny(**{kind: 0.5})
        assert not model(batch)[0].equal(model(batch)[0])


def test_initialisation_is_the_references() -> None:
    torch.manual_seed(1)
    model = Bert(sizes(vocabulary=3000), initializer_range=0.02)
    for name, parameter in model.named_parameters():
        kind = reference_name(name).rsplit("/", 1)[1]
        if kind in ("gamma", "beta", "bias", "output_bias"):
            assert (parameter == (kind == "gamma")).all()
        else:
            assert parameter.abs().max() <= 0.04
    assert model.embeddings.word.weight.std().item() == pytest.approx(0.02 * 0.8796, rel=0.02)


def test_loss_at_a_random_start_is_that_of_guessing() -> None:
    """ln(vocabulary) + ln 2, at full size 11.02."""
    torch.manual_seed(1)
    model = Bert(sizes(vocabulary=30_522), initializer_range=0.02)
    batch = collate(random_samples(64))
    masked, following = model(batch)
    loss = torch.nn.functional.cross_entropy(masked, batch.labels)
    loss += torch.nn.functional.cross_entropy(following, batch.random_next)
    assert loss.item() == pytest.approx(11.02, abs=0.05)


def test_logits_are_those_of_transformers() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is a peer for comparison only")
    samples, model = random_samples(6), tiny().eval()
    options = {"vocab_size": VOCABULARY, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
    options |= {"intermediate_size": 48, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-12}
    peer = transformers.BertForPreTraining(
        transformers.BertConfig(max_position_embeddings=16, type_vocab_size=2, **options)
    )
    peer = peer.double().eval()
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    from bert_step import load_peer, padded

    load_peer(peer, model)
    batch: Batch = collate(samples)
    with torch.no_grad():
        out = peer(**padded(batch))
        masked, following = model(batch)
    logits = zip(out.prediction_logits, batch.lengths, strict=True)
    flat = torch.cat([sample[:length] for sample, length in logits])[batch.masked]
    torch.testing.assert_close(masked, flat, rtol=0, atol=1e-8)
    torch.testing.assert_close(following, out.seq_relationship_logits, rtol=0, atol=1e-8)
