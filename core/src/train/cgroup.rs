//! Memory limits of the control groups that this process runs in: containers and batch jobs.

use std::{fs, path::Path};

/// Memory of a control group with a limit, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Most that the group may use.
    pub limit: u64,
    /// Memory in use, without the page cache, which the kernel can take back.
    pub used: u64,
}

impl Group {
    /// Bytes that its processes may still allocate.
    pub fn free(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// Returns this process's group with the least free memory; `None` if no group has a limit.
pub fn tightest() -> Option<Group> {
    tightest_of(Path::new("/"))
}

/// Like [`tightest`], with `/proc` and `/sys` in `root`. A group is also bound by the limits of those
/// around it.
fn tightest_of(root: &Path) -> Option<Group> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let limited = groups.lines().flat_map(|line| {
        // HIERARCHY:CONTROLLERS:PATH; cgroup v2 is the hierarchy without controllers.
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or("-"), parts.next().unwrap_or_default());
        let v1 = controllers.split(',').any(|controller| controller == "memory");
        let (mount, limit, used) = match v1 {
            true => ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "total_rss "),
            false => ("sys/fs/cgroup", "memory.max", "anon "),
        };
        let path = Path::new(path.trim_start_matches('/'));
        // In a container, the path may be the host's; its own root is then the last ancestor.
        path.ancestors().filter(move |_| v1 || controllers.is_empty()).filter_map(move |group| {
            let read = |name| fs::read_to_string(root.join(mount).join(group).join(name)).ok();
            // Without a limit, v2 has "max" here.
            let limit = read(limit)?.trim().parse().ok()?;
            let used =
                read("memory.stat")?.lines().find_map(|l| l.strip_prefix(used)?.parse().ok());
            Some(Group { limit, used: used? })
        })
    });
    limited.min_by_key(Group::free)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn the_tightest_limit_of_the_groups_around_a_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!(tightest_of(root), None);
        let v2 = "sys/fs/cgroup/system.slice";
        write(
            root,
            &[
                ("proc/self/cgroup", "0::/system.slice/job_7/step_0\n"),
                (&format!("{v2}/memory.max"), "max\n"),
                (&format!("{v2}/job_7/memory.max"), "1000\n"),
                (&format!("{v2}/job_7/memory.stat"), "anon 300\nfile 600\nanon_thp 0\n"),
                (&format!("{v2}/job_7/step_0/memory.max"), "2000\n"),
                (&format!("{v2}/job_7/step_0/memory.stat"), "anon 200\n"),
            ],
        );
        assert_eq!(tightest_of(root), Some(Group { limit: 1000, used: 300 }));
        let v1 = "sys/fs/cgroup/memory";
        write(
            root,
            &[
                ("proc/self/cgroup", "9:cpu,memory:/of/the/host\n1:name=systemd:/\n0::/\n"),
                (&format!("{v1}/memory.limit_in_bytes"), "500\n"),
                (&format!("{v1}/memory.stat"), "rss 1\ntotal_rss 600\n"),
            ],
        );
        let group = tightest_of(root).unwrap();
        assert_eq!((group.limit, group.free()), (500, 0));
    }
}
