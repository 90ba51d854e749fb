"""What prometheus/memcached_exporter 0.16 makes of a server's statistics: a rebuilding of its parser in Python, as strict
as it is. Where it would report memcached_up 0, this raises."""

import re

COMMANDS = ("get", "delete", "incr", "decr", "cas", "touch")

# Of `stats`, and `total_malloced` of `stats slabs`.
GENERAL = {
    "uptime": "uptime_seconds",
    "time": "time_seconds",
    "bytes": "current_bytes",
    "limit_maxbytes": "limit_bytes",
    "curr_items": "current_items",
    "total_items": "items_total",
    "bytes_read": "read_bytes_total",
    "bytes_written": "written_bytes_total",
    "curr_connections": "current_connections",
    "total_connections": "connections_total",
    "rejected_connections": "connections_rejected_total",
    "conn_yields": "connections_yielded_total",
    "listen_disabled_num": "connections_listener_disabled_total",
    "evictions": "items_evicted_total",
    "reclaimed": "items_reclaimed_total",
    "store_too_large": "item_too_large_total",
    "store_no_memory": "item_no_memory_total",
    "lru_crawler_starts": "lru_crawler_starts_total",
    "direct_reclaims": "direct_reclaims_total",
    "crawler_items_checked": "lru_crawler_items_checked_total",
    "crawler_reclaimed": "lru_crawler_reclaimed_total",
    "moves_to_cold": "lru_crawler_moves_to_cold_total",
    "moves_to_warm": "lru_crawler_moves_to_warm_total",
    "moves_within_lru": "lru_crawler_moves_within_lru_total",
    "total_malloced": "malloced_bytes",
    "accepting_conns": "accepting_connections",
}

TIMES = {
    "rusage_user": "process_user_cpu_seconds_total",
    "rusage_system": "process_system_cpu_seconds_total",
}

# Of `stats settings`.
SETTINGS = {
    "lru_crawler_sleep": "lru_crawler_sleep",
    "lru_crawler_tocrawl": "lru_crawler_to_crawl",
    "hot_lru_pct": "lru_crawler_hot_percent",
    "warm_lru_pct": "lru_crawler_warm_percent",
    "hot_max_factor": "lru_crawler_hot_max_factor",
    "warm_max_factor": "lru_crawler_warm_max_factor",
}

# Of `stats items`, for each class.
ITEMS = {
    "number": "slab_current_items",
    "age": "slab_items_age_seconds",
    "crawler_reclaimed": "slab_items_crawler_reclaimed_total",
    "evicted": "slab_items_evicted_total",
    "evicted_nonzero": "slab_items_evicted_nonzero_total",
    "evicted_time": "slab_items_evicted_time_seconds",
    "evicted_unfetched": "slab_items_evicted_unfetched_total",
    "expired_unfetched": "slab_items_expired_unfetched_total",
    "outofmemory": "slab_items_outofmemory_total",
    "reclaimed": "slab_items_reclaimed_total",
    "tailrepairs": "slab_items_tailrepairs_total",
    "mem_requested": "slab_mem_requested_bytes",
    "moves_to_cold": "slab_items_moves_to_cold",
    "moves_to_warm": "slab_items_moves_to_warm",
    "moves_within_lru": "slab_items_moves_within_lru",
    "number_hot": "slab_hot_items",
    "number_warm": "slab_warm_items",
    "number_cold": "slab_cold_items",
    "number_temp": "slab_temporary_items",
    "age_hot": "slab_hot_age_seconds",
    "age_warm": "slab_warm_age_seconds",
}

LRU_HITS = {"hot": "hot", "warm": "warm", "cold": "cold", "temp": "temporary"}

# Of `stats slabs`, for each class.
SLABS = {
    "chunk_size": "slab_chunk_size_bytes",
    "chunks_per_page": "slab_chunks_per_page",
    "total_pages": "slab_current_pages",
    "total_chunks": "slab_current_chunks",
    "used_chunks": "slab_chunks_used",
    "free_chunks": "slab_chunks_free",
    "free_chunks_end": "slab_chunks_free_end",
}

# Of flash memory and of proxies, which it looks for only where `stats` has extstore_limit_maxbytes or
# proxy_backend_total.
ELSEWHERE = 19 + 14

# What it can export of any other server.
NAMES = {
    "up", "version", "max_connections", "commands_total",
    "lru_crawler_enabled", "lru_crawler_maintainer_thread",
    "slab_lru_hits_total", "slab_commands_total",
    *GENERAL.values(), *TIMES.values(), *SETTINGS.values(), *ITEMS.values(), *SLABS.values(),
}  # fmt: skip


def lines(wire, command):
    """The names and values that a `stats` command answers."""
    line = wire.ask(command.encode())
    found = {}
    while line != b"END":
        word, name, value = line.decode().split(" ", 2)
        assert word == "STAT", line
        assert name not in found, line
        found[name] = value
        line = wire.line()
    return found


def classes(found, pattern):
    """Those of each class, and those of none."""
    by_class, rest = {}, {}
    for name, value in found.items():
        if match := re.fullmatch(pattern, name):
            by_class.setdefault(match[1], {})[match[2]] = value
        else:
            rest[name] = value
    return by_class, rest


def timeval(text):
    seconds, micros = text.split(".")
    return float(seconds) + float(micros) / 1_000_000


def scrape(wire):
    """Every metric, as (name, *labels): value."""
    stats = lines(wire, "stats")
    slabs, totals = classes(lines(wire, "stats slabs"), r"(\d+):(\w+)")
    items, others = classes(lines(wire, "stats items"), r"items:(\d+):(\w+)")
    assert others == {}
    settings = lines(wire, "stats settings")
    metrics = {("up",): 1.0, ("version", stats["version"]): 1.0}
    take(metrics, stats | totals, GENERAL)
    take(metrics, stats, TIMES, timeval)
    take_commands(metrics, stats, "commands_total", ("hit", "miss"))
    metrics["commands_total", "flush", "hit"] = float(stats["cmd_flush"])
    for slab, found in items.items():
        take(metrics, found, ITEMS, float, slab)
        for key, label in LRU_HITS.items():
            if (value := found.get(f"hits_to_{key}")) is not None:
                metrics["slab_lru_hits_total", slab, label] = float(value)
    for slab, found in slabs.items():
        take(metrics, found, SLABS, float, slab)
        take_commands(metrics, found, "slab_commands_total", ("hit",), slab)
    metrics["max_connections",] = float(settings["maxconns"])
    if settings["lru_crawler"] == "yes":
        metrics["lru_crawler_enabled",] = 1.0
        yes_or_no = {"yes": 1.0, "no": 0.0}
        metrics["lru_crawler_maintainer_thread",] = yes_or_no[settings["lru_maintainer_thread"]]
        take(metrics, settings, SETTINGS)
    return metrics


def take(metrics, found, names, parse=float, *labels):
    for key, name in names.items():
        if key in found:
            metrics[name, *labels] = parse(found[key])


def take_commands(metrics, found, name, statuses, *labels):
    suffixes = {"hit": "hits", "miss": "misses"}
    for command in COMMANDS:
        for status in statuses:
            value = found.get(f"{command}_{suffixes[status]}")
            if value is not None:
                metrics[name, *labels, command, status] = float(value)
    metrics[name, *labels, "cas", "badval"] = float(found["cas_badval"])
    # Where one of these is missing, the whole server is reported as down.
    cas = ["cas_hits", "cas_badval", *(["cas_misses"] if "miss" in statuses else [])]
    sets = float(found["cmd_set"]) - sum(float(found[key]) for key in cas)
    metrics[name, *labels, "set", "hit"] = sets
