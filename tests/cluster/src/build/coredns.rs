//! The DNS server of the pods.

use super::go::GoProgram;

pub(super) const PROGRAM: GoProgram = GoProgram {
    name: "coredns",
    sources: &[
        ("go.mod", include_str!("../../components/coredns/go.mod")),
        ("go.sum", include_str!("../../components/coredns/go.sum")),
        ("main.go", include_str!("../../components/coredns/main.go")),
    ],
    package: ".",
    stamps: &[],
    takes: "about 2 min on 2 cores",
};
