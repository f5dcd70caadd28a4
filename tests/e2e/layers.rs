//! The layers of the source, checked against its imports.
//!
//! Every file is read as tokens, so comments, strings and formatting are ignored. Tests are
//! excluded: they may import anything.

use std::fmt;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The top modules from the lowest layer to the highest. A module may import lower layers, but no
/// other module of its own.
const LAYERS: [&[&str]; 12] = [
    &["files", "hex", "model", "progress", "report", "text", "worker"],
    &["chain", "clock", "fingerprint", "signature"],
    &["config", "jsonrpc", "metrics"],
    &["tls"],
    &["client", "policy"],
    &["upstream"],
    &["engine", "snapshot"],
    &["dns", "logging"],
    // They communicate through the snapshot and channels from the server.
    &["admin", "gateway", "health", "housekeeping", "reload", "watcher"],
    &["server"],
    &["cli"],
    &["main"],
];

/// Names that are restricted to certain places.
const NAMES: [Names; 4] = [
    Names { names: &["wasmtime"], only_in: Modules::These(&["policy"]) },
    Names {
        names: &["pingora", "pingora_core", "pingora_proxy"],
        only_in: Modules::AllBut(&[
            "chain", "model", "jsonrpc", "policy", "config", "metrics", "engine", "report", "snapshot",
        ]),
    },
    Names { names: &["notify"], only_in: Modules::These(&["watcher"]) },
    // Time and randomness are parameters there.
    Names {
        names: &["Instant::now", "SystemTime", "tokio", "rand", "fastrand"],
        only_in: Modules::AllBut(&["chain", "model", "report"]),
    },
];

struct Names {
    names: &'static [&'static str],
    only_in: Modules,
}

enum Modules {
    These(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

#[test]
fn imports_run_downward() {
    let files = sources("proxy/src");
    assert!(files.iter().any(|file| file.imports().len() > 5), "no imports were found");
    assert_none(files.iter().flat_map(SourceFile::wrong_imports));
}

#[test]
fn names_are_kept_where_they_belong() {
    let files = sources("proxy/src");
    for Names { names, .. } in &NAMES[..3] {
        assert!(files.iter().any(|file| !file.occurrences(names[0]).is_empty()), "{} is named nowhere", names[0]);
    }
    assert_none(files.iter().flat_map(SourceFile::misplaced_names));
}

#[test]
fn every_module_has_a_layer() {
    let lib = SourceFile::read(Path::new("lib.rs"), &read("proxy/src/lib.rs"));
    let mut declared = lib.declared_modules();
    declared.push("main".into());
    declared.sort();
    let mut layered: Vec<String> = LAYERS.concat().into_iter().map(str::to_owned).collect();
    layered.sort();
    assert_eq!(declared, layered);
}

#[test]
fn unsafe_code_stays_at_the_border_to_wasm() {
    // Folders, and the prefixes of paths below them where it is allowed.
    let places: [(&str, &[&str]); 6] = [
        ("proxy/src", &["policy/"]),
        ("sdk/src", &["export", "macros"]),
        ("plugins/tiers/src", &[]),
        ("plugins/peak-ewma/src", &[]),
        ("plugins/json-rpc-retry/src", &[]),
        ("plugins/http-retry/src", &[]),
    ];
    for (folder, allowed) in places {
        let files = sources(folder);
        let elsewhere = files.iter().filter(|file| !allowed.iter().any(|begin| file.path.starts_with(begin)));
        let found = elsewhere.flat_map(|file| file.occurrences("unsafe"));
        assert_none(found.map(|at| format!("{folder}/{at}: unsafe code")));
    }
}

#[test]
fn wrong_imports_are_found_in_every_form() {
    let wrong = |path: &str, text: &str| SourceFile::read(Path::new(path), text).wrong_imports();
    assert_eq!(
        wrong("model/stats.rs", "\nuse crate::{model, clock::{now, Tick}};\n"),
        ["model/stats.rs:2: model uses clock, which is not below it"]
    );
    assert_eq!(wrong("policy/mod.rs", "fn f() -> crate::client::Target { todo() }").len(), 1);
    assert_eq!(wrong("client/exchange.rs", "use super::super::upstream::Attempt;").len(), 1);
    assert_eq!(wrong("dns.rs", "use super::{client, gateway};").len(), 1);
    assert_eq!(wrong("admin/mod.rs", "use crate::reload::prepare;").len(), 1);
    assert_eq!(wrong("client/mod.rs", "mod inner { use super::super::admin; }").len(), 1);
    assert_eq!(wrong("cli/mod.rs", "use crate::unheard_of::Thing;").len(), 1);

    let none: [&str; 0] = [];
    assert_eq!(wrong("client/exchange.rs", "use super::{idle, target::Target}; use crate::client::idle;"), none);
    assert_eq!(wrong("engine/attempts.rs", "// use crate::admin;\nconst A: &str = \"crate::admin::B\";"), none);
    assert_eq!(wrong("engine/attempts.rs", "#[cfg(test)]\nmod tests { use crate::admin::Status; }"), none);
    assert_eq!(wrong("admin/mod.rs", "pub(crate) use crate::{clock, snapshot::Published}; pub(super) fn f() {}"), none);
    assert_eq!(wrong("main.rs", "fn main() { pointsman::cli::main() }"), none);
}

#[test]
fn misplaced_names_are_found() {
    let misplaced = |path: &str, text: &str| SourceFile::read(Path::new(path), text).misplaced_names();
    assert_eq!(
        misplaced("client/mod.rs", "use wasmtime::Engine;"),
        ["client/mod.rs:1: wasmtime has no place in client"]
    );
    assert_eq!(misplaced("snapshot.rs", "fn f() {\n let a = pingora::Error::new(b);\n}").len(), 1);
    assert_eq!(misplaced("model/time.rs", "let now = std::time::Instant::now();").len(), 1);
    assert_eq!(misplaced("model/time.rs", "use std::time::Instant; // Instant::now()").len(), 0);
    assert_eq!(misplaced("policy/engine.rs", "use wasmtime::Engine;").len(), 0);
}

fn assert_none(problems: impl Iterator<Item = String>) {
    let problems: Vec<String> = problems.collect();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// A file, without its tests.
struct SourceFile {
    path: String,
    top: String,
    /// Number of modules between the crate's root and this file's contents.
    depth: usize,
    tokens: Vec<TokenTree>,
}

/// A position in a file.
struct At<'a>(&'a str, usize);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0, self.1)
    }
}

