"""The networks that `steps.py` times ours beside: each is one of our benchmarks with another's network in it.

What a peer does itself (its network and loss, and what it makes of the network's output) replaces ours; reading,
optimizer and scoring are ours in both. A function here imports one peer and returns its benchmark; its docstring says
what is not the same work.
"""

from __future__ import annotations

import importlib
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import torch
from bert_step import padded, peer_loss
from torch import Tensor, nn
from torch.nn.functional import one_hot

from octathlon.benchmarks.bert.benchmark import LanguageModelling
from octathlon.benchmarks.dlrm.benchmark import Recommendation
from octathlon.benchmarks.dlrm.model import DLRM
from octathlon.benchmarks.maskrcnn import heads
from octathlon.benchmarks.maskrcnn.benchmark import HeavyDetection
from octathlon.benchmarks.maskrcnn.data import MEAN_BGR
from octathlon.benchmarks.minigo.benchmark import SelfPlay
from octathlon.benchmarks.minigo.players import player
from octathlon.benchmarks.resnet.benchmark import ImageClassification
from octathlon.benchmarks.rnnt.benchmark import SpeechRecognition
from octathlon.benchmarks.ssd import boxes as ssd_boxes
from octathlon.benchmarks.ssd import data as ssd_data
from octathlon.benchmarks.ssd.augment import recolour
from octathlon.benchmarks.ssd.benchmark import LightDetection
from octathlon.benchmarks.unet3d.benchmark import ImageSegmentation
from octathlon.contracts import Benchmark
from octathlon.datasets.click_logs.rows import INTEGERS
from octathlon.datasets.minigo_models.rows import PLANES
from octathlon.nn.pixels import layout

Peer = Callable[[Path | None], type[Benchmark]]
"""Given a checkout of the reference, if there is one. Raises ImportError where the peer is not there."""


# Ours, where an untrained network would have its evaluation do what a trained one's never does ----------------------


class Speech(SpeechRecognition):
    """A network that hears nothing, and so takes one step for each frame; else it would write hundreds of pieces."""

    def build_model(self) -> nn.Module:
        model = super().build_model()
        nn.init.constant_(model.joint_net[-1].bias[-1:], 100.0)
        return model


class Light(LightDetection):
    """A network that is sure enough of some boxes to find something: as it is initialised, it finds next to nothing."""

    def build_model(self) -> nn.Module:
        model = super().build_model()
        with torch.no_grad():
            for head in model.classes:
                head.weight *= 4
        return model


class Heavy(HeavyDetection):
    """A network that is sure enough of some boxes to find something: as it is initialised, no score is high enough."""

    def build_model(self) -> nn.Module:
        model = super().build_model()
        with torch.no_grad():
            model.box_head.predictor.cls_score.weight *= 300
        return model


class Go(SelfPlay):
    """Its evaluation, which plays whole games, is off the clock: here it is what a search asks of the network."""

    def build_model(self) -> nn.Module:
        return self._load("checkpoint")

    def train_batches(self, epoch: int, first: int = 0) -> Iterator:
        yield self.synthetic_batch()

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        size = self.settings.board_size
        player(model, self.run.device)(np.zeros((self.settings.eval_games, PLANES, size, size), np.float32))
        return {}


OURS: dict[str, type[Benchmark]] = {
    "resnet": ImageClassification,
    "unet3d": ImageSegmentation,
    "ssd": Light,
    "maskrcnn": Heavy,
    "rnnt": Speech,
    "bert": LanguageModelling,
    "dlrm": Recommendation,
    "minigo": Go,
}


# Peers that are packages --------------------------------------------------------------------------------------------


def torchvision_resnet(_reference: Path | None) -> type[Benchmark]:
    """torchvision's ResNet, laid out in memory as ours."""
    from torchvision.models.resnet import Bottleneck, ResNet

    class TorchvisionResNet(ImageClassification):
        def build_model(self) -> nn.Module:
            classes = len(self.run.manifest["classes"])
            model = ResNet(Bottleneck, self.settings.blocks, classes)
            return model.to(memory_format=layout(self.settings))

    return TorchvisionResNet


