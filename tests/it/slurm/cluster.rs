//! A real Slurm on this machine, where it is installed.

use super::wait;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Three nodes of two CPUs; ended when dropped.
pub struct Cluster {
    dir: tempfile::TempDir,
}

impl Cluster {
    /// Starts one; `None`, which it says, where there is no Slurm.
    pub fn start() -> Option<Self> {
        let is_there = |name: &str| Path::new("/usr/sbin").join(name).exists();
        if !is_there("slurmctld") || !is_there("slurmd") || !is_there("munged") || !is_root() {
            println!("skipped: it takes slurm-wlm and munge, and root");
            return None;
        }
        let cluster = Self { dir: tempfile::tempdir().unwrap() };
        let out = cluster.loopback(&["start"]);
        assert!(out.status.success(), "{}", crate::tiny::said(&out));
        Some(cluster)
    }

    /// Runs `loopback` with its folder as the second argument.
    pub fn loopback(&self, args: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm/loopback");
        let mut command = Command::new(script);
        command.arg(args[0]).arg(self.dir.path()).args(&args[1..]);
        command
            .env("SLURM_LOOPBACK_GRACE", "1")
            .env("SLURM_LOOPBACK_PORT", free_ports().to_string());
        // What it starts must not keep a pipe open.
        let said = self.dir.path().join("said");
        let file = fs::File::create(&said).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let status = command.status().unwrap();
        Output { status, stdout: fs::read(&said).unwrap(), stderr: Vec::new() }
    }

    fn conf(&self) -> PathBuf {
        self.dir.path().join("slurm.conf")
    }

    /// Runs a command of Slurm's, or another that calls them, and returns its output.
    pub fn run(&self, command: &mut Command) -> String {
        let out = command.env("SLURM_CONF", self.conf()).output().unwrap();
        assert!(out.status.success(), "{command:?}: {}", crate::tiny::said(&out));
        String::from_utf8(out.stdout).unwrap().trim().into()
    }

    /// Runs a command of Slurm's, given as one text.
    pub fn slurm(&self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.run(Command::new(words[0]).args(&words[1..]))
    }

    /// Runs the program in `dir`.
    pub fn rsna_tui(&self, dir: &Path, args: &[&str]) -> String {
        self.run(Command::new(env!("CARGO_BIN_EXE_rsna-tui")).current_dir(dir).args(args))
    }

    /// State, node and number of restarts of a task, as in `7_0`.
    pub fn task(&self, task: &str) -> (String, String, u32) {
        let said = self.slurm(&format!(
            "squeue --noheader --states=all --jobs={task} --Format=State,RestartCnt,NodeList"
        ));
        let mut words = said.split_whitespace();
        let mut next = || words.next().unwrap_or_default().to_string();
        let (state, restarts) = (next(), next());
        (state, next(), restarts.parse().unwrap())
    }

    /// Waits until a task was started again so often, and then lets it run at once: Slurm would wait for two
    /// minutes.
    pub fn release(&self, task: &str, restarts: u32) {
        wait("the task is requeued", 90, || {
            let (state, _, seen) = self.task(task);
            seen == restarts && state == "PENDING" || seen > restarts
        });
        self.start_now(task);
    }

    /// Lets a task that waits begin.
    pub fn start_now(&self, task: &str) {
        // It may have begun meanwhile.
        self.slurm_or_why(&format!("scontrol update jobid={task} StartTime=now"));
    }

    /// Ends a task's node as a power cut does: its processes, then its slurmd; and tells the controller, which would
    /// find out by itself in minutes.
    pub fn cut_off(&self, task: &str) {
        let node = self.task(task).1;
        let id = self.slurm(&format!("squeue --noheader --jobs={task} --Format=JobID"));
        let ours = format!("SLURM_CONF={}", self.conf().display());
        let read = |process: &Path, name: &str| {
            let bytes = fs::read(process.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let processes: Vec<PathBuf> =
            fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()).collect();
        let mine: Vec<&PathBuf> =
            processes.iter().filter(|process| read(process, "environ").contains(&ours)).collect();
        let kill = |process: &Path| {
            let pid = process.file_name().unwrap();
            Command::new("kill").arg("-9").arg(pid).status().unwrap();
        };
        // The one that would tell of the others' end is the first.
        let first = format!("[{id}.batch]");
        mine.iter()
            .filter(|process| read(process, "cmdline").contains(&first))
            .for_each(|p| kill(p));
        let own = format!("SLURM_JOB_ID={id} ");
        mine.iter().filter(|process| read(process, "environ").contains(&own)).for_each(|p| kill(p));
        let slurmd = fs::read_to_string(self.dir.path().join(format!("{node}.own"))).unwrap();
        kill(&Path::new("/proc").join(slurmd.trim()));
        self.slurm(&format!("scontrol update nodename={node} state=down reason=test"));
    }

    /// Takes a node from its tasks by a job of the higher partition.
    pub fn preempt(&self, node: &str) {
        let mut job = Command::new("sbatch");
        job.args([
            "--partition=high",
            "--nodes=1",
            "--exclusive",
            "--output=/dev/null",
            "--time=5",
        ]);
        self.run(job.arg(format!("--nodelist={node}")).arg("--wrap=sleep 2"));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What its tasks and daemons said helps.
            println!("{}", self.slurm_or_why("squeue --array --states=all"));
        }
        self.loopback(&["stop"]);
    }
}

impl Cluster {
    /// Like [`Self::slurm`], for a command that may fail.
    pub fn slurm_or_why(&self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let out = Command::new(words[0]).args(&words[1..]).env("SLURM_CONF", self.conf()).output();
        out.map_or_else(|e| e.to_string(), |out| crate::tiny::said(&out))
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|out| out.stdout == b"0\n")
}

/// The first of four free ports in a row.
fn free_ports() -> u16 {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let any = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = any.local_addr().unwrap().port();
        drop(any);
        if port < u16::MAX - 3 && (port..port + 4).all(free) {
            return port;
        }
    }
}
