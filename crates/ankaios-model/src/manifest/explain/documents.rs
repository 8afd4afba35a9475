//! Documents that are valid YAML and not manifests, recognised by the keys of their root.

use super::super::known::MANIFEST_FIELDS;
use super::super::outline::{Kind, Node};
use super::super::quotes::has_typographic_quotes;
use super::hint::Hint;
use super::syntax;

/// Whether the root of a document has the fields of a manifest.
pub(super) fn is_manifest(root: &Node) -> bool {
    root.get("workloads").is_some()
        || root.get("configs").is_some() && root.get("services").is_none()
}

const STATE_ADVICE: &str = "send what is below desiredState, for example the output of: \
                            ank -k get state -o json desiredState | jq .desiredState";

const COMPOSE: &str = "a file of Docker Compose";

const COMPOSE_ADVICE: &str = "write each service as a workload: runtime: podman, and in its runtimeConfig: | image: and \
     commandOptions: (ports are [\"-p\", \"8080:80\"])";

const WORKLOAD_ADVICE: &str =
    "put it below its name: apiVersion: v1, then workloads:, the name, and these fields";

const KUBE_ADVICE: &str = "write a workload with runtime: podman-kube, and put this text below \
                           manifest: | in its runtimeConfig: | (Podman plays Pod, Deployment, \
                           DaemonSet, Job, ConfigMap, Secret and PersistentVolumeClaim)";

/// Documents: a key that all of them have, other keys of which one must be there (if any are
/// given), what the document is, and what to do.
const DOCUMENTS: &[(&str, &[&str], &str, &str)] = &[
    ("desiredState", &[], "a complete state, as ank get state prints it", STATE_ADVICE),
    ("workloadStates", &[], "a complete state, as ank get state prints it", STATE_ADVICE),
    (
        "desired_state",
        &[],
        "the reply to a state request, in the format of the Python SDK",
        "ask for it with {\"field_masks\": [\"desiredState\"], \"format\": \"ankaios\"}, and send \
         what is below desiredState",
    ),
    ("workload_states", &[], "the reply to a state request", "write the manifest itself"),
    (
        "currentState",
        &[],
        "a state of Ankaios 0.2 or older",
        "write what is below it, with apiVersion: v1 in front",
    ),
    (
        "startupState",
        &[],
        "a state of Ankaios 0.2 or older",
        "write what is below it, with apiVersion: v1 in front",
    ),
    (
        "name",
        &["appVersion", "dependencies", "version"],
        "the description of a Helm chart",
        "Ankaios has no charts: render it (helm template), and put each Pod into the \
         manifest: | of the runtimeConfig of a workload with runtime: podman-kube",
    ),
    ("kind", &[], "a Kubernetes object", KUBE_ADVICE),
    ("metadata", &["spec", "apiVersion", "data"], "a Kubernetes object", KUBE_ADVICE),
    ("services", &[], COMPOSE, COMPOSE_ADVICE),
    (
        "update_mask",
        &[],
        "the payload of state/update",
        "send it to state/update/req, or only what is below desiredState",
    ),
    ("field_masks", &[], "the payload of state or events/subscribe", "send it to that operation"),
    ("workload_name", &[], "the payload of workload/wait", "send it to that operation"),
    ("revision", &[], "the payload of manifest/rollback", "send it to that operation"),
    ("error", &[], "an error message", "what has written this file has failed"),
    (
        "message",
        &["documentation_url", "status", "errors", "message"],
        "an error message of a web server",
        "the download has failed: check the address and the login",
    ),
    ("added_workloads", &[], "a reply of the connector", "send the manifest itself"),
    (
        "valid",
        &["update_mask", "workloads"],
        "a reply of the connector",
        "send the manifest itself",
    ),
    (
        "forbidden_options",
        &[],
        "a policy of the connector",
        "it belongs into the file POLICY_FILE on the vehicle",
    ),
    (
        "runtimes",
        &[],
        "a policy of the connector",
        "it belongs into the file POLICY_FILE on the vehicle",
    ),
    ("jobs", &["on", "name", "stages"], "a pipeline of a build server", "send the manifest itself"),
    ("runtimeConfig", &[], "a single workload", WORKLOAD_ADVICE),
    ("runtime", &["agent"], "a single workload", WORKLOAD_ADVICE),
    (
        "image",
        &[],
        "the runtimeConfig of a workload",
        "write a workload, and put this text into its runtimeConfig: |",
    ),
];

/// The advice for a kind of Kubernetes objects that Podman does not play.
fn of_kind(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "List" => {
            "put each item of the list into manifest: | of the runtimeConfig of a workload \
                   with runtime: podman-kube; the items are separated by ---"
        }
        "Service" | "Ingress" | "NetworkPolicy" => {
            "Ankaios has nothing like it: publish ports with hostPort: in the Pod, or with \
             commandOptions: [\"-p\", \"8080:80\"] and runtime: podman"
        }
        "Kustomization" => {
            "build it (kubectl kustomize), and put the result into manifest: | of \
                            the runtimeConfig of a workload with runtime: podman-kube"
        }
        "StatefulSet" | "CronJob" | "ReplicaSet" => {
            "write it as a Pod or a Deployment, and put \
                                       that into manifest: | of the runtimeConfig of a workload \
                                       with runtime: podman-kube"
        }
        _ => return None,
    })
}

