//! Kubernetes with etcd as one program that knows its components by their names.

use super::go::GoProgram;

/// Without the stamps the components call themselves v0.0.0, and clients choke on that.
pub(super) const PROGRAM: GoProgram = GoProgram {
    name: "kubernetes",
    sources: &[
        ("go.mod", include_str!("../../components/kubernetes/go.mod")),
        ("go.sum", include_str!("../../components/kubernetes/go.sum")),
        ("main.go", include_str!("../../components/kubernetes/main.go")),
    ],
    package: ".",
    stamps: &[
        "k8s.io/component-base/version.gitVersion=v1.37.2",
        "k8s.io/component-base/version.gitMajor=1",
        "k8s.io/component-base/version.gitMinor=37",
        "k8s.io/client-go/pkg/version.gitVersion=v1.37.2",
        "k8s.io/client-go/pkg/version.gitMajor=1",
        "k8s.io/client-go/pkg/version.gitMinor=37",
    ],
    takes: "10 to 15 min on 2 cores",
};
