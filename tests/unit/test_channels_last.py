"""`channels_last: false` lays weights and images out otherwise, and changes nothing else."""

import made_up_runs
import pytest
import torch
from torch import nn

from octathlon import registry
from octathlon.harness.seeds import seed_alike

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


@pytest.fixture(params=["maskrcnn", "resnet", "ssd", "unet3d"])
def made_up(request, tmp_path):
    """A benchmark's name, its settings, and a run on made-up data."""
    over = {"loader_workers": 0, "global_batch_size": 2, "gradient_accumulation_steps": 1}
    return request.param, *made_up_runs.made_up(request.param, tmp_path, over)


def first_loss(name, settings, run):
    """The loss of the first batch, and which weights and which inputs of convolutions have their channels last."""
    benchmark = registry.benchmark_class(name)(settings, run)
    seed_alike(1)
    model = benchmark.build_model().train()
    weights, images = [], []

    def look(module, inputs):
        for tensor, kept in ((module.weight, weights), (*inputs, images)):
            if min(tensor.shape[1:]) > 1:  # else it is laid out in both ways
                kept.append(tensor.is_contiguous(memory_format=FORMATS[tensor.ndim]))

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            module.register_forward_pre_hook(look)
    return benchmark.loss(model, next(iter(benchmark.train_batches(1)))).item(), weights, images


def test_the_layout_is_the_one_chosen_and_the_loss_the_same(made_up):
    name, settings, run = made_up
    loss, weights, images = first_loss(name, settings, run)
    assert len(weights) > 3 and all(weights) and (any(images) or name == "unet3d")  # its norms lay out anew
    settings = settings.model_copy(update={"channels_last": False})
    other, weights, images = first_loss(name, settings, run)
    assert not any(weights) and images and not any(images)
    assert other == pytest.approx(loss, rel=1e-4)
