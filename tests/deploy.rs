//! What is in `deploy/` fits what it is for: manifests the published schemas of Kubernetes, and command lines the program.

#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::skip;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The checker of the Python package kubernetes-validate, which brings the schemas of every version along.
fn checker() -> Option<PathBuf> {
    let candidates = [file("target/clients/bin/kubernetes-validate"), "kubernetes-validate".into()];
    candidates.into_iter().find(|program| Command::new(program).arg("--version").output().is_ok())
}

#[test]
fn manifests_fit_the_schemas_that_kubernetes_publishes() {
    let Some(checker) = checker() else { return skip("kubernetes-validate is not installed") };
    let manifests = ["daemonset", "poddisruptionbudget"].map(|name| file(&format!("deploy/kubernetes/{name}.yaml")));
    for version in ["1.27.0", "1.31.0", "1.36.0"] {
        let output = Command::new(&checker).args(["--strict", "-k", version]).args(&manifests).output();
        let output = output.expect("it has been started before");
        assert!(output.status.success(), "{version}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The lines in which a file of `deploy/` types options of the program.
fn typed(name: &str) -> Vec<String> {
    let begins = ["- --", "command: [\"reactord\"", "ENTRYPOINT", "CMD", "Exec", "REACTORD_OPTIONS="];
    let text = std::fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let lines = text.lines().map(str::trim).filter(|line| begins.iter().any(|begin| line.starts_with(begin)));
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    assert!(!lines.is_empty(), "{name} types nothing");
    lines
}

#[test]
fn every_option_in_deploy_is_one_of_the_program() {
    // It has all options of all commands, which another test sees to.
    let known = std::fs::read_to_string(file("completions/reactord.fish")).expect("it is in the tree");
    let is_known = |option: &str| known.contains(&format!(" -l {option} "));
    for name in [
        "deploy/kubernetes/daemonset.yaml",
        "deploy/Containerfile",
        "deploy/debian/reactord.default",
        "deploy/debian/reactord.dropin",
        "deploy/reactord.service",
        "deploy/reactord-standby.service",
        "deploy/reactord-supervise.service",
        "deploy/reactord.service.d/standby.conf",
    ] {
        for line in typed(name) {
            let words = line.split(|character: char| !(character.is_ascii_alphanumeric() || character == '-'));
            for option in words.filter_map(|word| word.strip_prefix("--")).filter(|option| !option.is_empty()) {
                assert!(is_known(option), "{name}: there is no option --{option}: {line}");
            }
        }
    }
}
