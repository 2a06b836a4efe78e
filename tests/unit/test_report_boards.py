"""The board of a game on the page: captures, the last stone, and files that are no games."""

import pytest
from report_pages import Page, scores_of
from training_logs import write_folder

from octathlon.report.boards import LARGEST

HEAD = "(;FF[4]GM[1]SZ[5]KM[7.5]PB[candidate]PW[target]RE[B+]\n"
SIDE = 20.0
"""Of a point of a board of five lines."""


@pytest.fixture
def draw(tmp_path):
    """A function that gives the page of a result with a game beside its log."""

    def page(text: str, file: str = "result_0.sgf") -> Page:
        folder = tmp_path / "Us/results/box/minigo"
        write_folder(folder, [30, 28, 33, 35, 29], benchmark="minigo", quality=[0.3, 0.51])
        (folder / file).write_text(text)
        return Page(tmp_path, scores_of(tmp_path))

    return page


def stones(page: Page) -> set[tuple[int, int, str]]:
    """Column, row and class of each stone of the only board."""
    (board,) = page.find("svg", "board")
    return {
        (
            round(float(each.get("cx")) / SIDE - 0.5),
            round(float(each.get("cy")) / SIDE - 0.5),
            each.get("class"),
        )
        for each in page.find("circle", within=board)
    }


def test_captured_stones_are_gone_and_the_last_one_is_marked(draw):
    page = draw(HEAD + ";B[aa];W[ba];B[cc];W[ab];B[];W[ed])\n")
    assert stones(page) == {(1, 0, "white"), (2, 2, "black"), (0, 1, "white"), (4, 3, "white last")}
    assert "result_0.txt: candidate (Black) against target, 6 moves, B+" in page.words()


def test_a_chain_is_taken_as_a_whole_and_suicide_of_none(draw):
    page = draw(HEAD + ";B[aa];W[ca];B[ba];W[ab];B[ee];W[bb])")
    assert {stone[:2] for stone in stones(page)} == {(2, 0), (0, 1), (4, 4), (1, 1)}


def test_the_first_game_of_several_is_shown(draw):
    assert stones(draw(HEAD + ";B[aa])\n" + HEAD + ";B[bb])\n")) == {(0, 0, "black last")}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no game",
        HEAD.replace("SZ[5]", "SZ[99]") + ";B[aa])",
        HEAD.replace("SZ[5]", "") + ";B[aa])",
        HEAD + ";B[<script>])",
        "(" * LARGEST,
        "(;SZ[5]" + ";B[aa]" * 6000 + ")",
    ],
)
def test_what_is_no_game_draws_nothing(draw, text):
    page = draw(text)
    assert page.find("svg", "board") == [] and "<script>" not in page.text


def test_points_off_the_board_and_hostile_names_do_no_harm(draw):
    page = draw(HEAD.replace("PB[candidate]", 'PB[<b>"]') + ";B[ss];W[aa])")
    assert stones(page) == {(0, 0, "white last")}
    assert "<b>" not in page.text and "Black (Black) against target" in page.words()


def test_without_a_game_there_is_no_board(draw):
    assert draw("", file="other.sgf").find("svg", "board") == []
