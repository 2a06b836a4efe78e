"""The page of all rounds: what it says, and what a real browser makes of it."""

import math
import re

import browser
import pytest

from octathlon.report.history import write_history
from octathlon.scoring.compare import comparison
from octathlon.scoring.results import Result, best_results, parts, published

HOSTILE = "<script>alert(1)</script>&\"' </table> \u202e\x00"


def draw(results, path, small=()):
    write_history(results, comparison(results, small), path, small)
    return path.read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    results = published()
    path = tmp_path_factory.mktemp("history") / "rounds.html"
    draw(results, path, parts(results))
    return path


@pytest.fixture(scope="module")
def shown(page, tmp_path_factory):
    if browser.PROGRAM is None:
        pytest.skip("no Chromium here to open the page in")
    with browser.Browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.open(page)
        yield opened


def test_without_scripts_every_entry_stands_in_the_table(page):
    table = page.read_text().partition('<table id="all">')[2].partition("</table>")[0]
    assert table.count("<tr>") == len(published()) + 1
    assert "<select" not in page.read_text()


def test_a_point_for_the_best_of_each_round_says_system_and_numbers(page):
    cards = page.read_text().partition('id="benchmarks"')[2].partition("</section>")[0]
    best = [
        result
        for (_, division), by_round in best_results(published()).items()
        if division == "closed"
        for result in by_round.values()
    ]
    assert cards.count('class="spot') == len(best)
    assert 'aria-label="v1.0 resnet, 0.229 min; Google tpu-v4-6912-TF; 3,456 × TPU"' in cards
    assert cards.count("another target: BLEU 0.24 instead of BLEU 0.218") == 1


def test_speedups_stand_between_those_of_other_rounds_and_tell_the_result_that_they_are_of(page):
    faster, cheaper = (
        page.read_text().partition('id="speed-up"')[2].partition("</section>")[0].split("</figure>")[:2]
    )
    assert 'aria-label="v1.1 unet3d, 1.262 min, 2.37 times v1.0; Azure' in faster
    assert 'aria-label="v1.1 resnet, 27.568 min, 3.06 times v0.6; Inspur' in cheaper
    for chart in (faster, cheaper):
        assert chart.count('class="moore"') == 1
        assert not re.search('aria-label="v[2-5]', chart)  # of these rounds only parts are at hand


def test_hostile_text_stays_text(tmp_path):
    results = [
        Result(name, HOSTILE, HOSTILE, "closed", "resnet", HOSTILE, 8, minutes, math.nan, HOSTILE)
        for name, minutes in (("v1.0", 2.0), ("v1.1", 1.0))
    ]
    text = draw(results, tmp_path / "page.html")
    assert text.count("<script>") == text.count("</script>") == 2
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;&amp;") > 10
    assert text.count("</table>") == text.count("<table")
    assert not {"\u202e", "\x00"} & set(text)


def test_one_entry_without_a_time_is_a_page(tmp_path):
    results = [Result("v1.1", "A", "s", "open", "resnet", "", 0, math.nan, math.nan, "f")]
    assert 'data-order="1e+99">–<' in draw(results, tmp_path / "page.html")


ROWS = "[...document.querySelectorAll('#all tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"


def choose(shown, name, value):
    """Set a filter as a user does."""
    shown.run(
        f"(() => {{ const label = [...document.querySelectorAll('#filters label')].find((each) => "
        f"each.firstChild.textContent === '{name}'); const control = label.lastChild; control.value = '{value}';"
        "control.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def test_the_table_filters_and_sorts_in_a_browser(shown):
    names = shown.run(
        "[...document.querySelectorAll('#filters label')].map((each) => each.firstChild.textContent)"
    )
    assert names == ["Round", "Organisation", "System", "Division", "Benchmark", "Accelerator", "Count"]
    expected = [each for each in published() if (each.round, each.org) == ("v1.1", "Supermicro")]
    choose(shown, "Round", "v1.1")
    choose(shown, "Organisation", "Supermicro")
    rows = shown.run(ROWS)
    assert sorted(row[2] for row in rows) == sorted(each.system for each in expected)
    shown.point_at("#all th:nth-child(8)", press=True)
    minutes = [row[7] for row in shown.run(ROWS)]
    assert minutes == [f"{each:.3f}" for each in sorted(each.minutes for each in expected)]
    choose(shown, "Count", "8")
    choose(shown, "System", "no such system")
    assert shown.run("document.querySelectorAll('#all tbody td:not(.dt-empty)').length") == 0
    for name in ("Round", "Organisation", "System", "Count"):
        choose(shown, name, "")
    assert f"of {len(published())} entries" in shown.run("document.querySelector('.dt-info').textContent")


def test_a_point_tells_when_the_pointer_is_on_it_or_when_it_is_tapped(shown):
    seen = (
        "[...document.querySelectorAll('#benchmarks .tip')].filter((tip) => "
        "getComputedStyle(tip).visibility === 'visible').map((tip) => tip.textContent)"
    )
    assert shown.run(seen) == []
    shown.point_at("#benchmarks .spot[aria-label^='v1.0 resnet'] circle")
    assert shown.run(seen) == ["v1.0 resnet, 0.229 min", "Google tpu-v4-6912-TF", "3,456 × TPU"]
    shown.point_at("#benchmarks .spot[aria-label^='v1.1 bert'] circle", press=True)
    shown.point_at("h1")
    assert shown.run(seen)[0].startswith("v1.1 bert, 0.226 min")


def test_nothing_is_fetched_and_nothing_complains(shown, page):
    assert shown.requests() == [page.as_uri()]
    assert shown.complaints() == []


def test_the_policy_lets_no_other_script_run(shown):
    shown.run(
        "(() => { const script = document.createElement('script'); script.textContent = 'window.forged = true';"
        "document.body.append(script); })()"
    )
    assert shown.run("window.forged") is None
