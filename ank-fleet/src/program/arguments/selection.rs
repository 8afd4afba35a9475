//! Which vehicles a command is for.

use std::collections::BTreeSet;

use clap::Args;
use clap_complete::ArgValueCandidates;

use super::super::failure::Failure;
use super::super::input::read_text;
use super::super::interrupt::Interrupt;
use super::candidates::vehicles;
use crate::Vin;
use crate::selection::{Selection, Selector, parse_vins};

/// Which vehicles a command is for, as text.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SelectionArgs {
    /// A vehicle; may be repeated
    #[arg(long = "vehicle", value_name = "VIN", help_heading = "Selection",
          add = ArgValueCandidates::new(vehicles))]
    vehicle: Vec<Vin>,
    /// A file of VINs, one per line; - is standard input
    #[arg(long, value_name = "FILE", help_heading = "Selection")]
    vehicles: Option<String>,
    /// Vehicles with these labels: 'model=x,region in (eu,us),!canary'
    #[arg(short = 'l', long, value_name = "SELECTOR", help_heading = "Selection")]
    selector: Option<Selector>,
    /// All vehicles
    #[arg(long, help_heading = "Selection")]
    all: bool,
}

impl SelectionArgs {
    /// Adds VINs that are arguments.
    pub(crate) fn with_vins(mut self, vins: impl IntoIterator<Item = Vin>) -> Self {
        self.vehicle.extend(vins);
        self
    }

    /// Reads the lists of VINs.
    ///
    /// # Errors
    /// A list cannot be read, or Ctrl-C.
    pub(crate) async fn read(self, interrupt: &Interrupt) -> Result<Selection, Failure> {
        let mut vins: BTreeSet<Vin> = self.vehicle.into_iter().collect();
        let is_listed = !vins.is_empty() || self.vehicles.is_some();
        if let Some(path) = &self.vehicles {
            let text = read_text(path, interrupt).await?;
            let name = if path == "-" { "standard input" } else { path };
            let listed =
                parse_vins(&text).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
            vins.extend(listed);
        }
        Ok(Selection { all: self.all, vins: is_listed.then_some(vins), selector: self.selector })
    }
}

/// Splits arguments into files and VINs. What is both is a file.
pub(crate) fn split(
    arguments: Vec<String>,
    is_file: impl Fn(&str) -> bool,
) -> (Vec<String>, Vec<Vin>) {
    let (mut files, mut vins) = (Vec::new(), Vec::new());
    for argument in arguments {
        match argument.parse::<Vin>() {
            Ok(vin) if argument != "-" && !is_file(&argument) => vins.push(vin),
            _ => files.push(argument),
        }
    }
    (files, vins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_files_or_vins() {
        let all = ["nginx.yaml", "WDB0412", "nginx", "-", "./a"].map(str::to_owned).to_vec();
        let (files, vins) = split(all, |name| name == "nginx");
        assert_eq!(files, ["nginx.yaml", "nginx", "-", "./a"]);
        assert_eq!(vins.iter().map(Vin::as_str).collect::<Vec<_>>(), ["WDB0412"]);
    }
}
