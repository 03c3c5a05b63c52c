//! Contour, the controller of the local gateway.

use super::go::GoProgram;

pub(super) const GO_MOD: &str = include_str!("../../components/contour/go.mod");
pub(super) const GO_SUM: &str = include_str!("../../components/contour/go.sum");

pub(super) const PROGRAM: GoProgram = GoProgram {
    name: "contour",
    sources: &[("go.mod", GO_MOD), ("go.sum", GO_SUM)],
    package: "github.com/projectcontour/contour/cmd/contour",
    stamps: &[],
    takes: "about 3 min on 2 cores",
};
