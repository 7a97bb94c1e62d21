//! wire/ether
