//! Metrics of the process under their standard names, from `/proc`.

use std::{fmt, fs};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use rustix::param::{clock_ticks_per_second, page_size};

use super::registry::{MetricEntry, MetricRegistry};

const CPU_SECONDS: MetricEntry = MetricEntry {
    name: "process_cpu_seconds_total",
    kind: MetricType::Counter,
    labels: &[],
    help: "User and system CPU time, in seconds",
};
const OPEN_FDS: MetricEntry = MetricEntry {
    name: "process_open_fds",
    kind: MetricType::Gauge,
    labels: &[],
    help: "Open file descriptors",
};
const RESIDENT: MetricEntry = MetricEntry {
    name: "process_resident_memory_bytes",
    kind: MetricType::Gauge,
    labels: &[],
    help: "Resident memory, in bytes",
};
const VIRTUAL: MetricEntry = MetricEntry {
    name: "process_virtual_memory_bytes",
    kind: MetricType::Gauge,
    labels: &[],
    help: "Virtual memory, in bytes",
};
const START_TIME: MetricEntry = MetricEntry {
    name: "process_start_time_seconds",
    kind: MetricType::Gauge,
    labels: &[],
    help: "Start time of the process, in seconds since 1970",
};

/// Collector of the process's metrics. They are absent on systems without `/proc`.
#[derive(Debug)]
pub(crate) struct ProcessCollector {
    /// Boot time of the system in seconds since 1970, from which the start time counts.
    boot: Option<u64>,
}

impl ProcessCollector {
    pub(crate) fn register(registry: &mut MetricRegistry) {
        let entries = [CPU_SECONDS, OPEN_FDS, RESIDENT, VIRTUAL, START_TIME];
        let boot = fs::read_to_string("/proc/stat").ok().and_then(|stat| boot_time(&stat));
        registry.collector(&entries, Self { boot });
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        if let Some(stat) =
            fs::read_to_string("/proc/self/stat").ok().and_then(|stat| ProcessStat::parse(&stat))
        {
            let seconds = |ticks: u64| ticks as f64 / clock_ticks_per_second() as f64;
            CPU_SECONDS
                .begin(&mut encoder)?
                .encode_counter::<NoLabelSet, _, u64>(&seconds(stat.cpu_ticks), None)?;
            let resident = stat.resident_pages.saturating_mul(page_size() as u64);
            RESIDENT.begin(&mut encoder)?.encode_gauge(&resident)?;
            VIRTUAL.begin(&mut encoder)?.encode_gauge(&stat.virtual_bytes)?;
            if let Some(boot) = self.boot {
                let started = boot as f64 + seconds(stat.start_ticks);
                START_TIME.begin(&mut encoder)?.encode_gauge(&started)?;
            }
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // One of them reads this folder.
            let open = open.count().saturating_sub(1) as u64;
            OPEN_FDS.begin(&mut encoder)?.encode_gauge(&open)?;
        }
        Ok(())
    }
}

/// The used fields of `/proc/self/stat`.
#[derive(Debug, PartialEq, Eq)]
struct ProcessStat {
    cpu_ticks: u64,
    /// Since the boot of the system.
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl ProcessStat {
    /// Reads fields 14, 15, 22, 23 and 24 of `proc_pid_stat(5)`. The second field is the program's
    /// name in parentheses, which may contain spaces and parentheses.
    fn parse(stat: &str) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // The first one of these is field 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)?.saturating_add(field(15)?),
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// Reads the boot time from `/proc/stat`.
fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_after_a_name_with_spaces_and_parentheses() {
        let stat =
            "7 (a) b (c) S 1 7 7 0 -1 4194560 500 0 0 0 30 12 0 0 20 0 9 0 4711 123456789 600 184467440";
        let parsed = ProcessStat::parse(stat).expect("all fields are there");
        let expected =
            ProcessStat { cpu_ticks: 42, start_ticks: 4711, virtual_bytes: 123_456_789, resident_pages: 600 };
        assert_eq!(parsed, expected);
        for outside in ["", "7 (a", "7 (a) S 1", "7 (a) S x x x x x x x x x x x x x x x x x x x x x x"] {
            assert_eq!(ProcessStat::parse(outside), None, "{outside}");
        }
        assert_eq!(boot_time("cpu 1 2\nbtime 1795531979\nprocesses 7\n"), Some(1_795_531_979));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn exposes_this_process() {
        let mut registry = MetricRegistry::default();
        ProcessCollector::register(&mut registry);
        let text = registry.text().expect("the collector does not fail");
        for entry in registry.entries() {
            let value = text.lines().find_map(|line| line.strip_prefix(entry.name)?.strip_prefix(' '));
            let value: f64 = value.expect(entry.name).parse().expect("a number");
            assert!(value > 0.0 || entry == &CPU_SECONDS, "{text}");
        }
    }
}
