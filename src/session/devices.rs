//! Devices of several workers: `--devices cuda:0,cuda:1`, `all` or `cpu:2`.

use crate::device;
use eyre::{Result, bail, eyre};
use std::{collections::BTreeSet, thread::available_parallelism};

/// Maximum number of workers.
const MOST: usize = 256;

/// A worker to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WorkerDevice {
    /// Its device, as for `--device`.
    pub device: String,
    /// Number of workers on this device, this one included.
    pub sharing: usize,
}

/// Parses a list of devices, a worker each: `cuda:0,cuda:1`, `all` (every GPU), `cpu` or `cpu:2` (two
/// workers, which share the threads).
///
/// Errors: when it is no such list, or names a GPU twice; and for `all`, when there is no GPU.
pub(super) fn parse(list: &str) -> Result<Vec<WorkerDevice>> {
    let mut all = Vec::new();
    let mut gpus = BTreeSet::new();
    for name in list.split(',').map(str::trim) {
        let number = |rest: &str| rest.parse::<usize>().ok();
        let (kind, rest) = name.split_once(':').map_or((name, None), |(k, rest)| (k, Some(rest)));
        let gpu = |n| WorkerDevice { device: format!("cuda:{n}"), sharing: 1 };
        match (kind, rest.map(number)) {
            ("all", None) => {
                let gpus = device::count().map_err(|why| {
                    eyre!("--devices all: {why}; for two workers on the CPU give cpu:2")
                })?;
                all.extend((0..gpus).map(gpu));
            }
            ("cpu", rest @ (None | Some(Some(1..=MOST)))) => {
                let n = rest.flatten().unwrap_or(1);
                let worker = WorkerDevice { device: "cpu".into(), sharing: n };
                all.extend(std::iter::repeat_n(worker, n));
            }
            ("cuda", rest @ (None | Some(Some(_)))) => all.push(gpu(rest.flatten().unwrap_or(0))),
            _ => bail!(
                "--devices {list}: {name:?}: expected all, cuda:N or cpu:N, several with commas: \
                 cuda:0,cuda:1"
            ),
        }
    }
    for worker in &all {
        if worker.device != "cpu" && !gpus.insert(&worker.device) {
            bail!("--devices {list}: {} is named twice; give one worker a GPU", worker.device);
        }
    }
    if all
        .iter()
        .filter(|w| w.device == "cpu")
        .any(|w| w.sharing != all.iter().filter(|w| w.device == "cpu").count())
    {
        bail!("--devices {list}: cpu is named twice; give cpu:N for N workers");
    }
    Ok(all)
}

/// The list that means what `--device` means for a single worker.
pub(super) fn one(device: &str) -> Result<&str> {
    match device {
        "auto" if device::count().is_ok() => Ok("cuda:0"),
        "auto" => Ok("cpu"),
        name => parse(name).map(|_| name).map_err(|_| device::Error::Unknown(name.into()).into()),
    }
}

/// Threads for each of the CPU's workers, if it has several: what `train.threads` has to be. `None` leaves
/// the setting as it is.
pub(super) fn threads(workers: &[WorkerDevice], setting: usize) -> Option<usize> {
    let sharing = workers.iter().find(|w| w.device == "cpu").map(|w| w.sharing)?;
    let all = match setting {
        0 => available_parallelism().map_or(1, usize::from),
        n => n,
    };
    (sharing > 1).then(|| (all / sharing).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_a_device() {
        let names = |list| parse(list).unwrap().into_iter().map(|w| w.device).collect::<Vec<_>>();
        assert_eq!(names("cuda:0,cuda:2"), ["cuda:0", "cuda:2"]);
        assert_eq!(names("cpu:2, cuda"), ["cpu", "cpu", "cuda:0"]);
        assert_eq!(parse("cpu:3").unwrap()[0].sharing, 3);
        for bad in
            ["", "cpu:0", "cpu:x", "gpu", "cuda:", "cuda:0,cuda", "cpu,cpu", "all:2", "cpu:999"]
        {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--devices {bad}")), "{error}");
        }
    }

    #[test]
    fn workers_share_the_threads() {
        let threads = |list, setting| threads(&parse(list).unwrap(), setting);
        assert_eq!((threads("cpu:2", 8), threads("cpu:3", 2)), (Some(4), Some(1)));
        assert_eq!((threads("cpu", 8), threads("cuda:0,cuda:1", 8)), (None, None));
    }
}
