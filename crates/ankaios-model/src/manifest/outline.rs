//! The nodes of a YAML text with their positions, for error messages.

use yaml_events::{EventData, YamlEvent, YamlEvents};

use crate::line_column::LineColumn;

/// Maximum depth of collections; deeper ones are not part of the outline. It bounds recursion,
/// and is more than Ankaios allows.
const MAX_DEPTH: usize = 64;

/// Maximum length of the text of a scalar in the outline, in bytes. Longer than any name.
const MAX_TEXT: usize = 80;

/// A node: a scalar, a list or a map.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: LineColumn,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// A scalar, with the beginning of its text.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// A map, and whether it is written in braces.
    Map {
        entries: Vec<(Node, Node)>,
        flow: bool,
    },
    /// An alias, or a node that is not part of the outline.
    Other,
}

/// The nodes of the first document that has content.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) root: Node,
    /// Whether the text ends with a syntax error.
    pub(super) is_broken: bool,
}

impl Node {
    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether it is a scalar that means `null`.
    pub(super) fn is_null(&self) -> bool {
        let nulls = ["", "~", "null", "Null", "NULL"];
        matches!(&self.kind, Kind::Scalar { text, plain: true } if nulls.contains(&text.as_str()))
    }

    /// The entries of a map; none for other nodes.
    pub(super) fn entries(&self) -> &[(Node, Node)] {
        match &self.kind {
            Kind::Map { entries, .. } => entries,
            _ => &[],
        }
    }

    /// The items of a list; none for other nodes.
    pub(super) fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// The key and the value of an entry of a map.
    pub(super) fn entry(&self, key: &str) -> Option<&(Node, Node)> {
        self.entries().iter().find(|(name, _)| name.text() == Some(key))
    }

    /// The value of an entry of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, value)| value)
    }

    /// Whether it is a map in braces.
    pub(super) fn is_flow(&self) -> bool {
        matches!(self.kind, Kind::Map { flow: true, .. })
    }

    /// Whether it is `{{x}}` without quotes: for YAML a map whose key is a map.
    pub(super) fn is_template(&self) -> bool {
        self.is_flow() && self.entries().iter().any(|(key, _)| key.is_flow())
    }

    /// Calls `visit` for each key and value below the node, in the order of the text.
    pub(super) fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a Node)) {
        visit(self);
        for (key, value) in self.entries() {
            key.visit(visit);
            value.visit(visit);
        }
        for item in self.items() {
            item.visit(visit);
        }
    }
}

impl Outline {
    /// The outline of a text that the checks of the limits have accepted; `None` if it has no
    /// content.
    pub(super) fn of(text: &str) -> Option<Self> {
        let mut builder = Builder { open: Vec::new(), root: None, too_deep: 0 };
        let mut is_broken = false;
        for event in YamlEvents::new(text) {
            let Ok(event) = event else {
                is_broken = true;
                break;
            };
            builder.event(&event);
            if builder.is_complete() && matches!(event.data(), EventData::DocumentEnd) {
                break;
            }
        }
        while !builder.open.is_empty() {
            builder.close();
        }
        builder.root.map(|root| Self { root, is_broken })
    }

    /// The node that the path at the beginning of a message leads to, the key of that node if it
    /// is in a map, the names of the path, and the message after it.
    pub(super) fn resolve<'a, 'm>(&'a self, message: &'m str) -> Place<'a, 'm> {
        let mut place = Place { node: &self.root, key: None, names: Vec::new(), reason: message };
        let mut rest = message;
        loop {
            if let Some(reason) = rest.strip_prefix(": ").filter(|_| !place.names.is_empty()) {
                place.reason = reason;
                return place;
            }
            let step = rest.strip_prefix('.').unwrap_or(rest);
            let next = if let Some(index) = step.strip_prefix('[') {
                item(place.node, index)
            } else {
                entry(place.node, step)
            };
            let Some((key, name, node, after)) = next else {
                // The message has no path, or one that the outline does not contain.
                return match rest.len() == message.len() {
                    true => place,
                    false => Place { reason: after_path(rest), ..place },
                };
            };
            place.names.push(name);
            (place.node, place.key, rest) = (node, key.or(place.key), after);
        }
    }
}

