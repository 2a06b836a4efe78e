"""The transducer's shapes, start and loss, the learning rate, greedy decoding: the reference's numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torchaudio.functional import rnnt_loss

from octathlon import config
from octathlon.benchmarks.rnnt import loss as loss_module
from octathlon.benchmarks.rnnt import model as module
from octathlon.benchmarks.rnnt.benchmark import MODEL_KEYS
from octathlon.benchmarks.rnnt.decoding import greedy_decode, word_errors
from octathlon.benchmarks.rnnt.loss import Lengths, transducer_loss
from octathlon.benchmarks.rnnt.model import TENSOR_NAMES, Transducer, encoded_length
from octathlon.benchmarks.rnnt.schedule import warmup_hold_decay
from octathlon.harness.synchronisations import count_synchronisations


def transducer(scale: str, pieces: int, **over: float) -> Transducer:
    settings = config.resolve("benchmarks", "rnnt", scale, over)
    return Transducer(features=240, pieces=pieces, **settings.model_dump(include=MODEL_KEYS))


def all_logits(model: Transducer, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Of shape (utterances, T, tokens + 1, pieces + 1), at once."""
    return model.joint_net(model.encode(features)[:, :, None] + model.read(tokens)[:, None])


@pytest.fixture(scope="module")
def full() -> Transducer:
    torch.manual_seed(1)
    return transducer("full", 1023)


class TestModel:
    def test_parameters_are_counted_as_published(self, full: Transducer) -> None:
        counts = {
            name: sum(each.numel() for each in child.parameters()) for name, child in full.named_children()
        }
        assert counts == {
            "pre_rnn": 13_582_336,
            "post_rnn": 29_384_704,
            "pred_embed": 523_776,
            "dec_rnn": 4_202_496,
            "joint_pred": 262_656,
            "joint_enc": 524_800,
            "joint_net": 525_312,
        }
        assert tuple(counts) == TENSOR_NAMES
        assert sum(counts.values()) == 49_006_080 and len(list(full.parameters())) == 35

    def test_lstms_start_small_with_open_forget_gates(self, full: Transducer) -> None:
        for name, bound in (("pre_rnn", 1 / 64), ("post_rnn", 1 / 64), ("dec_rnn", 0.5 / math.sqrt(512))):
            for key, tensor in getattr(full, name).named_parameters():
                width = len(tensor) // 4
                forget, others = tensor[width : 2 * width], torch.cat([tensor[:width], tensor[2 * width :]])
                if key.startswith("bias"):
                    assert (forget == (0.5 if key.startswith("bias_ih") else 0)).all()
                    tensor = others
                assert 0.95 * bound < tensor.abs().max() <= bound

    def test_other_layers_start_as_pytorchs(self, full: Transducer) -> None:
        assert full.pred_embed.weight.std().item() == pytest.approx(1, abs=0.01)
        assert full.joint_enc.weight.abs().max().item() == pytest.approx(1 / 32, rel=0.01)
        assert full.joint_net[2].weight.abs().max().item() == pytest.approx(1 / math.sqrt(512), rel=0.01)

    @torch.inference_mode()
    def test_shapes(self) -> None:
        """Six input frames of 10 ms become one; one more row than there are tokens; blank is the last output."""
        small = transducer("mini", 22)
        logits = all_logits(small, torch.zeros(410, 2, 240), torch.zeros(2, 50, dtype=torch.int32))
        assert logits.shape == (2, 205, 51, 23) and small.blank == 22
        logits = all_logits(small, torch.zeros(7, 1, 240), torch.zeros(1, 1, dtype=torch.int32))
        assert logits.shape == (1, 4, 2, 23)
        assert encoded_length(torch.tensor([1, 2, 3, 410])).tolist() == [1, 1, 2, 205]

    def test_two_frames_become_one(self) -> None:
        frames = torch.arange(6.0).view(3, 1, 2)
        assert module._stacked(frames)[:, 0].tolist() == [[0, 1, 2, 3], [4, 5, 0, 0]]

    @torch.inference_mode()
    def test_padding_changes_nothing_before_it(self) -> None:
        small = transducer("mini", 22).eval()
        features, tokens = torch.randn(30, 1, 240), torch.randint(1, 22, (1, 5))
        longer = torch.cat([features, torch.randn(10, 1, 240)])
        more = torch.cat([tokens, torch.zeros(1, 3, dtype=torch.int64)], dim=1)
        shorter = all_logits(small, features, tokens)
        torch.testing.assert_close(all_logits(small, longer, more)[:, :15, :6], shorter)

    @torch.inference_mode()
    def test_step_by_step_is_all_at_once(self) -> None:
        """The decoder's way through the model and training's give the same logits."""
        small = transducer("mini", 22).eval()
        features, tokens = torch.randn(20, 2, 240), torch.randint(1, 22, (2, 4))
        whole = all_logits(small, features, tokens)
        encoded = small.encode(features)
        read, state = small.predict(None, None, 2)
        for step in range(5):
            torch.testing.assert_close(small.joint_net(encoded + read[:, None]), whole[:, :, step])
            if step < 4:
                read, state = small.predict(tokens[:, step], state, 2)

    def test_dropout_also_follows_the_last_layer(self) -> None:
        torch.manual_seed(1)
        rates = {"encoder_dropout": 0.2, "prediction_dropout": 0.4, "joint_dropout": 0.6}
        model = transducer("mini", 22, **rates).train()
        inputs = torch.randn(100, 8, 240)
        early, _ = model.pre_rnn(inputs)
        read, _ = model.dec_rnn(torch.randn(100, 8, 64))
        assert (early == 0).double().mean().item() == pytest.approx(0.2, abs=0.01)
        assert (read == 0).double().mean().item() == pytest.approx(0.4, abs=0.02)
        joint = model.joint_net[:2](torch.ones(10_000))
        assert (joint == 0).double().mean().item() == pytest.approx(0.6, abs=0.02)


