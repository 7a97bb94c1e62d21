//! wire/neighbour
