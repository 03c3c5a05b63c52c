//! A cluster that was there before, such as one of kind: `KUBECONFIG_EXTERNAL` names it, and three more variables say what
//! no kubeconfig can.

use std::env;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::kubectl::Kubectl;
use crate::part::{Part, Parts};
use crate::{image, process, site};

/// Path of its kubeconfig, with the rights of an administrator.
const KUBECONFIG: &str = "KUBECONFIG_EXTERNAL";

/// A variable, the part of a cluster that it stands for, and what it has to say.
struct Wanted {
    variable: &'static str,
    part: Part,
    meaning: &'static str,
}

const KAFKA: Wanted = Wanted {
    variable: "KAFKA_EXTERNAL",
    part: Part::Kafka,
    meaning: "host:port of a Kafka broker, the same from this machine and from pods",
};
const GATEWAY: Wanted = Wanted {
    variable: "GATEWAY_EXTERNAL",
    part: Part::Gateway,
    meaning: "host:port where the HTTP listener of the Gateway gateways/edge is reached from this machine",
};
const IMAGES: Wanted = Wanted {
    variable: "IMAGES_EXTERNAL",
    part: Part::Node,
    meaning: "a command that gives an image to the nodes and takes the path of its archive, as `kind load image-archive` does",
};

/// A cluster that was there before.
#[derive(Clone, Debug)]
pub struct External {
    kubectl: Kubectl,
    kafka: Option<String>,
    gateway: Option<String>,
    images: Option<String>,
}

impl External {
    /// The cluster that the environment names, if it names one. Error: all that it has to say beside, for these parts.
    pub(crate) fn from_environment(parts: &Parts) -> Result<Option<Self>> {
        let Some(kubeconfig) = env::var_os(KUBECONFIG).filter(|path| !path.is_empty()) else { return Ok(None) };
        let missing = missing(parts, |wanted| value(wanted).is_some());
        ensure!(missing.is_empty(), "{KUBECONFIG} is set; set as well:\n{}", missing.join("\n"));
        let kubectl = Kubectl {
            program: "kubectl".into(),
            verb: None,
            kubeconfig: PathBuf::from(kubeconfig),
            memory: folder().join("kubectl"),
        };
        kubectl.run(&["version"]).with_context(|| format!("ask the cluster that {KUBECONFIG} names"))?;
        let [kafka, gateway, images] = [KAFKA, GATEWAY, IMAGES].map(|wanted| value(&wanted));
        Ok(Some(Self { kubectl, kafka, gateway, images }))
    }

    pub(crate) fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    pub(crate) fn kafka_bootstrap(&self) -> Result<SocketAddr> {
        address(&KAFKA, self.kafka.as_deref())
    }

    pub(crate) fn gateway_address(&self) -> Result<SocketAddr> {
        address(&GATEWAY, self.gateway.as_deref())
    }

    /// Makes the image and gives its archive to the command of `IMAGES_EXTERNAL`.
    pub(crate) fn load_image(&self, reference: &str, programs: &[&Path]) -> Result<()> {
        let command = said(&IMAGES, self.images.as_deref())?;
        let mut words = command.split_whitespace();
        let program = words.next().context("IMAGES_EXTERNAL holds no command")?;
        image::hand_over(&folder(), reference, programs, |archive| {
            process::run(Command::new(program).args(words).arg(archive)).map(drop)
        })
    }
}

/// `KAFKA_EXTERNAL`, for tests that need a broker and no cluster.
pub(crate) fn kafka() -> Option<String> {
    value(&KAFKA)
}

fn value(wanted: &Wanted) -> Option<String> {
    env::var(wanted.variable).ok().filter(|value| !value.is_empty())
}

fn missing(parts: &Parts, is_said: impl Fn(&Wanted) -> bool) -> Vec<String> {
    let unsaid = [KAFKA, GATEWAY, IMAGES].into_iter().filter(|wanted| parts.has(wanted.part) && !is_said(wanted));
    unsaid.map(|wanted| format!("  {}: {}", wanted.variable, wanted.meaning)).collect()
}

fn said<'a>(wanted: &Wanted, value: Option<&'a str>) -> Result<&'a str> {
    value.with_context(|| format!("{} is not set: {}", wanted.variable, wanted.meaning))
}

fn address(wanted: &Wanted, value: Option<&str>) -> Result<SocketAddr> {
    let text = said(wanted, value)?;
    let mut found = text.to_socket_addrs().with_context(|| format!("{} {text:?} is no host:port", wanted.variable))?;
    found.find(SocketAddr::is_ipv4).with_context(|| format!("{} {text:?} has no IPv4 address", wanted.variable))
}

fn folder() -> PathBuf {
    site::root().join(".external")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_parts_stand_for_has_to_be_said() {
        let named = |parts: &[Part]| {
            let lines = missing(&Parts::closed_over(parts), |_| false);
            lines.iter().map(|line| line.trim().split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(named(&[Part::ControlPlane]), Vec::<String>::new());
        assert_eq!(named(&[Part::ControlPlane, Part::Kafka]), ["KAFKA_EXTERNAL"]);
        assert_eq!(named(&Part::ALL), ["KAFKA_EXTERNAL", "GATEWAY_EXTERNAL", "IMAGES_EXTERNAL"]);
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(address(&KAFKA, Some("127.0.0.1:9092")).unwrap().port(), 9092);
        let error = format!("{:#}", address(&KAFKA, Some("kafka")).unwrap_err());
        assert!(error.starts_with("KAFKA_EXTERNAL \"kafka\" is no host:port"), "{error}");
    }
}
