"""The page: what it says of results, and what it does with hostile, missing and many ones."""

import csv
import json
import math
import re
import statistics
import subprocess
import sys

import browser
import pytest
from report_pages import Page, dots, scores_of
from training_logs import write_folder

from octathlon.errors import OctathlonError
from octathlon.report.page import write_page
from octathlon.scoring import rule_data
from octathlon.scoring.rules import load_round

HOSTILE = "<script>alert(1)</script>&\"' ]]> {{ 7 * 7 }} \u202e\x00\ud800"


@pytest.fixture
def tree(tmp_path):
    """One result with every kind of run: five minutes dropped, one failed, and one with several metrics."""
    results = tmp_path / "tree/Us/results/box"
    write_folder(results / "resnet", [30, 28, 33, -35, 29], seed=7)
    write_folder(results / "maskrcnn", [50, 52, 51, 55, 53], benchmark="maskrcnn", quality=MASKS)
    return tmp_path / "tree"


MASKS = ({"BBOX": 0.2, "SEGM": 0.1}, {"BBOX": 0.38, "SEGM": 0.34})


@pytest.fixture
def page(tree, tmp_path):
    return Page(tmp_path, scores_of(tree))


def test_every_run_is_a_dot_that_says_its_part(page):
    figure = page.strips("events")[0]
    kinds = {words.split(":")[0]: kind for kind, _, words in dots(figure)}
    assert kinds == {
        "result_0.txt": "counted",
        "result_1.txt": "dropped",
        "result_2.txt": "counted",
        "result_3.txt": "failed",
        "result_4.txt": "counted",
    }
    words = [words for _, _, words in dots(figure)]
    assert "result_1.txt: 28.000 min, dropped as fastest" in words
    assert "result_3.txt: 35.000 min, failed: status aborted; dropped as slowest" in words


def test_dots_and_the_mean_stand_on_a_logarithmic_axis(page):
    figure = page.strips("events")[0]
    places = {words.split(".")[0]: x for _, x, words in dots(figure)}
    ratio = (places["result_2"] - places["result_1"]) / (places["result_0"] - places["result_4"])
    assert ratio == pytest.approx(math.log(33 / 28) / math.log(30 / 29), rel=0.01)
    mean = float(page.find("line", "mean", figure)[0].get("x1").rstrip("%"))
    score = (30 + 29 + 33) / 3
    expected = places["result_1"] + (places["result_2"] - places["result_1"]) * (
        math.log(score / 28) / math.log(33 / 28)
    )
    assert mean == pytest.approx(expected, abs=0.05)


def test_the_table_has_the_numbers_of_the_scores(page):
    row = next(each for each in page.find("tr") if page.words(each).startswith("resnet box"))
    cells = {each.get("data-label"): page.words(each) for each in row.findall("td")}
    assert cells == {
        "System": "box",
        "Division": "closed",
        "Quality target": "accuracy ≥ 0.759",
        "Converged": "4 of 51 failed",
        "Dropped, low + high": "1 + 1",
        "Score, minutes": "30.667flagged",
        "Fastest, minutes": "28.000",
        "Slowest, minutes": "33.000",
        "To target, mean": "2 epochs2.56 M samples",
        "Final quality": "0.7600",
    }
    assert "status aborted (1 of 5 runs)" in page.words(page.section("results"))


def test_many_results_open_with_a_matrix(tree, tmp_path):
    scores = scores_of(tree)
    assert "matrix" not in Page(tmp_path, scores).text.partition("<body>")[2]
    masks, resnet = scores["entries"]
    lost = resnet | {"score_minutes": None, "reason": "2 of 5 runs failed", "system": "box-0", "flags": []}
    boxes = [
        resnet | {"system": f"box-{number}", "org": "Us" if number % 2 else "we"} for number in range(1, 21)
    ]
    page = Page(tmp_path, scores | {"entries": [masks, lost, *boxes]})
    (table,) = page.find("table", "matrix")
    assert page.section("results")[1].find("table") is table  # the first thing after the heading
    assert [page.words(cell) for cell in table.find("thead")[0]] == [
        "System",
        "resnetminutes",
        "maskrcnnminutes",
    ]
    rows = [[page.words(cell) for cell in row] for row in table.find("tbody")]
    flags = "flagged1 failed"
    assert rows[0] == ["Usbox", "·", "52.000flagged"]
    assert rows[1] == ["Usbox-0", "no score1 failed", "·"]
    assert [row[0] for row in rows[2:5]] == ["Usbox-1", "Usbox-11", "Usbox-13"]
    assert all(row[1:] == [f"30.667{flags}", "·"] for row in rows[2:]) and len(rows) == 22
    (folded,) = page.section("results").findall("details")
    assert len(page.find("tbody", within=folded)) == 22


