//! The most memory that a process took, as Linux counts what is resident. It knows nothing of what happened to the process.

use bkes_check::InstanceId;
use std::fmt;

/// More than this is a finding. Whatever happens, an instance holds (in MiB): itself 12, the store's cache 16 as set here, commits
/// that are not durable yet 64, the overlay 32, the commit in hand 16, the fetch queue of a reader 4, and a reply of 4
/// for each of twelve clients: 192 in all, which is 201 MB. The rest is for what the allocator and librdkafka keep for later, and for
/// followers: their ring shares its records with the overlay, and five of them hold 5 each of the past while they read it. What
/// grows with the length of a run or with the number of faults gets above it sooner or later.
pub const RESIDENT_BYTES_MAX: u64 = 256_000_000;

/// The most that one instance took in any of its lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peak {
    /// Which one; `None` is the one that was built from nothing at the end.
    pub instance: Option<InstanceId>,
    /// Bytes resident; `None` when the system did not tell.
    pub bytes: Option<u64>,
}

impl Peak {
    /// What is wrong with it. Only a system without such numbers may not tell them.
    pub fn finding(&self) -> Option<String> {
        match self.bytes {
            Some(bytes) if bytes > RESIDENT_BYTES_MAX => {
                Some(format!("{}: more than {} MB", self.to_string().trim(), mega(RESIDENT_BYTES_MAX)))
            }
            None if cfg!(target_os = "linux") => Some(format!("{self}, and this system tells")),
            Some(_) | None => None,
        }
    }
}

impl fmt::Display for Peak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes {
            Some(bytes) => write!(f, "{:>6} MB", mega(bytes))?,
            None => write!(f, "memory not known")?,
        }
        match self.instance {
            Some(instance) => write!(f, "  {instance}"),
            None => write!(f, "  rebuilt from nothing"),
        }
    }
}

fn mega(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

/// The most that a running process has taken since it began.
pub fn peak_bytes(process: u32) -> Option<u64> {
    parse(&std::fs::read_to_string(format!("/proc/{process}/status")).ok()?)
}

/// The line of the high-water mark; a process that has ended and waits to be asked for has none.
fn parse(status: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = rest.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read_and_nothing_else_is_taken_for_it() {
        let whole = "Name:\tbkes-server\nVmPeak:\t 900000 kB\nVmHWM:\t   12345 kB\nVmRSS:\t   11111 kB\n";
        for (status, expected) in [
            (whole, Some(12_345 * 1024)),
            ("Name:\tbkes-server\nState:\tZ (zombie)\n", None),
            ("VmRSS:\t   11111 kB\n", None),
            ("VmHWM:\t   12345 MB\n", None),
            ("VmHWM:\t   kB\n", None),
            ("VmHWM:\t -1 kB\n", None),
            ("VmHWM:\t 18446744073709551615 kB\n", None),
            ("", None),
        ] {
            assert_eq!(parse(status), expected, "{status:?}");
        }
    }

    #[test]
    fn this_process_has_a_high_water_mark_that_holds_what_it_touched() {
        let before = peak_bytes(std::process::id()).expect("this system tells");
        let touched = vec![1u8; 64 * 1024 * 1024];
        let after = peak_bytes(std::process::id()).expect("it still does");
        assert!(touched.iter().all(|byte| *byte == 1));
        assert!(after >= before + 32 * 1024 * 1024, "{before} before, {after} after");
    }

    #[test]
    fn more_than_the_limit_is_a_finding_and_so_is_silence() {
        let peak = |bytes| Peak { instance: Some(InstanceId(2)), bytes };
        assert_eq!(peak(Some(RESIDENT_BYTES_MAX)).finding(), None);
        let above = peak(Some(RESIDENT_BYTES_MAX + 1_000_000)).finding().expect("it is above");
        assert!(above.starts_with("257 MB") && above.ends_with("more than 256 MB"), "{above}");
        assert_eq!(peak(None).finding().is_some(), cfg!(target_os = "linux"));
    }
}
