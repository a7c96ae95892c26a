"""``otel_bridge_collector.metric_families``: plain numbers as Prometheus reads them."""

from __future__ import annotations

from otel_bridge_collector.log.histogram import Histogram
from otel_bridge_collector.metric_families import counter, counters, gauge, gauges, histogram


def test_names_have_the_prefix_and_labels_their_values() -> None:
    """A number is one sample, a mapping one sample for each key."""
    assert [tuple(one)[:3] for one in counter("a_total", "A.", 3).samples] == [
        ("otel_bridge_a_total", {}, 3)
    ]
    assert [tuple(one)[:3] for one in gauge("b", "B.", 1.5).samples] == [("otel_bridge_b", {}, 1.5)]
    for make, name in ((counters, "c_total"), (gauges, "c")):
        found = make(name, "C.", "shard", {"0": 1, "1": 2}).samples
        assert [(one.name, one.labels, one.value) for one in found] == [
            (f"otel_bridge_{name}", {"shard": "0"}, 1),
            (f"otel_bridge_{name}", {"shard": "1"}, 2),
        ]


def test_a_histogram_has_its_buckets_and_sum() -> None:
    """Buckets count what is at most their bound; the last one counts all."""
    values = Histogram(1, 5)
    for value in (0.5, 3, 9):
        values.observe(value)
    samples = {
        (one.name, one.labels.get("le")): one.value for one in histogram("d", "D.", values).samples
    }
    assert samples == {
        ("otel_bridge_d_bucket", "1.0"): 1,
        ("otel_bridge_d_bucket", "5.0"): 2,
        ("otel_bridge_d_bucket", "+Inf"): 3,
        ("otel_bridge_d_count", None): 3,
        ("otel_bridge_d_sum", None): 12.5,
    }