class TestLoss:
    def lengths(self, frames: list[int], tokens: list[int]) -> Lengths:
        return Lengths(torch.tensor(frames), torch.tensor(tokens, dtype=torch.int32), frames, tokens)

    def test_costs_and_gradient(self) -> None:
        """Expected: a brute-force lattice in float64. A hidden unit for each node, so that weights are logits."""
        values = np.random.default_rng(7).standard_normal((2, 6, 4, 5)).astype(np.float32)
        joint = nn.Sequential(nn.ReLU(), nn.Dropout(0), nn.Linear(48, 5))
        with torch.no_grad():
            joint[2].weight.copy_(torch.tensor(values).view(48, 5).T)
            joint[2].bias.zero_()
        units = torch.eye(48).view(2, 6, 4, 48)
        listened, read = units.sum(2), units.sum(1) - 1
        targets = torch.tensor([[0, 3, 2], [1, 1, 0]], dtype=torch.int32)
        for row, cost in enumerate((12.108690, 7.952853)):
            rows, lengths = slice(row, row + 1), self.lengths([[6, 4][row]], [[3, 2][row]])
            alone = transducer_loss(listened[rows], read[rows], joint, targets[rows], lengths)
            assert alone.item() == pytest.approx(cost, abs=1e-5)
        loss = transducer_loss(listened, read, joint, targets, self.lengths([6, 4], [3, 2]))
        assert loss.item() == pytest.approx(10.030771, abs=1e-5)
        loss.backward()
        gradient = joint[2].weight.grad.T.reshape(2, 6, 4, 5)
        assert gradient.norm().item() == pytest.approx(1.195863, abs=1e-5)
        expected = [-0.0708864, 0.162246, 0.0914902, 0.0493914, -0.232241]
        assert gradient[0, 0, 0].tolist() == pytest.approx(expected, abs=1e-6)

    def test_is_torchaudios_with_the_joint_network_in_full(self) -> None:
        """Values and all gradients, of utterances of many lengths, one of them without a piece, another of one frame;
        in one group and in many."""
        torch.manual_seed(3)
        frames, tokens, width, pieces = [40, 1, 33, 7, 40, 18], [3, 4, 11, 1, 0, 11], 24, 22
        listened = torch.randn(6, 41, width, requires_grad=True)
        read = torch.randn(6, 12, width, requires_grad=True)
        joint = nn.Sequential(nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, pieces + 1)).eval()
        targets = torch.randint(pieces, (6, 11), dtype=torch.int32)
        variables = [listened, read, *joint.parameters()]
        lengths = self.lengths(frames, tokens)
        logits = joint(listened[:, :40, None] + read[:, None])
        expected = rnnt_loss(logits, targets, lengths.frames.int(), lengths.tokens, blank=pieces, clamp=-1)
        gradients = torch.autograd.grad(3 * expected, variables)
        for nodes in (1, 200, 10_000):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(loss_module, "GROUP", nodes * (pieces + 1))
                ours = transducer_loss(listened, read, joint, targets, lengths)
            assert ours.item() == pytest.approx(expected.item(), rel=1e-6)
            for own, other in zip(torch.autograd.grad(3 * ours, variables), gradients, strict=True):
                torch.testing.assert_close(own, other, rtol=1e-4, atol=3e-5)

    def test_dropout_is_that_of_the_joint_network(self) -> None:
        """One utterance, for which both ways draw the same numbers in the same order."""
        listened, read = (torch.randn(1, size, 8, requires_grad=True) for size in (9, 4))
        joint = nn.Sequential(nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 7))
        targets = torch.tensor([[1, 5, 2]], dtype=torch.int32)
        lengths = self.lengths([9], [3])
        found = []
        for plain in (True, False):
            torch.manual_seed(5)
            if plain:
                logits = joint(listened[:, :, None] + read[:, None])
                cost = rnnt_loss(logits, targets, lengths.frames.int(), lengths.tokens, clamp=-1)
            else:
                cost = transducer_loss(listened, read, joint, targets, lengths)
            found.append([cost, *torch.autograd.grad(cost, [listened, read, *joint.parameters()])])
        torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)

    def test_in_bf16_logits_are_not_rounded(self) -> None:
        """Inputs that bf16 can tell exactly give the loss of fp32."""
        torch.manual_seed(6)
        inputs = [torch.randint(-8, 9, (1, size, 64)) / 8 for size in (9, 4)]
        joint = nn.Sequential(nn.ReLU(), nn.Dropout(0), nn.Linear(64, 7))
        targets = torch.tensor([[1, 5, 2]], dtype=torch.int32)
        costs = []
        for dtype in (torch.float32, torch.bfloat16):
            with torch.autocast("cpu", torch.bfloat16, dtype == torch.bfloat16):
                given = (each.to(dtype) for each in inputs)
                costs.append(transducer_loss(*given, joint, targets, self.lengths([9], [3])).item())
        assert costs[1] == pytest.approx(costs[0], rel=1e-6)

    def test_uniform_logits_count_the_paths(self) -> None:
        """Also where a path has thousands of steps, and in bf16."""
        joint = nn.Sequential(nn.ReLU(), nn.Dropout(0), nn.Linear(2, 5))
        nn.init.zeros_(joint[2].weight)
        nn.init.zeros_(joint[2].bias)
        for frames, tokens, enabled in ((6, 3, False), (3000, 2, False), (6, 3, True)):
            inputs = torch.randn(1, frames, 2, requires_grad=True), torch.randn(1, tokens + 1, 2)
            with torch.autocast("cpu", torch.bfloat16, enabled):
                loss = transducer_loss(
                    *inputs, joint, torch.ones(1, tokens, dtype=torch.int32), self.lengths([frames], [tokens])
                )
            paths = math.comb(frames + tokens - 1, tokens)
            expected = (frames + tokens) * math.log(5) - math.log(paths)
            assert loss.item() == pytest.approx(expected, rel=1e-6)
            loss.backward()
            assert inputs[0].grad.isfinite().all()


