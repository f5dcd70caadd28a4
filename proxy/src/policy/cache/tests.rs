//! Tests of the cache with a real engine, and with its folder in every bad state.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::super::{IDLE, Plugin};
use super::*;

/// A folder for a cache, and the runtime to open it with.
struct Bench {
    folder: TempDir,
    runtime: PolicyRuntime,
}

impl Bench {
    fn new() -> Self {
        let limits = Limits { instances: 16, ..Limits::DEFAULT };
        Bench { folder: tempfile::tempdir().unwrap(), runtime: PolicyRuntime::new(1, limits).unwrap() }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn cache(&self) -> CodeCache {
        CodeCache::open(&self.dir(), &self.runtime).unwrap()
    }

    fn refusal(&self) -> String {
        let error = CodeCache::open(&self.dir(), &self.runtime).err().expect("a refusal");
        assert_eq!(error.stage, Stage::Cache);
        error.to_string()
    }

    /// Compiles the module with a newly opened cache, and returns the cache's counts: hits, misses,
    /// rejected, errors.
    fn compile(&self) -> [u64; 4] {
        self.compile_with(&self.cache())
    }

    fn compile_with(&self, cache: &CodeCache) -> [u64; 4] {
        let plugin = self.plugin(IDLE, cache).unwrap();
        assert_eq!((plugin.identity().plugin.as_str(), plugin.identity().digest), ("idle", digest(IDLE)));
        counts(cache)
    }

    fn plugin(&self, text: &str, cache: &CodeCache) -> Result<Plugin, PluginError> {
        self.runtime.compile_cached(&wat::parse_str(text).unwrap(), digest(text), Some(cache))
    }

    /// The only code file.
    fn code_file(&self) -> PathBuf {
        let files = self.files();
        let [code, key] = &files[..] else { panic!("{files:?}") };
        assert!(code.ends_with(CODE) && key == KEY_FILE, "{files:?}");
        self.dir().join(code)
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn digest(text: &str) -> Digest {
    Digest::of(&wat::parse_str(text).unwrap())
}

fn counts(cache: &CodeCache) -> [u64; 4] {
    let counts: Vec<u64> = cache.counts().map(|(_, count)| count).collect();
    counts.try_into().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_one_has_compiled_the_next_loads() {
    let bench = Bench::new();
    assert_eq!(bench.compile(), [0, 1, 0, 0]);
    assert_eq!(bench.compile(), [1, 0, 0, 0]);
    assert_eq!(Bench { runtime: Bench::new().runtime, ..bench }.compile(), [1, 0, 0, 0], "another engine");
}

#[test]
fn a_hit_spares_the_compiler() {
    let bench = Bench::new();
    bench.compile();
    let load = |digest| bench.runtime.compile_cached(b"no module", digest, Some(&bench.cache()));
    assert_eq!(load(digest(IDLE)).unwrap().identity().plugin, "idle", "the bytes were not looked at");
    assert!(load(Digest::of(b"no module")).is_err());
}

#[test]
fn folder_and_files_are_private() {
    let bench = Bench::new();
    bench.compile();
    assert_eq!(mode(&bench.dir()), 0o700);
    assert_eq!([mode(&bench.code_file()), mode(&bench.dir().join(KEY_FILE))], [0o600; 2]);
}

#[test]
fn a_folder_that_others_can_get_at_is_refused_and_told_what_to_do() {
    let bench = Bench::new();
    for (others, shown) in [(0o750, "0750"), (0o701, "0701"), (0o720, "0720"), (0o702, "0702"), (0o777, "0777")] {
        let _ = fs::remove_dir(bench.dir());
        fs::create_dir(bench.dir()).unwrap();
        fs::set_permissions(bench.dir(), Permissions::from_mode(others)).unwrap();
        let (error, dir) = (bench.refusal(), bench.dir().display().to_string());
        assert!(error.contains(&format!("mode {shown}")) && error.contains(&format!("chmod 0700 {dir}")), "{error}");
    }
    fs::remove_dir(bench.dir()).unwrap();
    fs::create_dir(bench.folder.path().join("elsewhere")).unwrap();
    fs::set_permissions(bench.folder.path().join("elsewhere"), Permissions::from_mode(0o700)).unwrap();
    symlink("elsewhere", bench.dir()).unwrap();
    assert!(bench.refusal().contains("is a link"), "{}", bench.refusal());
    let behind_a_slash = CodeCache::open(&bench.dir().join(""), &bench.runtime).err().expect("a refusal").to_string();
    assert!(behind_a_slash.contains("is a link"), "{behind_a_slash}");
    fs::remove_file(bench.dir()).unwrap();
    fs::write(bench.dir(), "").unwrap();
    assert!(bench.refusal().contains("is not a folder"), "{}", bench.refusal());
}

/// Only root can make another user's folder; other users test with one of root's.
#[test]
fn a_folder_of_another_user_is_refused() {
    let bench = Bench::new();
    fs::create_dir(bench.dir()).unwrap();
    fs::set_permissions(bench.dir(), Permissions::from_mode(0o700)).unwrap();
    let dir = match std::os::unix::fs::chown(bench.dir(), Some(4_242), None) {
        Ok(()) => bench.dir(),
        Err(_) => PathBuf::from("/"),
    };
    let error = CodeCache::open(&dir, &bench.runtime).err().expect("a refusal").to_string();
    assert!(error.contains("belongs to user"), "{error}");
}

#[test]
fn what_is_not_whole_or_not_ours_is_replaced_and_counted() {
    let bench = Bench::new();
    bench.compile();
    let (file, good) = (bench.code_file(), fs::read(bench.code_file()).unwrap());
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for (what, bytes) in [("flipped", &flipped[..]), ("cut", &good[..good.len() - 1]), ("empty", b"")] {
        fs::write(&file, bytes).unwrap();
        assert_eq!(bench.compile(), [0, 0, 1, 0], "{what}");
        assert_eq!(bench.compile(), [1, 0, 0, 0], "{what}, replaced");
    }
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(bench.compile(), [0, 0, 1, 0], "others may have written there");
    let aside = bench.folder.path().join("aside");
    fs::rename(&file, &aside).unwrap();
    symlink(&aside, &file).unwrap();
    assert_eq!(bench.compile(), [0, 0, 1, 0], "a link");
    assert!(fs::symlink_metadata(&file).unwrap().is_file());
    assert!(aside.exists(), "the link was removed, not what it leads to");
}

#[test]
fn code_of_another_module_or_key_is_not_used() {
    let bench = Bench::new();
    bench.compile();
    let other = IDLE.replace("1.0.0", "1.0.1");
    let cache = bench.cache();
    let name = |text: &str| bench.dir().join(cache.name(digest(text)));
    fs::copy(name(IDLE), name(&other)).unwrap();
    assert_eq!(bench.plugin(&other, &cache).unwrap().identity().version.to_string(), "1.0.1");
    assert_eq!(counts(&cache), [0, 0, 1, 0]);

    fs::remove_file(bench.dir().join(KEY_FILE)).unwrap();
    assert_eq!(bench.compile(), [0, 0, 1, 0], "another key");
    assert_eq!(bench.compile(), [1, 0, 0, 0]);
}

#[test]
fn code_for_other_settings_lies_beside_and_is_not_used() {
    let bench = Bench::new();
    bench.compile();
    let mut cache = bench.cache();
    cache.settings.0[0] ^= 1;
    assert_eq!(bench.compile_with(&cache), [0, 1, 0, 0]);
    assert_eq!(bench.files().len(), 3);
    assert_eq!(bench.compile(), [1, 0, 0, 0], "that of before is still there");
    // Under the right name its header gives it away.
    let [ours, theirs] = [bench.cache(), cache].map(|cache| bench.dir().join(cache.name(digest(IDLE))));
    fs::rename(theirs, ours).unwrap();
    assert_eq!(bench.compile(), [0, 0, 1, 0]);
}

#[test]
fn settings_are_the_same_for_every_engine_and_others_when_limits_are() {
    let of = |limits: Limits| {
        let runtime = PolicyRuntime::new(1, limits).unwrap();
        settings(runtime.engine.inner(), &runtime.limits)
    };
    let few = Limits { instances: 16, ..Limits::DEFAULT };
    assert_eq!(of(few), of(few));
    assert_eq!(of(few), of(Limits { instances: 17, ..few }));
    assert_ne!(of(few), of(Limits { blocks: few.blocks - 1, ..few }));
}

#[test]
fn a_bad_key_is_replaced() {
    let bench = Bench::new();
    bench.compile();
    let key = bench.dir().join(KEY_FILE);
    for (what, bytes, mode) in
        [("short", &[1; KEY - 1][..], 0o600), ("long", &[1; KEY + 1], 0o600), ("open", &[1; KEY], 0o640)]
    {
        fs::write(&key, bytes).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        assert_eq!(bench.compile(), [0, 0, 2, 0], "{what}: the key, and the code that it doesn't fit");
        assert_eq!(bench.compile(), [1, 0, 0, 0], "{what}");
        assert_ne!(fs::read(&key).unwrap(), [1; KEY]);
    }
}

#[test]
fn trouble_is_counted_and_modules_are_compiled() {
    let bench = Bench::new();
    // A folder that can't be removed is in the place of the code file.
    let name = bench.cache().name(digest(IDLE));
    fs::create_dir_all(bench.dir().join(&name).join("x")).unwrap();
    assert_eq!(bench.compile(), [0, 0, 1, 2], "neither removed nor written");
    fs::remove_dir_all(bench.dir().join(&name)).unwrap();
    // And one in the place of the key file.
    fs::remove_file(bench.dir().join(KEY_FILE)).unwrap();
    fs::create_dir_all(bench.dir().join(KEY_FILE).join("x")).unwrap();
    let [hits, misses, ..] = bench.compile();
    assert_eq!((hits, misses), (0, 0), "without a key there is no cache");
    // And the folder itself can't be created.
    let nowhere = CodeCache::open(&bench.folder.path().join("no/such"), &bench.runtime).unwrap();
    assert_eq!(bench.compile_with(&nowhere), [0, 0, 0, 1]);
    assert_eq!(fs::read_dir(bench.dir()).unwrap().count(), 1, "nothing unfinished is left");
}

#[test]
fn code_is_kept_of_good_modules_only_and_checked_again_when_it_is_loaded() {
    let bench = Bench::new();
    let cache = bench.cache();
    assert!(bench.plugin(&IDLE.replace("65536", "0"), &cache).is_err());
    assert!(bench.plugin(&IDLE.replace("pointsman_score", "pointsman_scare"), &cache).is_err());
    assert_eq!(bench.files(), [KEY_FILE]);

    let bad = IDLE.replace("65536", "0");
    let module = Module::from_binary(&cache.engine, &wat::parse_str(&bad).unwrap()).unwrap();
    cache.store(&module, digest(&bad));
    let error = bench.plugin(&bad, &cache).err().expect("a refusal");
    assert_eq!((error.stage, counts(&cache)[0]), (Stage::Abi, 1), "{error}");
}

#[test]
fn what_is_not_used_for_longest_goes_when_there_is_too_much() {
    let bench = Bench::new();
    let old = |name: &str, hours: u64, size: usize| {
        let file = bench.dir().join(name);
        fs::write(&file, vec![0; size]).unwrap();
        let then = SystemTime::now() - Duration::from_secs(60 * 60 * hours);
        fs::File::open(&file).unwrap().set_modified(then).unwrap();
    };
    let cache = bench.cache();
    let folder = &cache.usable.as_ref().unwrap().folder;
    let left = |limit: u64, used: &[&str]| {
        for (name, hours) in [("a.code", 1), ("b.code", 2), ("c.code", 3), ("d.code", 4)] {
            old(name, hours, 100);
        }
        old("x.tmp", 2, 100);
        old("y.tmp", 0, 100);
        cache.tidy_to(folder, limit, &used.iter().map(|name| (*name).to_owned()).collect()).unwrap();
        let names = bench.files().into_iter().filter_map(|name| name.strip_suffix(CODE).map(str::to_owned));
        names.collect::<String>()
    };
    assert_eq!(left(1_000, &[]), "abcd");
    assert_eq!(left(300, &[]), "abc");
    assert_eq!(left(299, &[]), "ab");
    assert_eq!(left(250, &[]), "ab");
    assert_eq!(left(250, &["d.code"]), "ad");
    assert_eq!(left(0, &["c.code"]), "c");
    assert_eq!(bench.files(), ["c.code", KEY_FILE, "y.tmp"], "what is being written, and what isn't ours, stays");
}

#[test]
fn a_hit_is_a_use() {
    let bench = Bench::new();
    bench.compile();
    let file = bench.code_file();
    let long_ago = SystemTime::now() - Duration::from_secs(1_000_000);
    fs::File::open(&file).unwrap().set_modified(long_ago).unwrap();
    bench.compile();
    assert!(fs::metadata(&file).unwrap().modified().unwrap() > long_ago + Duration::from_secs(999_000));
}

#[test]
fn files_are_replaced_whole_and_new_ones_give_way() {
    let bench = Bench::new();
    let folder = PrivateFolder::open(&bench.dir()).unwrap();
    let read = |name: &str| folder.read(name, 100).unwrap().map(|(bytes, _)| bytes);
    assert_eq!(read("a"), None);
    folder.write("a", b"first").unwrap();
    let mut under_way = fs::File::open(bench.dir().join("a")).unwrap();
    folder.write("a", b"second").unwrap();
    let mut seen = String::new();
    std::io::Read::read_to_string(&mut under_way, &mut seen).unwrap();
    assert_eq!((seen.as_str(), read("a").unwrap().as_slice()), ("first", &b"second"[..]));
    folder.write_new("a", b"third").unwrap();
    folder.write_new("b", b"fourth").unwrap();
    assert_eq!((read("a").unwrap().as_slice(), read("b").unwrap().as_slice()), (&b"second"[..], &b"fourth"[..]));
    assert!(matches!(folder.read("a", 5), Err(FolderError::Unfit(_))), "more than may be");
    assert_eq!(bench.files(), ["a", "b"], "nothing unfinished is left");
}
