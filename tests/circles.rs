//! No import circle: no file of a package uses another one that uses it in turn, be it by way of others. And each is on the map in
//! ARCHITECTURE.md.
//!
//! A file uses what its paths lead to from `crate`, `self` or `super`, and the modules that it declares; so no module
//! uses the one that declares it. What is only built for tests or by a feature does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::iter::successors;
use std::path::Path;

/// Where there is no circle, from the root of the tree.
const CHECKED: [&str; 8] =
    ["src", "cli/src", "client/src", "model/src", "process/src", "proxy/src", "supervisor/src", "tls/src"];

/// What each file uses, by the paths of their modules.
type Uses = BTreeMap<String, BTreeSet<String>>;

/// Reads the files of `directory`, whose modules are part of `parent`. What they use is not yet cut down to files.
fn read(directory: &Path, parent: &str, uses: &mut Uses) {
    for path in fs::read_dir(directory).expect("it is a directory").map(|entry| entry.expect("it can be read").path()) {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a module's name is UTF-8");
        let is_root = parent == "crate" && ["main", "lib"].contains(&name);
        let module = if is_root { parent.to_owned() } else { format!("{parent}::{name}") };
        if path.is_dir() {
            read(&path, &module, uses);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).expect("Rust is UTF-8");
            uses.entry(module.clone()).or_default().extend(paths(&source, &module));
        }
    }
}

/// The paths in the source of a module, and the modules that it declares.
fn paths(source: &str, file: &str) -> BTreeSet<String> {
    let (mut paths, mut stems) = (BTreeSet::new(), Vec::<String>::new());
    let (mut conditional, mut module) = (false, file.to_owned());
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    for line in source.lines().map(|line| line.split("//").next().unwrap_or_default()) {
        match line.split_once("mod ").map(|(_, name)| (name.strip_suffix(';'), name.strip_suffix(" {"))) {
            Some((Some(declared), _)) if !conditional => drop(paths.insert(format!("{file}::{declared}"))),
            Some((_, Some(within))) => module = format!("{file}::{within}"),
            _ if line == "}" => module = file.to_owned(),
            _ => {}
        }
        conditional = line.starts_with("#[cfg(") || (conditional && line.starts_with("#["));
        for word in line.split_inclusive(|letter: char| !letter.is_alphanumeric() && !"_:".contains(letter)) {
            let path = word.trim_end_matches(|letter: char| !letter.is_alphanumeric() && letter != '_');
            let whole = resolve(path, stems.last().unwrap_or(&module), !stems.is_empty());
            if word.ends_with("::{") {
                stems.push(whole);
            } else if word.contains("::") || (!stems.is_empty() && !path.is_empty()) {
                paths.insert(whole);
            }
            if word.ends_with('}') {
                stems.pop();
            }
        }
    }
    paths
}

/// A path from the root of its crate: what stands in a branch goes on from its stem, and what begins with a keyword from
/// the module. All else, another crate or what is in scope, is no file of this one, or was brought into scope.
fn resolve(path: &str, base: &str, branch: bool) -> String {
    let (first, _) = path.split_once("::").unwrap_or((path, ""));
    let relative = branch || ["self", "super"].contains(&first);
    let start = if relative { base } else { "" }.to_owned();
    path.split("::").fold(start, |resolved, segment| match (resolved.as_str(), segment) {
        (_, "" | "self") => resolved,
        (_, "super") => resolved.rsplit_once("::").map_or(String::new(), |(parent, _)| parent.to_owned()),
        ("", _) => segment.to_owned(),
        (_, _) => format!("{resolved}::{segment}"),
    })
}

/// A file, and all that it uses, be it by way of others.
fn reached(from: &str, uses: &Uses) -> BTreeSet<String> {
    let mut reached = BTreeSet::from([from.to_owned()]);
    while let Some(file) = reached.iter().flat_map(|user| &uses[user]).find(|file| !reached.contains(*file)) {
        reached.insert(file.clone());
    }
    reached
}