class TestLearningRate:
    @pytest.mark.parametrize(
        ("step", "rate"),
        [
            *[
                (1, 1e-5),
                (2, 1e-5),
                (272, 6.687079e-4),
                (1000, 2.451929e-3),
                (1631, 3.997551e-3),
                (1632, 4e-3),
            ],
            *[(12_512, 4e-3), (12_513, 3.74e-3), (16_320, 1.561071e-3), (1_000_000, 1e-5)],
        ],
    )
    def test_with_a_global_batch_of_1024(self, step: int, rate: float) -> None:
        shape = {"warmup_epochs": 6, "hold_epochs": 40, "decay": 0.935, "epoch_steps": 272}
        assert warmup_hold_decay(step - 1, base=0.004, least=1e-5, **shape) == pytest.approx(rate, rel=1e-6)

    @pytest.mark.parametrize(
        ("step", "rate"),
        [
            *[(1, 1.713586e-5), (136, 1.173807e-3), (815, 6.991432e-3), (816, 7e-3), (5304, 7e-3)],
            *[(5305, 6.573e-3), (7480, 2.557099e-3)],
        ],
    )
    def test_with_a_global_batch_of_2048(self, step: int, rate: float) -> None:
        shape = {"warmup_epochs": 6, "hold_epochs": 33, "decay": 0.939, "epoch_steps": 136}
        assert warmup_hold_decay(step - 1, base=0.007, least=1e-5, **shape) == pytest.approx(rate, rel=1e-6)


