//! Predicts on one device, or on several at once.

use crate::{
    config::{Config, Precision},
    device::{self, Chosen},
    net::Classifier,
    panics,
    predict::{self, Ensemble, Predicted},
    session::{
        devices::{self, WorkerDevice},
        set_up, use_threads,
    },
    study::{SliceSource, Study},
    train::memory::Plan,
};
use candle_core::Device;
use crossbeam_channel::{Sender, unbounded};
use eyre::{Result, bail, eyre};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::{collections::HashMap, sync::Arc, thread};

/// A study that was not predicted, and why.
pub(super) type LeftOut = (Arc<str>, String);

/// What a worker computes on.
struct Worker {
    device: Chosen,
    /// Its threads, if it shares the CPU with others.
    threads: Option<ThreadPool>,
}

/// Devices, each with a share of the studies.
pub(super) struct Workers(Vec<Worker>);

/// What all workers predict with, and how.
pub(super) struct Task<'a> {
    pub config: &'a Config,
    /// Settings of each network.
    pub of_networks: Vec<&'a Config>,
    pub views: usize,
    /// Whether the network with this index skips the study with this name.
    pub leaves_out: &'a (dyn Fn(&str, usize) -> bool + Sync),
}

/// Networks on the devices of [`Workers`].
pub(super) struct Loaded<'a> {
    workers: &'a Workers,
    task: Task<'a>,
    /// The networks on each device; the CPU's workers share them.
    networks: Vec<Vec<Classifier>>,
    /// Index in `networks`, of each worker.
    of_worker: Vec<usize>,
}

impl Workers {
    /// Sets up the one device, or those of the list.
    ///
    /// Errors: when there is no such device, or the list has devices of two kinds.
    pub fn set_up(config: &Config, device: &str, list: Option<&str>) -> Result<Self> {
        let Some(list) = list else {
            return Ok(Self(vec![Worker {
                device: set_up(config, device, Precision::F32)?,
                threads: None,
            }]));
        };
        let named = devices::parse(list)?;
        let is_cpu = |worker: &WorkerDevice| worker.device == "cpu";
        if named.iter().any(is_cpu) && !named.iter().all(is_cpu) {
            bail!(
                "--devices {list}: the CPU and a GPU compute alike, but not to the last digit: give \
                 devices of one kind"
            );
        }
        use_threads(config)?;
        device::allow_tf32(config.train.tf32);
        let threads = devices::threads(&named, config.train.threads);
        let worker = |named: &WorkerDevice| -> Result<Worker> {
            let pool = threads.map(|n| ThreadPoolBuilder::new().num_threads(n).build());
            let threads = pool.transpose().map_err(|e| eyre!("--devices {list}: {e}"))?;
            let choose = || device::choose(&named.device, Precision::F32);
            let device = threads.as_ref().map_or_else(choose, |pool| pool.install(choose))?;
            Ok(Worker { device, threads })
        };
        Ok(Self(named.iter().map(worker).collect::<Result<_>>()?))
    }

    /// Describes them: `CPU, 1 thread`, or `2 × CPU, 1 thread`.
    pub fn names(&self) -> String {
        let mut named: Vec<(&str, usize)> = Vec::new();
        for worker in &self.0 {
            match named.iter_mut().find(|(name, _)| *name == worker.device.name) {
                Some((_, n)) => *n += 1,
                None => named.push((&worker.device.name, 1)),
            }
        }
        let words = |(name, n): (&str, usize)| match n {
            1 => name.to_string(),
            n => format!("{n} × {name}"),
        };
        named.into_iter().map(words).collect::<Vec<_>>().join("; ")
    }

    /// Loads the networks onto each device.
    pub fn load<'a>(
        &'a self,
        task: Task<'a>,
        load: impl Fn(&Device) -> Result<Vec<Classifier>>,
    ) -> Result<Loaded<'a>> {
        let (mut networks, mut of_worker) = (Vec::new(), Vec::new());
        for worker in &self.0 {
            let is_shared = worker.device.device.is_cpu() && !networks.is_empty();
            if !is_shared {
                networks.push(load(&worker.device.device)?);
            }
            of_worker.push(networks.len() - 1);
        }
        Ok(Loaded { workers: self, task, networks, of_worker })
    }
}

