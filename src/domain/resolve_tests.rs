use super::{Interest, SubscribeRefusal, TopicOptions, filter, publish};
use crate::domain::fixture::{Fixture, principal};
use crate::domain::interest::Rename;

/// The canonical topic of an accepted publish, or `CLOSE`.
fn verdict(as_whom: &str, topic: &str) -> String {
    match publish(&principal(as_whom), topic, &Fixture::new()) {
        Ok(canonical) => canonical.to_string(),
        Err(_) => "CLOSE".to_owned(),
    }
}

fn subscribe(as_whom: &str, text: &str) -> Result<Interest, SubscribeRefusal> {
    filter(&principal(as_whom), text, &Fixture::new(), TopicOptions::default())
}

/// `=` stands for the topic itself.
#[test]
fn cases_1_to_50_publish() {
    let cases = [
        (1, "d1", "$devices/d1/events", "="),
        (2, "d1", "$devices/d1/state", "="),
        (3, "d1", "$devices/d1/events/bedroom/temperature", "="),
        (4, "d1", "$devices/d1/state/bedroom/temperature", "="),
        (5, "d1", "$devices/d1/events/", "="),
        (6, "d1", "$devices/d1/commands", "CLOSE"),
        (7, "d1", "$devices/d1/config", "CLOSE"),
        (8, "d1", "$devices/d2/events", "CLOSE"),
        (9, "d1", "$registries/r/events", "="),
        (10, "d1", "$registries/r/state", "="),
        (11, "d1", "$registries/r/commands", "CLOSE"),
        (12, "d1", "$registries/r/config", "CLOSE"),
        (13, "d1", "$registries/r2/events", "CLOSE"),
        (14, "d1", "$device/d1/events", "CLOSE"),
        (15, "d1", "$devices/d1", "CLOSE"),
        (16, "d1", "$devices/d1/eventsX", "CLOSE"),
        (17, "d1", "$devices/d1/telemetry", "CLOSE"),
        (18, "d1", "$monitoring/d1/json", "CLOSE"),
        (19, "d1", "$me/device/events", "$devices/d1/events"),
        (20, "d1", "$me/device/state/x", "$devices/d1/state/x"),
        (21, "d1", "$me/device/commands", "CLOSE"),
        (22, "d1", "$me/registry/commands", "CLOSE"),
        (23, "d1", "$me/registry/events", "$registries/r/events"),
        (24, "d1", "my/alias/events", "$devices/d1/events"),
        (25, "d1", "my/alias/state/k", "$devices/d1/state/k"),
        (26, "d1", "my/alias/commands", "CLOSE"),
        (27, "d1", "temp", "$devices/d1/events/temp"),
        (28, "d1", "temp/room", "$devices/d1/events/temp/room"),
        (29, "d1", "temperature", "$devices/d1/events/temperature"),
        (30, "d1", "stX", "CLOSE"),
        (31, "d2", "my/alias/events", "CLOSE"),
        (32, "d1", "unknown/topic", "CLOSE"),
        (33, "r", "$devices/d1/commands", "="),
        (34, "r", "$devices/d1/config", "="),
        (35, "r", "$devices/d1/events", "CLOSE"),
        (36, "r", "$devices/d1/state", "CLOSE"),
        (37, "r", "$registries/r/commands", "="),
        (38, "r", "$registries/r/commands/bedroom", "="),
        (39, "r", "$registries/r/config/bedroom", "="),
        (40, "r", "$registries/r/events", "CLOSE"),
        (41, "r", "$devices/d3/commands", "CLOSE"),
        (42, "r", "$devices/nonexistent/commands", "CLOSE"),
        (43, "r", "cmd", "$devices/d2/commands"),
        (44, "r", "my/alias/config", "$devices/d1/config"),
        (45, "r", "my/alias/events", "CLOSE"),
        (46, "b", "/my/custom/topic", "="),
        (47, "b", "a/b", "="),
        (48, "b", "$devices/d1/events", "CLOSE"),
        (49, "b", "$me/device/events", "CLOSE"),
        (50, "d1", "devices/d1/events", "$devices/d1/events"),
    ];
    for (case, as_whom, topic, expected) in cases {
        let expected = if expected == "=" { topic } else { expected };
        assert_eq!(verdict(as_whom, topic), expected, "case {case}: {as_whom} publishes {topic}");
    }
}

