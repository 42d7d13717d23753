//! Examples can be copied out: each compiles in a package of its own that depends on what the example says it needs. Those
//! that speak a known protocol serve its real clients, and are taken over meanwhile.

#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
mod harness;
#[allow(dead_code, reason = "these tests need a part of it")]
#[path = "harness/standby.rs"]
mod standbys;

mod examples {
    mod clients;
    mod forward;
    mod mqtt;
    #[allow(dead_code, reason = "the example uses what its tests do not")]
    mod parts;
    mod resp;
    mod survivor;
    mod websocket;
}

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TREE: &str = env!("CARGO_MANIFEST_DIR");

/// The dependencies in the example's documentation. Where there are none, `reactord` is all that it needs.
fn dependencies(example: &str) -> String {
    let (_, told) = example
        .split_once("//! [dependencies]\n")
        .unwrap_or(("", "//! reactord = { path = \"…\", default-features = false }\n"));
    let lines = told.lines().map_while(|line| line.strip_prefix("//! ")).take_while(|line| *line != "```");
    lines.collect::<Vec<_>>().join("\n").replace('…', TREE)
}

/// The files in Rust of an example, which is one of them or a directory of some.
fn files(example: &Path) -> Vec<PathBuf> {
    let files = match fs::read_dir(example) {
        Ok(files) => files.map(|file| file.expect("it can be read").path()).collect(),
        Err(_) => vec![example.to_owned()],
    };
    files.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// Lays out a package for each example in a workspace, and returns their names. What they depend on has the versions
/// that it has here, so nothing need be fetched.
fn copy_out(workspace: &Path) -> Vec<String> {
    if workspace.join("members").exists() {
        fs::remove_dir_all(workspace.join("members")).expect("they are our own");
    }
    fs::create_dir_all(workspace).expect("there is room");
    let write = |file: &str, text: &str| fs::write(workspace.join(file), text).expect("there is room");
    write("Cargo.toml", "[workspace]\nmembers = [\"members/*\"]\nresolver = \"3\"\n");
    fs::copy(Path::new(TREE).join("Cargo.lock"), workspace.join("Cargo.lock")).expect("there is room");
    let mut names = Vec::new();
    for example in fs::read_dir(Path::new(TREE).join("examples")).expect("it is in the tree") {
        let path = example.expect("it can be read").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name is UTF-8").to_owned();
        let files = files(&path);
        // `wire_2` is `versions` again, with what no release has.
        let Some(main) = files.iter().find(|file| **file == path || file.ends_with("main.rs")) else { continue };
        if name == "wire_2" {
            continue;
        }
        let source = fs::read_to_string(main).expect("it is UTF-8");
        let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n\n[dependencies]\n");
        fs::create_dir_all(workspace.join("members").join(&name).join("src")).expect("there is room");
        write(&format!("members/{name}/Cargo.toml"), &(package + &dependencies(&source)));
        for file in &files {
            let to = if file == main { "main.rs".as_ref() } else { file.file_name().expect("a file has a name") };
            let source = fs::read_to_string(file).expect("it is UTF-8");
            write(&format!("members/{name}/src/{}", to.display()), &source);
        }
        names.push(name);
    }
    names
}

#[test]
fn each_example_compiles_where_it_was_copied_to() {
    // What was compiled once is there the next time.
    let workspace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("copied-examples");
    let names = copy_out(&workspace);
    assert!(names.len() >= 3, "only {names:?}");
    // One at a time, so that none has what only another one asked for.
    for name in names {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["check", "--offline", "--package", &name]).current_dir(&workspace);
        let output = cargo.env("CARGO_TARGET_DIR", workspace.join("target")).output().expect("cargo is there");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
