//! Facts about this machine that `pyralog doctor` shows and that [`start`](crate::start) needs.

use io_uring::{IoUring, Probe, opcode};
use rustix::process::{Resource, getrlimit};

/// The running kernel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kernel {
    /// Release, as `uname -r` prints it.
    pub release: String,
    /// Machine, as `uname -m` prints it.
    pub machine: String,
}

/// The kernel's name and version.
#[must_use]
pub fn kernel() -> Kernel {
    let uname = rustix::system::uname();
    Kernel {
        release: uname.release().to_string_lossy().into_owned(),
        machine: uname.machine().to_string_lossy().into_owned(),
    }
}

/// What the kernel's `io_uring` can do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UringFeatures {
    /// Names of the operations that a core needs and that are missing; empty if all is well.
    pub operations_missing: Vec<&'static str>,
    /// Completions are never dropped (5.5).
    pub no_drop: bool,
    /// Sockets are polled inside the kernel rather than by a worker (5.7).
    pub fast_poll: bool,
    /// Workers belong to the process (5.12).
    pub native_workers: bool,
}

/// The operations that glommio refuses to run without: with `exit(1)`, which is why we look first.
const NEEDED: [(&str, u8); 23] = [
    ("NOP", opcode::Nop::CODE),
    ("READV", opcode::Readv::CODE),
    ("WRITEV", opcode::Writev::CODE),
    ("FSYNC", opcode::Fsync::CODE),
    ("READ_FIXED", opcode::ReadFixed::CODE),
    ("WRITE_FIXED", opcode::WriteFixed::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("POLL_REMOVE", opcode::PollRemove::CODE),
    ("SENDMSG", opcode::SendMsg::CODE),
    ("RECVMSG", opcode::RecvMsg::CODE),
    ("TIMEOUT", opcode::Timeout::CODE),
    ("TIMEOUT_REMOVE", opcode::TimeoutRemove::CODE),
    ("ACCEPT", opcode::Accept::CODE),
    ("LINK_TIMEOUT", opcode::LinkTimeout::CODE),
    ("CONNECT", opcode::Connect::CODE),
    ("FALLOCATE", opcode::Fallocate::CODE),
    ("OPENAT", opcode::OpenAt::CODE),
    ("CLOSE", opcode::Close::CODE),
    ("STATX", opcode::Statx::CODE),
    ("READ", opcode::Read::CODE),
    ("WRITE", opcode::Write::CODE),
    ("SEND", opcode::Send::CODE),
    ("RECV", opcode::Recv::CODE),
];

/// Asks the kernel.
///
/// # Errors
/// If a ring cannot be made at all: no `io_uring` in the kernel, or it is switched off
/// (`kernel.io_uring_disabled`, a container's seccomp profile).
pub fn io_uring_features() -> std::io::Result<UringFeatures> {
    let ring = IoUring::new(8)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let missing = NEEDED.iter().filter(|(_, code)| !probe.is_supported(*code));
    let operations_missing: Vec<_> = missing.map(|(name, _)| *name).collect();
    let parameters = ring.params();
    Ok(UringFeatures {
        operations_missing,
        no_drop: parameters.is_feature_nodrop(),
        fast_poll: parameters.is_feature_fast_poll(),
        native_workers: parameters.is_feature_native_workers(),
    })
}

/// An error text if no core could run on this kernel.
pub(crate) fn require_io_uring() -> Result<(), String> {
    match io_uring_features() {
        Ok(features) if features.operations_missing.is_empty() => Ok(()),
        Ok(features) => Err(format!(
            "kernel {} lacks {}; 5.8 or later is needed",
            kernel().release,
            features.operations_missing.join(", ")
        )),
        Err(error) => Err(format!(
            "{error}; is kernel.io_uring_disabled set, or does a seccomp profile forbid it?"
        )),
    }
}

/// A limit of the process; `None` is unlimited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProcessLimit {
    /// In force now.
    pub soft: Option<u64>,
    /// How far the process may raise it by itself.
    pub hard: Option<u64>,
}

/// Most memory the process may lock, in bytes.
#[must_use]
pub fn memlock_limit() -> ProcessLimit {
    process_limit(Resource::Memlock)
}

/// Largest file the process may write, in bytes.
#[must_use]
pub fn file_size_limit() -> ProcessLimit {
    process_limit(Resource::Fsize)
}

/// Most descriptors the process may have open.
#[must_use]
pub fn open_files_limit() -> ProcessLimit {
    process_limit(Resource::Nofile)
}

fn process_limit(resource: Resource) -> ProcessLimit {
    let limit = getrlimit(resource);
    ProcessLimit { soft: limit.current, hard: limit.maximum }
}

/// The cpus the process may use, ascending. Empty if the system does not say.
#[must_use]
pub fn cpus() -> Vec<usize> {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    let mut cpus: Vec<_> = ids.into_iter().map(|core| core.id).collect();
    cpus.sort_unstable();
    cpus
}
