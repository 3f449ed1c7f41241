//! Tests of the native protocol from outside: bytes, handshake, credit, hostile input.
#![expect(clippy::needless_pass_by_value, reason = "quickcheck passes values")]

#[cfg(test)]
mod credit;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod handshake;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod pipeline;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod stranger;
