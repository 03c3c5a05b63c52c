//! No program costs more to compile than the operator, which compiles everybody's, can spare. This file has one test, because
//! the limit that it sets is the process's.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use rustix::process::{Resource, Rlimit, setrlimit};
use sluice_crds::{
    Decode,
    wire::{Operation, StepConfig},
};
use sluice_pipeline::Pipeline;

/// Bytes of memory: a program that needs more ends the test's process.
const MEMORY: u64 = 256 << 20;

#[test]
fn no_program_exhausts_memory() {
    setrlimit(Resource::Data, Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) }).unwrap();
    let large = |doublings: usize| format!("x = 1\n{}", "x = [x, x]\n".repeat(doublings));
    for (program, is_taken) in [
        (format!("{}.z = x", large(60)), false),
        (format!("{}.z = x", large(11)), true),
        (format!("{}{}.z = x{}", large(11), "if .a == 1 { ".repeat(60), "}".repeat(60)), false),
        (format!("{}{}.z = x", large(11), "if .a == 1 { y = x }\n".repeat(300)), false),
        (format!("{}{}.z = x", large(12), "y = push(x, 1)\n".repeat(200)), false),
        (".z[900000000] = 1".to_owned(), false),
        (".z[-100000] = 1".to_owned(), false),
        (".z[-10][-10][-10] = {\"a\": [1, 2, 3]}".to_owned(), true),
        (".a[1900] = 1\n.b[1900] = 1\n.c[1900] = 1".to_owned(), true),
        (table(2_000, 300), true),
    ] {
        let step = StepConfig { name: "map".to_owned(), operation: Operation::Map(program.clone()) };
        let compiled = Pipeline::compile(&Decode::default(), &[step], None);
        let beginning: String = program.chars().take(80).collect();
        match compiled {
            Ok(_) => assert!(is_taken, "{beginning}"),
            Err(errors) => {
                assert!(!is_taken, "{beginning}: {errors:?}");
                assert!(errors[0].message.contains("too many parts"), "{beginning}: {errors:?}");
            }
        }
    }
}

/// A program with a table of so many entries, and so many lines after it.
fn table(entries: usize, lines: usize) -> String {
    let entries: Vec<_> = (0..entries).map(|number| format!("\"k{number}\": {number}")).collect();
    format!("x = {{{}}}\n{}.z = x", entries.join(", "), "y = x.k1\n".repeat(lines))
}
