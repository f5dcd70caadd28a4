//! Consistency of the documents with each other and the source: links, the book's pages, metrics.
//!
//! Links are those of Markdown, `[text](target)`, outside of code. Addresses in the network are
//! left alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let (mut dead, mut seen) = (Vec::new(), 0);
    for page in documents() {
        for link in links(&page) {
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.clone() } else { beside(&page, file) };
            let has_anchor = || headings(&target).contains(anchor);
            if !target.exists() || !anchor.is_empty() && !has_anchor() {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(seen > 100, "only {seen} links were found");
    assert!(dead.is_empty(), "dead links: {dead:#?}");
}

/// The book contains all pages of its folder and no links to files outside.
#[test]
fn the_book_is_complete_and_closed() {
    let docs = Path::new(ROOT).join("docs");
    let summary = docs.join("SUMMARY.md");
    let listed: BTreeSet<PathBuf> = links(&summary).iter().map(|link| beside(&summary, link)).collect();
    let mut pages: BTreeSet<PathBuf> = markdown(&docs, true).into_iter().collect();
    pages.remove(&summary);
    let odd: Vec<_> = listed.symmetric_difference(&pages).collect();
    assert!(odd.is_empty(), "in SUMMARY.md or in the folder, not in both: {odd:#?}");
    for page in pages {
        for link in links(&page) {
            let file = link.split('#').next().unwrap_or_default();
            assert!(beside(&page, file).starts_with(&docs), "{}: {link} leads out of the book", page.display());
        }
    }
}

#[test]
fn the_entry_pages_stay_short() {
    for name in ["README.md", "ARCHITECTURE.md"] {
        let lines = read(&Path::new(ROOT).join(name)).lines().count();
        assert!(lines <= 200, "{name} has {lines} lines: move a part of it into docs/");
    }
}

/// Paths are below `proxy/src`, or below the root.
#[test]
fn what_architecture_names_is_there() {
    let text = read(&Path::new(ROOT).join("ARCHITECTURE.md"));
    let spans = text.split('`').skip(1).step_by(2);
    let is_path =
        |span: &&str| span.ends_with(".rs") || span.contains('/') && !span.starts_with('/') && !span.contains(' ');
    let paths: Vec<&str> = spans.filter(is_path).collect();
    assert!(paths.len() > 30, "only {} paths were found", paths.len());
    let is_there = |path: &str| ["", "proxy/src"].iter().any(|folder| Path::new(ROOT).join(folder).join(path).exists());
    let missing: Vec<_> = paths.into_iter().filter(|path| !is_there(path)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_page_of_the_metrics_names_each_and_no_other() {
    let page = read(&Path::new(ROOT).join("docs/metrics.md"));
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `pointsman_")?.split('`').next());
    let documented: BTreeSet<&str> = rows.filter(|name| !name.contains(' ')).collect();
    let source = metrics_source();
    let made = source.split("build.").skip(1).filter_map(|call| {
        let (_, arguments) = call.split_once('(')?;
        arguments.trim_start().strip_prefix('"')?.split('"').next()
    });
    let made: BTreeSet<&str> = made.collect();
    assert!(made.len() > 30, "only {} metrics were found", made.len());
    let odd: Vec<_> = documented.symmetric_difference(&made).collect();
    assert!(odd.is_empty(), "in docs/metrics.md or in the source, not in both: {odd:?}");
}

fn metrics_source() -> String {
    let folder = Path::new(ROOT).join("proxy/src/metrics");
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    files.chain([folder.with_extension("rs")]).filter(|path| path.is_file()).map(|path| read(&path)).collect()
}

/// The documents at the root, the book, and those of the SDK.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    [markdown(root, false), markdown(&root.join("docs"), true), markdown(&root.join("sdk"), true)].concat()
}

fn markdown(folder: &Path, deep: bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.extension() {
            Some(kind) if kind == "md" => vec![path],
            _ if deep && path.is_dir() && !path.ends_with("node_modules") => markdown(&path, true),
            _ => Vec::new(),
        })
        .collect()
}

/// The path of a link in a page with `..` resolved, except the root's own leading `..`.
fn beside(page: &Path, link: &str) -> PathBuf {
    let mut path = page.parent().unwrap().to_owned();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            part => path.push(part),
        }
    }
    path
}

fn links(page: &Path) -> Vec<String> {
    let text = prose(&read(page));
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

/// The text without blocks and spans of code.
fn prose(text: &str) -> String {
    let outside = text.split("```").step_by(2);
    let spans = outside.flat_map(|text| text.split('`').step_by(2).collect::<Vec<_>>());
    spans.collect::<Vec<_>>().join(" ")
}

/// The anchors of a page's headings: lower case, words joined by dashes, other marks left out.
fn headings(page: &Path) -> BTreeSet<String> {
    let text = read(page);
    let outside: String = text.split("```").step_by(2).collect();
    let titles = outside.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |title: &str| {
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    titles.map(anchor).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