def torchvision_maskrcnn(_reference: Path | None) -> type[Benchmark]:
    """torchvision's MaskRCNN around the same backbone, pyramid and heads (its own backbone has its strides elsewhere).
    Its masks of the truth are bitmaps that were made beforehand; ours are drawn from polygons within the step. Its
    evaluation leaves out the scoring."""
    from pycocotools.mask import encode
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.rpn import RPNHead
    from torchvision.ops import MultiScaleRoIAlign

    class Maps(nn.Module):
        def __init__(self, body: nn.Module, pyramid: nn.Module, channels: int) -> None:
            super().__init__()
            self.body, self.pyramid, self.out_channels = body, pyramid, channels

        def forward(self, images: Tensor) -> OrderedDict:
            return OrderedDict((str(at), maps) for at, maps in enumerate(self.pyramid(self.body(images))))

    class TorchvisionMaskRCNN(Heavy):
        def build_model(self) -> nn.Module:
            model, settings, levels = super().build_model(), self.settings, [str(level) for level in range(4)]
            channels, scale = settings.pyramid_channels, {"canonical_scale": settings.canonical_size}
            ratios = ((0.5, 1.0, 2.0),) * len(settings.anchor_sizes)
            return MaskRCNN(
                Maps(model.body, model.pyramid, channels),
                min_size=settings.min_image_size,
                max_size=settings.max_image_size,
                image_mean=[mean / 255 for mean in MEAN_BGR],
                image_std=[1 / 255] * 3,
                rpn_anchor_generator=AnchorGenerator([(size,) for size in settings.anchor_sizes], ratios),
                rpn_head=RPNHead(channels, 3),
                rpn_pre_nms_top_n_train=settings.proposals_before_nms,
                rpn_post_nms_top_n_train=settings.image_candidates,
                rpn_pre_nms_top_n_test=settings.eval_proposals,
                rpn_post_nms_top_n_test=settings.eval_proposals,
                box_batch_size_per_image=settings.box_samples,
                box_roi_pool=MultiScaleRoIAlign(levels, heads.BOX_POOL, 2, **scale),
                box_head=model.box_head.layers,
                box_predictor=model.box_head.predictor,
                mask_roi_pool=MultiScaleRoIAlign(levels, heads.MASK_POOL, 2, **scale),
                mask_head=model.mask_head.layers,
                mask_predictor=model.mask_head.predictor,
            ).to(memory_format=layout(settings))

        def loss(self, model: nn.Module, batch: object) -> Tensor:
            if not hasattr(self, "_targets"):
                self._targets = list(map(_target, batch.images.sizes.tolist(), batch.objects.of_images()))
                for target, labels in zip(self._targets, batch.objects.labels, strict=True):
                    target["labels"] = labels[labels > 0]
            pixels = zip(batch.images.pixels, batch.images.sizes.tolist(), strict=True)
            images = [image[:, :height, :width].flip(0) / 255 for image, (height, width) in pixels]
            return sum(model(images, self._targets).values())

        def evaluate(self, model: nn.Module) -> Mapping[str, float]:
            for numbers in self._evaluation_keys:
                for found in model([self._validation.image(number).flip(0) / 255 for number in numbers]):
                    for mask in found["masks"]:
                        encode(np.asfortranarray((mask[0] > 0.5).numpy().astype(np.uint8)))
            return {}

    def _target(size: list[int], boxes: Tensor) -> dict[str, Tensor]:
        masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
            mask[top:bottom, left:right] = 1
        return {"boxes": boxes, "masks": masks}

    return TorchvisionMaskRCNN


def transformers_bert(_reference: Path | None) -> type[Benchmark]:
    """transformers' BertForPreTraining, as its interface has it: padded to the batch's longest sample, and with the
    vocabulary's logits of every piece. Ours computes neither padding nor logits that nobody asks for."""
    from transformers import BertConfig, BertForPreTraining

    class TransformersBert(LanguageModelling):
        def build_model(self) -> nn.Module:
            settings, manifest = self.settings, self.run.manifest
            configuration = BertConfig(
                vocab_size=manifest["vocabulary"],
                max_position_embeddings=manifest["max_seq_length"],
                hidden_size=settings.hidden,
                num_hidden_layers=settings.layers,
                num_attention_heads=settings.heads,
                intermediate_size=settings.inner,
                hidden_dropout_prob=settings.hidden_dropout,
                attention_probs_dropout_prob=settings.attention_dropout,
                hidden_act="gelu_pytorch_tanh",
            )
            return BertForPreTraining(configuration)

        def loss(self, model: nn.Module, batch: object) -> Tensor:
            return peer_loss(model, batch)

        def evaluate(self, model: nn.Module) -> Mapping[str, float]:
            return super().evaluate(lambda batch: self._masked(model, batch))

        def _masked(self, model: nn.Module, batch: object) -> tuple[Tensor, None]:
            inputs = padded(batch)
            logits = model(**inputs).prediction_logits
            return logits[inputs["attention_mask"] > 0][batch.masked], None

    return TransformersBert