impl SourceFile {
    fn read(path: &Path, text: &str) -> SourceFile {
        let stream: TokenStream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut modules: Vec<String> =
            path.with_extension("").iter().map(|name| name.to_string_lossy().into_owned()).collect();
        modules.pop_if(|last| ["mod", "lib"].contains(&last.as_str()));
        let top = modules.first().cloned().unwrap_or_else(|| "lib".into());
        // The binary's root is also a root.
        let depth = if top == "main" { 0 } else { modules.len() };
        SourceFile { path: path.display().to_string(), top, depth, tokens: without_tests(stream) }
    }

    fn wrong_imports(&self) -> Vec<String> {
        let layer_of = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
        let is_below = |module: &str| match (layer_of(module), layer_of(&self.top)) {
            (Some(used), Some(user)) => used < user,
            _ => false,
        };
        let (path, top) = (&self.path, &self.top);
        let wrong = |(used, _): &(String, usize)| used != top && !is_below(used);
        let tell = |(used, line)| format!("{}: {top} uses {used}, which is not below it", At(path, line));
        self.imports().into_iter().filter(wrong).map(tell).collect()
    }

    /// Top modules named by a path from the root, and their positions.
    fn imports(&self) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        collect_imports(&self.tokens, self.depth, &mut found);
        found
    }

    fn misplaced_names(&self) -> Vec<String> {
        let mut found = Vec::new();
        for Names { names, only_in } in &NAMES {
            let is_fine = match only_in {
                Modules::These(modules) => modules.contains(&self.top.as_str()),
                Modules::AllBut(modules) => !modules.contains(&self.top.as_str()),
            };
            for name in names.iter().filter(|_| !is_fine) {
                let misplaced = self.occurrences(name);
                found.extend(misplaced.iter().map(|at| format!("{at}: {name} has no place in {}", self.top)));
            }
        }
        found
    }

    /// Positions of `name`, a word or a path of words.
    fn occurrences(&self, name: &str) -> Vec<String> {
        let mut words = Vec::new();
        flatten(&self.tokens, &mut words);
        let wanted: Vec<&str> = name.split("::").flat_map(|word| [":", ":", word]).skip(2).collect();
        let is_here = |window: &&[(String, usize)]| window.iter().map(|(word, _)| word).eq(wanted.iter());
        words.windows(wanted.len()).filter(is_here).map(|window| At(&self.path, window[0].1).to_string()).collect()
    }

    fn declared_modules(&self) -> Vec<String> {
        let names = self.tokens.windows(2).filter(|pair| is_word(&pair[0], "mod")).map(|pair| pair[1].to_string());
        names.collect()
    }
}

