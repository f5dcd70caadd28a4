//! Plots of a run's data: SVG that is readable on light and dark pages.

mod bars;
mod lines;
mod scale;
mod svg;

use std::path::Path;

use anyhow::{Context, bail};

use super::data::Data;
use super::figures::{Round, Row};
use bars::Bar;
use lines::Line;

/// Draws the plots for which the data has figures into this folder and prints the files' names.
///
/// # Errors
/// If the data has no figures for any plot, or a file can't be written.
pub fn draw(data: &Data, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let plots = [
        ("bench-cpu.svg", cpu(data)),
        ("bench-latency.svg", latency(data)),
        ("bench-connections.svg", curve(data, "connections", "connections of the client")),
        ("bench-endpoints.svg", curve(data, "endpoints", "endpoints")),
    ];
    let drawn: Vec<(&str, String)> = plots.into_iter().filter_map(|(name, plot)| Some((name, plot?))).collect();
    if drawn.is_empty() {
        bail!("no part of this data has a plot");
    }
    for (name, plot) in drawn {
        let file = folder.join(name);
        std::fs::write(&file, plot).with_context(|| file.display().to_string())?;
        println!("{}", file.display());
    }
    Ok(())
}

/// Processor time of the base.
fn cpu(data: &Data) -> Option<String> {
    let bars = bars_of(&data.rows_of("base"), |round| round.cpu_us);
    bars::draw("Processor time per request, in microseconds", &caption(data), &bars)
}

/// p99.9 at the same rate for all, which is the case with the rate as its number.
fn latency(data: &Data) -> Option<String> {
    let rows: Vec<&Row> = data.rows_of("rate").into_iter().filter(|row| row.x > 0.0).collect();
    let title = format!("99.9th percentile of latency in ms, at {:.0} requests per second", rows.first()?.x);
    bars::draw(&title, &caption(data), &bars_of(&rows, |round| round.p999_ms))
}

/// Processor time over the numbers of a part's cases.
fn curve(data: &Data, part: &str, axis: &str) -> Option<String> {
    let mut lines: Vec<Line> = Vec::new();
    for row in data.rows_of(part) {
        let Some(value) = row.median(|round| round.cpu_us) else { continue };
        match lines.iter_mut().find(|line| line.name == row.proxy) {
            Some(line) => line.points.push((row.x, value)),
            None => lines.push(Line { name: row.proxy.clone(), points: vec![(row.x, value)] }),
        }
    }
    lines::draw(&format!("Processor time per request, in microseconds, over {axis}"), &caption(data), &lines)
}

fn bars_of(rows: &[&Row], of: fn(&Round) -> f64) -> Vec<Bar> {
    rows.iter().filter_map(|row| Some(Bar { name: row.proxy.clone(), value: row.median(of)? })).collect()
}

/// The machine of the measurements.
fn caption(data: &Data) -> String {
    let (machine, settings) = (&data.machine, &data.settings);
    let date = data.at.split('T').next().unwrap_or_default();
    let quick = if settings.quick { ", a quick run" } else { "" };
    format!(
        "{}, {} cores, Linux {}; {} threads; median of {} round(s); {date}{quick}",
        machine.cpu, machine.cores, machine.kernel, settings.threads, settings.rounds
    )
}

/// A proxy's colour, the same in all plots, with enough contrast on both backgrounds.
fn colour(proxy: &str) -> &'static str {
    match proxy {
        "pointsman" => "#e8590c",
        "pointsman-quiet" => "#d97d3f",
        "pointsman-plain" => "#b98a2f",
        "bare" => "#228be6",
        "nginx" => "#2f9e44",
        "haproxy" => "#ae5bd0",
        _ => "#868e96",
    }
}
