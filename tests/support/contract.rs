//! Checks messages with the schemas of `docs/asyncapi.yaml`.
//!
//! Whatever receives messages in tests calls [`received`] or [`violation`], so a message that the
//! document does not describe fails the test that sees it. What tests publish themselves, they
//! [announce](published): it may be wrong on purpose, and is not checked.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{LazyLock, Mutex, PoisonError};

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use serde::Deserialize;
use serde_json::Value;

/// The document.
pub const TEXT: &str = include_str!("../../docs/asyncapi.yaml");

/// The URL under which the schemas refer to each other.
const URL: &str = "https://contract.invalid/asyncapi.yaml";

/// The message that stands for an empty payload.
const EMPTY: &str = "empty";

/// The channel of replies on the Response Topic of their request.
const RESPONSE_TOPIC: &str = "responseTopic";

/// In the topics of the vehicle data sender, which is a workload of its own.
const SENSORS: &str = "/sensors/";

/// How much of a payload a violation shows, in characters.
const SHOWN: usize = 2000;

/// The contract.
pub static CONTRACT: LazyLock<Contract> = LazyLock::new(Contract::read);

/// The channels and schemas of the document.
pub struct Contract {
    pub document: Value,
    schemas: Schemas,
    channels: Vec<Channel>,
    /// Schemas that describe the content of texts in messages.
    contents: Vec<(&'static str, SchemaIndex)>,
}

/// A channel of the document.
pub struct Channel {
    pub name: String,
    /// The levels of its topic; a parameter has braces. `None` if the topic is any.
    levels: Option<Vec<String>>,
    messages: Vec<ChannelMessage>,
}

/// A message of a channel.
struct ChannelMessage {
    name: String,
    is_yaml: bool,
    payload: SchemaIndex,
}

impl Contract {
    fn read() -> Self {
        let document: Value = serde_yaml::from_str(TEXT).unwrap();
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V7);
        compiler.enable_format_assertions();
        compiler.add_resource(URL, document.clone()).unwrap();
        let mut schemas = Schemas::new();
        let mut message = |reference: &Value| {
            let pointer = reference["$ref"].as_str().unwrap().trim_start_matches('#');
            let message = document.pointer(pointer).unwrap();
            let location = format!("{URL}#{pointer}/payload");
            ChannelMessage {
                name: pointer.rsplit('/').next().unwrap().to_owned(),
                is_yaml: message["contentType"] == "application/yaml",
                payload: compiler
                    .compile(&location, &mut schemas)
                    .unwrap_or_else(|error| panic!("{location}: {error:#}")),
            }
        };
        let channels = document["channels"].as_object().unwrap();
        let channels = channels.iter().map(|(name, channel)| Channel {
            name: name.clone(),
            levels: channel["address"]
                .as_str()
                .map(|address| address.split('/').map(str::to_owned).collect()),
            messages: channel["messages"].as_object().unwrap().values().map(&mut message).collect(),
        });
        let channels = channels.collect();
        let contents = ["Statement", "TrustFile"].map(|name| {
            let location = format!("{URL}#/components/schemas/{name}");
            (name, compiler.compile(&location, &mut schemas).unwrap())
        });
        Self { document, schemas, channels, contents: contents.into() }
    }

    /// The channel with this name.
    pub fn channel(&self, name: &str) -> &Channel {
        self.channels.iter().find(|channel| channel.name == name).unwrap()
    }

    /// The channel of a topic: the one that matches with the fewest parameters.
    pub fn channel_of(&self, topic: &str) -> Option<&Channel> {
        let levels: Vec<_> = topic.split('/').collect();
        let matching = self.channels.iter().filter(|channel| channel.matches(&levels));
        matching.min_by_key(|channel| channel.parameters())
    }

    /// Whether a payload is one of the messages of a channel; otherwise, why it is none of them.
    pub fn check(&self, channel: &Channel, payload: &[u8]) -> Result<(), String> {
        let mut reasons = Vec::new();
        for message in &channel.messages {
            match self.check_message(message, payload) {
                Ok(()) => return Ok(()),
                Err(reason) => reasons.push(format!("not {}: {reason}", message.name)),
            }
        }
        let shown: String = String::from_utf8_lossy(payload).chars().take(SHOWN).collect();
        Err(format!("not a message of {}: {shown}\n{}", channel.name, reasons.join("\n")))
    }

