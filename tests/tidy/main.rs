//! House rules as tests: import directions, words that a room must not know, sizes, names, and the specification's
//! numbers. Each finding names file, line and rule.
//!
//! The files are read as text (see [`tokens`]); nothing is built, so the suite runs in well under a second.

mod repository;
mod rooms;
mod shape;
mod specification;
mod tokens;
