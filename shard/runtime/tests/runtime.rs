//! The runtime as its users see it, on real cores, files and sockets.

#[cfg(test)]
#[path = "runtime/away.rs"]
mod away;
#[cfg(test)]
#[path = "runtime/blocking.rs"]
mod blocking;
#[cfg(test)]
#[path = "runtime/channel.rs"]
mod channel;
#[cfg(test)]
#[path = "runtime/child.rs"]
mod child;
#[cfg(test)]
#[path = "runtime/file.rs"]
mod file;
#[cfg(test)]
#[path = "runtime/harness.rs"]
mod harness;
#[cfg(test)]
#[path = "runtime/machine.rs"]
mod machine;
#[cfg(test)]
#[path = "runtime/memory.rs"]
mod memory;
#[cfg(test)]
#[path = "runtime/mesh.rs"]
mod mesh;
#[cfg(test)]
#[path = "runtime/net.rs"]
mod net;
#[cfg(test)]
#[path = "runtime/short.rs"]
mod short;
#[cfg(test)]
#[path = "runtime/sparse.rs"]
mod sparse;
#[cfg(test)]
#[path = "runtime/task.rs"]
mod task;
#[cfg(test)]
#[path = "runtime/traps.rs"]
mod traps;
