//! `controlInterfaceAccess`: the access rights of a workload to the control interface.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};

use super::name::{FilterMask, NamePattern};
use super::spelling::EnumValue;
use super::text::Text;
use crate::hints::quoted;
use crate::proto::ank_base::access_rights_rule::AccessRightsRuleEnum;
use crate::proto::ank_base::{self, ReadWriteEnum};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "allowRules and denyRules")]
pub(super) struct ControlInterfaceAccess {
    allow_rules: Option<Vec<Rule>>,
    deny_rules: Option<Vec<Rule>>,
}

impl From<ControlInterfaceAccess> for ank_base::ControlInterfaceAccess {
    fn from(access: ControlInterfaceAccess) -> Self {
        let rules = |rules: Option<Vec<Rule>>| {
            rules.unwrap_or_default().into_iter().map(Into::into).collect()
        };
        Self { allow_rules: rules(access.allow_rules), deny_rules: rules(access.deny_rules) }
    }
}

/// An access rule. The field `type` determines which other fields it has.
#[derive(Debug)]
enum Rule {
    State { operation: ReadWriteEnum, filter_masks: Vec<FilterMask> },
    Log { workload_names: Vec<NamePattern> },
}

/// The fields of all types of rules.
///
/// Not an internally tagged enum of serde: that is buffered in a generic value, in which an
/// unquoted `1` is a number, not text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleFields {
    r#type: Option<Text>,
    operation: Option<EnumValue<ReadWriteEnum>>,
    // `filterMask` is the name in `v0.1`. Both names are accepted in both versions.
    #[serde(alias = "filterMask")]
    filter_masks: Option<Vec<FilterMask>>,
    workload_names: Option<Vec<NamePattern>>,
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RuleVisitor)
    }
}

struct RuleVisitor;

impl<'de> Visitor<'de> for RuleVisitor {
    type Value = Rule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an access rule")
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Rule, A::Error> {
        let fields = RuleFields::deserialize(MapAccessDeserializer::new(access))?;
        let Some(Text(rule_type)) = fields.r#type else {
            return Err(missing("an access rule", "type"));
        };
        match rule_type.as_str() {
            "StateRule" => Ok(Rule::State {
                operation: fields.operation.ok_or_else(|| missing("a StateRule", "operation"))?.0,
                filter_masks: fields
                    .filter_masks
                    .ok_or_else(|| missing("a StateRule", "filterMasks"))?,
            }),
            "LogRule" => Ok(Rule::Log {
                workload_names: fields
                    .workload_names
                    .ok_or_else(|| missing("a LogRule", "workloadNames"))?,
            }),
            _ => Err(A::Error::custom(format_args!(
                "unknown type of access rule {}, use StateRule or LogRule",
                quoted(&rule_type)
            ))),
        }
    }
}

fn missing<E: Error>(what: &str, field: &str) -> E {
    E::custom(format_args!("{what} needs the field {field}"))
}

impl From<Rule> for ank_base::AccessRightsRule {
    fn from(rule: Rule) -> Self {
        let rule = match rule {
            Rule::State { operation, filter_masks } => {
                AccessRightsRuleEnum::StateRule(ank_base::StateRule {
                    operation: operation.into(),
                    filter_masks: filter_masks.into_iter().map(|mask| mask.0).collect(),
                })
            }
            Rule::Log { workload_names } => AccessRightsRuleEnum::LogRule(ank_base::LogRule {
                workload_names: workload_names.into_iter().map(|name| name.0).collect(),
            }),
        };
        Self { access_rights_rule_enum: Some(rule) }
    }
}
