"""A status as Prometheus reads it: one table of metrics, each a place in the status, and nothing counted twice.

The text is made when somebody asks, from the status of that moment. Every sample carries the label `mountpoint`. Counters
start anew with a worker, which Prometheus knows how to add up. docs/metrics.md lists the table, and a test compares the two.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

Status = Mapping[str, Any]
_INFO: Final = "moorage_mount_info"
_OWNER: Final = re.compile(rf'^{_INFO}\{{.*?mountpoint="((?:[^"\\]|\\.)*)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name as exported, and how to find its value in a status; None is a value that is not known."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    value: Callable[[Status], float | None]


def _at(*place: str) -> Callable[[Status], float | None]:
    """The value at a place of the nested status; None where this version has no such place."""

    def value(status: Status) -> float | None:
        found: Any = status
        for name in place:
            found = found.get(name) if isinstance(found, Mapping) else None
        return None if found is None else float(found)

    return value


def _slowest(status: Status) -> float:
    return max((float(each["took_s"]) for each in status["slowest"]), default=0.0)


METRICS: Final = (
    Metric("moorage_uptime_seconds", "gauge", "Since the worker began.", _at("uptime_s")),
    Metric("moorage_restarts_total", "counter", "How often the worker was replaced.", _at("restarts")),
    Metric("moorage_dataset_files", "gauge", "Files of the mounted dataset.", _at("files")),
    Metric("moorage_dataset_bytes", "gauge", "Bytes of the mounted dataset.", _at("bytes")),
    Metric("moorage_reads_total", "counter", "Reads that the kernel asked for.", _at("reads", "count")),
    Metric("moorage_read_bytes_total", "counter", "Bytes of these reads.", _at("reads", "bytes")),
    Metric("moorage_reads_waited_total", "counter", "Reads whose bytes were not here.", _at("reads", "waited")),
    Metric(
        "moorage_read_wait_microseconds_total",
        "counter",
        "How long they waited, all together.",
        _at("reads", "wait_us"),
    ),
    Metric("moorage_fetches_total", "counter", "Ranges asked of stores.", _at("fetch", "requests")),
    Metric("moorage_fetched_bytes_total", "counter", "Bytes that came.", _at("fetch", "bytes")),
    Metric("moorage_fetch_errors_total", "counter", "Ranges that did not come.", _at("fetch", "errors")),
    Metric("moorage_fetch_retries_total", "counter", "Requests that were asked again.", _at("fetch", "retries")),
    Metric("moorage_fetches_hedged_total", "counter", "Requests doubled for being late.", _at("fetch", "hedged")),
    Metric("moorage_fetches_in_flight", "gauge", "Requests under way.", _at("fetch", "in_flight")),
    Metric(
        "moorage_stores_reachable",
        "gauge",
        "0 if of the last minute's fetches some failed and none was answered, else 1.",
        _at("reach", "ok"),
    ),
    Metric("moorage_cache_hits_total", "counter", "Reads whose bytes were here.", _at("cache", "hits")),
    Metric("moorage_cache_misses_total", "counter", "Reads that had to fetch.", _at("cache", "misses")),
    Metric("moorage_cache_declined_total", "counter", "Fetched ranges that no disk kept.", _at("cache", "declined")),
    Metric("moorage_cache_corrupt_total", "counter", "Damaged extents found and dropped.", _at("cache", "corrupt")),
    Metric("moorage_cache_bytes", "gauge", "Bytes in the cache folder.", _at("cache", "bytes")),
    Metric("moorage_cache_limit_bytes", "gauge", "Most bytes there may be.", _at("cache", "limit_bytes")),
    Metric("moorage_memory_bytes", "gauge", "Bytes reserved of the memory budget.", _at("memory", "used_bytes")),
    Metric("moorage_memory_limit_bytes", "gauge", "The memory budget.", _at("memory", "limit_bytes")),
    Metric(
        "moorage_prefetch_used_bytes_total", "counter", "Bytes read ahead, then read.", _at("prefetch", "used_bytes")
    ),
    Metric(
        "moorage_prefetch_wasted_bytes_total",
        "counter",
        "Bytes read ahead and dropped unread.",
        _at("prefetch", "wasted_bytes"),
    ),
    Metric("moorage_streams", "gauge", "Streams of reads with a window.", _at("windows", "streams")),
    Metric("moorage_streams_ahead_bytes", "gauge", "How far ahead they have asked.", _at("windows", "bytes")),
    Metric("moorage_plan_position", "gauge", "Files of the plan up to the last read.", _at("plan", "position")),
    Metric("moorage_plan_length", "gauge", "Files of the plan.", _at("plan", "length")),
    Metric("moorage_slowest_read_seconds", "gauge", "The slowest read of the last five minutes.", _slowest),
)


def families(status: Status) -> Iterator["Family"]:
    """Every metric of one status, for a registry of prometheus_client."""
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

    mountpoint = plain(status["mountpoint"])
    labels = {name: plain(status[name]) for name in ("driver", "digest", "source")}
    info = GaugeMetricFamily(_INFO, "1, and what is mounted.", labels=["mountpoint", *labels])
    info.add_metric([mountpoint, *labels.values()], 1)
    yield info
    for metric in METRICS:
        family = (CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily)(
            metric.name, metric.help, labels=["mountpoint"]
        )
        value = metric.value(status)
        if value is not None:
            family.add_metric([mountpoint], value)
        yield family


def render(status: Callable[[], Status]) -> bytes:
    """The text that Prometheus scrapes."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class Mount(Collector):
        def collect(self) -> Iterator["Family"]:
            return families(status())

        def describe(self) -> Iterator["Family"]:
            return iter(())  # so that registering asks for no status

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Mount())
    return generate_latest(registry)


def owner_of(text: str) -> str | None:
    """The mount point whose metrics `text` holds, as `plain` shows it; None if they are nobody's."""
    found = _OWNER.search(text)
    return re.sub(r"\\(.)", lambda escaped: "\n" if escaped[1] == "n" else escaped[1], found[1]) if found else None


def plain(value: object) -> str:
    """A text that UTF-8 can hold: a path may be made of any bytes."""
    return str(value).encode("utf-8", "backslashreplace").decode()
