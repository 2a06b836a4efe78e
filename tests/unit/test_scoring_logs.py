"""Events out of logs: all formats, and all that terminals do to them."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_logs import BEGIN, line, log_lines

from octathlon.errors import OctathlonError
from octathlon.scoring.lines import BLOCK
from octathlon.scoring.logs import DEEPEST, UNSTATED, read_events
from octathlon.scoring.runs import read_log


def events(tmp_path, text, **options):
    path = tmp_path / "result_0.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(read_events(path, **options))


def one(tmp_path, text):
    (event,) = events(tmp_path, text)
    return event


def test_mllog(tmp_path):
    event = one(tmp_path, line("eval_accuracy", 1.5, 0.7, epoch_num=4) + "\n")
    assert (event.line, event.time_ms, event.key, event.value) == (1, BEGIN + 1500, "eval_accuracy", 0.7)
    assert event.metadata["epoch_num"] == 4


@pytest.mark.parametrize(
    ("fields", "time_ms"),
    [
        ('"time_ms": 1592878316890.947', 1592878316890.947),
        ('"time_ms": "1592878316890"', 1592878316890),
        ('"time_s": 1592878316.5', 1592878316500),
    ],
)
def test_mllog_times_as_submitters_wrote_them(tmp_path, fields, time_ms):
    event = one(tmp_path, f':::MLLOG {{{fields}, "key": "run_start", "value": null, "metadata": {{}}}}')
    assert event.time_ms == time_ms


@pytest.mark.parametrize(
    "time", ["NaN", "Infinity", "-1", "true", "null", '"soon"', "1e300", "1" * 5000, "[1]"]
)
def test_a_time_that_is_none_is_reported(tmp_path, time):
    bad = []
    text = f':::MLLOG {{"time_ms": {time}, "key": "run_start", "value": null, "metadata": {{}}}}\n'
    assert events(tmp_path, text, report=bad.append) == []
    assert [each.line for each in bad] == [1]


def test_nan_and_infinity_are_values(tmp_path):
    text = ':::MLLOG {"time_ms": 1, "key": "opt_gradient_clip_norm", "value": Infinity, "metadata": {}}'
    assert one(tmp_path, text).value == float("inf")


def test_v06(tmp_path):
    event = one(
        tmp_path, ':::MLL 1560881700.827 run_stop: {"value": null, "metadata": {"status": "success"}}\n'
    )
    assert (event.time_ms, event.key, event.metadata) == (1560881700827, "run_stop", {"status": "success"})


def test_v06_with_python_where_json_belongs_is_read_and_reported(tmp_path):
    bad = []
    text = ":::MLL 1.5 eval_accuracy: {\"value\": null, \"metadata\": {'lineno': 76, 'ok': true}}\n"
    (event,) = events(tmp_path, text, report=bad.append)
    assert event.metadata == {"lineno": 76, "ok": True}
    assert "not JSON" in bad[0].reason


def test_v05(tmp_path):
    text = (
        ":::MLPv0.5.0 ncf 1542332128.492 (A (b).scala:70) run_start\n"
        ':::MLPv0.5.0 ncf 1542332455.868 (N.scala:363) eval_accuracy: {"epoch": 2, "value": 0.61}\n'
        ':::MLPv0.5.0 ncf 1542332455.868 (N.scala:363) run_stop: {"success": "true"}\n'
        ":::MLPv0.5.0 ncf 1542332455.868 (N.scala:363) run_stop\n"
    )
    start, evaluation, stop, bare = events(tmp_path, text)
    assert (start.time_ms, start.value, start.metadata) == (
        1542332128492,
        None,
        {"file": "A (b).scala", "lineno": 70},
    )
    assert (evaluation.value, evaluation.metadata["epoch_num"]) == (0.61, 2)
    assert stop.metadata["status"] == "success"
    assert bare.metadata["status"] is UNSTATED


def test_v06_without_a_token(tmp_path):
    text = (
        "MLPerf: resnet [06/13/19 00:30:56], run_start\n"
        'MLPerf: resnet [06/13/19 00:55:21], eval_accuracy: {"value": 75.98000%, "epoch": 79}\n'
        "MLPerf: resnet [06/13/19 00:55:21], Total runtime: 24.409763 minutes\n"
    )
    start, evaluation = events(tmp_path, text)
    assert evaluation.time_ms - start.time_ms == (24 * 60 + 25) * 1000
    assert evaluation.value == pytest.approx(0.7598)


def test_text_around_the_marker(tmp_path):
    """A rank's prefix, half a line of another process, CRLF, a byte order mark, bytes that are no UTF-8."""
    good = line("run_start", 0).encode()
    for text in (
        b"[1,0]<stdout>:" + good,
        b':::MLLOG {"time_ms": 1, "ke' + good,
        good + b"\r\n",
        b"\xef\xbb\xbf" + good,
        b"\xff\xfe\x1b[31m " + good + b"   \n",
    ):
        assert one(tmp_path, text).key == "run_start"


def test_bare_carriage_returns_end_lines(tmp_path):
    text = (
        "0%|  |\r50%|# |\r"
        + line("run_start", 0)
        + "\r"
        + line("run_stop", 9, status="success")
        + "\r100%|##|\n"
    )
    assert [(event.key, event.line) for event in events(tmp_path, text)] == [
        ("run_start", 1),
        ("run_stop", 1),
    ]


