//! What the tests and the demo have in common: a cluster to work on, Sluice in it, and patience.

pub mod audit;
pub mod catcher;
pub mod checkout;
pub mod collector;
pub mod definitions;
pub mod exposition;
pub mod flow;
pub mod install;
pub mod kafka_proxy;
pub mod letters;
pub mod lines;
pub mod measured;
pub mod meter;
pub mod operator;
pub mod peers;
pub mod planes;
pub mod program;
pub mod prometheus;
pub mod proxy;
pub mod sender;
pub mod shop;
pub mod story;
pub mod verdict;
pub mod wait;
pub mod world;

pub use checkout::checkout;
pub use shop::Shop;
pub use wait::{losing, settled, until};
pub use world::{Stage, World};
