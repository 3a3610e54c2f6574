"""What a dashboard is made of, and the JSON that Grafana reads (dashboard schema 39).

A row is a title and panels; where a panel stands, its id and its queries' letters are worked out here, so that
panels never overlap and nothing has to be kept in step by hand.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

Json = dict[str, object]

DATASOURCE = "tokenwire-prometheus"
"""The uid under which our own Grafana knows Prometheus; another one is chosen on the dashboard."""
COLUMNS = 24
_SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}


class Unit(StrEnum):
    """Grafana's names of units."""

    SECONDS = "s"
    RATIO = "percentunit"
    COUNT = "short"
    PER_SECOND = "cps"
    REQUESTS = "reqps"
    BYTES = "bytes"


class Kind(StrEnum):
    """Kinds of panels."""

    STAT = "stat"
    LINES = "timeseries"
    HEATMAP = "heatmap"


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression and how its series are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; ``description`` says what it shows and what a bad value means."""

    title: str
    description: str
    unit: Unit
    queries: Sequence[Query]
    kind: Kind = Kind.LINES
    width: int = 8
    height: int = 8
    limits: tuple[float, float] | None = None
    """Where it turns orange and red; falling if the first is the greater."""
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A heading and the panels under it, laid out from left to right."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Mapping[str, str] = field(default_factory=dict)
    """Name -> query of its values; a panel writes ``{instance=~"$instance"}``."""


def stat(
    title: str, description: str, unit: Unit, expr: str, limits: tuple[float, float] | None = None
) -> Panel:
    """Return a panel of one number, six of which fill a row."""
    return Panel(title, description, unit, [Query(expr)], Kind.STAT, width=4, height=4, limits=limits)


def heatmap(title: str, description: str, expr: str, unit: Unit = Unit.SECONDS) -> Panel:
    """Return a panel of a histogram's buckets over time."""
    return Panel(title, description, unit, [Query(expr, "{{le}}")], Kind.HEATMAP, width=12)


def render(dashboard: Dashboard) -> Json:
    """Return the JSON of a dashboard."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["tokenwire"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource(), *itertools.starmap(_variable, dashboard.variables.items())]},
        "annotations": {"list": []},
        "links": [{"type": "dashboards", "tags": ["tokenwire"], "title": "Tokenwire", "asDropdown": True}],
        "panels": list(_layout(dashboard.rows)),
    }


def _layout(rows: Sequence[Row]) -> Iterator[Json]:
    """Place all panels: a row begins below the lowest panel before it."""
    ids = itertools.count(1)
    top = 0
    for row in rows:
        yield _row(row, next(ids), top)
        x, y, bottom = 0, top + 1, top + 1
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y = 0, bottom
            yield _panel(panel, next(ids), {"x": x, "y": y, "w": panel.width, "h": panel.height})
            x, bottom = x + panel.width, max(bottom, y + panel.height)
        top = bottom


def _row(row: Row, number: int, top: int) -> Json:
    grid = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
    return {
        "id": number,
        "type": "row",
        "title": row.title,
        "collapsed": False,
        "gridPos": grid,
        "panels": [],
    }


def _panel(panel: Panel, number: int, grid: Json) -> Json:
    return {
        "id": number,
        "type": panel.kind.value,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": grid,
        "targets": [
            _target(panel.kind, letter, q)
            for letter, q in zip(string.ascii_uppercase, panel.queries, strict=False)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _target(kind: Kind, letter: str, query: Query) -> Json:
    made: Json = {
        "refId": letter,
        "datasource": _SOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "editorMode": "code",
        "range": True,
    }
    return {**made, "format": "heatmap"} if kind is Kind.HEATMAP else made


def _defaults(panel: Panel) -> Json:
    custom: Json = {}
    if panel.kind is Kind.LINES:
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        custom = {
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stacked else 5,
            "showPoints": "never",
            "stacking": stacking,
        }
    return {
        "unit": panel.unit.value,
        "min": 0,
        "custom": custom,
        "mappings": [{"type": "special", "options": {"match": "null+nan", "result": {"text": "no traffic"}}}],
        "thresholds": {"mode": "absolute", "steps": _steps(panel.limits)},
    }


def _steps(limits: tuple[float, float] | None) -> list[Json]:
    if limits is None:
        return [{"color": "green", "value": None}]
    first, second = limits
    if first < second:
        colours = ("green", "orange", "red")
        return [{"color": c, "value": v} for c, v in zip(colours, (None, first, second), strict=True)]
    colours = ("red", "orange", "green")
    return [{"color": c, "value": v} for c, v in zip(colours, (None, second, first), strict=True)]


def _options(panel: Panel) -> Json:
    match panel.kind:
        case Kind.STAT:
            return {
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "colorMode": "value" if panel.limits is None else "background",
                "graphMode": "area",
            }
        case Kind.HEATMAP:
            return {
                "calculate": False,
                "yAxis": {"unit": panel.unit.value},
                "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
                "cellGap": 1,
                "tooltip": {"mode": "single", "yHistogram": True},
            }
        case Kind.LINES:
            return {
                "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }


def _datasource() -> Json:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {"text": "Prometheus", "value": DATASOURCE},
    }


def _variable(name: str, query: str) -> Json:
    return {
        "name": name,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