def test_every_run_is_a_row_too(page):
    table = page.find("table", "runs")[0]
    rows = [[page.words(cell) for cell in row] for row in table.find("tbody")]
    assert rows[0] == ["result_0.txt", "30.000", "1.000", "2", "0.7600", "7", "counted", ""]
    assert rows[3][6] == "failed: status aborted; dropped as slowest"


def value_at(figure, y):
    """The value that stands at a height of a panel, from its marks."""
    scale = figure.find("g")
    marks = [
        (float(line.get("y1")), float(text.text))
        for line, text in zip(scale.iter("line"), scale.findall("text"), strict=False)
    ]
    (y0, v0), (y1, v1) = marks[0], marks[-1]
    return v0 + (y - y0) * (v1 - v0) / (y1 - y0)


def target_height(page, figure):
    return float(page.find("line", "target", figure)[0].get("y1"))


def test_the_target_line_stands_at_the_target(page):
    by_title = {figure.find("title").text: figure for figure in page.panels()}
    assert list(by_title) == [
        "accuracy of resnet on box",
        "BBOX of maskrcnn on box",
        "SEGM of maskrcnn on box",
    ]
    for figure, target in zip(by_title.values(), (0.759, 0.377, 0.339), strict=True):
        assert value_at(figure, target_height(page, figure)) == pytest.approx(target, abs=0.003)
        assert f"target ≥ {target}" in page.words(figure)


def test_an_error_rate_falls_to_its_target(tmp_path):
    write_folder(
        tmp_path / "tree/Us/results/box/rnnt", [30] * 10, benchmark="rnnt", quality=(0.4, 0.1, 0.057)
    )
    page = Page(tmp_path, scores_of(tmp_path / "tree"))
    (figure,) = page.panels()
    assert "target ≤ 0.058" in page.words(figure)
    ends = [float(mark.get("cy")) for mark in page.find("circle", "mark", figure)]
    assert len(ends) == 10
    assert all(end > target_height(page, figure) for end in ends)  # below the line on the screen
    heights = [float(point.split(",")[1]) for point in page.find("polyline")[0].get("points").split()]
    assert heights == sorted(heights)


def test_quality_evaluated_after_the_clock_stands_against_epochs(tree, tmp_path):
    scores = scores_of(tree)
    for log in scores["entries"][1]["logs"]:
        log["curve"] = [
            [log["minutes"] + 1, epoch, value] for epoch, value in ((10, 0.1), (20, 0.4), (40, 0.8))
        ]
    page = Page(tmp_path, scores)
    figure = page.panels()[0]
    assert "epoch (evaluated after the clock)" in page.words(figure)
    points = page.find("polyline", within=figure)[0].get("points").split()
    assert [float(point.split(",")[0]) for point in points] == [25, 50, 100]


def test_hostile_text_stays_text(tree, tmp_path):
    scores = scores_of(tree)
    for entry in scores["entries"]:
        entry |= {
            "org": HOSTILE,
            "system": HOSTILE,
            "division": HOSTILE,
            "flags": [HOSTILE],
            "anomalies": [HOSTILE],
        }
        entry |= {"score_minutes": None, "reason": HOSTILE}
        entry["target"] = {HOSTILE: {"at_least": 0.5}}
        for log in entry["logs"]:
            log |= {"file": HOSTILE, "reason": HOSTILE, "anomalies": [HOSTILE], "converged": False}
            log |= {"quality": {HOSTILE: 0.5}, "curve": [[1, 1, {HOSTILE: 0.5}]]}
    scores["skipped"] = [{"path": HOSTILE, "reason": HOSTILE}]
    page = Page(tmp_path, scores)
    assert page.find("script") == []
    assert "<script" not in page.text
    assert page.words().count("<script>alert(1)</script>&\"' ]]> {{ 7 * 7 }}") > 20
    assert not {"\u202e", "\x00"} & set(page.text)


