//! What a run leaves: everything that was measured, and on what.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::contenders::{Installed, version};
use super::figures::{Row, Times};
use super::machine::Machine;
use super::options::Settings;
use super::wrk;

/// A run's data.
#[derive(Debug, Serialize, Deserialize)]
pub struct Data {
    /// When it began.
    pub at: String,
    /// Where.
    pub machine: Machine,
    /// Of each proxy, and of wrk.
    pub versions: BTreeMap<String, String>,
    /// What each proxy did with a request.
    pub features: BTreeMap<String, String>,
    /// How.
    pub settings: Settings,
    /// Loads.
    pub rows: Vec<Row>,
    /// Starts and reloads.
    pub times: Vec<Times>,
}

impl Data {
    /// Of a run that begins now.
    ///
    /// # Errors
    /// When wrk isn't there.
    pub fn new(settings: Settings, contenders: &[Installed]) -> anyhow::Result<Data> {
        let name = |installed: &Installed| installed.contender.name().to_owned();
        let unknown = || "unknown".to_owned();
        let proxies = contenders.iter().map(|known| (name(known), known.version().unwrap_or_else(unknown)));
        let wrk = version(&wrk::binary().context("wrk is missing")?, "-v").unwrap_or_else(unknown);
        let versions = proxies.chain([("wrk".to_owned(), wrk)]).collect();
        Ok(Data {
            at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            machine: Machine::look(),
            versions,
            features: contenders.iter().map(|known| (name(known), known.contender.features().to_owned())).collect(),
            settings,
            rows: Vec::new(),
            times: Vec::new(),
        })
    }

    /// Reads what a run left.
    ///
    /// # Errors
    /// When the file isn't there or isn't one of these.
    pub fn read(file: &Path) -> anyhow::Result<Data> {
        let text = std::fs::read(file).with_context(|| file.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| format!("{} isn't the data of a run", file.display()))
    }

    /// Writes it for `read`, in place of what was there.
    ///
    /// # Errors
    /// When the file can't be written.
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
