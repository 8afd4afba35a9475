//! The arguments of `exporter`, `completion` and `man`.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct ExporterArgs {
    /// Host and port of the metrics
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9186")]
    pub(crate) listen: std::net::SocketAddr,
    /// Count vehicles by the values of this label
    #[arg(long, value_name = "LABEL", value_parser = label_key)]
    pub(crate) group_by: Option<String>,
    /// One series for each vehicle
    #[arg(long)]
    pub(crate) per_vehicle: bool,
}

/// Parses the key of a label.
fn label_key(text: &str) -> Result<String, String> {
    fleet_contract::check_label_key(text).map(|()| text.to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The directory of the pages; it is made if there is none
    pub(crate) directory: std::path::PathBuf,
}