/// The files on circles, with what they use that uses them.
fn circles(sources: &Path) -> Uses {
    let mut uses = Uses::new();
    read(sources, "crate", &mut uses);
    let files: BTreeSet<String> = uses.keys().cloned().collect();
    for (user, used) in &mut uses {
        // A path leads to a file, or to an item of one.
        let stem = |path: &str| path.rsplit_once("::").map(|(stem, _)| stem.to_owned());
        let file = |path: &String| successors(Some(path.clone()), |path| stem(path)).find(|path| files.contains(path));
        *used = used.iter().filter_map(file).filter(|file| file != user).collect();
    }
    let mut circles = uses.clone();
    let built = reached("crate", &uses);
    circles.retain(|user, used| {
        used.retain(|used| reached(used, &uses).contains(user));
        built.contains(user) && !used.is_empty()
    });
    circles
}

#[test]
fn no_file_uses_one_that_uses_it() {
    for sources in CHECKED {
        let circles = circles(&Path::new(env!("CARGO_MANIFEST_DIR")).join(sources));
        assert!(circles.is_empty(), "in {sources} there are circles: {circles:#?}");
    }
}

/// The places that the first column of a map names, from the root of the tree; a directory with a slash. One that begins with no
/// directory of its own is where the one before it is.
fn places(map: &str, root: &Path) -> Vec<String> {
    let column = |line: &str| line.strip_prefix("| `")?.split_once("` |").map(|(names, _)| names.to_owned());
    let mut places = Vec::new();
    for names in map.lines().filter_map(column) {
        let mut directory = String::new();
        for name in names.split("`, `") {
            let is_whole = name.contains('/') && root.join(name).exists();
            let place = if is_whole { name.to_owned() } else { format!("{directory}{name}") };
            assert!(root.join(&place).exists(), "ARCHITECTURE.md names {place}, which is not there");
            let end = place.trim_end_matches('/').rfind('/').map_or(0, |slash| slash + 1);
            place[..end].clone_into(&mut directory);
            places.push(place);
        }
    }
    places
}

/// The files of a directory but those of tests, from the root of the tree.
fn files(directory: &Path, root: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(directory).expect("it is a directory").map(|entry| entry.expect("it can be read").path());
    let built = entries.filter(|path| path.file_stem().is_some_and(|stem| stem != "tests"));
    let found = built.flat_map(|path| match path.is_dir() {
        true => files(&path, root),
        false => vec![path.strip_prefix(root).expect("it is below").to_str().expect("it is UTF-8").to_owned()],
    });
    found.collect()
}

#[test]
fn every_file_is_on_the_map() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("it is there");
    let places = places(&map, root);
    let is_on_it = |file: &String| {
        places.iter().any(|place| place == file || (place.ends_with('/') && file.starts_with(place.as_str())))
    };
    for sources in CHECKED {
        let files = files(&root.join(sources), root);
        let missing: Vec<_> = files.iter().filter(|file| !is_on_it(file)).collect();
        assert!(missing.is_empty() && !files.is_empty(), "ARCHITECTURE.md has no row for {missing:?}");
    }
}

#[test]
fn circle_is_found_whatever_its_paths_look_like() {
    let made_up = |b: &str, deep: &str| {
        let place = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(place.path().join("b")).expect("an own directory");
        for (file, source) in [
            ("lib.rs", "mod a;\npub mod b;\n"),
            ("a.rs", "use std::fmt::{self, Display};\nuse crate::{\n    b::{self, B},\n};\n// crate::c is no path.\n"),
            ("b.rs", b),
            ("b/deep.rs", deep),
        ] {
            fs::write(place.path().join(file), source).expect("there is room");
        }
        circles(place.path()).into_keys().collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    assert_eq!(made_up("mod deep;\n", "#[cfg(test)]\nmod tests {\n    use super::super::B;\n}\n"), none);
    assert_eq!(made_up("pub(super) mod deep;\n", "use super::B;\n"), ["crate::b", "crate::b::deep"]);
    assert_eq!(made_up("#[cfg(test)]\n#[doc(hidden)]\nmod deep;\n", "use super::B;\n"), none);
    let through_three = ["crate::a", "crate::b", "crate::b::deep"];
    assert_eq!(made_up("mod deep;\nmod within {\n    use super::deep::C;\n}\n", "use self::b::C;\n"), none);
    assert_eq!(made_up("fn f() { self::deep::g() }\n", "fn g(a: super::super::a::A) {}\n"), through_three);
}
