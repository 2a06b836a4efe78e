"""docs/weights.md: its snippets, which need nothing of ours, give models whose outputs are those of our models."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from test_bert_model import random_samples
from torch import Tensor, nn

from octathlon import registry
from octathlon.benchmarks.bert.model import Bert, Sizes
from octathlon.benchmarks.dlrm.model import DLRM
from octathlon.benchmarks.maskrcnn.model import MaskRCNN
from octathlon.benchmarks.minigo.network import DualNetwork
from octathlon.benchmarks.resnet.model import ResNet
from octathlon.benchmarks.rnnt.benchmark import MODEL_KEYS
from octathlon.benchmarks.rnnt.model import Transducer
from octathlon.benchmarks.ssd.model import SSD
from octathlon.benchmarks.unet3d.model import UNet3D
from octathlon.config import resolve
from octathlon.datasets.wikipedia.loader import collate
from octathlon.nn.embeddings import ShardedEmbeddings
from octathlon.settings import BenchmarkSettings

PAGE = (Path(__file__).parents[2] / "docs/weights.md").read_text()
NEEDED = {"bert": "transformers", "unet3d": "monai"}
FIXED = {"resnet": "full", "maskrcnn": "full"}
"""Standard layouts of one size alone."""
CHANGED = {"ssd": {"width": 64}}
"""What a standard layout fixes, so that mini's is not it."""
TABLES = [7, 3, 40, 2, 11]


def bert(chosen: BenchmarkSettings) -> Bert:
    sizes = {"hidden", "layers", "heads", "inner", "hidden_dropout", "attention_dropout"}
    return Bert(Sizes(vocabulary=43, positions=16, **chosen.model_dump(include=sizes)), initializer_range=0.1)


def dlrm(chosen: BenchmarkSettings) -> DLRM:
    device = torch.get_default_device()
    embeddings = ShardedEmbeddings(TABLES, chosen.bottom_mlp[-1], device=device)
    return DLRM(13, chosen.bottom_mlp, chosen.top_mlp, embeddings, len(TABLES), device)


OURS: dict[str, Callable[[BenchmarkSettings], nn.Module]] = {
    "resnet": lambda chosen: ResNet(chosen.blocks, chosen.width, 1000),
    "unet3d": lambda chosen: UNet3D(chosen.filters, chosen.bottleneck, 3),
    "ssd": lambda chosen: SSD(chosen, 81),
    "maskrcnn": lambda chosen: MaskRCNN(chosen, 81),
    "rnnt": lambda chosen: Transducer(features=240, pieces=28, **chosen.model_dump(include=MODEL_KEYS)),
    "bert": bert,
    "dlrm": dlrm,
    "minigo": lambda chosen: DualNetwork(
        chosen.board_size, chosen.filters, chosen.blocks, chosen.value_units
    ),
}


def snippets(name: str) -> list[str]:
    """How the page reads a file, and how it makes a benchmark's model."""
    head, *sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (section,) = [section for section in sections if section.startswith(f"{name}\n")]
    return re.findall(r"```python\n(.*?)```", head + section, re.DOTALL)


def drawn(name: str, chosen: BenchmarkSettings) -> nn.Module:
    """Our model, with norms and biases that matter."""
    torch.manual_seed(1)
    model = OURS[name](chosen)
    with torch.no_grad():
        for tensor_name, tensor in model.state_dict().items():
            if tensor_name.startswith("embeddings.") or tensor_name.endswith(("running_var", "scale")):
                tensor.uniform_(0.5, 1)
            elif tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model.eval()


Pairs = Iterator[tuple[Tensor, Tensor]]
"""Outputs of both models for the same input."""


def of_tensor(*shape: int) -> Callable[[nn.Module, nn.Module], Pairs]:
    def pairs(ours: nn.Module, theirs: nn.Module) -> Pairs:
        inputs = torch.randn(shape)
        found, expected = theirs(inputs), ours(inputs)
        yield from zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]

    return pairs


def of_parts(ours: MaskRCNN, theirs: nn.Module) -> Pairs:
    """Maps, proposals' logits and deltas, and what both heads make of pooled features."""
    images = torch.randn(1, 3, 128, 96)
    maps, expected = list(theirs.backbone(images).values()), ours.pyramid(ours.body(images))
    yield from zip(maps, expected, strict=True)
    for found, wanted in zip(theirs.rpn.head(maps), ours.proposals(expected), strict=True):
        yield from zip(found, wanted, strict=True)
    heads, pooled = theirs.roi_heads, torch.randn(2, 256, 7, 7)
    yield from zip(heads.box_predictor(heads.box_head(pooled)), ours.box_head(pooled), strict=True)
    pooled = torch.randn(2, 256, 14, 14)
    yield heads.mask_predictor(heads.mask_head(pooled)), ours.mask_head(pooled)


def of_utterances(ours: Transducer, theirs: nn.Module) -> Pairs:
    features, tokens = torch.randn(7, 2, 240), torch.randint(28, (2, 3))
    heard, read = ours.encode(features), ours.read(tokens)
    yield theirs(features, tokens), ours.joint_net(heard[:, :, None] + read[:, None])