def test_nothing_is_fetched_and_nothing_runs(page):
    assert not re.search(r"https?:|//\w|url\(|@import|<script|<link|<img|<iframe|\bon\w+=", page.text)
    references = [element.get("href") for element in page.root.iter() if element.get("href")]
    ids = [element.get("id") for element in page.root.iter() if element.get("id")]
    assert references and all(each[0] == "#" and each[1:] in ids for each in references)
    policy = next(each for each in page.find("meta") if each.get("http-equiv"))
    assert policy.get("content") == "default-src 'none'; style-src 'unsafe-inline'"


def test_figures_have_names_for_those_who_cannot_see_them(page):
    ids = [element.get("id") for element in page.root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    figures = [each for each in page.find("svg") if each.get("role") == "img"]
    assert len(figures) == 7  # all runs, two strips, three panels, the published round
    for figure in figures:
        title, description = figure.get("aria-labelledby").split()
        assert (figure[0].get("id"), figure[1].get("id")) == (title, description)
        assert figure[0].text and figure[1].text


def test_equal_scores_give_equal_bytes(tree, tmp_path):
    first = Page(tmp_path, scores_of(tree)).file.read_bytes()
    assert Page(tmp_path, scores_of(tree)).file.read_bytes() == first


def test_says_what_the_results_are(tree, tmp_path):
    mini = Page(tmp_path, scores_of(tree)).words()
    assert "MLPerf Training v1.1, reproduced at mini scale" in mini
    assert "have not been verified by the MLCommons Association" in mini
    assert "closed-division results" in mini
    assert "They cannot be compared with the results above, which are those of small models" in mini
    unstated = Page(tmp_path, scores_of(tree), scale=None).words()
    assert "The scale of these runs was not stated" in unstated
    assert "cannot be compared with the results above." in unstated


def published_csv():
    with (rule_data.ROUNDS / "published_v1.1.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["division"] == "closed" and row["score_minutes"]]
    return {
        name: sorted(float(row["score_minutes"]) for row in rows if row["benchmark"] == name)
        for name in load_round("v1.1").tasks
    }


def test_published_numbers_are_those_of_the_table(page):
    table = page.section("published").find(".//table")
    rows = {page.words(row[0]): [page.words(cell) for cell in row] for row in table.find("tbody")}
    expected = published_csv()
    assert rows.keys() == expected.keys()
    for benchmark, minutes in expected.items():
        _, _, entries, best, _, _, median = rows[benchmark]
        assert (entries, best) == (str(len(minutes)), f"{minutes[0]:,.3f}")
        assert median == f"{statistics.median(minutes):,.3f}"
    (figure,) = page.strips("published")
    assert len(list(dots(figure))) == sum(map(len, expected.values()))


def test_ours_stand_beside_the_published_ones_only_where_that_means_something(tree, tmp_path):
    scores = scores_of(tree)
    assert "Ours, best" not in Page(tmp_path, scores).words()
    full = Page(tmp_path, scores, scale="full")
    ours = {page_row[0].text: full.words(page_row[-1]) for page_row in full.section("published").iter("tr")}
    assert (ours["resnet"], ours["maskrcnn"], ours["bert"]) == ("30.667", "52.000", "–")
    for entry in scores["entries"]:
        entry["division"] = "open"
    opened = Page(tmp_path, scores, scale="full").section("published")
    assert full.words(opened.find(".//tbody")[0][-1]) == "–"


def test_published_results_nearest_in_size_stand_beside_each_of_ours(tree, tmp_path):
    scores = scores_of(tree)
    scores["entries"][1]["accelerators"] = 20
    assert "nearest in size" not in Page(tmp_path, scores).words()
    page = Page(tmp_path, scores, scale="full")
    (card,) = (each for each in page.find("figure", "card") if "nearest in size" in page.words(each))
    ours, *others = ([page.words(cell) for cell in row] for row in card.find(".//tbody"))
    assert ours == ["box20 accelerators", "30.667"]
    with (rule_data.ROUNDS / "published_v1.1.csv").open(newline="") as file:
        closed = [
            (int(row["accelerators"]), float(row["score_minutes"]))
            for row in csv.DictReader(file)
            if (row["benchmark"], row["division"]) == ("resnet", "closed") and row["score_minutes"]
        ]
    nearest = sorted(closed, key=lambda each: (max(each[0] / 20, 20 / each[0]), each[1]))[:3]
    assert [f"{minutes:.3f}" for _, minutes in sorted(nearest)] == [minutes for _, minutes in others]


@pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium here to open the page in")
def test_on_a_phone_nothing_is_wider_than_the_screen_names_stand_letter_for_letter_and_tapping_tells(
    tree, tmp_path
):
    scores = scores_of(tree)
    for entry in scores["entries"]:
        entry |= {"accelerators": 8, "system": "DSS8440x10A100-PCIE-80GB-a-long-name"}
    page = Page(tmp_path, scores, scale="full")
    with browser.Browser(tmp_path / "profile") as shown:
        shown.ask(
            "Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True
        )
        shown.open(page.file)
        assert shown.run("document.documentElement.scrollWidth") == 390
        assert shown.run("getComputedStyle(document.querySelector('.system')).fontVariantLigatures") == "none"
        shown.point_at("#overview .spot .failed path", press=True)
        told = "[...document.querySelectorAll('.tip')].filter(each => getComputedStyle(each).visibility == 'visible')"
        assert shown.run(f"{told}.map(each => each.textContent)") == [
            "result_3.txt: 35.000 min, failed: status aborted; dropped as slowest"
        ]
        assert shown.run(_tops(".results tbody:first-of-type", "th", ".first", ".system")) == [0, 1, 2]
        shown.ask("Emulation.setEmulatedMedia", media="print")
        unfolded = (
            "getComputedStyle(document.querySelector('details'), '::details-content').contentVisibility"
        )
        assert shown.run(unfolded) == "visible"
        shown.ask("Emulation.setEmulatedMedia", media="")
        scores["entries"] = [
            entry | {"system": f"box-{number}"} for number in range(20) for entry in scores["entries"]
        ]
        shown.open(Page(tmp_path, scores, scale="full").file)
        assert shown.run("document.querySelector('.scroll:has(.matrix)').scrollWidth") <= 350
        assert shown.complaints() == []


@pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium here to open the page in")
def test_on_no_screen_are_results_wider_than_it(tree, tmp_path):
    scores = scores_of(tree)
    for entry in scores["entries"]:
        entry |= {"system": "DSS8440x10A100-PCIE-80GB-a-long-name"}
    page = Page(tmp_path, scores, scale="full")
    with browser.Browser(tmp_path / "profile") as shown:
        for width in (390, 820, 1000, 1400):
            shown.ask(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=800,
                deviceScaleFactor=1,
                mobile=True,
            )
            shown.open(page.file)
            table = "document.querySelector('.scroll:has(.results)')"
            assert shown.run(f"{table}.scrollWidth - {table}.clientWidth") == 0, width


def _tops(within: str, *parts: str) -> str:
    """A script that gives the places of elements, counted from above."""
    tops = [f"document.querySelector({f'{within} {part}'!r}).getBoundingClientRect().top" for part in parts]
    return f"(tops => tops.map(top => tops.filter(other => other < top).length))([{', '.join(tops)}])"


def test_without_entries(tmp_path):
    page = Page(tmp_path, {"format": 1, "entries": [], "skipped": []})
    assert "There are no results in the scores yet" in page.words()
    assert page.strips("published")


def test_one_run_says_why_there_is_no_score(tmp_path):
    write_folder(tmp_path / "tree/Us/results/box/resnet", [30])
    page = Page(tmp_path, scores_of(tmp_path / "tree"))
    assert "No score: 1 of 5 runs" in page.words(page.section("results"))
    assert page.words(page.find("b", "fail", page.section("events"))[0]) == "no score"
    assert [kind for kind, _, _ in dots(page.strips("events")[0])] == ["counted"]


def test_all_runs_failed(tmp_path):
    write_folder(tmp_path / "tree/Us/results/box/resnet", [-30, -31, -32, -33, -34])
    page = Page(tmp_path, scores_of(tmp_path / "tree"))
    assert [kind for kind, _, _ in dots(page.strips("events")[0])] == ["failed"] * 5
    assert page.find("line", "mean", page.strips("events")[0]) == []
    assert len(page.find("g", "failed", page.panels()[0])) == 5


@pytest.mark.parametrize("nothing", [None, math.nan, math.inf, True, "12"])
def test_unknown_numbers(tree, tmp_path, nothing):
    scores = scores_of(tree)
    for entry in scores["entries"]:
        entry |= {name: nothing for name, value in entry.items() if isinstance(value, float)}
        entry |= {"target": {}, "dropped_low": None, "dropped_high": None}
        for log in entry["logs"]:
            log |= {"minutes": nothing, "epochs": nothing, "quality": nothing, "seed": nothing}
            log["curve"] = [[nothing, nothing, nothing], [1.0, nothing, nothing]]
    page = Page(tmp_path, scores)
    assert "5 without a time, no score" in page.words(page.strips("events")[0])
    assert page.panels() == []
    assert "no evaluation in the logs" in page.words(page.section("events"))
    assert not re.search(r"\b(nan|inf|None)\b", page.words())


@pytest.mark.parametrize("minutes", [0.0, 1e-300, 1e98])
@pytest.mark.parametrize("quality", [0.0, -1e99, 1e99, 1e-320])
def test_extreme_numbers(tree, tmp_path, minutes, quality):
    scores = scores_of(tree)
    for rises, entry in enumerate(scores["entries"]):
        entry |= {"higher_is_better": bool(rises), "target": {}, "score_minutes": minutes}
        entry["logs"][0] |= {
            "minutes": minutes,
            "quality": quality,
            "curve": [[0, 1, quality], [minutes, 2, quality]],
        }
    page = Page(tmp_path, scores)
    assert all(0 <= x <= 100 for figure in page.strips("events") for _, x, _ in dots(figure))


def test_many_runs_of_many_systems_with_long_names(tmp_path):
    tasks = load_round("v1.1").tasks
    template = tmp_path / "tree/Us/results/box"
    for name, task in tasks.items():
        value = {metric: bounds.threshold for metric, bounds in task.target.items()}
        value = value if len(value) > 1 else next(iter(value.values()))
        write_folder(template / name, [30 + n / 7 for n in range(40)], benchmark=name, quality=[value] * 9)
    scores = scores_of(tmp_path / "tree", runs=dict.fromkeys(tasks, 40))
    scores["entries"] = [
        entry | {"system": f"{number}-{'x' * 300}"} for number in range(9) for entry in scores["entries"]
    ]
    page = Page(tmp_path, scores)
    kinds = [kind for figure in page.strips("events") for kind, _, _ in dots(figure)]
    assert len(kinds) == 9 * len(tasks) * 40
    assert kinds.count("dropped") == sum(9 * 2 * (task.drop * 40 // task.runs) for task in tasks.values())
    label = page.find("text", "name", page.strips("events")[0])[0]
    assert len(label.text) < 40 and len(label.find("title").text) > 300
    assert "overview" not in [each.get("id") for each in page.find("section")]


def test_bad_input_is_a_sentence(tree, tmp_path):
    path = tmp_path / "scores.json"
    scores = scores_of(tree)
    broken = [
        [],
        {"format": 2},
        scores | {"entries": [{}]},
        scores | {"entries": 3},
        scores | {"skipped": [1]},
    ]
    broken.append(scores | {"entries": [scores["entries"][0] | {"target": {"accuracy": {"odd": 1}}}]})
    broken.append(scores | {"entries": [scores["entries"][0] | {"round": "v9"}]})
    for value in broken:
        path.write_text(json.dumps(value))
        with pytest.raises(OctathlonError):
            write_page(path, None, tmp_path / "page.html", "mini")
    assert not (tmp_path / "page.html").exists()


def test_neither_torch_nor_matplotlib_is_loaded(tree, tmp_path):
    (tmp_path / "scores.json").write_text(json.dumps(scores_of(tree)))
    code = (
        "import sys; from octathlon.cli import octathlon; octathlon(standalone_mode=False);"
        "print({'torch', 'matplotlib', 'pandas'} & set(sys.modules))"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "report",
        "scores.json",
        "--html",
        "report.html",
        "--scale",
        "full",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    made = (tmp_path / "report.html").read_text()
    assert "octathlon report scores.json --html report.html --scale full" in made
