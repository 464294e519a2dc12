"""Scores of streams against cases that were counted by hand; one step is a second unless a test says otherwise."""

import json

import numpy as np
import pytest

from keras_s4.scoring.streams import (
    FALSE,
    REPEATED,
    UNKNOWN,
    Answers,
    are_settled,
    find_intervals,
    match_events,
    onsets,
    score_decisions,
    score_events,
)


def labels(text):
    """Classes of steps as digits; a dot is UNLABELLED."""
    return np.array([-1 if letter == "." else int(letter) for letter in text])


def decided(text, true):
    """A decision at every step that is no blank; a dot is UNDECIDED."""
    steps = [index for index, letter in enumerate(text) if letter != " "]
    return Answers(np.array(steps, int), labels(text.replace(" ", "")), labels(true))


class TestTruth:
    def test_intervals_are_runs_of_one_class(self):
        starts, stops, classes = find_intervals(labels("0011.11.2"))
        assert list(zip(starts, stops, classes, strict=True)) == [(0, 2, 0), (2, 4, 1), (5, 7, 1), (8, 9, 2)]

    @pytest.mark.parametrize("text", ["", "...."])
    def test_a_stream_without_labels_has_none(self, text):
        assert all(len(part) == 0 for part in find_intervals(labels(text)))

    def test_what_is_settled(self):
        """Neither the start, nor what follows a change, nor what is unlabelled; short intervals never are."""
        settled = are_settled(labels("0000111.11002"), 2)
        assert "".join(".x"[int(value)] for value in settled) == "..xx..x......"
        np.testing.assert_array_equal(are_settled(labels("01.1"), 0), [True, True, False, True])


class TestEvents:
    def test_matches(self):
        """Two intervals of class 1: detected once each; then again; of another class; and where nobody knows."""
        events = decided("   11    2  1  1 ", "0011111000011....")
        found = match_events(events)
        assert found.intervals.tolist() == [1, REPEATED, FALSE, 3, UNKNOWN]
        assert found.detected.tolist() == [-1, 3, -1, 12]

    def test_an_event_may_come_late(self):
        late = decided("      1  1", "0011000000")
        assert match_events(late, 2).intervals.tolist() == [FALSE, FALSE]
        assert match_events(late, 3).intervals.tolist() == [1, FALSE]
        assert match_events(late, 6).intervals.tolist() == [1, REPEATED]

    def test_an_event_never_comes_early(self):
        assert match_events(decided(" 1    ", "001100"), 5).intervals.tolist() == [FALSE]

    def test_late_events_take_the_earliest_interval(self):
        """The second word began before the first was said: two events detect both."""
        assert match_events(decided("    1  1", "01001110"), 4).intervals.tolist() == [1, 3]

    def test_scores_of_events(self):
        """3 words: one after 1 s, one after 3 s, one missed; said again once, and wrongly once; in 40 s."""
        first = decided("   1  1             ", "00111110000000000000")
        second = decided("   2      1         ", "11100001111100000000")
        found = score_events([first, second], rate=1.0, background=0)
        assert found == {
            "hours": pytest.approx(40 / 3600),
            "intervals": 3,
            "missed": 1,
            "missed_share": pytest.approx(1 / 3),
            "delay": {"median": 2.0, "p90": pytest.approx(2.8)},
            "false_alarms": 1,
            "false_alarms_per_hour": pytest.approx(90.0),
            "repeated": 1,
        }

    def test_seconds_are_steps_by_rate(self):
        events = decided("         1", "0011110000")
        assert score_events([events], 2.0, 1.5, 0)["missed"] == 1
        assert score_events([events], 2.0, 2.0, 0)["delay"]["median"] == 3.5

    def test_background_is_no_event(self):
        found = score_events([decided("0 0 1", "00001")], 1.0, background=0)
        assert (found["intervals"], found["missed"], found["false_alarms"], found["repeated"]) == (1, 0, 0, 0)

    def test_a_stream_of_background_alone(self):
        found = score_events([decided("  ", "00"), decided("1 1", "000")], 1.0, background=0)
        assert found["missed_share"] is None
        assert found["delay"] == {"median": None, "p90": None}
        assert found["false_alarms"] == 2