fn without_tests(stream: TokenStream) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut tokens = stream.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_test = matches!((&token, tokens.peek()), (TokenTree::Punct(punct), Some(TokenTree::Group(attribute)))
            if punct.as_char() == '#' && attribute.stream().to_string().replace(' ', "") == "cfg(test)");
        if !is_test {
            kept.push(token);
            continue;
        }
        // The item ends with its body or a semicolon.
        let is_end = |token: &TokenTree| match token {
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
            token => token.to_string() == ";",
        };
        tokens.by_ref().find(is_end);
    }
    kept
}

fn collect_imports(tokens: &[TokenTree], depth: usize, found: &mut Vec<(String, usize)>) {
    for (position, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            let is_module = position >= 2 && is_word(&tokens[position - 2], "mod");
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            collect_imports(&inner, depth + usize::from(is_module && group.delimiter() == Delimiter::Brace), found);
        }
        let begins = position == 0 || !is_word(&tokens[position - 1], ":");
        if begins && let Some(rest) = after_root(&tokens[position..], depth) {
            found.extend(first_words(rest).into_iter().map(|word| (word.to_string(), word.span().start().line)));
        }
    }
}

/// The tokens after `crate::`, or after enough `super::` to reach the root.
fn after_root(mut tokens: &[TokenTree], depth: usize) -> Option<&[TokenTree]> {
    let strip = |tokens: &'_ [TokenTree], word: &str| {
        let is_there = tokens.len() > 3 && is_word(&tokens[0], word) && tokens[1..3].iter().all(|t| is_word(t, ":"));
        is_there.then_some(())
    };
    if strip(tokens, "crate").or(strip(tokens, "pointsman")).is_some() {
        return Some(&tokens[3..]);
    }
    let mut left = depth;
    while left > 0 && strip(tokens, "super").is_some() {
        (tokens, left) = (&tokens[3..], left - 1);
    }
    (left == 0 && depth > 0).then_some(tokens)
}

/// The first word, or the first words of a group's members.
fn first_words(tokens: &[TokenTree]) -> Vec<proc_macro2::Ident> {
    match tokens.first() {
        Some(TokenTree::Ident(word)) => vec![word.clone()],
        Some(TokenTree::Group(group)) => {
            let members: Vec<TokenTree> = group.stream().into_iter().collect();
            members.split(|token| is_word(token, ",")).flat_map(first_words).collect()
        }
        _ => Vec::new(),
    }
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    !matches!(token, TokenTree::Group(_) | TokenTree::Literal(_)) && token.to_string() == word
}

fn flatten(tokens: &[TokenTree], words: &mut Vec<(String, usize)>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => flatten(&group.stream().into_iter().collect::<Vec<_>>(), words),
            TokenTree::Literal(_) => {}
            word => words.push((word.to_string(), word.span().start().line)),
        }
    }
}

/// The Rust files below `folder` without tests, with paths relative to it.
fn sources(folder: &str) -> Vec<SourceFile> {
    let root = Path::new(ROOT).join(folder);
    let (mut files, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if stem == "tests" {
                continue;
            } else if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push(SourceFile::read(path.strip_prefix(&root).unwrap(), &text));
            }
        }
    }
    assert!(!files.is_empty(), "no source in {folder}");
    files
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
