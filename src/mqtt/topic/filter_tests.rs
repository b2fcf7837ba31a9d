//! Filters against tables from the standard and from the product's topic rules, and against a naive model.

use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};

use super::{
    TopicFilter, TopicFilterError, has_wildcard, hides_dollar_topic, levels_match, matches,
    validate_topic_filter,
};
use crate::mqtt::topic::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX, validate_topic_name};

#[test]
fn valid_filters_are_accepted() {
    for filter in [
        "#",
        "+",
        "/",
        "/#",
        "+/+",
        "a/#",
        "a/+/b",
        "/+",
        "a//b",
        "a/",
        "$devices/+/events/#",
        "+/#",
        "д/+",
        "$share/g/t",
        "$SYS/#",
        "a/ /b",
    ] {
        assert_eq!(validate_topic_filter(filter), Ok(()), "{filter:?}");
        assert_eq!(TopicFilter::parse(filter).map(TopicFilter::as_str), Ok(filter));
    }
}

#[test]
fn malformed_filters_name_the_broken_rule() {
    use TopicFilterError::{Empty, MultiLevelNotAlone, MultiLevelNotLast, Nul, SingleLevelNotAlone};
    for (filter, error) in [
        ("", Empty),
        ("a\0", Nul),
        ("\0", Nul),
        ("a#", MultiLevelNotAlone),
        ("#a", MultiLevelNotAlone),
        ("##", MultiLevelNotAlone),
        ("#+", MultiLevelNotAlone),
        ("a/b#", MultiLevelNotAlone),
        ("a/#b", MultiLevelNotAlone),
        ("+#", MultiLevelNotAlone),
        ("#/a", MultiLevelNotLast),
        ("#/", MultiLevelNotLast),
        ("#/#", MultiLevelNotLast),
        ("a/#/b", MultiLevelNotLast),
        ("a+", SingleLevelNotAlone),
        ("+a", SingleLevelNotAlone),
        ("++", SingleLevelNotAlone),
        ("a/+b/c", SingleLevelNotAlone),
        ("a/b+/c", SingleLevelNotAlone),
        ("д+", SingleLevelNotAlone),
    ] {
        assert_eq!(validate_topic_filter(filter), Err(error), "{filter:?}");
    }
}

#[test]
fn a27_filter_levels_and_length_are_capped() {
    assert_eq!(validate_topic_filter(&"/".repeat(TOPIC_LEVELS_MAX - 1)), Ok(()));
    for slashes in [TOPIC_LEVELS_MAX, 65_400] {
        let error = TopicFilterError::TooManyLevels { levels: slashes + 1, max: TOPIC_LEVELS_MAX };
        assert_eq!(validate_topic_filter(&"/".repeat(slashes)), Err(error));
    }
    let error = TopicFilterError::TooLong { bytes: TOPIC_BYTES_MAX + 1, max: TOPIC_BYTES_MAX };
    assert_eq!(validate_topic_filter(&"a".repeat(TOPIC_BYTES_MAX + 1)), Err(error));
}

#[test]
fn examples_of_the_standard_match() {
    for (filter, topic, expected) in [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
        ("sport/#", "sport", true),
        ("#", "sport", true),
        ("#", "/", true),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("+/tennis/#", "sport/tennis", true),
        ("ACCOUNTS", "Accounts", false),
        ("a/b", "a/b", true),
        ("a/b", "a/b/", false),
        ("a/b/", "a/b", false),
        ("a", "ab", false),
        ("a/#", "ab", false),
    ] {
        assert_eq!(matches(filter, topic), expected, "{filter:?} and {topic:?}");
    }
}

#[test]
fn wildcard_at_the_first_level_does_not_see_dollar_topics() {
    for (filter, topic, expected) in [
        ("#", "$SYS/x", false),
        ("+/x", "$SYS/x", false),
        ("+/#", "$devices/D/events", false),
        ("$SYS/#", "$SYS", true),
        ("$SYS/+", "$SYS/x", true),
        ("$devices/+/events/#", "$devices/D/events", true),
        ("#", "a/$b", true),
        ("/#", "/$SYS", true),
    ] {
        assert_eq!(matches(filter, topic), expected, "{filter:?} and {topic:?}");
        assert!(levels_match(filter, topic), "{filter:?} and {topic:?}");
    }
}

#[test]
fn events_hash_matches_the_parent_and_the_empty_subtopic() {
    // Spec topics U-T1: a trailing slash is one empty level, which `#` and `+` match and the exact filter does not.
    let topic = "$devices/D/events/";
    assert!(matches("$devices/D/events/#", topic));
    assert!(matches("$devices/D/events/+", topic));
    assert!(!matches("$devices/D/events", topic));
    assert!(matches("$devices/D/events/#", "$devices/D/events"));
}

#[test]
fn a27_matching_many_levels_does_not_recurse() {
    let topic = "/".repeat(65_400);
    assert!(matches("#", &topic));
    assert!(matches("+/#", &topic));
    assert!(matches(&format!("+{}", "/+".repeat(65_400)), &topic));
    assert!(!matches(&topic[1..], &topic));
}

/// The definition of MQTT 4.7.1, written as recursion over lists of levels.
fn model(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        ([], []) => true,
        (["#"], _) => true,
        (["+", filter @ ..], [_, topic @ ..]) => model(filter, topic),
        ([left, filter @ ..], [right, topic @ ..]) => left == right && model(filter, topic),
        _ => false,
    }
}

fn topic_name() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["", "a", "b", "$", "$a"]), 1..6)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a name is not empty", |name| !name.is_empty())
}

fn topic_filter() -> impl Strategy<Value = String> {
    (prop::collection::vec(prop::sample::select(vec!["", "a", "b", "$", "$a", "+"]), 0..6), any::<bool>())
        .prop_map(|(mut levels, multi_level)| {
            if multi_level || levels.is_empty() {
                levels.push("#");
            }
            levels.join("/")
        })
        .prop_filter("a filter is not empty", |filter| !filter.is_empty())
}

/// A filter is valid when each level is a wildcard or free of wildcards, and `#` is the last.
fn model_is_valid(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let level_is_valid = |(index, level): (usize, &&str)| match *level {
        "+" => true,
        "#" => index + 1 == levels.len(),
        literal => !literal.contains(['+', '#', '\0']),
    };
    !filter.is_empty() && levels.iter().enumerate().all(level_is_valid)
}

proptest! {
    #[test]
    fn matching_agrees_with_the_model(filter in topic_filter(), topic in topic_name()) {
        prop_assert_eq!(validate_topic_filter(&filter), Ok(()));
        let filter_levels: Vec<&str> = filter.split('/').collect();
        let topic_levels: Vec<&str> = topic.split('/').collect();
        let expected = model(&filter_levels, &topic_levels);
        prop_assert_eq!(levels_match(&filter, &topic), expected);
        let hidden = topic_levels[0].starts_with('$') && matches!(filter_levels[0], "+" | "#");
        prop_assert_eq!(hides_dollar_topic(&filter, &topic), hidden);
        prop_assert_eq!(matches(&filter, &topic), expected && !hidden);
    }

    #[test]
    fn validation_agrees_with_the_model(filter in "[ab+#/\\x00д]{0,9}") {
        prop_assert_eq!(validate_topic_filter(&filter).is_ok(), model_is_valid(&filter));
    }

    #[test]
    fn a_name_matches_itself_and_has_no_wildcard(topic in topic_name()) {
        prop_assert_eq!(validate_topic_name(&topic), Ok(()));
        prop_assert_eq!(has_wildcard(&topic), false);
        prop_assert_eq!(matches(&topic, &topic), true);
    }
}
