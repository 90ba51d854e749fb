//! Bytes of memory for each item, beyond its key and its value.

use std::error::Error;
use std::io;

use benches::daemon::{Connection, Program};
use benches::plot::{Kind, Plot};
use benches::report::Report;

const VALUE_LENS: [usize; 3] = [50, 200, 1000];
const KEY_LEN: usize = 30;

/// More than everything needs.
const MEMORY_MIB: u64 = 16 * 1024;

/// Sets sent at once.
const BATCH_LEN: u64 = 1000;

/// Fills each daemon with items of each size.
pub(crate) fn measure(
    programs: &[Program],
    items: u64,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    report.line(format_args!(
        "\nRSS for each of {items} items beyond a key of {KEY_LEN} bytes and the value: in all, and \
         without what the daemon had at its start"
    ));
    let mut series = Vec::new();
    for program in programs {
        let mut overheads = Vec::new();
        for value_len in VALUE_LENS {
            let daemon = program.start(MEMORY_MIB)?;
            let mut connection = daemon.connect()?;
            let [before, _] = daemon.resident()?;
            fill(&mut connection, items, value_len)?;
            let [after, _] = daemon.resident()?;
            let stored = connection.stat("curr_items")?;
            if stored != items {
                return Err(format!("{} has {stored} items", program.name).into());
            }
            let overhead = |bytes: u64| {
                let bytes = bytes / items * 100 + bytes % items * 100 / items;
                let bytes = i32::try_from(bytes)? - i32::try_from((KEY_LEN + value_len) * 100)?;
                Ok::<f64, Box<dyn Error>>(f64::from(bytes) / 100.0)
            };
            let (whole, added) = (overhead(after)?, overhead(after - before)?);
            let name = program.name;
            report.line(format_args!(
                "{name:>10}  values of {value_len:>4} bytes: {whole:6.1} {added:6.1}"
            ));
            overheads.push(whole);
        }
        series.push((program.name.to_owned(), overheads));
    }
    if let Some(path) = report.plot_path("-per-item") {
        let plot = Plot {
            kind: Kind::Bars,
            title: "Memory for each item beyond key and value",
            unit: "bytes of RSS",
            groups: &VALUE_LENS.map(|len| format!("values of {len} bytes")),
            series: &series,
        };
        plot.save(&path)?;
    }
    Ok(())
}

fn fill(connection: &mut Connection, items: u64, value_len: usize) -> io::Result<()> {
    let mut batch = Vec::new();
    let mut next = 0;
    while next < items {
        batch.clear();
        for number in next..items.min(next + BATCH_LEN) {
            let line = format!("set {number:0KEY_LEN$} 0 0 {value_len} noreply\r\n");
            batch.extend_from_slice(line.as_bytes());
            batch.resize(batch.len() + value_len, b'v');
            batch.extend_from_slice(b"\r\n");
        }
        connection.send(&batch)?;
        next += BATCH_LEN;
    }
    connection.send(b"version\r\n")?;
    connection.line(&mut Vec::new())?;
    Ok(())
}
