//! `nuthatch config convert`: what the configuration files of memcached's packages mean.

use crate::program::{File, run, shown_from};
use nuthatch::config_file::CONFIG_FILE_LEN_MAX;
use serde_json::Value;

/// Converts a file and gives what the daemon would read from the result, after having it checked.
fn converted(content: &str) -> (String, Value) {
    let file = File::new(content);
    let (code, text, errors) = run(&["config", "convert", &file.name()]);
    assert_eq!(code, Some(0), "{errors}");
    let toml = File::new(&text);
    let (code, _, errors) = run(&["config", "check", "-u", "root", "--config", &toml.name()]);
    assert_eq!(code, Some(0), "{errors}");
    (text.clone(), shown_from(&text))
}

#[test]
fn debians_configuration_is_converted() {
    let (text, found) = converted(
        "# memcached default config file\n-d\nlogfile /var/log/memcached.log\n\n  -m 64 # small\n\
         -p 11211\n-u memcache\n-l 127.0.0.1\n-l ::1\n# -c 1024\n-vv\n\
         -P /var/run/memcached/memcached.pid\n-o modern,idle_timeout=60\n\
         -s /run/a\\ b/\\#1\n-I 5m\n-n 48\n--disable-cas\n",
    );
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| Some(line.split_once(" = ")?.0))
        .collect();
    assert_eq!(
        names,
        [
            "port",
            "listen",
            "unix-socket",
            "memory-limit",
            "disable-cas",
            "max-item-size",
            "slab-min-size",
            "extended",
            "verbose",
            "pidfile",
            "user"
        ]
    );
    assert!(text.contains("# Left out: -d (the service"), "{text}");
    assert!(text.contains("# Left out: logfile /var/log"), "{text}");
    for (name, value) in [
        ("memory-limit", Value::from(64)),
        ("user", "memcache".into()),
        ("listen", vec!["127.0.0.1", "::1"].into()),
        ("verbose", 2.into()),
        ("extended", vec!["modern,idle_timeout=60"].into()),
        ("unix-socket", "/run/a b/#1".into()),
        ("slab-min-size", "48".into()),
    ] {
        assert_eq!(found[name]["value"], value, "{name}");
    }
}

#[test]
fn red_hats_configuration_is_converted() {
    let (text, found) = converted(
        "# how to start\nPORT=\"11311\"\nUSER=\"memcached\"\nMAXCONN='512'\nCACHESIZE=128\n\
         OPTIONS=\"-l 127.0.0.1,::1 \\\n  -o modern -t 2\"\nTZ=UTC\n",
    );
    assert!(text.contains("# Left out: TZ=UTC"), "{text}");
    for (name, value) in [
        ("port", Value::from(11311)),
        ("user", "memcached".into()),
        ("conn-limit", 512.into()),
        ("memory-limit", 128.into()),
        ("listen", vec!["127.0.0.1,::1"].into()),
        ("threads", 2.into()),
        ("extended", vec!["modern"].into()),
    ] {
        assert_eq!(found[name]["value"], value, "{name}");
    }
    let (_, found) = converted("OPTIONS=-l 127.0.0.1 -M\nUSER=\nPORT=\"\"\n");
    assert_eq!(found["disable-evictions"]["value"], true);
    let (_, found) = converted("PORT=1\nOPTIONS=\"\"\n");
    assert_eq!(found["port"]["value"], 1);
}

#[test]
fn what_cannot_be_converted_is_said() {
    for (content, message) in [
        ("-m 64\nport 11211\n", "\"port 11211\" is neither"),
        ("-m \"64\n", "quotation mark"),
        ("PORT=1\nnonsense\n", "gives no variable a value"),
        ("OPTIONS=\"-l\n", "quotation mark"),
        ("-x\n", "unexpected argument"),
        ("-m much\n", "invalid value"),
        ("-S\n", "SASL"),
        ("-o ext_path=/tmp/x:64m\n", "flash"),
    ] {
        let file = File::new(content);
        let (code, text, errors) = run(&["config", "convert", &file.name()]);
        assert_eq!((code, text.as_str()), (Some(78), ""), "{content}");
        assert!(errors.contains(message), "{content}: {errors}");
        assert!(errors.contains(&file.name()), "{errors}");
    }
    let long = |len: u64| File::new("#".repeat(usize::try_from(len).unwrap()));
    let convert = |file: File| run(&["config", "convert", &file.name()]).0;
    assert_eq!(convert(long(CONFIG_FILE_LEN_MAX)), Some(0));
    assert_eq!(convert(long(CONFIG_FILE_LEN_MAX + 1)), Some(78));
    let (code, ..) = run(&["config", "convert", "/no/such/file"]);
    assert_eq!(code, Some(78));
}
