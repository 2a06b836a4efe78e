"""Steps beside those of peers: fair turns, the same work, and no figure for a peer that is not there."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="module")
def steps(script):
    return script("steps")


def test_contestants_take_turns(steps):
    turns = []
    found = steps.medians({name: lambda name=name: turns.append(name) for name in "abc"}, repeats=3)
    assert turns == list("abc") * 4
    assert list(found) == list("abc") and min(found.values()) >= 0


def test_a_row_for_each_peer_and_kind_of_work(steps):
    rows = steps.compare("dlrm", "mini", None, repeats=1)
    assert [row[:2] for row in rows if row[4] == "EmbeddingBag"] == [
        ("dlrm", "training"),
        ("dlrm", "evaluation"),
    ]
    for _, _, samples, ours, _, theirs, ratio in rows:
        assert int(samples) == 4
        assert float(ratio) == pytest.approx(float(theirs) / float(ours), rel=0.02)
    text = steps.document(rows, 1)
    assert all(steps.line(row) in text for row in rows) and "* dlrm, EmbeddingBag: " in text


def test_an_absent_peer_is_named_and_has_no_figure(steps, tmp_path, capsys):
    rows = steps.compare("ssd", "mini", tmp_path, repeats=1)
    assert [row[:2] + row[4:] for row in rows] == [
        ("ssd", "training", "", "", ""),
        ("ssd", "evaluation", "", "", ""),
    ]
    assert f"ssd: reference is not there (no folder {tmp_path}" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_peer_of_the_same_weights_has_the_same_loss(steps, tmp_path):
    settings, run = steps.prepare("dlrm", "mini", tmp_path)
    ours, peer = (
        make(settings, run) for make in (steps.OURS["dlrm"], steps.PEERS["dlrm"]["EmbeddingBag"](None))
    )
    model, other = ours.build_model(), peer.build_model()
    with torch.no_grad():
        rows = model.embeddings.weight.split(run.manifest["table_sizes"])
        for bag, table in zip(other.embeddings, rows, strict=True):
            bag.weight.copy_(table)
        for name in ("bottom_mlp", "top_mlp"):
            getattr(other, name).load_state_dict(getattr(model, name).state_dict())
    batch = next(iter(ours.train_batches(1)))
    assert peer.loss(other, batch).item() == pytest.approx(ours.loss(model, batch).item(), rel=1e-5)


def test_a_detector_beside_ours_trains_on_all_objects(steps, tmp_path):
    settings, run = steps.prepare("maskrcnn", "mini", tmp_path)
    peer = steps.PEERS["maskrcnn"]["torchvision"](None)(settings, run)
    for work in steps.works(peer).values():
        work()
    assert len(peer._targets) == settings.global_batch_size
    for target in peer._targets:
        assert len(target["masks"]) == len(target["boxes"]) == len(target["labels"]) > 0