#[test]
fn cases_146_150_to_154_publish_of_the_api_and_me_of_a_registry() {
    let cases = [
        (146, "r", "$me/registry/commands", "$registries/r/commands"),
        (147, "r", "$me/device/commands", "CLOSE"),
        (150, "d1", "$devices/d1/events", "$devices/d1/events"),
        (151, "d1", "$devices/d1/commands", "CLOSE"),
        (152, "d1", "$devices/d1/state", "$devices/d1/state"),
        (153, "r", "$registries/r/commands/heartbeat", "$registries/r/commands/heartbeat"),
        (154, "r", "$devices/d1/events", "CLOSE"),
        (155, "b", "a/b", "a/b"),
    ];
    for (case, as_whom, topic, expected) in cases {
        assert_eq!(verdict(as_whom, topic), expected, "case {case}");
    }
}

#[test]
fn further_names_of_a_publish() {
    let cases = [
        ("d1", "$me/monitoring/json", "CLOSE"),
        ("d1", "$me/device", "CLOSE"),
        ("d1", "$me/device/", "CLOSE"),
        ("d1", "$me/device/events/", "$devices/d1/events/"),
        ("d1", "$me", "CLOSE"),
        ("d1", "$me/d1/events", "CLOSE"),
        ("d1", "registries/r/state/x", "$registries/r/state/x"),
        ("d1", "devices/d2/events", "CLOSE"),
        ("r", "devices/d2/config", "$devices/d2/config"),
        ("r", "devices/d3/config", "CLOSE"),
        ("r", "registries/r2/commands", "CLOSE"),
        ("r", "monitoring/d1/json", "CLOSE"),
        ("d1", "$SYS/broker/uptime", "CLOSE"),
        ("d1", "$share/g/$devices/d1/events", "CLOSE"),
        ("b", "$share/g/a", "CLOSE"),
        ("b", "$SYS/x", "CLOSE"),
        ("b", "devices/d1/events", "devices/d1/events"),
        ("d3", "my/alias/events", "CLOSE"),
        ("d1", "my/alias/", "CLOSE"),
    ];
    for (as_whom, topic, expected) in cases {
        assert_eq!(verdict(as_whom, topic), expected, "{as_whom} publishes {topic}");
    }
}

#[test]
fn u_t24_an_alias_comes_first_but_hides_only_what_it_can_mean() {
    let mut names = Fixture::new();
    let topic = |names: &Fixture, text| publish(&principal("r"), text, names).map(|topic| topic.to_string());
    names.add_alias("r", "d2", "dev", "$devices/d2/commands");
    let kept = topic(&names, "devices/d1/commands");
    assert_eq!(
        kept.as_deref(),
        Ok("$devices/d1/commands"),
        "$devices/d2/commandsices/d1/commands is no topic"
    );
    names.remove_alias("r", "dev");
    names.add_alias("r", "d2", "devices/d1/commands", "$devices/d2/commands");
    assert_eq!(topic(&names, "devices/d1/commands").as_deref(), Ok("$devices/d2/commands"));
    assert_eq!(topic(&names, "devices/d1/config").as_deref(), Ok("$devices/d1/config"));
}

#[test]
fn u_p6_malformed_topics_are_told_apart_from_forbidden_ones() {
    let refusal = |as_whom: &str, topic: &str| {
        publish(&principal(as_whom), topic, &Fixture::new()).unwrap_err().is_malformed()
    };
    let long = |head: &str, characters| format!("{head}{}", "x".repeat(characters));
    for topic in ["", "$devices/d1/events/+", "#", "a\0", &"/".repeat(65_400)] {
        assert!(refusal("d1", topic), "{topic:?}");
        assert!(refusal("b", topic), "{topic:?}");
    }
    assert!(refusal("d1", &long("$devices/d1/events/", 1025)), "u-t3");
    assert!(refusal("d1", &long("temp", 1025)), "u-t3 through an alias");
    assert!(refusal("b", &long("", 1025)));
    for topic in ["$devices/d1/commands", "$device/d1/events", "unknown", "$devices/d1", "$devices//events"] {
        assert!(!refusal("d1", topic), "{topic}");
    }
    assert!(publish(&principal("d1"), &long("$devices/d1/events/", 1024), &Fixture::new()).is_ok());
}

