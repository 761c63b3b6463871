//! `rsna-tui selftest`: checks whether this machine computes correctly.

use crate::{
    cli,
    config::Precision,
    device::{self, Chosen},
    print::{self, CommandOutput},
    selftest::{self, Tally, card, ops},
    train::memory::free_memory,
};
use eyre::Result;

/// Version of candle in Cargo.toml.
const CANDLE: &str = "0.11.1";

/// Advice if a rate is under half of the data sheet's.
const SLOW: [&str; 2] = [
    "       WARNING: under half of the data sheet; see in nvidia-smi whether another",
    "       program is on this GPU, or it is hot or limited in its power",
];

/// Runs every check on the device, printing a line after each, and measures the throughput. Returns the
/// verdict, and whether everything is correct.
///
/// Errors: when there is no such device, or its throughput cannot be measured.
pub fn selftest(args: &cli::Selftest) -> Result<(CommandOutput, bool)> {
    let chosen = device::choose(&args.device, Precision::F32)?;
    device::allow_tf32(false);
    if let Some(why) = &chosen.why {
        print::warn(format_args!("on the CPU: {why}"));
    }
    facts(&chosen).iter().for_each(print::line);
    let tally = selftest::run(&chosen.device, &ops::all(), &mut |outcome| {
        // A failed check has a second line.
        outcome.to_string().lines().for_each(print::line);
    });
    let mut slow = false;
    if tally.is_right() {
        let types = selftest::types(&chosen.device);
        let sheet =
            device::facts(&chosen.device).and_then(|facts| card::DataSheet::of(&facts.name));
        for measured in card::throughput(&chosen.device, types, sheet)? {
            print::line(&measured);
            slow |= measured.is_slow();
        }
    }
    if slow {
        SLOW.iter().for_each(print::line);
    }
    Ok((CommandOutput::from(verdict(tally)), tally.is_right()))
}

/// Describes the device and the available libraries.
fn facts(chosen: &Chosen) -> Vec<String> {
    let program = format!("rsna-tui {}, candle {CANDLE}", env!("CARGO_PKG_VERSION"));
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let Some(facts) = device::facts(&chosen.device) else {
        return vec![
            format!("device   {}", chosen.name),
            format!("versions {program}"),
            format!("memory   {:.1} GiB free", gib(free_memory())),
        ];
    };
    let version = |of: &Option<String>| of.clone().unwrap_or("of unknown version".into());
    vec![
        format!("device   {}, compute capability {}", facts.name, facts.capability),
        format!("versions {program}, built with CUDA {}", facts.built_with),
        format!(
            "         driver {} for CUDA {}, cuBLAS {}",
            version(&facts.driver),
            facts.driver_cuda,
            version(&facts.cublas)
        ),
        format!("memory   {:.1} GiB, {:.1} free", gib(facts.total), gib(facts.free)),
    ]
}

/// Returns the result and advice, in lines of less than 80 characters.
fn verdict(tally @ Tally { made, wrong, unmade }: Tally) -> Vec<String> {
    if tally.is_right() {
        return vec![format!("all {made} checks are right")];
    }
    if wrong == 0 {
        return vec![
            format!("{unmade} of {made} checks were not made, the others are right: end other"),
            "programs that use this device's memory, and run it again".into(),
        ];
    }
    vec![
        format!(
            "{wrong} of {made} checks WRONG: do not train on this device; update its driver or"
        ),
        "take another machine, and if they are wrong there too, report these lines as".into(),
        "a bug of rsna-tui".into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candles_version_is_that_of_the_manifest() {
        let manifest = include_str!("../../Cargo.toml");
        for name in ["core", "nn", "transformers"] {
            assert!(manifest.contains(&format!("candle-{name} = \"={CANDLE}\"")), "{name}");
        }
    }

    #[test]
    fn the_last_line_says_what_to_do() {
        assert_eq!(verdict(Tally { made: 12, ..Tally::default() }), ["all 12 checks are right"]);
        let said = verdict(Tally { made: 12, wrong: 2, unmade: 1 });
        assert!(said[0].starts_with("2 of 12 checks WRONG: do not train"), "{said:?}");
        let unmade = verdict(Tally { made: 12, wrong: 0, unmade: 3 });
        assert!(unmade[0].starts_with("3 of 12 checks were not made"), "{unmade:?}");
        assert!(
            said.iter().chain(&unmade).chain(&SLOW.map(String::from)).all(|line| line.len() < 80)
        );
    }
}
