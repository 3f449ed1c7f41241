//! The stable numbers of the kinds of requests; a response carries the kind of its request.

use core::fmt;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal,)+) => {
        /// What a request asks for. Numbers are never reused; gaps group related kinds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Kind { $($(#[doc = $doc])+ $name = $number,)+ }

        impl Kind {
            /// Every kind, in order of number.
            pub const ALL: &[Kind] = &[$(Kind::$name,)+];

            /// The kind with this number, if this build knows it.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$name),)+ _ => None }
            }

            /// The name as the documentation has it, for example `Append`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }
        }
    };
}

kinds! {
    /// First frame of a connection; answered by Welcome.
    Hello = 1,
    /// Is the server alive, and what time has it?
    Ping = 2,
    /// Counters of the node.
    Stats = 3,
    /// Appends the batches of the payload to a partition.
    Append = 16,
    /// Reads batches from a partition; may wait at the tail.
    Fetch = 17,
    /// The offset that a position or time stands for.
    FindOffset = 18,
    /// The newest record with a key.
    FetchKey = 19,
    /// Where the partitions of some logs live.
    Metadata = 32,
    /// Creates a log.
    CreateLog = 33,
    /// A log's configuration and its partitions' state.
    DescribeLog = 34,
    /// A page of the logs, by name.
    ListLogs = 35,
    /// Changes a log's configuration.
    AlterLog = 36,
    /// Deletes a log and its records.
    DeleteLog = 37,
    /// Removes the oldest records of a partition.
    TruncateLog = 38,
    /// Takes a run of Scarab ids.
    DealIds = 48,
    /// Creates a counter.
    CreateCounter = 64,
    /// Takes numbers from a counter.
    TakeNumbers = 65,
    /// A counter's configuration and state.
    DescribeCounter = 66,
    /// A page of the counters, by name.
    ListCounters = 67,
    /// Makes a counter go on above a value.
    RaiseCounter = 68,
    /// The newest checkpoint of a partition.
    GetCheckpoint = 80,
    /// That a batch is in the tree of a partition.
    ProveRecord = 81,
    /// That one tree of a partition is the beginning of another.
    ProveConsistency = 82,
    /// Nodes of the tree of a partition.
    ReadTree = 83,
    /// Reads the closed segments of a partition again, to find damage.
    Scrub = 84,
}

impl Kind {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Whether a request of this kind carries a payload. Others must not.
    #[must_use]
    pub const fn request_has_payload(self) -> bool {
        matches!(self, Self::Append)
    }

    /// Whether a response of this kind carries a payload. Others must not.
    #[must_use]
    pub const fn response_has_payload(self) -> bool {
        matches!(self, Self::Fetch | Self::FetchKey | Self::ReadTree)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
