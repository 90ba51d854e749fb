//! `stats settings`: memcached's names, in memcached's order. What there is no such thing of has memcached's default,
//! or what an operator has set it to.

use crate::address::Listen;
use crate::config::PREFIX_DELIMITER;
use crate::shared::Shared;
use std::fmt::Display;

/// Where a setting goes.
type Put<'a> = &'a mut dyn FnMut(&'static str, &dyn Display);

/// Tells each setting, in order.
pub(crate) fn each(shared: &Shared, put: Put<'_>) {
    sockets_and_memory(shared, put);
    slabs_and_crawler(shared, put);
    lru(shared, put);
    let extended = &shared.config.settings.extended;
    let idle_timeout = extended.idle_timeout.map_or(0, |idle| idle.as_secs());
    put("idle_timeout", &idle_timeout);
    for (name, value) in [
        ("watcher_logbuf_size", "262144"),
        ("worker_logbuf_size", "65536"),
        ("read_buf_mem_limit", "0"),
        ("track_sizes", yes_or_no(extended.track_sizes)),
        ("inline_ascii_response", "no"),
    ] {
        put(name, &value);
    }
    tls(shared, put);
    put("num_napi_ids", &"(null)");
    match &shared.config.snapshot {
        Some(file) => put("memory_file", &file.path.display()),
        None => put("memory_file", &"(null)"),
    }
    put("client_flags_size", &"4");
}

fn tls(shared: &Shared, put: Put<'_>) {
    put("ssl_enabled", &yes_or_no(shared.config.tls.is_some()));
    let Some(tls) = &shared.config.tls else {
        return;
    };
    put("ssl_chain_cert", &tls.chain.display());
    put("ssl_key", &tls.key.display());
    put("ssl_verify_mode", &tls.verify_mode);
    put("ssl_keyformat", &1);
    put("ssl_ciphers", &"NULL");
    match &tls.ca {
        Some(ca) => put("ssl_ca_cert", &ca.display()),
        None => put("ssl_ca_cert", &"NULL"),
    }
    put("ssl_wbuf_size", &16_384);
    put("ssl_session_cache", &"yes");
    put("ssl_kernel_tls", &"no");
    put("ssl_min_version", &tls.min_version_name());
}

fn sockets_and_memory(shared: &Shared, put: Put<'_>) {
    let config = &shared.config;
    let threads = config.settings.threads;
    let (port, socket, umask) = match &config.listen {
        Listen::Tcp(addresses) => {
            let port = addresses.first().map_or(0, |address| address.socket.port());
            (port, "NULL".to_owned(), 0o700)
        }
        Listen::Unix { path, mask } => (0, path.display().to_string(), *mask),
    };
    put("maxbytes", &shared.store.snapshot().limit_bytes);
    put("maxconns", &config.settings.connections_max);
    put("tcpport", &port);
    put("udpport", &0);
    put("inter", &config.interfaces.as_deref().unwrap_or("NULL"));
    put("verbosity", &shared.log_level.verbosity());
    put("oldest", &0);
    put("evictions", &if config.evict { "on" } else { "off" });
    put("domain_socket", &socket);
    put("umask", &format_args!("{umask:o}"));
    put(
        "shutdown_command",
        &yes_or_no(config.settings.allowed.shutdown),
    );
    put("growth_factor", &"1.25");
    put("chunk_size", &48);
    put("num_threads", &threads);
    put("num_threads_per_udp", &threads);
    let delimiter = config.prefix_delimiter.unwrap_or(PREFIX_DELIMITER);
    put("stat_key_prefix", &char::from(delimiter));
    put(
        "detail_enabled",
        &yes_or_no(shared.observers.prefixes.is_on()),
    );
    put("reqs_per_event", &config.settings.requests_per_turn);
    put("cas_enabled", &yes_or_no(config.settings.cas));
    put("tcp_backlog", &config.backlog);
    let is_ascii = config.protocol == "ascii";
    put(
        "binding_protocol",
        &if is_ascii { "ascii" } else { "auto-negotiate" },
    );
    put("auth_enabled_sasl", &"no");
    match &config.auth_file {
        Some(path) => put("auth_enabled_ascii", &path.display()),
        None => put("auth_enabled_ascii", &"no"),
    }
    put("item_size_max", &config.item_len_max);
    put(
        "maxconns_fast",
        &yes_or_no(!config.settings.extended.waits_at_limit),
    );
}

fn slabs_and_crawler(shared: &Shared, put: Put<'_>) {
    let tuning = shared.tuning();
    put("hashpower_init", &0);
    put("slab_reassign", &"yes");
    put("slab_automove", &tuning.automove);
    put(
        "slab_automove_ratio",
        &format_args!("{:.2}", tuning.automove_ratio),
    );
    put("slab_automove_window", &tuning.automove_window);
    put("slab_chunk_max", &524_288);
    put("lru_crawler", &yes_or_no(tuning.crawler));
    put("lru_crawler_sleep", &tuning.crawler_sleep);
    put("lru_crawler_tocrawl", &tuning.crawler_to_crawl);
    put("tail_repair_time", &0);
    let allowed = shared.config.settings.allowed;
    put("flush_enabled", &yes_or_no(allowed.flush));
    put("dump_enabled", &yes_or_no(allowed.dump));
    put("hash_algorithm", &"foldhash");
}

fn lru(shared: &Shared, put: Put<'_>) {
    let tuning = shared.tuning();
    put("lru_maintainer_thread", &"yes");
    put("lru_segmented", &yes_or_no(tuning.segmented));
    put("hot_lru_pct", &tuning.hot_percent);
    put("warm_lru_pct", &tuning.warm_percent);
    put("hot_max_factor", &format_args!("{:.2}", tuning.hot_factor));
    put(
        "warm_max_factor",
        &format_args!("{:.2}", tuning.warm_factor),
    );
    put("temp_lru", &yes_or_no(tuning.temporary));
    put("temporary_ttl", &tuning.temporary_ttl);
}

const fn yes_or_no(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}
