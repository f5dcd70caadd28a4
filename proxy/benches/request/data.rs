//! Data of a run: all measurements and their environment.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::contenders::{Installed, version};
use super::figures::{Footprint, Row, Times};
use super::load;
use super::machine::Machine;
use super::options::Settings;

/// A run's data.
#[derive(Debug, Serialize, Deserialize)]
pub struct Data {
    /// Start time.
    pub at: String,
    /// The machine.
    pub machine: Machine,
    /// Versions of the proxies and of the load generators.
    pub versions: BTreeMap<String, String>,
    /// Features of each proxy.
    pub features: BTreeMap<String, String>,
    /// Settings of the measurements.
    pub settings: Settings,
    /// Results under load.
    pub rows: Vec<Row>,
    /// Times of starts and reloads.
    pub times: Vec<Times>,
    /// Memory of idle connections.
    #[serde(default)]
    pub footprints: Vec<Footprint>,
}

impl Data {
    /// Creates the data of a run that starts now.
    pub fn new(settings: Settings, contenders: &[Installed]) -> Data {
        let name = |installed: &Installed| installed.contender.name().to_owned();
        let unknown = || "unknown".to_owned();
        let proxies = contenders.iter().map(|known| (name(known), known.version().unwrap_or_else(unknown)));
        let generators = load::PROGRAMS.iter().filter_map(|name| {
            let version = version(&load::binary(name)?, "--version").unwrap_or_else(unknown);
            Some(((*name).to_owned(), version))
        });
        let versions = proxies.chain(generators).collect();
        Data {
            at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            machine: Machine::look(),
            versions,
            features: contenders.iter().map(|known| (name(known), known.contender.features().to_owned())).collect(),
            settings,
            rows: Vec::new(),
            times: Vec::new(),
            footprints: Vec::new(),
        }
    }

    /// Reads the data of a run.
    ///
    /// # Errors
    /// If the file doesn't exist or has another format.
    pub fn read(file: &Path) -> anyhow::Result<Data> {
        let text = std::fs::read(file).with_context(|| file.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| format!("{} isn't the data of a run", file.display()))
    }

    /// Writes the file for `read`, replacing an existing one.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(file, serde_json::to_vec_pretty(self)?).with_context(|| file.display().to_string())
    }

    /// The rows of a part, in the order of time.
    pub fn rows_of(&self, part: &str) -> Vec<&Row> {
        self.rows.iter().filter(|row| row.part == part).collect()
    }
}