class TestDecisions:
    #                 0123456789012345678
    TRUE = "0000001111112222..."
    SAID = "0 0 1 1 0 1 2 1 1 1"

    def test_counted_by_hand(self):
        """Decisions at even steps; right at 0, 2, 6, 10, 12 of the 8 that are about labelled steps.

        Behind 2 s after a change there are those at 2, 4, 8, 10 and 14, of which 2 and 10 are right. The class begins
        to be said at 0, 4 (wrong), 8 (wrong: 0 is over), 10 and 12, and at 14 (wrong: 1 is over).
        """
        found = score_decisions([decided(self.SAID, self.TRUE)], 3, rate=1.0, tolerance=2.0)
        assert (found["decisions"], found["accuracy"]) == (8, pytest.approx(5 / 8))
        assert (found["settled"], found["settled_accuracy"]) == (5, pytest.approx(2 / 5))
        assert found["per_class"] == [0.5, 0.5, 0.0]
        assert found["confusion"] == [[1, 1, 0], [1, 1, 0], [0, 1, 0]]
        assert (found["intervals"], found["missed"], found["delay"]["median"]) == (3, 0, 0.0)
        assert found["false_alarms"] == 3
        assert found["false_alarms_per_hour"] == pytest.approx(3 * 3600 / 19)
        assert json.loads(json.dumps(found)) == found

    def test_tolerance_forgives_what_was_true_before(self):
        streams = [decided("0 1 0 1 ", "00111111")]
        assert score_decisions(streams, 2, 1.0, 2.0)["false_alarms"] == 1
        assert score_decisions(streams, 2, 1.0, 3.0)["false_alarms"] == 0

    def test_delay_counts_from_the_change(self):
        found = score_decisions([decided("0 0 0 0 1 1", "00001111111")], 2, rate=2.0)
        assert found["delay"] == {"median": 1.0, "p90": pytest.approx(1.8)}  # 0 s and 2 s

    def test_background_is_not_to_be_detected(self):
        found = score_decisions([decided("00000", "00110")], 2, 1.0, background=0)
        assert (found["intervals"], found["missed"], found["false_alarms"]) == (1, 1, 0)

    def test_no_decision_is_wrong_and_no_alarm(self):
        found = score_decisions([decided("..1.", "0011")], 2, 1.0)
        assert (found["accuracy"], found["false_alarms"]) == (0.25, 0)
        assert found["confusion"] == [[0, 0], [0, 1]]

    def test_streams_are_counted_together(self):
        both = [decided("00", "00"), decided("0000", "0011")]
        found = score_decisions(both, 2, 1.0)
        assert (found["accuracy"], found["missed"], found["hours"]) == (pytest.approx(4 / 6), 1, 6 / 3600)

    def test_nothing_is_settled(self):
        found = score_decisions([decided("01", "01")], 2, 1.0, tolerance=5.0)
        assert (found["settled"], found["settled_accuracy"], found["per_class"]) == (0, None, [None, None])


def test_onsets_are_where_another_class_begins():
    found = onsets(decided("0110.1122", "000000000"), background=0)
    assert list(zip(found.steps, found.classes, strict=True)) == [(1, 1), (5, 1), (7, 2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0], [0, 0]), "2 steps and 1 classes"),
        (([1, 1], [0, 0], [0, 0]), "do not increase"),
        (([0, 2], [0, 0], [0, 0]), "from 0 to 2 of a stream of 2"),
        (([0.5], [0], [0, 0]), "expected whole numbers"),
    ],
)
def test_answers_that_are_none(arguments, message):
    with pytest.raises(ValueError, match=message):
        Answers(*map(np.array, arguments))


def test_refused_scores():
    streams = [decided("01", "01")]
    with pytest.raises(ValueError, match="none; expected at least one"):
        score_events([], 1.0)
    with pytest.raises(ValueError, match="rate=0"):
        score_events(streams, 0.0)
    with pytest.raises(ValueError, match="tolerance=-1"):
        score_decisions(streams, 2, 1.0, -1.0)
    with pytest.raises(ValueError, match="decisions from 0 to 1 of 1 classes"):
        score_decisions(streams, 1, 1.0)
