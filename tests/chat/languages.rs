//! The chat, in each language that can be run here.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::harness::{example, skip};

/// One program.
#[derive(Clone)]
pub(crate) struct Chat {
    pub(crate) language: &'static str,
    pub(crate) command: Vec<String>,
}

impl Chat {
    fn of(language: &'static str, command: &[&Path]) -> Self {
        let text = |path: &&Path| path.to_str().expect("the tree's path is text").to_owned();
        Self { language, command: command.iter().map(text).collect() }
    }

    /// The command that a supervisor starts.
    pub(crate) fn start(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        command
    }
}

fn in_tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// All that can be run here. What cannot is said.
pub(crate) fn chats() -> Vec<Chat> {
    static CHATS: OnceLock<[Option<Chat>; 4]> = OnceLock::new();
    let chats = CHATS.get_or_init(|| [Some(rust()), c(), python(), go()]);
    for (chat, missing) in chats.iter().zip([
        "Rust: there is no cargo",
        "C: there is no cc",
        "Python: there is no python3",
        "Go: there is no go",
    ]) {
        if chat.is_none() {
            skip(&format!("for {missing}"));
        }
    }
    chats.iter().flatten().cloned().collect()
}

fn rust() -> Chat {
    Chat::of("Rust", &[Path::new(example("chat").get_program())])
}

fn c() -> Option<Chat> {
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-I"]).arg(in_tree("include"));
    let program = built("chat-c", |program| cc.arg("-o").arg(program).arg(in_tree("examples/chat.c")))?;
    Some(Chat::of("C", &[&program]))
}

fn python() -> Option<Chat> {
    ran(Command::new("python3").arg("--version"))?;
    Some(Chat::of("Python", &[Path::new("python3"), &in_tree("examples/chat.py")]))
}

fn go() -> Option<Chat> {
    let mut go = Command::new("go");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache");
    go.env("CGO_ENABLED", "0").env("GO111MODULE", "off").env("GOCACHE", cache).current_dir(in_tree("examples"));
    go.args(["build", "-o"]);
    let program = built("chat-go", |program| go.arg(program).args(["chat.go", "reactord_worker.go"]))?;
    Some(Chat::of("Go", &[&program]))
}

/// Has a program built, and puts it in its place only when it is whole: another run may be using it.
fn built<'c>(name: &str, command: impl FnOnce(&Path) -> &'c mut Command) -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let new = program.with_extension(std::process::id().to_string());
    ran(command(&new))?;
    fs::rename(&new, &program).expect("both are in one directory");
    Some(program)
}

/// Runs a program that succeeds, or says that it is not there.
fn ran(command: &mut Command) -> Option<()> {
    match command.output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => panic!("{error}"),
    }
    Some(())
}

/// How many lines each example has that say something: no comment, no blank line and no bracket alone.
pub(crate) fn lines_of_code() -> [(&'static str, usize); 4] {
    ["chat.rs", "chat.c", "chat.py", "chat.go"].map(|file| {
        let source = fs::read_to_string(in_tree("examples").join(file)).expect("it is in the tree");
        (file, without_comments(&source).lines().filter(|line| line.contains(char::is_alphanumeric)).count())
    })
}

/// The source without what is between these marks.
fn without_comments(source: &str) -> String {
    let mut rest = source.to_owned();
    for (begin, end) in [("/*", "*/"), ("\"\"\"", "\"\"\""), ("//", "\n"), ("    #", "\n")] {
        while let Some((before, comment)) = rest.split_once(begin) {
            let (_, after) = comment.split_once(end).expect("a comment ends");
            rest = format!("{before}\n{after}");
        }
    }
    rest
}
