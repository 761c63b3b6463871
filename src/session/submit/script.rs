//! The job script of `rsna-tui submit`.

use crate::cli;
use eyre::{Result, bail, eyre};
use std::path::Path;

/// Signals, and the end of a task: after the options, and before the worker's command line.
const BEFORE: &str = r#"
fold=$SLURM_ARRAY_TASK_ID
task=${SLURM_ARRAY_JOB_ID}_$fold

# SIGUSR1 comes before the time limit; SIGTERM at preemption, by scancel, and at the limit itself.
worker='' received=0 terminated=''
pass_on() {
  received=$((received + 1))
  [ "$1" != TERM ] || terminated=yes
  [ -z "$worker" ] || kill -s "$1" "$worker" 2>/dev/null
}
trap 'pass_on USR1' USR1
trap 'pass_on TERM' TERM

"#;

/// What follows the worker's command line.
const AFTER: &str = r#"
worker=$!
# A signal interrupts `wait`, whose result then is not the worker's.
while
  before=$received
  wait "$worker"
  code=$?
  [ "$before" != "$received" ]
do :; done

# 75: saved at SIGUSR1, to go on later. After SIGTERM, Slurm itself requeues the task, or is not to: scancel.
if [ "$code" -eq 75 ]; then
  for _ in {1..20}; do
    [ -z "$terminated" ] || break
    # The task alone: the number of the job may mean the whole array.
    if scontrol requeue "$task"; then exit 0; fi
    # On a busy node Slurm ends this scontrol with the task, before it can say that the task is requeued. Any
    # other code would count as the failure of the next start.
    [ -z "$terminated" ] || exit 0
    sleep 5
  done
  [ -n "$terminated" ] || echo "fold $fold is saved, but task $task could not be requeued: submit the run again" >&2
fi
exit "$code"
"#;

/// What a job script is made for.
pub(super) struct Script<'a> {
    /// The run's name.
    pub name: &'a str,
    /// The run's folder, as an absolute path.
    pub run: &'a Path,
    /// This program.
    pub program: &'a Path,
    /// The folder in which a task starts: settings may hold relative paths.
    pub dir: &'a Path,
    /// The folds, a task each.
    pub folds: &'a [usize],
    pub args: &'a cli::Submit,
}

impl Script<'_> {
    /// Its text. Errors: when an argument cannot be in a script.
    pub fn text(&self) -> Result<String> {
        let args = self.args;
        let (run, program, dir) = (path(self.run)?, path(self.program)?, path(self.dir)?);
        // Slurm takes a path with one as it is, without its patterns.
        if run.contains('\\') {
            bail!("{run}: Slurm writes to no path with a backslash; rename the folder");
        }
        let mut text = format!(
            "#!/bin/bash\n# Job array of the run {}: a task trains the fold of its number. Written by \
             `rsna-tui submit`.\n",
            self.name
        );
        let mut option = |option: &str| text += &format!("#SBATCH {option}\n");
        // What follows must win over these.
        for given in &args.sbatch {
            option(one_line("--sbatch", given)?);
        }
        let given = [
            ("--partition", &args.partition),
            ("--time", &args.time),
            ("--gres", &args.gres),
            ("--mem", &args.mem),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                option(&format!("{name}={}", in_option(one_line(name, value)?)));
            }
        }
        if let Some(cpus) = args.cpus {
            option(&format!("--cpus-per-task={cpus}"));
        }
        option(&format!("--job-name={}", in_option(self.name)));
        option(&format!("--array={}", tasks(self.folds, args.at_most)));
        option("--requeue");
        option("--open-mode=append");
        let output = format!("{}/folds/%a/output.log", run.replace('%', "%%"));
        option(&format!("--output={}", in_option(&output)));
        option(&format!("--signal=B:USR1@{}", args.signal_seconds));
        text += &format!("\ncd {} || exit\n", in_shell(dir));
        text += BEFORE;
        let device = in_shell(one_line("--device", &args.device)?);
        text += &format!(
            "{} work {} --fold \"$fold\" --device {device}",
            in_shell(program),
            in_shell(run)
        );
        if let Some(threads) = args.cpus {
            text += &format!(" --threads {threads}");
        }
        text += " &";
        text += AFTER;
        Ok(text)
    }
}

