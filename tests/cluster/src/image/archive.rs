//! The archive of an image in the format of `docker save`, which every container runtime can read.

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, Header};

use super::layer::Layer;

pub(super) fn docker(reference: &str, entry_point: &str, layer: &Layer) -> Result<Vec<u8>> {
    let layer = layer.to_tar()?;
    let config = config(entry_point, &digest(&layer)).to_string();
    let config_name = format!("{}.json", digest(config.as_bytes()));
    let manifest = json!([{"Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"]}]).to_string();
    let mut archive = Builder::new(Vec::new());
    append(&mut archive, "manifest.json", manifest.as_bytes())?;
    append(&mut archive, &config_name, config.as_bytes())?;
    append(&mut archive, "layer.tar", &layer)?;
    Ok(archive.into_inner()?)
}

/// See the OCI image specification, "Image Configuration". Without a time in it the same content has the same digest.
fn config(entry_point: &str, layer_digest: &str) -> Value {
    json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": [entry_point],
            "User": "65532:65532",
            "Env": ["PATH=/usr/bin:/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
    })
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn append(archive: &mut Builder<Vec<u8>>, name: &str, content: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    Ok(archive.append_data(&mut header, name, content)?)
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::super::layer::Entry;
    use super::*;

    fn unpacked(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), content);
        }
        files
    }

    #[test]
    fn the_manifest_leads_to_a_config_that_names_the_layer_by_its_digest() {
        let layer = Layer::new([Entry::program("usr/bin/worker", vec![1, 2, 3])]);
        let files = unpacked(&docker("localhost/sluice-worker:dev", "/usr/bin/worker", &layer).unwrap());
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"], json!(["localhost/sluice-worker:dev"]));
        let config: Value = serde_json::from_slice(&files[manifest[0]["Config"].as_str().unwrap()]).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], json!([format!("sha256:{}", digest(&files["layer.tar"]))]));
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/bin/worker"]));
    }

    #[test]
    fn the_same_content_makes_the_same_archive() {
        let make = || docker("a:b", "/a", &Layer::new([Entry::program("a", vec![1])])).unwrap();
        assert_eq!(make(), make());
    }
}
