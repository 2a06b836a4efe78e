"""Miniature -> prepared models and games; the formats; every damage has its sentence."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from minigo_data import draw_archives, members, prepare_all, rewritten, with_momentum
from safetensors.numpy import load_file

from octathlon import config
from octathlon.benchmarks.minigo import tree
from octathlon.benchmarks.minigo.area import area
from octathlon.benchmarks.minigo.features import find_legal, write_planes
from octathlon.benchmarks.minigo.rules import KOMI, empty_chains, geometry
from octathlon.datasets.minigo_models import prepare
from octathlon.datasets.minigo_models.games import read_game
from octathlon.datasets.minigo_models.names import tensor_names
from octathlon.datasets.minigo_models.rows import pack, row_type, unpack_planes
from octathlon.errors import OctathlonError
from octathlon.formats.tensor_bundles import read_index, read_tensors
from octathlon.miniatures import minigo_models as miniature
from octathlon.miniatures.protobuf import field
from octathlon.receipts import read_json

SETTINGS = config.resolve("datasets", "minigo_models", "mini", {})
INDEX, DATA = "target.index", "target.data-00000-of-00001"


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> Path:
    return draw_archives(tmp_path_factory.mktemp("archives"), games=4)


@pytest.fixture(scope="module")
def prepared(archives, tmp_path_factory) -> Path:
    return prepare_all(archives, tmp_path_factory.mktemp("prepared"))


def game_files(archives: Path) -> list[bytes]:
    return [
        content for name, content in members(archives / "checkpoint.tar.gz").items() if name.endswith(".zz")
    ]


# The miniature ---------------------------------------------------------------------------------------------


def test_the_same_seed_draws_the_same_bytes(archives, tmp_path):
    again, other = draw_archives(tmp_path / "1", games=4), draw_archives(tmp_path / "2", games=4, seed=2)
    for name in miniature.archives():
        assert (archives / name).read_bytes() == (again / name).read_bytes()
    for name in ("checkpoint.tar.gz", DATA):
        assert (archives / name).read_bytes() != (other / name).read_bytes()


def moves_of(content: bytes) -> list[int]:
    """The moves that a game's records name: a varint of two bytes after the feature's name."""
    data = zlib.decompress(content)
    places = [place for place in range(len(data)) if data[place : place + 3] == b"\x0a\x01c"]
    return [(data[place + 9] & 0x7F) | data[place + 10] << 7 for place in places]


def test_games_follow_the_rules_and_show_what_the_benchmarks_own_features_show(archives):
    """The writer has an engine of its own: both must agree about every position, and about the winner."""
    go, chains = geometry(5), empty_chains(5)
    for content in game_files(archives):
        rows = read_game(content, 5, 0, "game")
        moves = moves_of(content)
        assert len(moves) == len(rows)
        trees = tree.plant(1, 4, 5, 76)
        tree.reset(trees, 0, np.uint64(0))
        legal, planes = np.zeros(26, np.int8), np.zeros((13, 25), np.uint8)
        for move, shown, policy in zip(moves, unpack_planes(rows, 5), rows["policy"], strict=True):
            find_legal(trees, go, chains, 0, 0, True, legal)
            write_planes(trees, go, chains, 0, 0, legal, go.symmetries[0], planes)
            assert (planes == shown).all()
            assert ((policy > 0) == (legal > 0)).all()
            tree.advance(trees, go, chains, 0, move, 76, False)
        score = area(trees.boards[0, 0], go, chains, np.zeros(25, np.int8))
        assert rows["outcome"][0] == (1 if score > KOMI else -1)


def test_the_target_counts_areas(prepared):
    """Its value, computed by the network, is the recipe's: tanh of 0.15 times Black's lead in area after komi."""
    import torch

    from octathlon.benchmarks.minigo.network import DualNetwork

    model = DualNetwork(5, 16, 2, 16).eval()
    tensors = {
        name: torch.from_numpy(value) for name, value in load_file(prepared / "target.safetensors").items()
    }
    model.load_state_dict(tensors, strict=False)
    black, white = [6, 7, 12], [0, 24]
    for to_move in (0, 1):
        planes = torch.zeros(1, 13, 25)
        planes[0, to_move, black], planes[0, 1 - to_move, white] = 1, 1
        planes[0, 8], planes[0, 12, 3] = 1 - to_move, 1
        with torch.inference_mode():
            logits, value = model(planes.view(1, 13, 5, 5))
        # beside Black alone: 2, 8, 11, 13, 17; beside White alone: 19, 23; beside one of each: 1, 5
        assert value.item() == pytest.approx(np.tanh(0.15 * (3 + 5 - 2 - 2 - 7.5)), abs=1e-5)
        assert logits[0, 3] - logits[0, 4] == pytest.approx(2, abs=0.6)
        assert logits.argmin() == 25


# Prepared --------------------------------------------------------------------------------------------------


def test_manifest_and_files(prepared):
    manifest = read_json(prepared / "manifest.json")
    assert manifest["board_size"] == 5 and manifest["global_step"] == 0
    assert [generation["games"] for generation in manifest["generations"]] == [4, 4]
    for generation in manifest["generations"]:
        rows = np.fromfile(prepared / generation["file"], row_type(5))
        assert len(rows) == generation["positions"]
        assert np.unique(rows["game"]).tolist() == list(range(4)) and (np.diff(rows["game"]) >= 0).all()
    for name, facts in manifest["shards"].items():
        assert (prepared / name).stat().st_size == facts["bytes"]


def test_weights_get_our_names_and_axes(archives, prepared):
    index, data = archives / INDEX, archives / DATA
    theirs = read_tensors(read_index(index.read_bytes(), index), data.read_bytes(), data)
    ours = load_file(prepared / "target.safetensors")
    assert set(ours) == set(tensor_names(2).values())
    assert theirs["conv2d/kernel"].shape == (3, 3, 13, 16) and ours["conv.weight"].shape == (16, 13, 3, 3)
    assert (ours["conv.weight"][2, 1] == theirs["conv2d/kernel"][:, :, 1, 2]).all()
    assert (ours["policy.weight"] == theirs["dense/kernel"].T).all()
    assert (ours["tower.1.conv2.weight"] == theirs["conv2d_4/kernel"].transpose(3, 2, 0, 1)).all()
    assert (ours["value_bn.running_var"] == theirs["batch_normalization_6/moving_variance"]).all()


def test_momentum_gets_our_names_and_axes(archives, tmp_path):
    """Checkpoints that training writes have it; the miniature, of a fresh network, has none."""
    slots = with_momentum(archives, tmp_path / "archives")
    out = prepare_all(tmp_path / "archives", tmp_path / "prepared")
    manifest, ours = read_json(out / "manifest.json"), load_file(out / "momentum.safetensors")
    assert manifest["momentum"] == "momentum.safetensors" and "momentum.safetensors" in manifest["shards"]
    trained = {theirs: name for theirs, name in tensor_names(2).items() if "moving" not in theirs}
    assert set(ours) == set(trained.values())
    assert (ours["conv.weight"][2, 1] == slots["conv2d/kernel/Momentum"][:, :, 1, 2]).all()
    assert (ours["policy.weight"] == slots["dense/kernel/Momentum"].T).all()
    assert (ours["bn.bias"] == slots["batch_normalization/beta/Momentum"]).all()


def test_momentum_must_be_complete_and_of_the_tensors_shapes(archives, tmp_path):
    for number, (change, words) in enumerate(
        [
            (
                lambda name, slot: None if name.startswith("dense/bias") else slot,
                "no tensor dense/bias/Momentum",
            ),
            (
                lambda name, slot: slot[:-1] if name.startswith("dense/bias") else slot,
                "momentum of dense/bias",
            ),
        ]
    ):
        folder = tmp_path / str(number)
        with_momentum(archives, folder, change)
        with pytest.raises(OctathlonError, match=rf"checkpoint\.tar\.gz: .*{words}"):
            prepare.prepare("checkpoint", folder, folder / "out", SETTINGS)


def test_rows_round_trip():
    rng = np.random.default_rng(1)
    planes = rng.integers(2, size=(7, 13, 9, 9)).astype(np.uint8)
    policies = rng.random((7, 82), np.float32)
    rows = pack(9, planes, policies, -1, 3)
    assert (unpack_planes(rows, 9) == planes.reshape(7, 13, 81)).all()
    assert (rows["policy"] == policies).all() and set(rows["outcome"]) == {-1} and set(rows["game"]) == {3}


# Damage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [INDEX, DATA])
def test_any_flipped_byte_of_a_model_is_noticed(archives, tmp_path, name):
    for other in (INDEX, DATA):
        (tmp_path / other).write_bytes((archives / other).read_bytes())
    content = bytearray((archives / name).read_bytes())
    rng = np.random.default_rng(1)
    for place in rng.integers(len(content) - 60, size=20):
        content[place] ^= 0x10
        (tmp_path / name).write_bytes(content)
        with pytest.raises(OctathlonError, match=rf"{name}: cannot read the .* of a TensorFlow checkpoint"):
            prepare.prepare("target", tmp_path, tmp_path / "out", SETTINGS)
        content[place] ^= 0x10
    assert not list(tmp_path.glob("out/*.safetensors"))


@pytest.mark.parametrize("keep", [0, 10, 100, 1000])
def test_a_model_cut_short_is_refused(archives, tmp_path, keep):
    for other in (INDEX, DATA):
        (tmp_path / other).write_bytes((archives / other).read_bytes()[:keep])
    with pytest.raises(OctathlonError, match=r"target\.index: cannot read"):
        prepare.prepare("target", tmp_path, tmp_path / "out", SETTINGS)


def without(part: str):
    return lambda files: {name: content for name, content in files.items() if part not in name}


def game_of(changed):
    """Replaces the first game."""

    def change(files):
        name = next(name for name in files if name.endswith(".zz"))
        return files | {name: changed(files[name])}

    return change


def reframed(change):
    return lambda content: zlib.compress(change(zlib.decompress(content)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("model.ckpt"), "no model or no games"),
        (without("selfplay"), "no model or no games"),
        (game_of(lambda content: content[:-9]), "cut short"),
        (game_of(lambda content: b"junk"), "incorrect header"),
        (game_of(reframed(lambda _: b"")), "no position"),
        (game_of(reframed(lambda data: data[:-9])), "a record is cut short"),
        (game_of(reframed(lambda data: data.replace(b"\x02pi", b"\x02pj"))), "a record without 'pi'"),
        (game_of(reframed(lambda data: data.replace(struct.pack("<f", 1), struct.pack("<f", 3)).replace(
            struct.pack("<f", -1), struct.pack("<f", 3)))), "planes or outcome"),
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_is_named(archives, tmp_path, change, words):
    path = tmp_path / "checkpoint.tar.gz"
    path.write_bytes((archives / path.name).read_bytes())
    rewritten(path, change)
    with pytest.raises(OctathlonError, match=rf"checkpoint\.tar\.gz: .*{words}"):
        prepare.prepare("checkpoint", tmp_path, tmp_path / "out", SETTINGS)
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(
    ("example", "words"),
    [
        (field(1, 5), "a record without 'x'"),  # numbers where messages belong
        (field(1, field(1, 5)), "a record without 'x'"),
        (field(1, field(1, field(1, b"x") + field(2, 5))), "a record without 'pi'"),
        (b"", "a record without 'x'"),
    ],
)
def test_hostile_examples_are_refused(example, words):
    record = struct.pack("<QI", len(example), 0) + example + bytes(4)
    with pytest.raises(OctathlonError, match=f"^game cannot be read .*{words}"):
        read_game(zlib.compress(record), 5, 0, "game")


def test_a_truncated_archive_is_named(archives, tmp_path):
    (tmp_path / "checkpoint.tar.gz").write_bytes((archives / "checkpoint.tar.gz").read_bytes()[:-500])
    with pytest.raises(OctathlonError, match=r"checkpoint\.tar\.gz: truncated or damaged"):
        prepare.prepare("checkpoint", tmp_path, tmp_path / "out", SETTINGS)


def test_other_boards_are_refused(archives, tmp_path):
    nine = config.resolve("datasets", "minigo_models", "mini", {"board_size": 9})
    for step, words in (
        ("checkpoint", "not a game on a board of 9 lines"),
        ("target", "not for a board of 9 lines"),
    ):
        with pytest.raises(OctathlonError, match=words):
            prepare.prepare(step, archives, tmp_path, nine)


def test_names_that_leave_the_folder_are_refused(archives, tmp_path):
    path = tmp_path / "checkpoint.tar.gz"
    path.write_bytes((archives / path.name).read_bytes())
    rewritten(path, lambda files: {f"../../{name}": content for name, content in files.items()})
    with pytest.raises(OctathlonError, match="has a name that leaves its folder"):
        prepare.prepare("checkpoint", tmp_path, tmp_path / "out", SETTINGS)


def test_an_unknown_step_is_named(archives, tmp_path):
    with pytest.raises(OctathlonError, match="no step 'chekpoint'"):
        prepare.prepare("chekpoint", archives, tmp_path, SETTINGS)