#[test]
fn cases_51_to_85_subscribe() {
    let granted = [
        (51, "r", "$devices/d1/events"),
        (52, "r", "$devices/d1/state"),
        (55, "r", "$registries/r/events"),
        (56, "r", "$registries/r/state"),
        (58, "r", "$monitoring/d1/json"),
        (64, "d1", "$devices/d1/commands"),
        (65, "d1", "$devices/d1/commands/#"),
        (66, "d1", "$devices/d1/config"),
        (69, "d1", "$registries/r/commands"),
        (70, "d1", "$registries/r/config"),
        (72, "d1", "$monitoring/d1/json"),
        (73, "d1", "$monitoring/d2/json"),
        (74, "d1", "$me/device/commands"),
        (75, "d1", "$me/registry/config"),
        (76, "d1", "$me/monitoring/json"),
        (79, "d1", "cfg"),
        (81, "r", "temp"),
        (83, "b", "#"),
        (148, "r", "$monitoring/+/json"),
    ];
    for (case, as_whom, filter) in granted {
        assert!(subscribe(as_whom, filter).is_ok(), "case {case}: {as_whom} subscribes {filter}");
    }
    let refused = [
        (53, "r", "$devices/d1/commands"),
        (54, "r", "$devices/d1/config"),
        (57, "r", "$registries/r/commands"),
        (59, "r", "$monitoring/d3/json"),
        (60, "r", "$devices/d3/events"),
        (61, "r", "$device/d1/events"),
        (62, "r", "$devices/+"),
        (63, "r", "$registries/+"),
        (67, "d1", "$devices/d1/events"),
        (68, "d1", "$devices/d2/commands"),
        (71, "d1", "$registries/r/events"),
        (77, "d1", "$me/device/events"),
        (80, "d1", "temp"),
        (82, "r", "cmd"),
        (84, "b", "$devices/#"),
        (85, "r", "$devices/nonexistent/events"),
        (147, "r", "$me/device/commands"),
    ];
    for (case, as_whom, filter) in refused {
        assert!(subscribe(as_whom, filter).is_err(), "case {case}: {as_whom} subscribes {filter}");
    }
}

/// Every row of the table in section 4: the patterns to which a filter narrows, or nothing for 0x80.
#[test]
fn wildcards_of_section_4_narrow_to_what_the_identity_may_read() {
    let rows: [(&str, &[&str], &[&str]); 15] = [
        ("$devices/#", &["$devices/+/events/#", "$devices/+/state/#"], DEVICE_ALL),
        ("$devices/d1/#", &["$devices/d1/events/#", "$devices/d1/state/#"], DEVICE_ALL),
        ("$devices/d1/events/#", &["$devices/d1/events/#"], &[]),
        ("$devices/d1/state/#", &["$devices/d1/state/#"], &[]),
        (
            "$devices/d1/+",
            &["$devices/d1/events", "$devices/d1/state"],
            &["$devices/d1/commands", "$devices/d1/config"],
        ),
        ("$devices/d1/events/+", &["$devices/d1/events/+"], &[]),
        ("$devices/+/events/bedroom/temperature", &["$devices/+/events/bedroom/temperature"], &[]),
        ("$devices/+/events/bedroom/+", &["$devices/+/events/bedroom/+"], &[]),
        ("$devices/+/#", &["$devices/+/events/#", "$devices/+/state/#"], DEVICE_ALL),
        ("$devices/+/events/#", &["$devices/+/events/#"], &[]),
        ("$registries/r/commands/+", &[], &["$registries/r/commands/+"]),
        (
            "$registries/#",
            &["$registries/r/events/#", "$registries/r/state/#"],
            &["$registries/r/commands/#", "$registries/r/config/#"],
        ),
        ("$devices/+", &[], &[]),
        ("$registries/+", &[], &[]),
        ("$devices/+/commands/#", &[], &["$devices/d1/commands/#"]),
    ];
    for (filter, as_registry, as_device) in rows {
        for (as_whom, expected) in [("r", as_registry), ("d1", as_device)] {
            let narrowed = subscribe(as_whom, filter)
                .map_or(Vec::new(), |interest| interest.canonical_filters().collect());
            assert_eq!(narrowed, expected, "{as_whom} subscribes {filter}");
        }
    }
}

const DEVICE_ALL: &[&str] = &["$devices/d1/commands/#", "$devices/d1/config/#"];

#[test]
fn alias_wildcards_are_granted_and_narrow_to_no_canonical_topic() {
    for as_whom in ["r", "d1", "d2", "d3"] {
        for filter in
            ["#", "+/x", "my/alias/#", "nothing/like/+", "+", "/#", "devices/#", "devices/+/events/#"]
        {
            let interest = subscribe(as_whom, filter).unwrap();
            let is_dollar_less = interest.form.rename() == Rename::DollarLess;
            assert!(interest.patterns.is_empty() || is_dollar_less, "{filter}");
        }
    }
    assert!(subscribe("d1", "#").unwrap().patterns.is_empty());
    assert!(subscribe("r", "+/d1/events").unwrap().patterns.is_empty());
}

