//! Programs built from Go modules of our own, which do nothing but name the versions of others.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::cache::Recipe;
use crate::process;

pub(crate) struct GoProgram {
    pub(crate) name: &'static str,
    /// `go.mod`, `go.sum` and whatever `.go` files there are.
    pub(crate) sources: &'static [(&'static str, &'static str)],
    /// What to build: `.` or a package of a required module.
    pub(crate) package: &'static str,
    /// Values for the linker to put into variables of the program.
    pub(crate) stamps: &'static [&'static str],
    pub(crate) takes: &'static str,
}

impl GoProgram {
    /// A folder that holds the program under its own name.
    pub(crate) fn obtain(&self) -> Result<PathBuf> {
        let link = self.link_flags();
        let mut inputs: Vec<_> = self.sources.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        inputs.extend([("package", self.package.to_owned()), ("ldflags", link.clone()), ("go version", version()?)]);
        Recipe { name: self.name, inputs, takes: self.takes }.obtain(|workshop| {
            for (name, text) in self.sources {
                workshop.write_source(name, text)?;
            }
            let mut build = Command::new("go");
            build.args(["build", "-trimpath", "-ldflags", &link, "-o"]).arg(workshop.out.join(self.name));
            workshop.run(build.arg(self.package).env("CGO_ENABLED", "0"))
        })
    }

    fn link_flags(&self) -> String {
        let stamps = self.stamps.iter().map(|stamp| format!(" -X {stamp}"));
        format!("-s -w{}", stamps.collect::<String>())
    }
}

fn version() -> Result<String> {
    process::run(Command::new("go").arg("version"))
}