/// Says what a document is that has neither workloads nor configs.
pub(super) fn hint(text: &str, root: &Node) -> Option<Hint> {
    match &root.kind {
        Kind::Map { .. } => {
            syntax::templates(text).or_else(|| document(root)).or_else(|| map(root))
        }
        Kind::List(items) => Some(list(root, items)),
        Kind::Scalar { text, plain } if !root.is_null() => Some(scalar(root, text, *plain)),
        Kind::Scalar { .. } => Some(Hint::new("it is empty: null").at(root.at)),
        Kind::Other => None,
    }
}

fn document(root: &Node) -> Option<Hint> {
    let (key, what, advice) = DOCUMENTS.iter().find_map(|(first, others, what, advice)| {
        let (key, _) = root.entry(first)?;
        let is_it = others.is_empty() || others.iter().any(|other| root.get(other).is_some());
        is_it.then_some((key, what, advice))
    })?;
    let kind = root.get("kind").and_then(Node::text);
    let kind = kind.filter(|kind| kind.len() < 40 && kind.chars().all(char::is_alphanumeric));
    let kind = kind.filter(|_| what.contains("Kubernetes"));
    let advice = kind.and_then(of_kind).unwrap_or(advice);
    let kind = kind.map(|kind| format!(" (kind: {kind})")).unwrap_or_default();
    Some(Hint::instead(format!("this is {what}{kind}, not a manifest; {advice}")).at(key.at))
}

/// A map with misspelled keys, or with workloads at its root.
fn map(root: &Node) -> Option<Hint> {
    if let Some(hint) = syntax::no_break_space(root) {
        return Some(hint);
    }
    if let Some(hint) = workload_at_root(root) {
        return Some(hint);
    }
    let mut keys = root.entries().iter().map(|(key, _)| key);
    if let Some(key) = keys.find(|key| key.text().is_some_and(has_typographic_quotes)) {
        return Some(Hint::new("these are typographic quotes; write \" or '").at(key.at));
    }
    let first = root.entries().first().and_then(|(key, _)| key.text()).unwrap_or_default();
    if root.is_flow() && ["//", "/*"].iter().any(|comment| first.starts_with(comment)) {
        return Some(Hint::new("comments in JSON are not possible; in YAML they begin with #"));
    }
    let is_service = |node: &Node| ["image", "build"].iter().any(|key| node.get(key).is_some());
    if root.entries().iter().any(|(_, value)| is_service(value)) {
        let text = format!("this is {COMPOSE}, not a manifest; {COMPOSE_ADVICE}");
        return Some(Hint::instead(text).at(root.at));
    }
    for (key, _) in root.entries() {
        let Some(name) = key.text().filter(|name| !MANIFEST_FIELDS.contains(name)) else {
            continue;
        };
        let missing = MANIFEST_FIELDS.into_iter().filter(|field| root.get(field).is_none());
        if let Some(field) = crate::hints::nearest(name, missing.collect::<Vec<_>>()) {
            let text = format!("{name} is not a field of a manifest, did you mean {field}?");
            return Some(Hint::new(text).at(key.at));
        }
    }
    let is_known =
        |(key, _): &(Node, Node)| key.text().is_some_and(|key| MANIFEST_FIELDS.contains(&key));
    if !root.entries().iter().any(is_known) {
        let text = "none of its fields is one of a manifest, which are apiVersion, workloads and \
                    configs";
        return Some(Hint::new(text).at(root.at));
    }
    None
}

/// A workload that is not below `workloads`.
pub(super) fn workload_at_root(root: &Node) -> Option<Hint> {
    let names = ["runtime", "runtimeConfig"];
    let is_workload = |node: &Node| names.iter().any(|name| node.get(name).is_some());
    let mut entries = root.entries().iter().filter(|(_, value)| is_workload(value));
    let (key, _) = entries.find(|(key, _)| {
        let name = key.text().unwrap_or_default();
        crate::hints::nearest(name, MANIFEST_FIELDS).is_none()
    })?;
    let text = "the manifest has no workloads and no configs; put the workloads below workloads:, \
                indented by two spaces";
    Some(Hint::instead(text).at(key.at))
}

fn list(root: &Node, items: &[Node]) -> Hint {
    let has = |key: &str| items.iter().any(|item| item.get(key).is_some());
    let text = if has("apiVersion") || has("workloads") {
        "this is a list; send each manifest in it as a separate request"
    } else if has("hosts") || has("tasks") {
        "this is an Ansible playbook, not a manifest; run it, and send what it makes"
    } else if !items.is_empty() && items.iter().all(|item| item.text().is_some()) {
        "this is a list of texts, for example field masks for state; a manifest is a map that \
         begins with apiVersion: v1"
    } else {
        "a manifest is a map that begins with apiVersion: v1, followed by workloads: or configs:"
    };
    Hint::new(text).at(root.at)
}

fn scalar(root: &Node, text: &str, plain: bool) -> Hint {
    let has_field = text.contains("apiVersion") || text.contains("workloads");
    let hint = if !plain && has_field {
        "the manifest is inside of a string; send the text itself, without the quotes around it \
         (jq -r .)"
    } else if text.contains(":\u{a0}") {
        "there is a no-break space (U+00A0) after a colon; write an ordinary space"
    } else if text.starts_with("apiVersion:") {
        "the space after the colon is missing; write apiVersion: v1"
    } else {
        "a manifest is a map that begins with apiVersion: v1, followed by workloads: or configs:"
    };
    Hint::new(hint).at(root.at)
}