#[test]
fn u_t8_the_switch_leaves_the_permanent_kind_out_of_kind_wildcards() {
    let options = TopicOptions { kind_wildcard_covers_permanent: false };
    let narrowed = |as_whom: &str, text: &str| -> Vec<String> {
        let interest = filter(&principal(as_whom), text, &Fixture::new(), options).unwrap();
        interest.canonical_filters().collect()
    };
    assert_eq!(narrowed("r", "$devices/#"), ["$devices/+/events/#"]);
    assert_eq!(narrowed("d1", "$devices/d1/+"), ["$devices/d1/commands"]);
    assert_eq!(narrowed("r", "$devices/+/state/#"), ["$devices/+/state/#"]);
}

#[test]
fn u_t10_monitoring_wildcards() {
    for (filter, expected) in [
        ("$monitoring/+/json", "$monitoring/+/json"),
        ("$monitoring/#", "$monitoring/+/json"),
        ("$monitoring/+/+", "$monitoring/+/json"),
        ("$monitoring/d1/#", "$monitoring/d1/json"),
        ("$monitoring/d1/+", "$monitoring/d1/json"),
        ("$monitoring/d1/json/#", "$monitoring/d1/json"),
    ] {
        for as_whom in ["r", "d1", "d2"] {
            let interest = subscribe(as_whom, filter).unwrap();
            assert!(interest.is_monitoring());
            assert_eq!(interest.canonical_filters().collect::<Vec<_>>(), [expected], "{filter}");
        }
    }
    for filter in ["$monitoring/+", "$monitoring/d1", "$monitoring/d1/json/+", "$monitoring/d1/events"] {
        assert!(subscribe("r", filter).is_err(), "{filter}");
    }
}

#[test]
fn me_wildcards() {
    let cases: [(&str, &str, &[&str]); 6] = [
        ("d1", "$me/device/#", DEVICE_ALL),
        ("d1", "$me/+/commands", &["$registries/r/commands", "$devices/d1/commands"]),
        ("d1", "$me/+/json", &["$monitoring/d1/json"]),
        (
            "d1",
            "$me/#",
            &[
                "$registries/r/commands/#",
                "$registries/r/config/#",
                "$devices/d1/commands/#",
                "$devices/d1/config/#",
                "$monitoring/d1/json",
            ],
        ),
        ("r", "$me/#", &["$registries/r/events/#", "$registries/r/state/#"]),
        ("r", "$me/monitoring/json", &[]),
    ];
    for (as_whom, filter, expected) in cases {
        let narrowed =
            subscribe(as_whom, filter).map_or(Vec::new(), |interest| interest.canonical_filters().collect());
        assert_eq!(narrowed, expected, "{as_whom} {filter}");
    }
}

#[test]
fn a14_a15_system_and_shared_filters_are_refused_for_all() {
    for filter in [
        "$SYS/#",
        "$share/g/#",
        "$share/g/$devices/+/commands",
        "$share",
        "$share/",
        "$share//t",
        "$share/g+/t",
        "$share/g/",
        "$MQTT/#",
        "$",
        "$/#",
        "$me",
        "$devices",
        "$devices/",
        "$devices//events",
        "$devices/d1/+vents",
    ] {
        for as_whom in ["r", "d1", "b"] {
            assert!(subscribe(as_whom, filter).is_err(), "{as_whom} {filter}");
        }
    }
}

#[test]
fn a27_u_t3_long_filters_are_refused() {
    for as_whom in ["r", "d1", "b"] {
        let deep = subscribe(as_whom, &"/+".repeat(30_000));
        assert!(matches!(deep, Err(SubscribeRefusal::Malformed(_))));
    }
    let filter = |head: &str, characters| format!("{head}{}", "ж".repeat(characters));
    assert!(subscribe("r", &filter("$devices/d1/events/", 1024)).is_ok());
    for (as_whom, filter) in [
        ("r", filter("$devices/d1/events/", 1025)),
        ("r", filter("$devices/+/+/", 1025)),
        ("d1", filter("$me/device/commands/", 1025)),
        ("d1", filter("+/", 2047)),
        ("b", filter("+/", 1023)),
    ] {
        let refusal = subscribe(as_whom, &filter);
        assert!(matches!(refusal, Err(SubscribeRefusal::TooLong { .. })), "{as_whom}: {refusal:?}");
    }
}
