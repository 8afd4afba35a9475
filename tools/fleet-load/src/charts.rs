//! Draws the figures as SVG.

use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::prelude::*;

use crate::figures::Figures;
use crate::figures::cluster::ClusterFigures;
use crate::figures::growth::GrowthFigures;

/// Width and height of a picture.
const SIZE: (u32, u32) = (640, 400);

/// A line of a chart: its name and its points.
type Line = (&'static str, Vec<(f64, f64)>);

/// Draws all charts into a folder.
pub(crate) fn draw(input: &Path, folder: &Path) -> anyhow::Result<()> {
    let figures = Figures::read(input)?;
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let growth = |value: &dyn Fn(&GrowthFigures) -> f64| {
        figures.growth.iter().map(|(size, one)| (*size as f64, value(one))).collect::<Vec<_>>()
    };
    let rollout = |parallel: usize| {
        let rate = |(size, one): (&usize, &GrowthFigures)| {
            let rollout = one.rollouts.get(&parallel)?;
            Some((*size as f64, *size as f64 / rollout.command.seconds))
        };
        figures.growth.iter().filter_map(rate).collect::<Vec<_>>()
    };
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let cluster = |value: &dyn Fn(&ClusterFigures) -> f64| {
        figures.cluster.iter().map(|(size, one)| (*size as f64, value(one))).collect::<Vec<_>>()
    };
    let charts: [(&str, &str, &str, &str, Vec<Line>); 6] = [
        (
            "commands.svg",
            "Commands for all vehicles",
            "vehicles",
            "seconds",
            vec![
                ("get vehicles", growth(&|one| one.get_vehicles.seconds)),
                ("get workloads", growth(&|one| one.get_workloads.seconds)),
            ],
        ),
        (
            "memory.svg",
            "Memory of ank-fleet and of the broker",
            "vehicles",
            "MB",
            vec![
                ("get vehicles", growth(&|one| megabytes(one.get_vehicles.peak_memory))),
                ("get workloads", growth(&|one| megabytes(one.get_workloads.peak_memory))),
                (
                    "roll-out",
                    growth(&|one| {
                        one.rollouts.get(&50).map_or(0.0, |one| megabytes(one.command.peak_memory))
                    }),
                ),
                ("Mosquitto", growth(&|one| megabytes(one.broker_memory))),
            ],
        ),
        (
            "rollout.svg",
            "Roll-outs to all vehicles",
            "vehicles",
            "vehicles per second",
            vec![("--parallel 50", rollout(50)), ("--parallel 500", rollout(500))],
        ),
        (
            "online.svg",
            "Until all vehicles are ready",
            "vehicles",
            "seconds",
            vec![
                ("cold start", growth(&|one| one.cold_start.seconds)),
                (
                    "restart of the broker, spread 1 s",
                    growth(&|one| one.broker_restart.get(&1).map_or(0.0, |one| one.seconds)),
                ),
            ],
        ),
        (
            "cluster.svg",
            "A fleet on a cluster of three nodes",
            "vehicles",
            "seconds",
            vec![
                ("first start", cluster(&|one| one.cold_start.seconds)),
                ("get vehicles", cluster(&|one| one.get_vehicles.seconds)),
                ("roll-out", cluster(&|one| one.rollout.seconds)),
                ("roll-out, a node is killed", cluster(&|one| one.rollout_with_death.seconds)),
            ],
        ),
        (
            "traffic.svg",
            "Traffic of a vehicle at rest",
            "keep-alive in seconds",
            "kB per hour",
            vec![
                (
                    "plain",
                    figures.traffic.iter().map(|(s, f)| (*s as f64, f.plain.bytes / 1e3)).collect(),
                ),
                (
                    "TLS",
                    figures.traffic.iter().map(|(s, f)| (*s as f64, f.tls.bytes / 1e3)).collect(),
                ),
            ],
        ),
    ];
    for (file, title, x, y, lines) in charts {
        if lines.iter().any(|(_, points)| points.len() > 1) {
            let path = folder.join(file);
            chart(&path, title, x, y, &lines).map_err(|error| anyhow!("{error}"))?;
            println!("{}", path.display());
        }
    }
    Ok(())
}

/// One chart. The horizontal axis is logarithmic: the sizes are.
fn chart(
    path: &Path,
    title: &str,
    x_name: &str,
    y_name: &str,
    lines: &[Line],
) -> Result<(), Box<dyn std::error::Error>> {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let fold = |start: f64, pick: fn(f64, f64) -> f64, of: fn(&(f64, f64)) -> f64| {
        points().map(of).fold(start, pick)
    };
    let (left, right) = (fold(f64::MAX, f64::min, |p| p.0), fold(0.0, f64::max, |p| p.0));
    let top = fold(0.0, f64::max, |p| p.1) * 1.15;
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .margin_right(28)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d((left..right).log_scale(), 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc(x_name)
        .y_desc(y_name)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (index, (name, points)) in lines.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        chart
            .draw_series(
                LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3),
            )?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(BLACK.mix(0.2))
        .background_style(WHITE.mix(0.8))
        .draw()?;
    root.present()?;
    Ok(())
}
