//! How much memory this process may still take, as Linux says. Other systems say nothing here.

use std::path::Path;

/// Bytes that can be taken without swapping or being killed: the least of what the machine has available and what
/// the control groups of this process leave. Files are looked for under the root that is given.
pub(crate) fn available(root: &Path) -> Option<u64> {
    let machine = read(&root.join("proc/meminfo")).and_then(|text| available_bytes(&text));
    machine.into_iter().chain(left_by_groups(root)).min()
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// What the kernel says can be used without swapping.
fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The files of one version of control groups.
struct Version {
    folder: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// The entry of `memory.stat` with the bytes of cached files that are given up first.
    cached: &'static str,
}

const VERSION_1: Version = Version {
    folder: "sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    cached: "total_inactive_file",
};
const VERSION_2: Version = Version {
    folder: "sys/fs/cgroup",
    limit: "memory.max",
    usage: "memory.current",
    cached: "inactive_file",
};

/// What the limits of this process's groups, and of the groups that these are in, leave.
fn left_by_groups(root: &Path) -> Option<u64> {
    let groups = read(&root.join("proc/self/cgroup"))?;
    groups.lines().filter_map(|line| left_by_group(root, line)).min()
}

/// The same of one line of `/proc/self/cgroup`, such as `0::/system.slice` or `4:memory:/docker/ab`.
fn left_by_group(root: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let version = match controllers {
        "" => VERSION_2,
        _ if controllers.split(',').any(|controller| controller == "memory") => VERSION_1,
        _ => return None,
    };
    // In a container the path may be the host's, of which only the end, or nothing, is there.
    let groups = Path::new(path.trim_start_matches('/')).ancestors();
    groups.filter_map(|group| version.left(&root.join(version.folder).join(group))).min()
}

impl Version {
    /// What the limit of one group leaves; nothing where it has none.
    fn left(&self, folder: &Path) -> Option<u64> {
        let number = |name: &str| read(&folder.join(name))?.trim().parse::<u64>().ok();
        let limit = number(self.limit)?;
        let cached = read(&folder.join("memory.stat")).and_then(|text| {
            let mut entries = text.lines().filter_map(|line| line.split_once(' '));
            entries.find(|(name, _)| *name == self.cached)?.1.parse::<u64>().ok()
        });
        let used = number(self.usage).unwrap_or(0).saturating_sub(cached.unwrap_or(0));
        Some(limit.saturating_sub(used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read() {
        let cases = [
            ("MemTotal:  100 kB\nMemAvailable:   24 kB\nX: 1 kB\n", Some(24 * 1024)),
            ("MemTotal: 100 kB\n", None),
            ("MemAvailable: many kB\n", None),
            ("MemAvailable: 18446744073709551615 kB\n", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(available_bytes(text), expected, "{text:?}");
        }
    }

    /// A system with these files.
    fn of(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = root.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        available(root.path())
    }

    #[test]
    fn the_least_of_machine_and_control_groups_counts() {
        let machine = ("proc/meminfo", "MemAvailable: 1000 kB\n");
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[machine]), Some(1_024_000));
        let second = ("proc/self/cgroup", "0::/a/b\n");
        let limit = ("sys/fs/cgroup/a/memory.max", "5000\n");
        assert_eq!(of(&[machine, second, ("sys/fs/cgroup/a/memory.max", "max\n")]), Some(1_024_000));
        assert_eq!(of(&[machine, second, limit]), Some(5_000));
        let used = [
            machine,
            second,
            limit,
            ("sys/fs/cgroup/a/memory.current", "3000\n"),
            ("sys/fs/cgroup/a/memory.stat", "anon 7\ninactive_file 1000\n"),
        ];
        assert_eq!(of(&used), Some(3_000), "cached files are given up");
        assert_eq!(of(&[second, limit, ("sys/fs/cgroup/a/b/memory.max", "4000\n")]), Some(4_000));
        assert_eq!(of(&[second, limit, ("sys/fs/cgroup/a/memory.current", "6000")]), Some(0));
        // The first version, in a container that sees its own group as the root.
        let first = ("proc/self/cgroup", "9:cpu:/docker/ab\n4:memory,x:/docker/ab\n");
        let root = [
            machine,
            first,
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9000"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1000"),
        ];
        assert_eq!(of(&root), Some(8_000));
    }
}
