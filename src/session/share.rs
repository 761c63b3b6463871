//! Runs that several processes share: made anew, or of a run that one process began.

use super::{New, named_run::named_run, recorded};
use crate::{
    cli,
    config::Config,
    print::{self, CommandOutput},
    run::{folder::Folder, shared::Plan},
    study::{SliceSource, Table},
    train::trainer,
};
use candle_core::Device;
use eyre::{Result, eyre};
use std::sync::Arc;

mod split;

/// Runs `rsna-tui create`.
pub fn create(args: &cli::Create) -> Result<CommandOutput> {
    let named = cli::NamedRun { run: args.name.clone(), runs_dir: args.runs_dir.clone() };
    let args = args.new.train(&named);
    let config = super::config(&args)?;
    super::use_threads(&config)?;
    let folder = new(&args, config)?;
    let name = &folder.name;
    let folds = Plan::read(&folder)?.order.len();
    Ok(vec![
        format!("made the run {name} with {folds} folds in {}", folder.path().display()),
        format!("train it:  rsna-tui work {name}, in as many processes as there are devices"),
        format!("watch it:  rsna-tui attach {name}"),
    ]
    .into())
}

/// Makes a shared run.
pub(super) fn new(args: &cli::Train, config: Config) -> Result<Folder> {
    if args.debug {
        print::warn("--debug: workers save `last` all the same, to be able to go on");
    }
    let New { config, folder, data } = super::begin(args, config)?;
    plan(&folder, &config, data)?.write(&folder)?;
    folder.make_shared()?;
    Ok(folder)
}

/// Makes the plan of a run.
fn plan(folder: &Folder, config: &Config, data: (Table, Arc<dyn SliceSource>)) -> Result<Plan> {
    let device = crate::device::Chosen { device: Device::Cpu, name: String::new(), why: None };
    let job = super::job(config.clone(), device, data, folder.clone());
    Ok(Plan::new(trainer::announced(&job)?))
}

/// Opens a run for workers. A run that one process began is made a shared one; nothing of it is lost.
///
/// Errors: when there is no such run, or a process trains it alone.
pub(super) fn open(named: &cli::NamedRun) -> Result<Folder> {
    let folder = named_run(named)?;
    if folder.run() != folder.path() {
        return Err(eyre!(
            "{} is a fold of a run: name the run, and give --fold",
            folder.path().display()
        ));
    }
    if !folder.is_shared() {
        let folder = folder.clone().lock()?;
        // Another worker may have been faster.
        if !folder.is_shared() {
            let config = Config::load(Some(&folder.config()), false, &[])?;
            let data = recorded::read_or_warn(&folder, &config)?;
            let plan = plan(&folder, &config, (data.table, data.source))?;
            split::split(&folder, &config, plan).map_err(|e| {
                eyre!("cannot give the folds of {} folders of their own: {e}", folder.name)
            })?;
            print::note(format_args!("{}: each fold has a folder of its own now", folder.name));
        }
    }
    Ok(folder)
}
