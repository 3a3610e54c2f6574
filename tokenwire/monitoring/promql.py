"""The few shapes of PromQL that panels and rules are made of."""

from __future__ import annotations

from collections.abc import Sequence

from tokenwire.monitoring.panels import Query

WINDOW = "$__rate_interval"


def rate(counter: str, by: str = "", window: str = WINDOW) -> str:
    """Return the events per second of a counter, summed over all processes but for the labels in ``by``."""
    return f"sum{f' by ({by})' if by else ''} (rate({counter}[{window}]))"


def total(gauge: str, by: str = "") -> str:
    """Return a gauge summed over all processes."""
    return f"sum{f' by ({by})' if by else ''} ({gauge})"


def most(gauge: str, by: str = "") -> str:
    """Return a gauge of which every process tells the same."""
    return f"max{f' by ({by})' if by else ''} ({gauge})"


def _selected(histogram: str, suffix: str) -> str:
    """Put a suffix to a metric's name, before its selector."""
    name, brace, rest = histogram.partition("{")
    return f"{name}_{suffix}{brace}{rest}"


def quantile(q: float, histogram: str, by: str = "") -> str:
    """Return a quantile over all processes: of the joined buckets, never an average of quantiles."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q:g}, {rate(_selected(histogram, 'bucket'), labels)})"


def mean(histogram: str, by: str = "") -> str:
    """Return the mean over all processes."""
    return f"{rate(_selected(histogram, 'sum'), by)} / {rate(_selected(histogram, 'count'), by)}"


def within(histogram: str, edge: str) -> str:
    """Return the share of observations up to a bucket's edge."""
    name, brace, rest = histogram.partition("{")
    selector = f'{{le="{edge}"{", " + rest if brace else "}"}'
    return f"{rate(f'{name}_bucket{selector}')} / {rate(_selected(histogram, 'count'))}"


def buckets(histogram: str) -> str:
    """Return what a heatmap is drawn from."""
    return f"sum by (le) (increase({_selected(histogram, 'bucket')}[{WINDOW}]))"


def quantiles(histogram: str, at: Sequence[float] = (0.5, 0.95, 0.99)) -> list[Query]:
    """Return the usual quantiles as queries."""
    return [Query(quantile(q, histogram), f"p{q * 100:g}") for q in at]