    /// Checks JSON that is the content of a text in a message.
    pub fn check_schema(&self, name: &str, json: &[u8]) -> Result<(), String> {
        let (_, schema) = self.contents.iter().find(|(content, _)| *content == name).unwrap();
        let value: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        self.schemas.validate(&value, *schema).map_err(|error| error.to_string())
    }

    fn check_message(&self, message: &ChannelMessage, payload: &[u8]) -> Result<(), String> {
        let is_empty = payload.trim_ascii().is_empty();
        if is_empty != (message.name == EMPTY) {
            return Err(if is_empty { "it is empty" } else { "it is not empty" }.to_owned());
        }
        if is_empty {
            return Ok(());
        }
        let value = if message.is_yaml {
            first_document(payload).map_err(|error| error.to_string())?
        } else {
            serde_json::from_slice(payload).map_err(|error| error.to_string())?
        };
        self.schemas.validate(&value, message.payload).map_err(|error| error.to_string())
    }
}

impl Channel {
    fn matches(&self, topic: &[&str]) -> bool {
        let Some(levels) = &self.levels else { return false };
        let is_same = |(level, found): (&String, &&str)| level.starts_with('{') || level == found;
        levels.len() == topic.len() && levels.iter().zip(topic).all(is_same)
    }

    fn parameters(&self) -> usize {
        self.levels.iter().flatten().filter(|level| level.starts_with('{')).count()
    }

    /// Whether it is for replies to operations that exist.
    fn is_for_replies(&self) -> bool {
        self.name.ends_with("Reply") && !self.name.starts_with("unknown")
    }
}

/// The first document of YAML that is not empty.
fn first_document(yaml: &[u8]) -> Result<Value, serde_yaml::Error> {
    let mut documents = serde_yaml::Deserializer::from_slice(yaml).map(Value::deserialize);
    documents.find(|document| !matches!(document, Ok(Value::Null))).unwrap_or(Ok(Value::Null))
}

/// The topics and payloads that tests have published, as hashes.
static PUBLISHED: Mutex<HashSet<u64, BuildHasherDefault<DefaultHasher>>> =
    Mutex::new(HashSet::with_hasher(BuildHasherDefault::new()));

fn hash(topic: &str, payload: &[u8]) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((topic, payload))
}

/// Announces that a test publishes a message. It is not checked if it is received.
pub fn published(topic: &str, payload: &[u8]) {
    let mut published = PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner);
    published.insert(hash(topic, payload));
}

/// Checks a message that a test has received. Replies have user properties.
#[track_caller]
pub fn received(topic: &str, payload: &[u8], has_user_properties: bool) {
    if let Some(violation) = violation(topic, payload, has_user_properties) {
        panic!("{violation}");
    }
}

/// Why a message violates the contract, if it does.
pub fn violation(topic: &str, payload: &[u8], has_user_properties: bool) -> Option<String> {
    // Benchmarks measure something else.
    if !cfg!(debug_assertions) {
        return None;
    }
    if PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner).contains(&hash(topic, payload)) {
        return None;
    }
    if topic.contains(SENSORS) {
        return None;
    }
    let contract = &CONTRACT;
    let channel = match contract.channel_of(topic) {
        Some(channel) if channel.is_for_replies() || !has_user_properties => channel,
        _ if has_user_properties => contract.channel(RESPONSE_TOPIC),
        _ => return Some(format!("docs/asyncapi.yaml does not know the topic {topic}")),
    };
    contract.check(channel, payload).err().map(|reason| format!("{topic}: {reason}"))
}

/// Why a reply violates the contract, if it does; `topic` is that of its request.
pub fn reply_violation(topic: &str, payload: &[u8]) -> Option<String> {
    let usual = format!("{}/resp", topic.strip_suffix("/req").unwrap());
    violation(&usual, payload, true)
}

/// Checks that a request that was served has the shape of the contract.
#[track_caller]
pub fn served(topic: &str, request: &[u8], reply: &[u8]) {
    let contract = &CONTRACT;
    let Some(channel) = contract.channel_of(topic) else { return };
    let is_error = contract.check(contract.channel("unknownOperationReply"), reply).is_ok();
    if let (false, Err(reason)) = (is_error, contract.check(channel, request)) {
        panic!(
            "{topic}: the connector has served a request that the contract does not allow: {reason}"
        );
    }
}