def of_rows(ours: DLRM, theirs: nn.Module) -> Pairs:
    indices = torch.stack([torch.randint(size, (9,)) for size in TABLES], 1).int()
    integers = torch.rand(9, 13)
    yield theirs(integers, indices), ours(integers, indices)


def of_pieces(ours: Bert, theirs: nn.Module) -> Pairs:
    batch = collate(random_samples(1))  # one sample: nothing is padded
    found = theirs(batch.pieces[None], token_type_ids=batch.segments[None])
    masked, following = ours(batch)
    yield found.prediction_logits[0, batch.masked], masked
    yield found.seq_relationship_logits, following


OUTPUTS = {
    "resnet": of_tensor(1, 3, 64, 64),
    "unet3d": of_tensor(1, 1, 16, 16, 16),
    "ssd": of_tensor(2, 3, 80, 80),
    "maskrcnn": of_parts,
    "rnnt": of_utterances,
    "bert": of_pieces,
    "dlrm": of_rows,
    "minigo": of_tensor(3, 13, 5, 5),
}


@pytest.mark.parametrize("name", registry.benchmarks())
@torch.no_grad()
def test_the_pages_model_gives_our_outputs(name, tmp_path, monkeypatch):
    if name in NEEDED:
        pytest.importorskip(NEEDED[name], reason=f"{NEEDED[name]} is a peer for comparison only")
    chosen = resolve("benchmarks", name, FIXED.get(name, "mini"), CHANGED.get(name, {}))
    ours = drawn(name, chosen)
    about = json.dumps({"settings": chosen.model_dump()})
    weights = {key: tensor.contiguous() for key, tensor in ours.state_dict().items()}
    save_file(weights, tmp_path / "result_0.safetensors", {"octathlon": about})
    monkeypatch.chdir(tmp_path)
    made = {}
    for snippet in snippets(name):
        exec(snippet, made)
    for found, expected in OUTPUTS[name](ours, made["model"]):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", registry.benchmarks())
def test_full_size_fits_the_pages_model(name):
    if name in NEEDED:
        pytest.importorskip(NEEDED[name], reason=f"{NEEDED[name]} is a peer for comparison only")
    chosen = resolve("benchmarks", name, "full", {})
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # nothing is copied there, and PyTorch says so
        ours = OURS[name](chosen)
        made = {"weights": ours.state_dict(), "settings": chosen.model_dump()}
        for snippet in snippets(name)[1:]:
            exec(snippet, made)
    sizes = [sum(each.numel() for each in model.parameters()) for model in (ours, made["model"])]
    assert sizes[0] == sizes[1]


def test_names_are_those_of_transformers():
    """As its published checkpoints have them; here transformers is not needed."""
    chosen = resolve("benchmarks", "bert", "full", {})
    made = {}
    exec(snippets("bert")[1], made)
    with torch.device("meta"):
        names = [made["renamed"](name) for name in bert(chosen).state_dict()]
    dense, norm = (
        [f"{part}.{kind}" for part in parts for kind in ("weight", "bias")]
        for parts in (
            [
                *("attention.self.query", "attention.self.key", "attention.self.value"),
                *("attention.output.dense", "intermediate.dense", "output.dense"),
            ],
            ["attention.output.LayerNorm", "output.LayerNorm"],
        )
    )
    expected = [f"bert.encoder.layer.{layer}.{part}" for layer in range(24) for part in dense + norm]
    expected += [f"bert.embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")]
    for part in ("bert.embeddings.LayerNorm", "bert.pooler.dense", "cls.seq_relationship"):
        expected += [f"{part}.weight", f"{part}.bias"]
    for part in ("dense", "LayerNorm"):
        expected += [f"cls.predictions.transform.{part}.{kind}" for kind in ("weight", "bias")]
    assert sorted(names) == sorted([*expected, "cls.predictions.bias"])


def test_names_are_those_of_monai():
    """Without MONAI."""
    chosen = resolve("benchmarks", "unet3d", "full", {})
    made = {"settings": chosen.model_dump()}
    exec(snippets("unet3d")[1], made)
    with torch.device("meta"):
        names = [made["renamed"](name) for name in OURS["unet3d"](chosen).state_dict()]
    down = ["input_block", *(f"downsamples.{level}" for level in range(4)), "bottleneck"]
    blocks = down + [f"upsamples.{level}.conv_block" for level in range(5)]
    parts = ["conv1.conv.weight", "conv2.conv.weight"]
    parts += [f"norm{number}.{kind}" for number in (1, 2) for kind in ("weight", "bias")]
    expected = [f"{block}.{part}" for block in blocks for part in parts]
    for layer in (*(f"upsamples.{level}.transp_conv" for level in range(5)), "output_block.conv"):
        expected += [f"{layer}.conv.weight", f"{layer}.conv.bias"]
    assert sorted(names) == sorted(expected)
