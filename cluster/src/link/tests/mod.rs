//! Links between nodes of one process, over loopback and through a proxy that misbehaves.

mod faults;
mod fixture;
mod model;
mod proxy;
mod streams;
