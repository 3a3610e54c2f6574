import pytest

from tokenwire.monitoring.panels import Dashboard, Panel, Query, Row, Unit, heatmap, render, stat

LINES = Panel("Lines", "What it shows.", Unit.SECONDS, [Query("a", "one"), Query("b")], width=16)


def rendered(*rows):
    return render(Dashboard("uid", "Title", "What for.", rows))


def places(*rows):
    return [tuple(panel["gridPos"][side] for side in "xywh") for panel in rendered(*rows)["panels"]]


def test_panels_stand_side_by_side_and_wrap_where_the_row_is_full():
    assert places(Row("One", [LINES, stat("Small", "It.", Unit.COUNT, "c"), LINES])) == [
        (0, 0, 24, 1),
        (0, 1, 16, 8),
        (16, 1, 4, 4),
        (0, 9, 16, 8),
    ]


def test_a_row_begins_below_the_lowest_panel_before_it():
    first = Row("One", [LINES, stat("Small", "It.", Unit.COUNT, "c")])
    assert places(first, Row("Two", [LINES]))[3:] == [(0, 9, 24, 1), (0, 10, 16, 8)]


def test_queries_have_letters_and_panels_numbers_of_their_own():
    panels = rendered(Row("One", [LINES, LINES]), Row("Two", [LINES]))["panels"]
    assert [target["refId"] for target in panels[1]["targets"]] == ["A", "B"]
    numbers = [panel["id"] for panel in panels]
    assert len(set(numbers)) == len(numbers)


def test_a_heatmap_asks_for_buckets():
    (panel,) = rendered(Row("One", [heatmap("Heat", "It.", "h")]))["panels"][1:]
    assert panel["targets"][0]["format"] == "heatmap"


@pytest.mark.parametrize(
    ("limits", "colours"), [((1, 2), ["green", "orange", "red"]), ((2, 1), ["red", "orange", "green"])]
)
def test_limits_colour_upwards_or_downwards(limits, colours):
    (panel,) = rendered(Row("One", [stat("S", "It.", Unit.COUNT, "c", limits)]))["panels"][1:]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [step["color"] for step in steps] == colours
    assert [step["value"] for step in steps] == [None, 1, 2]
