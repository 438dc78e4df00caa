//! The contracts of the three ports: the same tests over both sides of each.

mod objects;
mod queue;
mod store;
