//! Config items.

use super::*;

#[test]
fn strings_lists_and_maps_can_be_nested() {
    let item = config("{k: [a, [], {}, {n: ''}]}").unwrap();
    let Some(ConfigItemEnum::Object(object)) = item.config_item_enum else { panic!() };
    let Some(ConfigItemEnum::Array(array)) = &object.fields["k"].config_item_enum else { panic!() };
    assert_eq!(array.values.len(), 4);
}

#[test]
fn values_that_are_strings_in_yaml_are_accepted() {
    for (value, text) in [
        ("'1'", "1"),
        ("\"true\"", "true"),
        ("!!str 1", "1"),
        ("yes", "yes"),
        ("2020-01-01", "2020-01-01"),
        ("1.2.3", "1.2.3"),
        ("''", ""),
        ("'null'", "null"),
        ("|\n    1\n", "1\n"),
        ("!!binary aGk=", "aGk="),
    ] {
        assert_eq!(config_string(value), text, "{value}");
    }
}

#[test]
fn other_values_are_refused() {
    for value in [
        "1",
        "-1",
        "1.10",
        "true",
        "False",
        "~",
        "null",
        "",
        ".nan",
        "0x10",
        "!!int 5",
        "!x y",
        "99999999999999999999",
        "999999999999999999999999999999999999999999",
    ] {
        let error = config(value).unwrap_err();
        assert!(error.to_string().starts_with("configs.c: invalid type"), "{value}: {error}");
        assert_eq!(error.position().unwrap().line, 3, "{value}");
        if value.is_empty() {
            continue;
        }
        let error = config(&format!("{{k: [{value}]}}")).unwrap_err();
        assert!(error.to_string().starts_with("configs.c.k[0]: "), "{value}: {error}");
    }
    let json = r#"{"apiVersion": "v1", "configs": {"c": 1}}"#;
    assert!(error(json).contains("quotes"), "{}", error(json));
}

/// Ankaios decodes at most 100 nested messages.
#[test]
fn nesting_is_limited_to_the_depth_that_ankaios_can_decode() {
    use prost::Message;

    use crate::proto::ank_base::{Request, request::RequestContent};
    use crate::proto::control_api::{ToAnkaios, to_ankaios::ToAnkaiosEnum};

    for (open, close, deepest) in [("{k: ", "}", 31), ("[", "]", 46)] {
        let nested =
            |levels: usize| config(&format!("{}x{}", open.repeat(levels), close.repeat(levels)));
        let frame = |item: ConfigItem| {
            let manifest = Manifest {
                state: State {
                    configs: Some(ConfigMap { configs: [("c".to_owned(), item)].into() }),
                    ..State::default()
                },
            };
            let content = RequestContent::UpdateStateRequest(manifest.into_apply_request());
            let request = Request { request_content: Some(content), ..Request::default() };
            ToAnkaios { to_ankaios_enum: Some(ToAnkaiosEnum::Request(request)) }.encode_to_vec()
        };
        let deepest_item = nested(deepest).unwrap();
        ToAnkaios::decode(frame(deepest_item.clone()).as_slice()).unwrap();
        let message = nested(deepest + 1).unwrap_err().to_string();
        assert!(message.contains("nested too deeply"), "{message}");

        let inside = [("k".to_owned(), deepest_item)].into();
        let item = ConfigItemEnum::Object(crate::proto::ank_base::ConfigObject { fields: inside });
        let too_deep = ConfigItem { config_item_enum: Some(item) };
        ToAnkaios::decode(frame(too_deep).as_slice()).unwrap_err();
    }
}
