//! Floor 3: all remote nodes.
#![forbid(unsafe_code)]
