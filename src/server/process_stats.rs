//! What the system says of the process.

use nix::sys::resource::{Resource, getrlimit};
use std::fs;

/// Bytes of memory, and descriptors; what the system does not tell is missing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessStats {
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) virtual_bytes: Option<u64>,
    /// Of what is resident, the program itself and the libraries that it needs.
    pub(crate) program_bytes: Option<u64>,
    pub(crate) open_descriptors: Option<u64>,
    pub(crate) descriptors_max: Option<u64>,
}

impl ProcessStats {
    pub(crate) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let open = fs::read_dir("/proc/self/fd").map(Iterator::count);
        Self {
            resident_bytes: bytes(&status, "VmRSS:"),
            virtual_bytes: bytes(&status, "VmSize:"),
            program_bytes: bytes(&status, "RssFile:"),
            // But for the one that the folder is read with.
            open_descriptors: open.map(|count| count.saturating_sub(1) as u64).ok(),
            descriptors_max: getrlimit(Resource::RLIMIT_NOFILE)
                .map(|(soft, _)| soft)
                .ok(),
        }
    }
}

/// A line of `/proc/self/status` such as `VmRSS:     5120 kB`.
fn bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes = line.trim().strip_suffix("kB")?.trim_end().parse::<u64>();
    kibibytes.ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kibibytes_are_read_as_bytes_and_nothing_else_is_read() {
        let status = "Name:\tx\nVmSize:\t  20 kB\nVmRSS:\t       5 kB\nVmHWM:\t 7 MB\n";
        assert_eq!(bytes(status, "VmRSS:"), Some(5120));
        assert_eq!(bytes(status, "VmSize:"), Some(20480));
        assert_eq!(bytes(status, "VmHWM:"), None);
        assert_eq!(bytes(status, "VmSwap:"), None);
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let stats = ProcessStats::read();
        assert!(stats.resident_bytes.unwrap() <= stats.virtual_bytes.unwrap());
        assert!((1..stats.resident_bytes.unwrap()).contains(&stats.program_bytes.unwrap()));
        assert!((3..stats.descriptors_max.unwrap()).contains(&stats.open_descriptors.unwrap()));
    }
}
