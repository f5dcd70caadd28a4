//! `[plugins]`: the folders of modules and of their compiled code, and the keys that must have
//! signed modules.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::Plugins;
use super::check::{LONGEST, SHORTEST};
use super::file;
use super::report::{Key, Report};
use super::secret::Sources;
use super::spanned::Spanned;
use crate::signature::TrustedKey;

/// Live instances. Each reserves about 4 GiB of address space, of which a process has 128 TiB.
const MAX_INSTANCES: RangeInclusive<u32> = 16..=10_000;

pub(super) fn plugins(file: &file::Plugins, report: &mut Report<'_>, sources: &Sources<'_>) -> Plugins {
    let key = Key::Root.name("plugins");
    let mut folder = |name: &str, text: &Spanned<String>| -> PathBuf {
        let path = text.get_ref();
        if path.is_empty() || path.contains('\0') {
            report.add(key.name(name), text.span(), "must be the path of a folder");
        }
        sources.folder.join(path)
    };
    let dir = folder("dir", &file.dir);
    let cache_dir = file.cache_dir.as_ref().map(|text| folder("cache_dir", text));
    let grace = key.name("rollback_grace");
    Plugins {
        dir,
        cache_dir,
        trusted_keys: file.trusted_keys.as_ref().map(|keys| trusted_keys(key.name("trusted_keys"), keys, report)),
        watch: file.watch,
        max_instances: report.whole(key.name("max_instances"), &file.max_instances, MAX_INSTANCES),
        rollback_grace: file.rollback_grace.as_ref().map(|text| report.duration(grace, text, SHORTEST..=LONGEST)),
    }
}

fn trusted_keys(key: Key<'_>, list: &Spanned<Vec<Spanned<String>>>, report: &mut Report<'_>) -> Vec<TrustedKey> {
    if list.get_ref().is_empty() {
        let message = "must hold at least one key, since without any no module could be loaded; leave it out to ask for no signatures";
        report.add(key, list.span(), message);
    }
    let mut keys = Vec::new();
    for (index, text) in list.get_ref().iter().enumerate() {
        match text.get_ref().parse::<TrustedKey>() {
            Ok(trusted) => keys.push(trusted),
            Err(error) => report.add(key.item(index), text.span(), error.to_string()),
        }
    }
    keys
}
