//! `rsna-tui check`: finds everything that would stop training, and what a step needs.

use crate::{
    cli,
    config::Config,
    net::summary::grouped,
    print,
    run::event::ConstantStudy,
    session,
    study::{Constant, Table},
    train::memory::{Plan, free_memory, peak},
    view::constant,
};
use eyre::{Result, bail};
use std::fmt::Write;

/// Checks settings, table and crops as training does, and describes data, step and memory. Writes
/// nothing.
///
/// Errors: when training would refuse to start, or a step needs more memory than is free.
pub fn check(args: &cli::Check) -> Result<String> {
    let config = session::load(args.config.as_deref(), args.demo, &args.sets)?;
    let device = session::set_up(&config, "auto", config.train.precision)?;
    let (table, source) = session::data_or_demo(&config)?;
    session::check_inputs(&config, &table, &*source)?;
    let mut out = String::new();
    let (studies, images) = (table.studies.len(), config.images_per_study());
    let (of, found) = match config.is_phantom() {
        true => ("made-up studies", ""),
        false => ("studies", ", every file there"),
    };
    writeln!(out, "data    {} {of} of {images} images{found}", grouped(studies))?;
    if !config.is_phantom() {
        out += &constant(&config, &table)?;
    }
    for &fold in &config.train.folds {
        let (train, valid) = table.split(fold);
        let steps = train.len() / config.train.batch_size;
        writeln!(
            out,
            "fold {fold}  {} studies to train on, {} to validate with: {} steps an epoch",
            grouped(train.len()),
            grouped(valid.len()),
            grouped(steps)
        )?;
    }
    let free = free_memory();
    let (plan, _) = Plan::for_device(&config, &device.device, 1);
    let (batch, size) = (config.train.batch_size, config.data.image_size);
    let total = batch * images;
    writeln!(
        out,
        "step    {batch} studies, {total} images of {size} x {size}, on {}",
        device.name
    )?;
    writeln!(out, "plan    {}", plan.describe(total))?;
    let parts = peak(&config, &plan, rayon::current_num_threads());
    let together = parts.iter().map(|(_, bytes)| bytes).sum();
    writeln!(out, "memory  MiB")?;
    for (what, bytes) in parts.into_iter().chain([("together, about", together)]) {
        writeln!(out, "        {:>7}  {what}", grouped(bytes.div_ceil(1 << 20)))?;
    }
    write!(out, "        {:>7}  free now", grouped((free >> 20) as usize))?;
    if together as u64 > free {
        bail!(
            "a step needs about {} MiB, {} MiB are free: lower train.batch_size, data.prefetch or \
             train.memory",
            grouped(together >> 20),
            grouped((free >> 20) as usize)
        );
    }
    Ok(out)
}

/// Describes crops without a picture: their number, and each study that has some.
fn constant(config: &Config, table: &Table) -> Result<String> {
    let files = table.studies.len() * config.images_per_study();
    if files > session::MANY_FILES {
        print::note(format_args!("looking for crops without a picture among {} …", grouped(files)));
    }
    let found = session::npy_folder(config).constant(&table.studies)?;
    let per_vertebra = config.data.slices_per_vertebra;
    let mut out = String::new();
    if !found.is_empty() {
        let heading = constant::heading(found.iter().map(|c| &c.slices), per_vertebra);
        writeln!(out, "note    {heading}, trained on all the same")?;
    }
    for Constant { study, slices } in found {
        let study = ConstantStudy { study: study.to_string(), slices };
        writeln!(out, "        {}", constant::row(&study, per_vertebra))?;
    }
    Ok(out)
}