def monai_unet3d(_reference: Path | None) -> type[Benchmark]:
    """MONAI's DynUNet with the same widths (its activations leak), DiceCELoss and sliding_window_inference."""
    from monai.inferers import sliding_window_inference
    from monai.losses import DiceCELoss
    from monai.networks.nets import DynUNet

    criterion = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)

    class MonaiUNet(ImageSegmentation):
        def build_model(self) -> nn.Module:
            filters = [*self.settings.filters, self.settings.bottleneck]
            halvings = len(filters) - 1
            return DynUNet(
                3, 1, len(self.run.manifest["classes"]), [3] * (halvings + 1), [1] + [2] * halvings,
                [2] * halvings, filters=filters, norm_name=("instance", {"affine": True}),
            )  # fmt: skip

        def loss(self, model: nn.Module, batch: object) -> Tensor:
            images, labels = batch
            return criterion(model(images), labels[:, None])

        def _score(self, model: nn.Module, volumes: object) -> Tensor:
            image, label = volumes
            settings = self.settings
            logits = sliding_window_inference(
                image, (settings.patch_size,) * 3, self._local_batch, model, settings.overlap, "gaussian"
            )
            return _dice(logits.argmax(1), label)

    return MonaiUNet


def _dice(found: Tensor, label: Tensor) -> Tensor:
    """Of the foreground's classes."""
    found, label = (one_hot(each.long(), 3)[..., 1:].flatten(0, 3) for each in (found, label))
    return 2 * (found * label).sum(0) / (found.sum(0) + label.sum(0)).clamp(1)


def plain_dlrm(_reference: Path | None) -> type[Benchmark]:
    """The same network with an nn.EmbeddingBag for each table, as in the first PyTorch implementations."""

    class Bags(nn.ModuleList):
        order = range(26)

        def forward(self, dense: Tensor, indices: Tensor) -> Tensor:
            vectors = [bag(column[:, None]) for bag, column in zip(self, indices.T, strict=True)]
            return torch.stack([dense, *vectors])

    class PlainDLRM(Recommendation):
        def build_model(self) -> nn.Module:
            settings, sizes = self.settings, self.run.manifest["table_sizes"]
            bags = Bags(
                nn.EmbeddingBag(size, settings.bottom_mlp[-1], mode="sum", sparse=True) for size in sizes
            )
            return DLRM(INTEGERS, settings.bottom_mlp, settings.top_mlp, bags, len(sizes), self.run.device)

    return PlainDLRM


# The reference's models, in a checkout of mlcommons/training ---------------------------------------------------------


@contextmanager
def importing(reference: Path | None, part: str, *absent: str) -> Iterator[Callable[[str], object]]:
    """Imports from a part of the reference, whose modules have everyday names, and forgets them after it.

    Args:
        absent: modules, for logs or other data, that a step has no use for.

    Raises:
        ImportError: if it is not there.
    """
    if not reference:
        raise ImportError("give its checkout with --reference")
    folder = reference / "retired_benchmarks" / part
    if not folder.is_dir():
        raise ImportError(f"no folder {folder}")
    before = dict(sys.modules)
    sys.path.insert(0, str(folder))
    sys.modules.update({name: MagicMock() for name in absent})
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - set(before):
            if str(folder) in str(
                getattr(sys.modules[name], "__path__", getattr(sys.modules[name], "__file__", ""))
            ):
                del sys.modules[name]
        for name in absent:
            del sys.modules[name]


def take_over(peer: nn.Module, ours: nn.Module) -> nn.Module:
    """Give a network of the same parameters in the same order our weights."""
    with torch.no_grad():
        for theirs, value in zip(peer.parameters(), ours.parameters(), strict=True):
            assert theirs.shape == value.shape
            theirs.copy_(value)
    return peer


def reference_unet3d(reference: Path | None) -> type[Benchmark]:
    """The reference's network, loss, score and sliding window."""
    import scipy.signal

    with importing(reference, "unet3d/pytorch", "runtime.logging") as load:
        network, losses, inference = map(load, ("model.unet3d", "model.losses", "runtime.inference"))
    inference.signal = scipy.signal.windows  # where SciPy has its Gaussian now
    criterion = losses.DiceCELoss(True, True, "NCDHW", False)
    score = losses.DiceScore()

    class ReferenceUNet(ImageSegmentation):
        def build_model(self) -> nn.Module:
            return network.Unet3D(1, 3, "instancenorm", "relu")

        def loss(self, model: nn.Module, batch: object) -> Tensor:
            images, labels = batch
            return criterion(model(images), labels[:, None])

        def _score(self, model: nn.Module, volumes: object) -> Tensor:
            image, label = volumes
            shape = (self.settings.patch_size,) * 3
            return score(
                *inference.sliding_window_inference(
                    image, label[:, None], shape, model, self.settings.overlap, padding_val=-2.2
                )
            )

    return ReferenceUNet


