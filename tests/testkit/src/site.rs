//! A folder with a conf and plugins, in which the binary runs.

use std::collections::HashSet;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;

use tempfile::TempDir;

use crate::conf::Conf;
use crate::guests::Guest;
use crate::lane::Secured;
use crate::wait::wait_for;

/// Assigned ports: two proxies of this process never get the same one.
static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A folder with a conf, removed on drop.
pub struct Site {
    folder: TempDir,
    environment: Vec<(String, String)>,
    open_files: Option<(usize, usize)>,
    /// The lane of the test's clients.
    pub(crate) lane: Option<&'static Secured>,
    /// The proxy's listening address.
    pub listen: SocketAddr,
    /// Its second address, for a listener of the conf.
    pub second: SocketAddr,
    /// The proxy's admin address.
    pub admin: SocketAddr,
}

/// The output of a command.
#[derive(Debug)]
pub struct Output {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Site {
    /// Writes the conf with free ports and the plugins beside it.
    pub fn new(conf: &Conf) -> Site {
        let folder = tempfile::Builder::new().prefix("pointsman-").tempdir().expect("a folder");
        let (environment, open_files) = (conf.environment.clone(), conf.open_files);
        let lane = conf.lane();
        let [listen, second, admin] = [free_port(), free_port(), free_port()];
        let site = Site { folder, environment, open_files, lane, listen, second, admin };
        std::fs::create_dir(site.plugins()).expect("a folder");
        site.write(conf);
        site
    }

    /// Writes another conf and its plugins, atomically for readers of the conf.
    pub fn write(&self, conf: &Conf) {
        conf.shipped.iter().for_each(|name| self.add_shipped(name));
        for guest in &conf.guests {
            if let Some(signer) = &conf.signer {
                self.add_signature(&guest.file(), &signer.sign(&guest.wasm()));
            }
            self.add_guest(guest);
        }
        for (name, text) in conf.lane().iter().flat_map(|lane| lane.files()) {
            put(&self.folder.path().join(name), text.as_bytes());
        }
        for (name, text) in &conf.files {
            put(&self.folder.path().join(name), text.as_bytes());
        }
        self.write_text(&conf.render(self.listen, self.second, self.admin));
    }

    /// Writes a conf as it is.
    pub fn write_text(&self, text: &str) {
        put(&self.conf(), text.as_bytes());
    }

    /// The conf file.
    pub fn conf(&self) -> PathBuf {
        self.folder.path().join("pointsman.toml")
    }

    /// The conf's text.
    pub fn text(&self) -> String {
        std::fs::read_to_string(self.conf()).expect("the conf")
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The plugin folder.
    pub fn plugins(&self) -> PathBuf {
        self.folder.path().join("plugins")
    }

    /// Puts a plugin of this repository into the plugin folder.
    pub fn add_shipped(&self, name: &str) {
        let built = workspace().join("plugins/dist").join(name).with_extension("wasm");
        let wasm = std::fs::read(&built)
            .unwrap_or_else(|error| panic!("{}: {error}. Run `make plugins` first.", built.display()));
        self.add_plugin(name, &wasm);
    }

    /// Puts a guest into the plugin folder.
    pub fn add_guest(&self, guest: &Guest) {
        self.add_plugin(&guest.file(), &guest.wasm());
    }

    /// Writes the signature of the plugin file `name` beside it, atomically.
    pub fn add_signature(&self, name: &str, signature: &str) {
        put(&self.plugins().join(name).with_added_extension("wasm.sig"), signature.as_bytes());
    }

    /// Writes a file into the plugin folder, atomically.
    pub fn add_plugin(&self, name: &str, wasm: &[u8]) {
        put(&self.plugins().join(name).with_added_extension("wasm"), wasm);
    }

    /// The binary with these arguments, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let binary = binary();
        let mut command = match self.open_files {
            // The shell execs the binary, so the process id is the binary's.
            Some((soft, hard)) => {
                let mut command = Command::new("sh");
                command.args(["-c", &format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$@\""), "sh"]);
                command.arg(binary);
                command
            }
            None => Command::new(binary),
        };
        command.args(arguments).current_dir(self.folder.path()).env("RUST_LOG", "info,pointsman=debug");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the binary with these arguments to its end; fails after a deadline.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Output {
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| self.folder.path().join(name));
        let file = |path: &Path| File::create(path).expect("a file");
        let mut command = self.command(arguments);
        let mut child = Ended(command.stdout(file(&stdout)).stderr(file(&stderr)).spawn().expect("the binary starts"));
        let status = wait_for("the command has ended", || child.0.try_wait().expect("a child"));
        let text = |path: &Path| std::fs::read_to_string(path).expect("what it printed");
        Output { code: status.code(), stdout: text(&stdout), stderr: text(&stderr) }
    }
}

/// A process that ends with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The proxy's binary: the one that `POINTSMAN_TEST_BINARY` names, or the one that cargo builds
/// beside the tests.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("POINTSMAN_TEST_BINARY") {
        return workspace().join(path);
    }
    let test = std::env::current_exe().expect("a test has a path");
    test.ancestors().nth(2).expect("it lies in a folder of the target folder").join("pointsman")
}

/// The root of the repository.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A free port.
fn free_port() -> SocketAddr {
    let mut given = GIVEN.lock().unwrap();
    let given = given.get_or_insert_default();
    loop {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        if given.insert(address.port()) {
            return address;
        }
    }
}

fn put(path: &Path, bytes: &[u8]) {
    let unfinished = path.with_added_extension("tmp");
    std::fs::write(&unfinished, bytes).expect("a written file");
    std::fs::rename(&unfinished, path).expect("a file in its place");
}