impl Loaded<'_> {
    /// Number of networks.
    pub fn count(&self) -> usize {
        self.networks[0].len()
    }

    /// Predicts the studies and passes each prediction to `each`, in any order. Each study is predicted by
    /// itself, so a prediction does not depend on the worker.
    ///
    /// Returns the studies that could not be read, in their order.
    ///
    /// Errors: as for [`Ensemble::run`].
    pub fn run(
        &self,
        source: &Arc<dyn SliceSource>,
        studies: &[Study],
        mut each: impl FnMut(Predicted) -> Result<()>,
    ) -> Result<Vec<LeftOut>> {
        if let [worker] = &self.workers.0[..] {
            let plans = self.plans(worker);
            return self.share(0, plans, self.task.config, source, studies.to_vec(), each);
        }
        let n = self.workers.0.len();
        let mut config = self.task.config.clone();
        config.data.workers = (config.data.workers / n).max(1);
        let config = &config;
        // Before any of them computes: the memory that is free is divided among them.
        let plans: Vec<Vec<Plan>> = self.workers.0.iter().map(|w| self.plans(w)).collect();
        let (sender, found) = unbounded();
        thread::scope(|scope| {
            let start = |(i, plans): (usize, Vec<Plan>)| {
                let share = studies.iter().skip(i).step_by(n).cloned().collect();
                let sender = sender.clone();
                let work = move || self.worker(i, plans, config, source, share, &sender);
                let name = format!("predict {i}");
                thread::Builder::new().name(name).spawn_scoped(scope, work)
            };
            let threads: Vec<_> =
                plans.into_iter().enumerate().map(start).collect::<std::io::Result<_>>()?;
            drop(sender);
            // When this fails, the receiver is dropped, and the workers end at their next study.
            let failed = found.into_iter().find_map(|predicted| each(predicted).err());
            let mut left_out = Vec::new();
            let mut first = failed;
            for thread in threads {
                let result = thread.join().unwrap_or_else(|panic| {
                    Err(eyre!("a worker panicked: {}", panics::message(panic.as_ref())))
                });
                match result {
                    Ok(some) => left_out.extend(some),
                    Err(error) => first = first.or(Some(error)),
                }
            }
            if let Some(error) = first {
                return Err(error);
            }
            let places: HashMap<&str, usize> =
                studies.iter().enumerate().map(|(i, study)| (&*study.uid, i)).collect();
            left_out.sort_by_key(|(study, _)| places.get(&**study).copied());
            Ok(left_out)
        })
    }

    fn plans(&self, worker: &Worker) -> Vec<Plan> {
        let device = &worker.device.device;
        let sharing = if device.is_cpu() { self.workers.0.len() } else { 1 };
        self.task.of_networks.iter().map(|of| predict::plan(of, device, sharing)).collect()
    }

    /// Predicts a share of the studies on this thread's worker.
    fn worker(
        &self,
        i: usize,
        plans: Vec<Plan>,
        config: &Config,
        source: &Arc<dyn SliceSource>,
        studies: Vec<Study>,
        sender: &Sender<Predicted>,
    ) -> Result<Vec<LeftOut>> {
        let send = |predicted| sender.send(predicted).map_err(|_| eyre!("nobody takes it"));
        let run = || self.share(i, plans, config, source, studies, send);
        match &self.workers.0[i].threads {
            Some(threads) => threads.install(run),
            None => run(),
        }
    }

    fn share(
        &self,
        i: usize,
        plans: Vec<Plan>,
        config: &Config,
        source: &Arc<dyn SliceSource>,
        studies: Vec<Study>,
        each: impl FnMut(Predicted) -> Result<()>,
    ) -> Result<Vec<LeftOut>> {
        let networks = &self.networks[self.of_worker[i]];
        let device = &self.workers.0[i].device.device;
        Ensemble::new(config, networks, self.task.views, device)
            .planned(plans)
            .without(self.task.leaves_out)
            .run(config, source.clone(), studies.into(), each)
    }
}