/// The part of a message after the path, where the path leads to nothing.
fn after_path(rest: &str) -> &str {
    rest.split_once(": ").map_or(rest, |(_, reason)| reason)
}

/// A step of a path: the key, its name, the value, and the rest of the message.
type Step<'a, 'm> = (Option<&'a Node>, String, &'a Node, &'m str);

fn item<'a, 'm>(node: &'a Node, rest: &'m str) -> Option<Step<'a, 'm>> {
    let (index, after) = rest.split_once(']')?;
    let item = node.items().get(index.parse::<usize>().ok()?)?;
    Some((None, "[]".to_owned(), item, after))
}

fn entry<'a, 'm>(node: &'a Node, rest: &'m str) -> Option<Step<'a, 'm>> {
    let mut found: Option<Step<'a, 'm>> = None;
    for (key, value) in node.entries() {
        let Some(name) = key.text() else { continue };
        let Some(after) = rest.strip_prefix(name) else { continue };
        let is_longest = found.as_ref().is_none_or(|(_, _, _, best)| after.len() < best.len());
        let is_end = after.starts_with(['.', '[']) || after.starts_with(": ");
        if is_end && is_longest {
            found = Some((Some(key), name.to_owned(), value, after));
        }
    }
    found
}

/// The place that a message is about.
pub(super) struct Place<'a, 'm> {
    pub(super) node: &'a Node,
    /// The key of the node, or of the list that contains it.
    pub(super) key: Option<&'a Node>,
    /// The names of the path, with `[]` for an item of a list.
    pub(super) names: Vec<String>,
    /// The message without the path.
    pub(super) reason: &'m str,
}

/// Builds the outline from events.
struct Builder {
    /// Collections that have begun and not ended, the outermost first, each with the key that
    /// waits for its value.
    open: Vec<(Node, Option<Node>)>,
    root: Option<Node>,
    /// The number of collections that are open below the maximum depth.
    too_deep: usize,
}

impl Builder {
    /// Whether the document that ends is the one that counts.
    fn is_complete(&self) -> bool {
        self.root.as_ref().is_some_and(|root| !root.is_null())
    }

    fn event(&mut self, event: &YamlEvent) {
        let kind = match event.data() {
            EventData::DocumentStart => {
                self.root = None;
                return;
            }
            EventData::StreamStart | EventData::StreamEnd | EventData::DocumentEnd => return,
            EventData::SequenceEnd | EventData::MappingEnd if self.too_deep > 0 => {
                self.too_deep -= 1;
                return;
            }
            EventData::SequenceEnd | EventData::MappingEnd => {
                self.close();
                return;
            }
            EventData::SequenceStart(_) | EventData::MappingStart(_)
                if self.too_deep > 0 || self.open.len() >= MAX_DEPTH =>
            {
                self.too_deep += 1;
                Kind::Other
            }
            // It is in a collection that is not part of the outline.
            _ if self.too_deep > 0 => return,
            EventData::Alias { .. } => Kind::Other,
            EventData::Scalar { value, plain, .. } => {
                let beginning = value.get(..MAX_TEXT).unwrap_or(value);
                let text = String::from_utf8_lossy(beginning).into_owned();
                Kind::Scalar { text, plain }
            }
            EventData::SequenceStart(_) => Kind::List(Vec::new()),
            EventData::MappingStart(collection) => {
                Kind::Map { entries: Vec::new(), flow: collection.flow }
            }
        };
        let node = Node { at: LineColumn::of_event(event), kind };
        match node.kind {
            Kind::List(_) | Kind::Map { .. } => self.open.push((node, None)),
            _ => self.add(node),
        }
    }

    /// Ends the innermost collection.
    fn close(&mut self) {
        if let Some((mut node, key)) = self.open.pop() {
            if let (Some(key), Kind::Map { entries, .. }) = (key, &mut node.kind) {
                // The text ends between the key and its value.
                let value = Node { at: key.at, kind: Kind::Other };
                entries.push((key, value));
            }
            self.add(node);
        }
    }

    /// Adds a complete node to the innermost collection.
    fn add(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some((Node { kind: Kind::List(items), .. }, _)) => items.push(node),
            Some((Node { kind: Kind::Map { entries, .. }, .. }, key)) => match key.take() {
                None => *key = Some(node),
                Some(key) => entries.push((key, node)),
            },
            Some(_) => {}
        }
    }
}
