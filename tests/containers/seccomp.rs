//! Docker's default profile of system calls, as a runtime wants it: its rules name what they are for, and those remain that
//! fit this architecture and a container without capabilities.

use std::path::Path;

use serde_json::{Value, json};

/// Where Debian's package golang-github-containers-common has it.
const PROFILE: &str = "/usr/share/containers/seccomp.json";

pub(crate) fn is_there() -> bool {
    Path::new(PROFILE).exists()
}

/// The profile, for `linux.seccomp` of a container's configuration.
pub(crate) fn profile() -> Value {
    let text = std::fs::read_to_string(PROFILE).expect("it has been found to be there");
    let profile: Value = serde_json::from_str(&text).expect("it is JSON");
    let rules = profile["syscalls"].as_array().expect("it has rules");
    let architectures = profile["archMap"].as_array().expect("it knows architectures");
    let native = if cfg!(target_arch = "aarch64") { "SCMP_ARCH_AARCH64" } else { "SCMP_ARCH_X86_64" };
    let family = architectures.iter().find(|one| one["architecture"] == native).expect("it knows this one");
    let others = family["subArchitectures"].as_array().into_iter().flatten().cloned();
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": std::iter::once(json!(native)).chain(others).collect::<Vec<_>>(),
        "syscalls": rules.iter().filter(|rule| fits(rule)).map(plain).collect::<Vec<_>>(),
    })
}

fn fits(rule: &Value) -> bool {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let names = |list: &Value, name: &str| list.as_array().is_some_and(|list| list.iter().any(|one| one == name));
    let is_empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
    is_empty(&includes["caps"])
        && (is_empty(&includes["arches"]) || names(&includes["arches"], architecture))
        && !names(&excludes["arches"], architecture)
}

/// A rule without what it is for.
fn plain(rule: &Value) -> Value {
    let wanted = ["names", "action", "errnoRet", "args"];
    let fields =
        wanted.iter().filter(|name| !rule[**name].is_null()).map(|name| ((*name).to_owned(), rule[*name].clone()));
    Value::Object(fields.collect())
}