fn path(path: &Path) -> Result<&str> {
    let text = path.to_str().ok_or_else(|| {
        eyre!("{}: a job script takes paths in UTF-8 only; give another", path.display())
    })?;
    one_line("a path in a job script", text)
}

/// Refuses a text that would begin another line of the script.
fn one_line<'a>(what: &str, text: &'a str) -> Result<&'a str> {
    match text.contains(char::is_control) {
        true => bail!("{what}: {text:?}: expected no line ends or control characters"),
        false => Ok(text),
    }
}

/// Quotes a value for a `#SBATCH` line, where it need be.
fn in_option(value: &str) -> String {
    if is_plain(value) {
        return value.into();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Quotes a word for the shell, where it need be.
fn in_shell(word: &str) -> String {
    if is_plain(word) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn is_plain(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,%@=".contains(c);
    !word.is_empty() && word.chars().all(plain)
}

/// The value of `--array`: `0-4,7%3`.
fn tasks(folds: &[usize], at_most: Option<u32>) -> String {
    let mut folds = folds.to_vec();
    folds.sort_unstable();
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for fold in folds {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == fold => *last = fold,
            _ => parts.push((fold, fold)),
        }
    }
    let part = |(first, last): (usize, usize)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    let parts: Vec<String> = parts.into_iter().map(part).collect();
    parts.join(",") + &at_most.map(|most| format!("%{most}")).unwrap_or_default()
}

/// Seconds of a time limit, in any of Slurm's forms: `90` (minutes), `90:30`, `1:30:30`, `1-12`, `1-12:30`
/// or `1-12:30:30`. `None` for others, which Slurm judges.
pub(super) fn seconds(limit: &str) -> Option<u64> {
    let numbers = |text: &str| -> Option<Vec<u64>> {
        text.split(':').map(|number| number.parse().ok().filter(|n| *n < 1 << 32)).collect()
    };
    let (days, [hours, minutes, seconds]) = match limit.split_once('-') {
        None => match numbers(limit)?[..] {
            [minutes] => (0, [0, minutes, 0]),
            [minutes, seconds] => (0, [0, minutes, seconds]),
            [hours, minutes, seconds] => (0, [hours, minutes, seconds]),
            _ => return None,
        },
        Some((days, rest)) => {
            let at = |n: usize, all: &[u64]| all.get(n).copied().unwrap_or(0);
            let all = numbers(rest).filter(|all| all.len() <= 3)?;
            (*numbers(days)?.first()?, [at(0, &all), at(1, &all), at(2, &all)])
        }
    };
    Some(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_does_the_same() {
        let template = include_str!("../../../docs/templates/rsna-tui.sbatch");
        assert!(template.contains(BEFORE) && template.ends_with(AFTER));
    }

    #[test]
    fn an_array_is_written_short() {
        assert_eq!(tasks(&[0, 2, 3], Some(3)), "0,2,3%3");
        assert_eq!(tasks(&[4, 0, 1, 2, 3, 7, 9, 8], None), "0-4,7-9");
        assert_eq!(tasks(&[5], Some(1)), "5%1");
    }

    #[test]
    fn time_limits_are_read_as_slurm_does() {
        let forms = [
            ("90", 5400),
            ("1:30", 90),
            ("24:00:00", 86400),
            ("1-12", 129_600),
            ("1-0:30", 88_200),
            ("0-0:0:20", 20),
        ];
        for (text, expected) in forms {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for other in ["UNLIMITED", "", "1h", "1:2:3:4", "1-2:3:4:5", "99999999999"] {
            assert_eq!(seconds(other), None, "{other}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_word_reaches_the_program_as_it_is() {
        for word in
            ["", "a b", "it's", "$HOME `id` \"x\" \\", "*", "~", "-n", "é", "a'b'c", "#", "!"]
        {
            let script = format!("printf %s {}", in_shell(word));
            let said = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&said.stdout), word);
        }
    }
}
