//! Axes -> rows and a plot beside the results of other benches, named by the day and the commit.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kustos::clock::{Clock, SystemClock};

use super::axis::Axis;
use super::plot;

/// What the figures are of.
pub(crate) struct Results {
    day: String,
    commit: String,
    log: String,
    machine: String,
}

impl Results {
    /// To be called first: the load of the machine is that before the bench.
    pub(crate) fn begin() -> Results {
        let now = jiff::Timestamp::from_microsecond(SystemClock.now()).unwrap();
        let path =
            std::env::var("CORPUS").unwrap_or_else(|_| super::common::log::SAMPLE.to_owned());
        Results {
            day: now.strftime("%Y-%m-%d").to_string(),
            commit: commit(),
            log: Path::new(&path).file_stem().unwrap().to_string_lossy().into_owned(),
            machine: machine(),
        }
    }

    /// The line above the figures.
    pub(crate) fn of_what(&self) -> String {
        format!("{}; {}; commit {}; {}", self.log, self.machine, self.commit, self.day)
    }

    /// Writes rows and plot; gives the path of the rows.
    #[expect(clippy::disallowed_methods, reason = "what a bench writes need not last")]
    pub(crate) fn write(&self, axes: &[Axis]) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/results");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{}-{}-{}-growth.csv", self.day, self.commit, self.log));
        let mut rows = format!("# {}\nwhat,count,of,cost,unit\n", self.of_what());
        for axis in axes {
            for (count, cost) in &axis.points {
                let Axis { name, counted, unit, .. } = axis;
                writeln!(rows, "{name},{count},{counted},{cost:.6},{unit}").unwrap();
            }
        }
        std::fs::write(&path, rows).unwrap();
        plot::draw(&path.with_extension("svg"), axes).unwrap();
        path
    }
}

fn commit() -> String {
    let git = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let told = git.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned());
    told.ok().filter(|it| !it.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

/// Its cores and how busy they are (`proc_loadavg(5)`).
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let (processor, load) = (read("/proc/cpuinfo"), read("/proc/loadavg"));
    let model = processor.lines().find(|it| it.starts_with("model name"));
    let model = model.and_then(|it| it.split(": ").nth(1)).unwrap_or("unknown");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = load.split(' ').next().filter(|it| !it.is_empty()).unwrap_or("unknown");
    format!("{cores} cores of {model}, load {load}")
}
