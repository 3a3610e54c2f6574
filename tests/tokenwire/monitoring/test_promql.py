from tokenwire.monitoring.promql import buckets, mean, most, quantile, quantiles, rate, total, within


def test_a_rate_is_summed_over_all_processes_but_for_some_labels():
    assert rate("c_total", window="5m") == "sum (rate(c_total[5m]))"
    assert rate('c_total{a="1"}', "b") == 'sum by (b) (rate(c_total{a="1"}[$__rate_interval]))'


def test_a_quantile_is_one_of_joined_buckets():
    assert quantile(0.99, 'h{i="1"}', "k") == (
        'histogram_quantile(0.99, sum by (le, k) (rate(h_bucket{i="1"}[$__rate_interval])))'
    )
    assert [query.legend for query in quantiles("h")] == ["p50", "p95", "p99"]


def test_a_mean_and_a_share_divide_rates():
    assert mean("h") == "sum (rate(h_sum[$__rate_interval])) / sum (rate(h_count[$__rate_interval]))"
    assert within('h{i="1"}', "0.1") == (
        'sum (rate(h_bucket{le="0.1", i="1"}[$__rate_interval])) / sum (rate(h_count{i="1"}[$__rate_interval]))'
    )
    assert within("h", "0.1").startswith('sum (rate(h_bucket{le="0.1"}[')


def test_gauges_are_summed_or_the_greatest_is_taken():
    assert total("g", "a") == "sum by (a) (g)"
    assert most("g") == "max (g)"
    assert buckets("h") == "sum by (le) (increase(h_bucket[$__rate_interval]))"