def test_a_key_inside_the_metadata_is_no_event(tmp_path):
    text = line("x", 0, {"key": "run_start"}, inner={"key": "run_stop"})
    assert events(tmp_path, text, keys=["run_start", "run_stop"]) == []


def test_once_gives_the_first_only(tmp_path):
    text = "\n".join(line(key, seconds) for seconds, key in enumerate(["a", "b", "a", "a", "b"]))
    given = [(event.key, event.line) for event in events(tmp_path, text, keys=["a", "b"], once=["a"])]
    assert given == [("a", 1), ("b", 2), ("b", 5)]


def test_lines_across_blocks_keep_their_numbers(tmp_path):
    filler = "x" * 99 + "\n"
    text = filler * (BLOCK // 100) + line("a", 0) + "\n" + filler * (BLOCK // 100) + line("b", 0) + "\n"
    numbers = [(event.key, event.line) for event in events(tmp_path, text)]
    assert numbers == [("a", BLOCK // 100 + 1), ("b", 2 * (BLOCK // 100) + 2)]
    assert [(event.key, event.line) for event in events(tmp_path, text, keys=["a", "b"])] == numbers


def test_an_event_at_the_end_of_an_endless_line(tmp_path):
    bad = []
    text = "y" * (3 * BLOCK) + line("run_start", 0) + "\n" + line("run_stop", 1)
    found = events(tmp_path, text, report=bad.append)
    assert [(event.key, event.line) for event in found] == [("run_start", 1), ("run_stop", 2)]
    assert "only its end is read" in bad[0].reason


@pytest.mark.parametrize("nasty", ['"key": ', ":::MLPv(", "MLPerf: [", ":::MLL 1", "[" * 8, '{"a":', "9"])
def test_endless_nasty_lines_are_read_in_linear_time(tmp_path, nasty):
    """Repetition must not make a search or a parser quadratic or deep."""
    text = ":::MLLOG " + nasty * (BLOCK // len(nasty)) + "\n" + nasty * (BLOCK // len(nasty)) + "\n"
    assert events(tmp_path, text + line("run_start", 0), keys=["run_start"])[-1].key == "run_start"
    assert events(tmp_path, text + line("run_start", 0))[-1].key == "run_start"


def test_what_is_no_file_is_refused_in_one_sentence(tmp_path):
    for path in (tmp_path, tmp_path / "missing.txt"):
        with pytest.raises(OctathlonError, match="not a regular file"):
            list(read_events(path))


def test_memory_does_not_grow_with_the_log(tmp_path):
    path = tmp_path / "result_0.txt"
    block = "\n".join([line("eval_accuracy", 1, 0.5, epoch_num=1), line("tracked_stats", 1, 5)] * 2000) + "\n"

    def peak(blocks):
        path.write_text("\n".join(log_lines()) + "\n" + block * blocks)
        tracemalloc.start()
        log = read_log(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert log.starts == 1
        return peak

    assert peak(30) < 1.1 * peak(12)  # both beyond the number of evaluations that are kept


KEYS = ["run_start", "run_stop", "eval_accuracy", "other"]
PIECES = st.one_of(
    st.sampled_from(KEYS).map(lambda key: line(key, 1, 0.5).encode()),
    st.sampled_from(KEYS).map(lambda key: b':::MLL 15.25 %b: {"value": 1, "metadata": {}}' % key.encode()),
    st.sampled_from(KEYS).map(lambda key: b":::MLPv0.5.0 m 15.25 (f.py:3) %b" % key.encode()),
    st.sampled_from(KEYS).map(lambda key: b"MLPerf: m [06/13/19 00:30:56], %b" % key.encode()),
    st.sampled_from([b"\n", b"\r\n", b"\r", b" ", b"\xff", b":::ML", b'{"key": "run_stop"}', b"MLPerf: "]),
    st.binary(max_size=9),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=30).map(b"".join))
def test_the_search_over_bytes_finds_what_the_full_reading_finds(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "search.txt"
    path.write_bytes(text)
    wanted = KEYS[:3]
    full = [event for event in read_events(path) if event.key in wanted]
    assert list(read_events(path, wanted)) == full


@pytest.mark.parametrize(
    "form",
    [
        ':::MLLOG {{"time_ms": 1, "key": "seed", "value": {}, "metadata": {{}}}}',
        ':::MLL 1.0 seed: {{"value": {}, "metadata": {{}}}}',
    ],
)
def test_an_event_that_is_nested_too_deep_to_be_printed_is_none(tmp_path, form):
    bad = []

    def nested(levels):
        return events(tmp_path, form.format("[" * levels + "]" * levels), report=bad.append)

    assert len(nested(DEEPEST)) == 1
    assert nested(DEEPEST + 1) == nested(900) == nested(5000) == []
    assert [line.reason for line in bad[:2]] == ["nested deeper than 100 levels"] * 2


def test_many_lists_beside_each_other_are_not_deep(tmp_path):
    text = ':::MLLOG {"time_ms": 1, "key": "k", "value": [' + "[1], " * 500 + '[1]], "metadata": {}}'
    assert len(events(tmp_path, text)) == 1
