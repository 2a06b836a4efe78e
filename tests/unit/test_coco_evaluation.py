"""Our average precision is pycocotools' stats[0], on one rank and on several."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from coco_run import PICTURES, draw
from pycocotools import mask as official
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from octathlon.datasets.coco.annotations import parse
from octathlon.nn.coco_evaluation import Evaluation
from octathlon.nn.sampling import rank_share

REAL = Path(__file__).resolve().parents[3] / "shared/realdata/coco/annotations_trainval2017.zip"
CPU = torch.device("cpu")


def truth_of(archive: Path, out: Path) -> Path:
    import zipfile

    with zipfile.ZipFile(archive) as source:
        instances = parse(source.read("annotations/instances_val2017.json"), "val")
    out.write_text(json.dumps(instances.truth()))
    return out


@pytest.fixture(scope="module", params=["drawn", "real"])
def truth(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "real":
        if not REAL.exists():
            pytest.skip("../shared/realdata is not there")
        return truth_of(REAL, folder / "truth.json")
    return truth_of(draw(folder, val_images=60) / PICTURES[2], folder / "truth.json")


def detections(truth: Path) -> tuple[torch.Tensor, list[dict]]:
    """True boxes moved a little, some twice, some of another category or image, and some at random; ties included."""
    document, rng = json.loads(truth.read_text()), np.random.default_rng(1)
    sizes = {image["id"]: (image["height"], image["width"]) for image in document["images"]}
    categories = [category["id"] for category in document["categories"]]
    rows, masks = [], []
    for annotation in document["annotations"] * 2:
        box = np.array(annotation["bbox"]) + rng.normal(0, 2, 4)
        box[2:] = box[2:].clip(1)
        category = annotation["category_id"] if rng.random() < 0.9 else rng.choice(categories)
        image = annotation["image_id"] if rng.random() < 0.95 else rng.choice(list(sizes))
        rows.append([image, *box, round(rng.random(), 1), category])
        height, width = sizes[int(image)]
        pixels = np.zeros((height, width), np.uint8, order="F")
        left, top, right, bottom = np.concatenate([box[:2], box[:2] + box[2:]]).clip(0).astype(int)
        pixels[top:bottom, left:right] = 1
        masks.append(official.encode(pixels))
    return torch.tensor(np.array(rows, dtype=np.float64)), masks


def officially(truth: Path, results: list[dict], kind: str) -> float:
    coco = COCO(str(truth))
    evaluation = COCOeval(coco, coco.loadRes(results), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[0]


def test_average_precision_is_the_official_one(truth: Path) -> None:
    rows, masks = detections(truth)
    boxes = [
        {"image_id": int(row[0]), "bbox": row[1:5], "score": row[5], "category_id": int(row[6])}
        for row in rows.tolist()
    ]
    expected = officially(truth, boxes, "bbox")
    assert 0.05 < expected < 0.95
    assert Evaluation(truth, CPU).boxes(rows) == pytest.approx(expected, abs=1e-9)
    outlines = [
        {"image_id": int(row[0]), "segmentation": mask, "score": row[5], "category_id": int(row[6])}
        for row, mask in zip(rows.tolist(), masks, strict=True)
    ]
    expected = officially(truth, outlines, "segm")
    assert Evaluation(truth, CPU).masks(rows, masks) == pytest.approx(expected, abs=1e-9)


def test_the_truth_itself_scores_one(truth: Path) -> None:
    document = json.loads(truth.read_text())
    rows = [
        [each["image_id"], *each["bbox"], 1, each["category_id"]]
        for each in document["annotations"]
        if not each["iscrowd"]
    ]
    assert Evaluation(truth, CPU).boxes(torch.tensor(rows, dtype=torch.float64)) == pytest.approx(1, abs=0.02)


def test_nothing_found_scores_zero(truth: Path) -> None:
    evaluation, none = Evaluation(truth, CPU), torch.zeros(0, 7, dtype=torch.float64)
    assert evaluation.boxes(none) == evaluation.masks(none, []) == 0


def evaluate_share(rank: int, world: int, truth: Path, rendezvous: Path, out: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    rows, masks = detections(truth)
    images = sorted({int(image) for image in rows[:, 0]})
    own = (
        {images[number] for number in rank_share(len(images), rank, world - 1)} if rank < world - 1 else set()
    )
    chosen = [number for number, image in enumerate(rows[:, 0].tolist()) if int(image) in own]
    evaluation = Evaluation(truth, CPU)
    values = [
        evaluation.boxes(rows[chosen]),
        evaluation.masks(rows[chosen], [masks[number] for number in chosen]),
    ]
    (out / f"{rank}.json").write_text(json.dumps(values))
    dist.destroy_process_group()


def test_ranks_together_find_what_one_finds(truth: Path, tmp_path: Path) -> None:
    """Three ranks, one of them without any detection."""
    rows, masks = detections(truth)
    alone = Evaluation(truth, CPU)
    mp.spawn(evaluate_share, (3, truth, tmp_path / "rendezvous", tmp_path), nprocs=3)
    for rank in range(3):
        values = json.loads((tmp_path / f"{rank}.json").read_text())
        assert values == pytest.approx([alone.boxes(rows), alone.masks(rows, masks)], abs=1e-12)
