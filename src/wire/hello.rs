//! wire/hello