def reference_ssd(reference: Path | None) -> type[Benchmark]:
    """The reference's network, loss and detection; which default box is to find what is ours in both, as the
    reference's loader says it."""
    from torchvision.models import resnet34
    from torchvision.ops import box_convert

    with importing(reference, "ssd-v1/ssd", "mlperf_logger") as load:
        base, network, utils = map(load, ("base_model", "ssd300", "utils"))
    base.resnet34 = lambda pretrained: resnet34()

    class ReferenceSSD(Light):
        def build_model(self) -> nn.Module:
            sizes = self.settings
            boxes = utils.DefaultBoxes(
                sizes.image_size, sizes.feature_sizes, sizes.steps, sizes.scales, sizes.aspect_ratios
            )
            self._criterion, self._encoder = base.Loss(boxes), utils.Encoder(boxes)
            return take_over(network.SSD300(len(self._categories)), super().build_model())

        def _normalise(self, images: Tensor) -> Tensor:
            return (images - self._mean) / self._std  # its views forbid channels last

        def loss(self, model: nn.Module, batch: ssd_data.Batch) -> Tensor:
            index, labels = ssd_boxes.match(batch.boxes, batch.labels, self._defaults)
            truth = batch.boxes.gather(1, index[..., None].expand(-1, -1, 4))
            truth = box_convert(truth, "xyxy", "cxcywh").transpose(1, 2)
            images = self._normalise(recolour(batch.images, batch.colours))
            return self._criterion(*model(images), truth, labels)

        def _detections(self, numbers: Iterable[int], locations: Tensor, logits: Tensor) -> Iterator[Tensor]:
            found = self._encoder.decode_batch(
                locations, logits, ssd_boxes.NMS_IOU, ssd_boxes.KEPT, ssd_boxes.SCORE
            )
            for number, (boxes, labels, scores) in zip(numbers, found, strict=True):
                image = self._validation.tables.images[number]
                boxes = box_convert(boxes, "xyxy", "xywh") * torch.tensor(
                    [image["width"], image["height"]] * 2
                )
                ids = torch.full_like(scores, int(image["id"]))
                rows = [ids[:, None], boxes, scores[:, None], self._categories[labels][:, None]]
                yield torch.cat(rows, 1).double()

    return ReferenceSSD


def reference_rnnt(reference: Path | None) -> type[Benchmark]:
    """The reference's network and decoder; features and torchaudio's loss in both, as its own loss needs a library
    that must be built."""
    from torchaudio.functional import rnnt_loss

    with importing(reference, "rnnt/pytorch", "mlperf") as load:
        network, decoder = map(load, ("rnnt.model", "rnnt.decoder"))

    class ReferenceRNNT(Speech):
        def build_model(self) -> nn.Module:
            pieces, sizes = self.run.manifest["pieces"], self.settings
            peer = network.RNNT(
                pieces + 1, 240, sizes.encoder_width, sizes.pre_layers, sizes.post_layers, 2, sizes.encoder_dropout,
                sizes.prediction_dropout, sizes.joint_dropout, sizes.prediction_width, sizes.prediction_layers,
                sizes.joint_width, 1.0,
            )  # fmt: skip
            self._decoder = decoder.RNNTGreedyDecoder(
                pieces, max_symbol_per_sample=sizes.max_prediction_symbols
            )
            return take_over(peer, super().build_model())

        def loss(self, model: nn.Module, batch: object) -> Tensor:
            inputs, lengths = self._features(batch, augment=True)
            logits, lengths = model(inputs, lengths, batch.tokens, batch.token_counts)
            blank = self.run.manifest["pieces"]
            return rnnt_loss(logits, batch.tokens, lengths.int(), batch.token_counts, blank=blank, clamp=-1)

        def _transcribe(self, batch: object) -> list[list[int]]:
            inputs, lengths = self._features(batch, augment=False)
            return self._decoder.decode(self._averaged, inputs, lengths)

    return ReferenceRNNT


PEERS: dict[str, dict[str, Peer]] = {
    "resnet": {"torchvision": torchvision_resnet},
    "unet3d": {"reference": reference_unet3d, "MONAI": monai_unet3d},
    "ssd": {"reference": reference_ssd},
    "maskrcnn": {"torchvision": torchvision_maskrcnn},
    "rnnt": {"reference": reference_rnnt},
    "bert": {"transformers": transformers_bert},
    "dlrm": {"EmbeddingBag": plain_dlrm},
    "minigo": {},
}
"""Benchmark -> peers by name. The reference's other models are TensorFlow's or need compilers; for minigo's engine see
`minigo.py`."""