class Scripted(nn.Module):
    """A model of 5 pieces that answers by the frame and by how many pieces it was told."""

    blank = 5

    def __init__(self, script: dict[tuple[int, int], int], default: int = 5) -> None:
        super().__init__()
        self.script, self.default = script, default
        self.told: list[list[int]] = []

    def predict(self, tokens, state, utterances):  # noqa: ANN001, ANN202
        if tokens is None:
            count = torch.zeros(1, utterances, 1)
        else:
            self.told.append(tokens.tolist())
            count = state[0] + 1
        return torch.cat([torch.zeros(utterances, 1), 1000 * count[0]], dim=1)[:, 1:], (count, count)

    def joint_net(self, inputs: torch.Tensor) -> torch.Tensor:
        answers = [self.script.get((int(x) % 1000, int(x) // 1000), self.default) for x in inputs[:, 0]]
        return nn.functional.one_hot(torch.tensor(answers), 6).float()


def encoded(utterances: int, frames: int) -> torch.Tensor:
    """A frame's input is its number."""
    return torch.arange(float(frames)).expand(utterances, frames)[:, :, None]


class TestDecoding:
    def test_the_device_is_asked_less_than_once_a_frame(self) -> None:
        torch.manual_seed(4)
        model = transducer("mini", 22).eval()
        encoded, lengths = model.encode(torch.randn(80, 6, 240)), torch.tensor([40, 1, 7, 30, 13, 22])
        seen = count_synchronisations(encoded.device, lambda: greedy_decode(model, encoded, lengths, 40))
        assert seen.pop("tolist") == 1 and seen.total() <= 40

    def test_pieces_are_written_until_blank(self) -> None:
        """In frame 1 pieces 3 and 4, in frame 2 piece 0, which is no blank; an utterance ends with its frames."""
        model = Scripted({(1, 0): 3, (1, 1): 4, (2, 2): 0})
        found = greedy_decode(model, encoded(3, 4), torch.tensor([4, 2, 1]), 300)
        assert found == [[3, 4, 0], [3, 4], []]

    def test_a_model_that_never_writes_blank_is_stopped(self) -> None:
        """30 pieces a frame; after 300 no frame is begun, unless exactly 300 were written."""
        found = greedy_decode(Scripted({}, default=2), encoded(2, 50), torch.tensor([50, 3]), 300)
        assert [len(each) for each in found] == [330, 90]

    def test_an_utterance_without_pieces_is_empty(self) -> None:
        assert greedy_decode(Scripted({}), encoded(2, 3), torch.tensor([3, 1]), 300) == [[], []]

    @torch.inference_mode()
    def test_together_is_one_by_one(self) -> None:
        """An untrained model that writes a lot, utterances of all lengths, padded with noise."""
        torch.manual_seed(4)
        model = transducer("mini", 22, init_scale=4.0).eval()
        model.joint_net[2].weight.mul_(4)
        inputs, lengths = model.encode(torch.randn(60, 6, 240)), torch.tensor([30, 1, 7, 30, 13, 22])
        together = greedy_decode(model, inputs, lengths, 40)
        alone = [
            greedy_decode(model, inputs[row : row + 1, :length], lengths[row : row + 1], 40)[0]
            for row, length in enumerate(lengths.tolist())
        ]
        assert together == alone and len({tuple(each) for each in alone}) == 6 and max(map(len, alone)) > 5


@pytest.mark.parametrize(
    ("hypothesis", "reference", "errors"),
    [
        ("a b c", "a x c d", 2),
        ("", "q", 1),
        ("a a a", "", 3),
        ("same words", "same words", 0),
        ("ab", "a b", 2),
    ],
)
def test_word_errors(hypothesis: str, reference: str, errors: int) -> None:
    assert word_errors(hypothesis, reference) == errors
