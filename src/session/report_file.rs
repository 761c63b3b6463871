//! `rsna-tui report`: writes a run's report or its metrics.

use super::{
    named_run::named_run,
    out::{Destination, check_folder, make_folder, size},
};
use crate::{
    cli::{self, Format},
    print::CommandOutput,
    report::{Report, csv},
    run::{folder::Folder, status},
};
use eyre::Result;

/// Writes the report and says where it is.
pub fn report(args: &cli::Report) -> Result<CommandOutput> {
    let folder = named_run(&args.named)?;
    if args.format == Format::Csv {
        return figures(args, &folder);
    }
    let report = Report::of(&folder, status::now())?;
    let (name, text) = match args.format {
        Format::Markdown => ("report.md", report.markdown()),
        _ => ("report.html", report.html()),
    };
    let path = args.out.clone().unwrap_or_else(|| folder.path().join(name));
    let destination = Destination::of(&path, args.out.is_some(), args.force)?;
    destination.write(text.as_bytes())?;
    Ok(destination.output(vec![format!("wrote {destination} ({})", size(text.len()))]))
}

/// Writes `steps.csv` and `epochs.csv` into the given folder, or else into the run's.
fn figures(args: &cli::Report, folder: &Folder) -> Result<CommandOutput> {
    let dir = args.out.as_deref().unwrap_or(folder.path());
    check_folder(dir, "--format csv")?;
    let destination = |name| Destination::of(&dir.join(name), args.out.is_some(), args.force);
    let (steps, epochs) = (destination("steps.csv")?, destination("epochs.csv")?);
    make_folder(dir)?;
    let (mut steps_file, mut epochs_file) = (steps.create()?, epochs.create()?);
    let counted = csv::write_run(folder, &mut steps_file, &mut epochs_file)?;
    steps.finish(steps_file)?;
    epochs.finish(epochs_file)?;
    let damaged = match counted.damaged {
        0 => String::new(),
        n => format!("; {n} lines of the journal cannot be understood"),
    };
    Ok(format!(
        "wrote {steps} ({} steps) and {epochs} ({} epochs){damaged}",
        counted.steps, counted.epochs
    )
    .into())
}
